package wal

import (
	"fmt"
	"strconv"
)

// TimelineID is the number of a timeline: 1 from initdb, and a higher one
// after each promotion. 0 is invalid. In JSON it is a number.
type TimelineID uint32

// ParseTimelineID reads the form that stands in file names: exactly 8
// upper-case hex digits, not all 0.
func ParseTimelineID(s string) (TimelineID, error) {
	if !isUpperHex(s, 8) {
		return 0, fmt.Errorf("parse timeline %q: want 8 upper-case hex digits", s)
	}
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("parse timeline %q: timeline 0 is invalid", s)
	}
	return TimelineID(v), nil
}

// String returns the form that stands in file names, "00000001".
func (t TimelineID) String() string { return fmt.Sprintf("%08X", uint32(t)) }
