package wal

import (
	"fmt"
	"time"
)

// Time is PostgreSQL's TimestampTz: microseconds since 2000-01-01 00:00:00
// UTC, negative before it (src/include/datatype/timestamp.h).
type Time int64

// XID is a transaction ID of 32 bits, without its epoch. 0 is invalid.
type XID uint32

const (
	epochSeconds = 946684800 // 2000-01-01 00:00:00 UTC in Unix time
	microseconds = 1_000_000 // in a second

	timeLayout = "2006-01-02T15:04:05.000000Z07:00"
)

// FromGo returns t in microseconds, what is finer cut off towards the past.
func FromGo(t time.Time) Time {
	return Time((t.Unix()-epochSeconds)*microseconds + int64(t.Nanosecond()/1000))
}

// Go returns the same instant, in UTC.
func (t Time) Go() time.Time {
	seconds, rest := int64(t)/microseconds, int64(t)%microseconds
	return time.Unix(seconds+epochSeconds, rest*1000).UTC()
}

// String returns RFC 3339 in UTC with six digits of a second, such as
// "2026-11-21T02:40:00.123456Z".
func (t Time) String() string { return t.Go().Format(timeLayout) }

// MarshalText writes the form of String.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads RFC 3339 with a numeric offset or Z; what is finer than
// a microsecond is cut off.
func (t *Time) UnmarshalText(text []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return fmt.Errorf("parse time: %w", err)
	}
	*t = FromGo(v)
	return nil
}
