package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log, counted from the start of
// the cluster's first timeline. 0 is PostgreSQL's invalid LSN.
type LSN uint64

// ParseLSN reads PostgreSQL's text form, two hexadecimal numbers of one to
// eight digits with a slash between: "16/B374D848". Nothing may stand before
// or after it.
func ParseLSN(s string) (LSN, error) {
	high, low, found := strings.Cut(s, "/")
	if !found || !isHex(high, 1, 8) || !isHex(low, 1, 8) {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers like 16/B374D848", s)
	}
	// Both are 1 to 8 hex digits: they fit in 32 bits.
	h, _ := strconv.ParseUint(high, 16, 32)
	l, _ := strconv.ParseUint(low, 16, 32)
	return LSN(h<<32 | l), nil
}

// ParseHexLSN reads what Hex writes: exactly 16 upper-case hex digits.
func ParseHexLSN(s string) (LSN, error) {
	if !isUpperHex(s, 16) {
		return 0, fmt.Errorf("parse LSN %q: want 16 upper-case hex digits", s)
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return LSN(v), err
}

// String returns PostgreSQL's text form, "16/B374D848".
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// Hex returns 16 upper-case hex digits, which sort as LSNs do. They are part
// of the repository's keys and never change.
func (l LSN) Hex() string { return fmt.Sprintf("%016X", uint64(l)) }

// MarshalText writes the form of String.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLSN reads.
func (l *LSN) UnmarshalText(text []byte) error {
	v, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// isHex reports whether s is between least and most hex digits of any case.
func isHex(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isUpperHex reports whether s is exactly n hex digits as PostgreSQL writes
// them in file names.
func isUpperHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
