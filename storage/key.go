package storage

import (
	"fmt"
	"strings"
)

// Key names an object in a store: one or more names with a slash between them. Each name has 1 to 200
// printable ASCII characters without space and backslash and does not begin with a dot; a key has at
// most 900 bytes. So a key is a safe relative path, names that begin with a dot are free for a store's
// own use, and byte order is the order in which people read.
type Key string

const (
	maxKey  = 900 // S3 allows 1024 bytes, the URL's prefix included
	maxName = 200 // file systems allow 255
)

// Validate returns an error that wraps ErrKey if k is no valid key.
func (k Key) Validate() error {
	if k == "" {
		return fmt.Errorf("%w: empty", ErrKey)
	}
	if len(k) > maxKey {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKey, len(k), maxKey)
	}
	for name := range strings.SplitSeq(string(k), "/") {
		if err := validateName(name); err != nil {
			return fmt.Errorf("%w %q: %w", ErrKey, string(k), err)
		}
	}
	return nil
}

// ValidatePrefix returns an error that wraps ErrKey if no valid key can begin with k. The empty prefix
// is valid.
func (k Key) ValidatePrefix() error {
	switch {
	case k == "":
		return nil
	case strings.HasSuffix(string(k), "/"):
		return (k + "x").Validate()
	default:
		return k.Validate()
	}
}

func validateName(name string) error {
	switch {
	case name == "":
		return errEmptyName
	case name[0] == '.':
		return errDotName
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes, at most %d", len(name), maxName)
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '\\' {
			return fmt.Errorf("byte 0x%02x", c)
		}
	}
	return nil
}

// Span is a range of bytes of an object: [Offset, Offset+Length), or from Offset to the end if Length
// is negative. A span of length 0 reads nothing and proves that the object exists.
type Span struct{ Offset, Length int64 }

// All is the span of a whole object.
func All() Span { return Span{Offset: 0, Length: -1} }

// Resolve returns the number of bytes that s means in an object of size bytes, or an error that wraps
// ErrSpan if s does not lie within it.
func (s Span) Resolve(size int64) (int64, error) {
	if s.Offset < 0 || s.Offset > size || s.Length > size-s.Offset {
		return 0, fmt.Errorf("%w: %s of %d bytes", ErrSpan, s, size)
	}
	if s.Length < 0 {
		return size - s.Offset, nil
	}
	return s.Length, nil
}

// String returns "bytes 10-19", or "bytes 10-" for a span without an end.
func (s Span) String() string {
	if s.Length < 0 {
		return fmt.Sprintf("bytes %d-", s.Offset)
	}
	return fmt.Sprintf("bytes %d-%d", s.Offset, s.Offset+s.Length-1)
}
