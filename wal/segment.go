package wal

import (
	"fmt"
	"strconv"
)

// SegmentSize is the length of every WAL segment of a cluster, in bytes
// (wal_segment_size, chosen at initdb). The methods below need a valid one.
type SegmentSize uint32

// The valid sizes: powers of two between these, both included.
const (
	DefaultSegmentSize SegmentSize = 16 << 20
	MinSegmentSize     SegmentSize = 1 << 20
	MaxSegmentSize     SegmentSize = 1 << 30
)

// SegmentNumber counts segments from the start of the log: segment n holds
// the bytes [n*size, (n+1)*size).
type SegmentNumber uint64

// SegmentID names one segment of one timeline.
type SegmentID struct {
	Timeline TimelineID
	Number   SegmentNumber
}

// Validate returns an error unless s is a power of two from 1 MiB to 1 GiB.
func (s SegmentSize) Validate() error {
	if s < MinSegmentSize || s > MaxSegmentSize || s&(s-1) != 0 {
		return fmt.Errorf("segment size %d bytes: want a power of two from 1 MiB to 1 GiB", uint32(s))
	}
	return nil
}

// Segment returns the segment on timeline tli that holds the byte at lsn.
func (s SegmentSize) Segment(tli TimelineID, lsn LSN) SegmentID {
	return SegmentID{Timeline: tli, Number: s.Number(lsn)}
}

// Number returns the number of the segment that holds the byte at lsn.
func (s SegmentSize) Number(lsn LSN) SegmentNumber {
	return SegmentNumber(uint64(lsn) / uint64(s))
}

// Start returns the LSN of the first byte of segment n.
func (s SegmentSize) Start(n SegmentNumber) LSN { return LSN(uint64(n) * uint64(s)) }

// End returns the LSN past the last byte of segment n.
func (s SegmentSize) End(n SegmentNumber) LSN { return s.Start(n) + LSN(s) }

// Range returns the bytes of segment n.
func (s SegmentSize) Range(n SegmentNumber) Range {
	return Range{Start: s.Start(n), End: s.End(n)}
}

// Floor returns the start of the segment that holds the byte at lsn.
func (s SegmentSize) Floor(lsn LSN) LSN { return lsn &^ (LSN(s) - 1) }

// Offset returns the place of the byte at lsn in its segment, in bytes.
func (s SegmentSize) Offset(lsn LSN) uint32 { return uint32(lsn & (LSN(s) - 1)) }

// FileName returns PostgreSQL's name of the segment file, 24 upper-case hex
// digits (XLogFileName in src/include/access/xlog_internal.h).
func (s SegmentSize) FileName(id SegmentID) string {
	perID := s.perLogID()
	return fmt.Sprintf("%08X%08X%08X", uint32(id.Timeline),
		uint32(uint64(id.Number)/perID), uint32(uint64(id.Number)%perID))
}

// ParseFileName reads what FileName writes. It refuses names that no
// segment of this size has, and timeline 0.
func (s SegmentSize) ParseFileName(name string) (SegmentID, error) {
	if !isUpperHex(name, 24) {
		return SegmentID{}, fmt.Errorf("parse segment file name %q: want 24 upper-case hex digits", name)
	}
	tli, err := ParseTimelineID(name[:8])
	if err != nil {
		return SegmentID{}, fmt.Errorf("parse segment file name %q: %w", name, err)
	}
	// Both are 8 hex digits: they fit in 32 bits.
	high, _ := strconv.ParseUint(name[8:16], 16, 32)
	low, _ := strconv.ParseUint(name[16:], 16, 32)
	perID := s.perLogID()
	if low >= perID {
		return SegmentID{}, fmt.Errorf("parse segment file name %q: no segment of %d bytes has this name", name, uint32(s))
	}
	return SegmentID{Timeline: tli, Number: SegmentNumber(high*perID + low)}, nil
}

// perLogID returns how many segments 4 GiB of log have
// (XLogSegmentsPerXLogId).
func (s SegmentSize) perLogID() uint64 { return (1 << 32) / uint64(s) }
