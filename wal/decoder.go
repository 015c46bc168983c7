package wal

import (
	"encoding/binary"
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
	body       *body
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
	d.checkCRC, d.eventsOnly = all&CheckCRC != 0, all&EventsOnly != 0
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

// readPageHeader reads some or all of the header that begins at pageEnd.
func (d *Decoder) readPageHeader(p []byte) (int, error) {
	want := shortHeader
	if d.size.Offset(d.pageEnd) == 0 {
		want = longHeader
	}
	n := copy(d.pageBuf[d.pageFill:want], p)
	d.pageFill += n
	if d.pageFill < want {
		return n, nil
	}
	d.pageFill = 0
	header := d.pageBuf[:want]
	if header[0] == 0 && header[1] == 0 && ZeroTail(header) == want {
		d.toZeros(d.pageEnd)
		return n, nil
	}
	h, err := ParsePageHeader(header)
	if err != nil {
		return n, corrupt(d.pageEnd, "%v", err)
	}
	if err := d.checkPage(h); err != nil {
		return n, err
	}
	return n, d.openPage(h)
}

// toZeros takes all bytes from at to the end of its segment for padding.
func (d *Decoder) toZeros(at LSN) {
	d.mode = zeros
	d.drop()
	d.pageEnd = d.size.Floor(at) + LSN(d.size)
}

// drop forgets the record in hand.
func (d *Decoder) drop() {
	d.left, d.headerFill, d.inBody, d.body, d.unseen = 0, 0, false, nil, false
}

// checkPage compares a page header with its place and with the page before
// (XLogReaderValidatePageHeader).
func (d *Decoder) checkPage(h PageHeader) error {
	long := h.flags&pageLong != 0
	switch {
	case h.Address != d.pageEnd:
		return corrupt(d.pageEnd, "page says it is at %s", h.Address)
	case long != (d.size.Offset(d.pageEnd) == 0):
		return corrupt(d.pageEnd, "length of the page header is not that of its place")
	case long && h.SegmentSize != d.size:
		return corrupt(d.pageEnd, "segment size is %d bytes, want %d", h.SegmentSize, d.size)
	case long && d.system != 0 && h.SystemID != d.system:
		return corrupt(d.pageEnd, "system identifier is %s, before it was %s", h.SystemID, d.system)
	case d.page.Major != 0 && h.Major != d.page.Major:
		return corrupt(d.pageEnd, "page is of PostgreSQL %d, before it was %d", h.Major, d.page.Major)
	case h.Timeline < d.page.Timeline:
		return corrupt(d.pageEnd, "timeline is %d, before it was %d", h.Timeline, d.page.Timeline)
	case h.flags&pageContinued == 0 && h.Remaining != 0:
		return corrupt(d.pageEnd, "%d bytes of an earlier record that does not go on", h.Remaining)
	case h.flags&pageContinued != 0 && h.Remaining == 0:
		return corrupt(d.pageEnd, "an earlier record goes on with 0 bytes")
	case h.flags&pageContinued != 0 && h.flags&pageOverwrites != 0:
		return corrupt(d.pageEnd, "an earlier record both goes on and was given up")
	}
	return nil
}

// openPage goes on with the record in hand, if the page does.
func (d *Decoder) openPage(h PageHeader) error {
	headless := d.headless
	switch {
	case h.flags&pageOverwrites != 0:
		// The rest of the record in hand was never written: a server that
		// recovered from a crash put new records in its place.
		d.drop()
	case h.flags&pageContinued == 0 && d.left > 0:
		return corrupt(d.pageEnd, "record at %s does not go on", d.start)
	case h.flags&pageContinued != 0 && headless:
		d.left, d.inBody, d.unseen = h.Remaining, true, true
	case h.Remaining != d.left:
		return corrupt(d.pageEnd, "%d bytes of an earlier record, want %d", h.Remaining, d.left)
	}
	d.mode, d.headless = reading, false
	if h.SystemID != 0 {
		d.system = h.SystemID
	}
	h.SystemID, h.SegmentSize = d.system, d.size
	if d.unseen {
		d.head.End = d.pageEnd + LSN(h.headerLen())
	}
	d.page = h
	d.pageEnd += PageSize
	return nil
}

// readBody reads on in a record whose header is known. p is of one page.
func (d *Decoder) readBody(p []byte) (int, error) {
	p = p[:min(uint64(d.left), uint64(len(p)))]
	d.left -= uint32(len(p))
	end := d.pos + LSN(len(p))
	switch {
	case d.unseen:
		d.head.End = end
		if d.left == 0 {
			d.drop()
		}
		return len(p), nil
	case d.body != nil:
		d.body.write(p)
		d.crc = crc32.Update(d.crc, d.table, p)
	case d.checkCRC:
		d.crc = crc32.Update(d.crc, d.table, p)
	}
	if d.left > 0 {
		return len(p), nil
	}
	return len(p), d.finish(end)
}

// readRecords reads from between records, or from inside a record header.
// p is of one page.
func (d *Decoder) readRecords(p []byte) (int, error) {
	used := 0
	if d.headerFill == 0 {
		used = int(min(uint64(-d.pos&7), uint64(len(p)))) // alignment
	}
	for len(p)-used >= recordHeaderSize && d.headerFill == 0 {
		n, err := d.readRecord(p[used:], d.pos+LSN(used))
		used += n
		if err != nil || d.inBody || d.mode != reading || len(p) == used {
			return used, err
		}
	}
	if used == len(p) {
		return used, nil
	}
	n, err := d.collectHeader(p[used:], d.pos+LSN(used))
	return used + n, err
}

// readRecord reads a record whose header is whole in p and lies at start, and
// the alignment after it, as far as they are in p.
func (d *Decoder) readRecord(p []byte, start LSN) (int, error) {
	d.start = start
	d.header = parseRecordHeader(p)
	if d.header.length == 0 {
		d.toZeros(start)
		return 0, nil
	}
	if err := d.openRecord(); err != nil {
		return 0, err
	}
	if d.body != nil || d.checkCRC || uint64(d.header.length) > uint64(len(p)) || d.header.isSwitch() {
		d.left = d.header.length - recordHeaderSize
		copy(d.headerBuf[:], p)
		if d.left == 0 {
			return recordHeaderSize, d.finish(start + recordHeaderSize)
		}
		d.inBody = true
		return recordHeaderSize, nil
	}
	// Most records: nothing to look at, and whole in p.
	end := start + LSN(d.header.length)
	d.emit(Record{End: align(end)})
	return int(min(uint64(align(end)-start), uint64(len(p)))), nil
}

// collectHeader reads some of a record header that is cut. p is not empty and
// begins at pos.
func (d *Decoder) collectHeader(p []byte, pos LSN) (int, error) {
	if d.headerFill == 0 {
		d.start = pos
	}
	n := copy(d.headerBuf[d.headerFill:], p)
	known := d.headerFill >= 4
	d.headerFill += n
	switch {
	case d.headerFill < 4:
		return n, nil
	case !known:
		d.left = binary.LittleEndian.Uint32(d.headerBuf[:])
		if d.left == 0 {
			if ZeroTail(d.headerBuf[:d.headerFill]) != d.headerFill {
				return n, corrupt(d.start, "record of 0 bytes")
			}
			d.toZeros(d.start)
			return n, nil
		}
		if d.left < recordHeaderSize {
			return n, corrupt(d.start, "record of %d bytes", d.left)
		}
		d.left -= uint32(d.headerFill)
	default:
		d.left -= uint32(n)
	}
	if d.headerFill < recordHeaderSize {
		return n, nil
	}
	d.headerFill = 0
	d.header = parseRecordHeader(d.headerBuf[:])
	if err := d.openRecord(); err != nil {
		return n, err
	}
	if d.left == 0 {
		return n, d.finish(pos + LSN(n))
	}
	d.inBody = true
	return n, nil
}

// openRecord checks the header of a record (ValidXLogRecordHeader) and makes
// ready for its body.
func (d *Decoder) openRecord() error {
	h := d.header
	switch {
	case h.length < recordHeaderSize:
		return corrupt(d.start, "record of %d bytes", h.length)
	case !validRM(h.rm, d.page.Major):
		return corrupt(d.start, "unknown resource manager %d", h.rm)
	case d.prev != 0 && h.prev != d.prev:
		return corrupt(d.start, "record before is at %s, want %s", h.prev, d.prev)
	case h.prev >= d.start:
		return corrupt(d.start, "record before is at %s", h.prev)
	}
	d.crc = 0
	if h.rm <= rmXact {
		d.body = newBody(h, d.page.Major)
	}
	return nil
}

// finish ends the record in hand, whose last byte is before end.
func (d *Decoder) finish(end LSN) error {
	r := Record{End: align(end)}
	if d.body != nil || d.checkCRC {
		if crc32.Update(d.crc, d.table, d.headerBuf[:crcOffset]) != binary.LittleEndian.Uint32(d.headerBuf[crcOffset:]) {
			return corrupt(d.start, "checksum of the record is wrong")
		}
	}
	if d.body != nil {
		e, err := d.body.close(d.start, r.End)
		if err != nil {
			return corrupt(d.start, "%v", err)
		}
		r.Event = e
	}
	if d.header.isSwitch() {
		// A switch that ends with its segment, or spills over into the next,
		// takes the segment in which its last byte lies.
		r.End = (r.End + LSN(d.size) - 1) &^ (LSN(d.size) - 1)
		if end < r.End {
			d.mode, d.pageEnd = passing, r.End
		}
	}
	d.drop()
	d.emit(r)
	return nil
}

// emit completes r from the record in hand and queues it.
func (d *Decoder) emit(r Record) {
	d.prev, d.last = d.start, r.End
	if d.eventsOnly && r.Event == nil {
		return
	}
	r.Start, r.RM, r.Info, r.XID, r.Len = d.start, d.header.rm, d.header.info, d.header.xid, d.header.length
	d.queue = append(d.queue, r)
}
