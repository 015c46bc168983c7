package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// PageSize is the length of a WAL page, XLOG_BLCKSZ, in bytes.
const PageSize = 8192

const (
	shortHeader = 24 // SizeOfXLogShortPHD
	longHeader  = 40 // SizeOfXLogLongPHD, on the first page of a segment

	pageContinued  = 0x0001 // XLP_FIRST_IS_CONTRECORD
	pageLong       = 0x0002 // XLP_LONG_HEADER
	pageOverwrites = 0x0008 // XLP_FIRST_IS_OVERWRITE_CONTRECORD
	pageAllFlags   = 0x000F // XLP_ALL_FLAGS; 0x0004 is XLP_BKP_REMOVABLE
)

// PageHeader is the header of a WAL page (XLogPageHeaderData and
// XLogLongPageHeaderData in src/include/access/xlog_internal.h).
type PageHeader struct {
	Major     int // PostgreSQL's major version
	Timeline  TimelineID
	Address   LSN    // of the page itself
	Remaining uint32 // bytes still to come of a record that began on an earlier page

	// Of the first page of a segment; 0 on every other.
	SystemID    SystemID
	SegmentSize SegmentSize

	flags uint16
}

// ParsePageHeader reads the header at the start of a page, which must be
// there whole: 40 bytes on the first page of a segment, 24 on others. It
// refuses pages of versions other than 14 to 18.
func ParsePageHeader(page []byte) (PageHeader, error) {
	if len(page) < shortHeader {
		return PageHeader{}, fmt.Errorf("parse WAL page header: %d bytes, want %d", len(page), shortHeader)
	}
	magic := binary.LittleEndian.Uint16(page)
	h := PageHeader{
		Major:     majorOf(magic),
		Timeline:  TimelineID(binary.LittleEndian.Uint32(page[4:])),
		Address:   LSN(binary.LittleEndian.Uint64(page[8:])),
		Remaining: binary.LittleEndian.Uint32(page[16:]),
		flags:     binary.LittleEndian.Uint16(page[2:]),
	}
	switch {
	case h.Major == 0:
		return PageHeader{}, fmt.Errorf("parse WAL page header: magic %04X is not of PostgreSQL 14 to 18", magic)
	case h.flags&^pageAllFlags != 0:
		return PageHeader{}, fmt.Errorf("parse WAL page header: unknown flags %04X", h.flags)
	case h.Timeline == 0:
		return PageHeader{}, errors.New("parse WAL page header: timeline 0 is invalid")
	case h.Address%PageSize != 0:
		return PageHeader{}, fmt.Errorf("parse WAL page header: address %s is not a page's", h.Address)
	case h.flags&pageLong == 0:
		return h, nil
	case len(page) < longHeader:
		return PageHeader{}, fmt.Errorf("parse WAL page header: %d bytes, want %d", len(page), longHeader)
	}
	h.SystemID = SystemID(binary.LittleEndian.Uint64(page[24:]))
	h.SegmentSize = SegmentSize(binary.LittleEndian.Uint32(page[32:]))
	if err := h.SegmentSize.Validate(); err != nil {
		return PageHeader{}, fmt.Errorf("parse WAL page header: %w", err)
	}
	if size := binary.LittleEndian.Uint32(page[36:]); size != PageSize {
		return PageHeader{}, fmt.Errorf("parse WAL page header: page size %d bytes, want %d", size, PageSize)
	}
	return h, nil
}

// majorOf returns the version that writes XLOG_PAGE_MAGIC magic, or 0.
func majorOf(magic uint16) int {
	switch magic {
	case 0xD10D:
		return 14
	case 0xD110:
		return 15
	case 0xD113:
		return 16
	case 0xD116:
		return 17
	case 0xD118:
		return 18
	default:
		return 0
	}
}

// headerLen returns the length of the header in bytes.
func (h PageHeader) headerLen() int {
	if h.flags&pageLong != 0 {
		return longHeader
	}
	return shortHeader
}

// ZeroTail returns how many bytes at the end of b are zero. A segment that is
// padded beyond the end of its WAL ends in zeros from there on; the record
// before may itself end in a few.
func ZeroTail(b []byte) int {
	n := len(b)
	for n >= 8 && binary.LittleEndian.Uint64(b[n-8:n]) == 0 {
		n -= 8
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return len(b) - n
}
