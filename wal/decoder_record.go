package wal

import (
	"encoding/binary"
	"hash/crc32"
)

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
	case d.wanted:
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
	if d.wanted || d.checkCRC || uint64(d.header.length) > uint64(len(p)) || d.header.isSwitch() {
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
	d.wanted = d.wants(h) && d.body.open(h, d.page.Major)
	return nil
}

// wants reports whether records of the resource manager may become events.
func (d *Decoder) wants(h recordHeader) bool {
	switch h.rm {
	case rmXLOG:
		return true
	case rmXact:
		return !d.spaces
	case rmTablespace:
		return d.spaces
	}
	return d.storage
}

// finish ends the record in hand, whose last byte is before end.
func (d *Decoder) finish(end LSN) error {
	r := Record{End: align(end)}
	if d.wanted || d.checkCRC {
		if crc32.Update(d.crc, d.table, d.headerBuf[:crcOffset]) != binary.LittleEndian.Uint32(d.headerBuf[crcOffset:]) {
			return corrupt(d.start, "checksum of the record is wrong")
		}
	}
	if d.wanted {
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
