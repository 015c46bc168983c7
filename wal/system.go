package wal

import (
	"fmt"
	"strconv"
)

// SystemID is PostgreSQL's system identifier: made by initdb, shared by a
// cluster and its standbys, changed by pg_upgrade. 0 is invalid.
type SystemID uint64

// ParseSystemID reads the decimal form that PostgreSQL prints, without sign
// or leading zero.
func ParseSystemID(s string) (SystemID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v == 0 || s[0] == '+' || s[0] == '0' {
		return 0, fmt.Errorf("parse system identifier %q: want a positive decimal number of 64 bits", s)
	}
	return SystemID(v), nil
}

// String returns the decimal form.
func (s SystemID) String() string { return strconv.FormatUint(uint64(s), 10) }

// MarshalText writes the form of String, so that JSON holds a string: many
// JSON readers cannot hold a number of 64 bits.
func (s SystemID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSystemID reads.
func (s *SystemID) UnmarshalText(text []byte) error {
	v, err := ParseSystemID(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
