package wal

import (
	"fmt"
	"hash/crc32"
)

// CorruptError says that WAL is not what a server writes. At is the LSN of
// the record or page that is wrong.
type CorruptError struct {
	At     LSN
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string { return fmt.Sprintf("corrupt WAL at %s: %s", e.At, e.Reason) }

// Option changes how a Decoder reads.
type Option uint8

const (
	// CheckCRC checks the checksum of every record. Without it only those of
	// records with an Event are checked.
	CheckCRC Option = 1 << iota
	// EventsOnly makes Next return only records with an Event.
	EventsOnly
	// StorageEvents makes more records events, and fills more of one: see
	// Record.Event and TransactionEnd.Changed.
	StorageEvents
	// TablespaceEvents makes records that make a tablespace events, and none of
	// transaction ends.
	TablespaceEvents
)

// mode is what a Decoder does with bytes that are no page header.
type mode uint8

const (
	reading mode = iota // records
	passing             // to the end of the page or segment without looking
	zeros               // past the end of WAL: to the end of the segment, all zero
)

// Decoder reads the records in a stream of WAL that comes in pieces of any
// length, in the order of LSNs. It holds a few kilobytes however long a record
// is, besides the records that wait for Next. What it takes to be a record
// with an Event has passed its checksum.
//
// A Decoder is not safe for concurrent use.
type Decoder struct {
	size       SegmentSize
	checkCRC   bool
	eventsOnly bool
	storage    bool
	spaces     bool // tablespaces, no transaction ends
	table      *crc32.Table

	pos      LSN // of the next byte
	mode     mode
	headless bool // the next page may go on with a record from before it
	err      error

	// pages
	pageEnd  LSN // where the next page header begins
	pageBuf  [longHeader]byte
	pageFill int // bytes of that header read so far
	page     PageHeader
	system   SystemID

	// the record in hand
	start      LSN
	left       uint32 // bytes of it still to come; 0 between records
	headerBuf  [recordHeaderSize]byte
	headerFill int
	header     recordHeader
	inBody     bool
	unseen     bool // it began before the stream: only passed over
	body       body // where wanted
	wanted     bool // the record becomes an event
	crc        uint32

	prev  LSN // start of the last whole record, 0 if none
	last  LSN // its end
	head  Range
	queue []Record
	next  int
}

// NewDecoder returns a decoder of WAL with segments of a valid size, whose
// first byte will be that at start. Where start lies inside a page, records
// are read from the next page on. Where a record goes on there from before,
// the rest of it is passed over. See SkippedHead.
func NewDecoder(size SegmentSize, start LSN, options ...Option) *Decoder {
	d := &Decoder{size: size, pos: start, table: crc32.MakeTable(crc32.Castagnoli), headless: true}
	d.pageEnd = (start + PageSize - 1) &^ (PageSize - 1)
	d.head = Range{Start: start, End: start}
	var all Option
	for _, o := range options {
		all |= o
	}
	d.checkCRC, d.eventsOnly, d.storage = all&CheckCRC != 0, all&EventsOnly != 0, all&StorageEvents != 0
	d.spaces = all&TablespaceEvents != 0
	d.body.xact.whole = d.storage
	if d.pos != d.pageEnd {
		d.mode = passing
	}
	return d
}

// Write reads the bytes that follow those of the call before; it keeps no
// reference to p. It returns *CorruptError where they cannot be WAL; the
// decoder is dead then and returns the same error for ever, but Next still
// gives the records before.
//
// A record whose last byte is in p is ready for Next when Write returns.
func (d *Decoder) Write(p []byte) error {
	for len(p) > 0 && d.err == nil {
		var n int
		n, d.err = d.step(p)
		d.pos += LSN(n)
		p = p[n:]
	}
	return d.err
}

// Next returns the next whole record, and false if there is none yet.
func (d *Decoder) Next() (Record, bool) {
	if d.next == len(d.queue) {
		return Record{}, false
	}
	r := d.queue[d.next]
	d.queue[d.next].Event = nil
	d.next++
	if d.next == len(d.queue) {
		d.queue, d.next = d.queue[:0], 0
	}
	return r, true
}

// Pos returns the LSN of the byte that Write expects next.
func (d *Decoder) Pos() LSN { return d.pos }

// LastEnd returns the end of the last whole record, as Record.End, or 0 if
// there was none. Recovery of exactly these bytes ends there.
func (d *Decoder) LastEnd() LSN { return d.last }

// AtEnd reports whether the bytes ended in zeros where a record or page
// should begin: the padding after the end of WAL. When a segment begins after
// it, reading goes on there, and it is an error if records are missing between.
func (d *Decoder) AtEnd() bool { return d.mode == zeros }

// SkippedHead reports whether a record that began before start, or an unknown
// rest of start's page, was passed over.
func (d *Decoder) SkippedHead() bool { return !d.head.Empty() }

// Head returns the bytes passed over so far for SkippedHead, which begin at
// start.
func (d *Decoder) Head() Range { return d.head }

// Page returns the header of the last page that began, and false before the
// first. Its SystemID is that of the last page that began a segment, if any.
func (d *Decoder) Page() (PageHeader, bool) { return d.page, d.page.Major != 0 }

// step reads some of p, which is not empty, and returns how much.
func (d *Decoder) step(p []byte) (int, error) {
	if d.pos-LSN(d.pageFill) == d.pageEnd {
		return d.readPageHeader(p)
	}
	p = p[:min(uint64(len(p)), uint64(d.pageEnd-d.pos))]
	switch {
	case d.mode == passing:
		if d.headless {
			d.head.End = d.pos + LSN(len(p))
		}
		return len(p), nil
	case d.mode == zeros:
		if ZeroTail(p) != len(p) {
			return 0, corrupt(d.pos, "bytes other than zero after the end of WAL")
		}
		return len(p), nil
	case d.inBody:
		return d.readBody(p)
	default:
		return d.readRecords(p)
	}
}

// corrupt returns a *CorruptError.
func corrupt(at LSN, format string, args ...any) error {
	return &CorruptError{At: at, Reason: fmt.Sprintf(format, args...)}
}
