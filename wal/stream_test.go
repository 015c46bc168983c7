package wal_test

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"

	"github.com/pgark/pgark/wal"
)

const (
	testSystem = 7301234567890123456
	testSize   = wal.MinSegmentSize

	rmXLOG, rmXact, rmHeap = 0, 1, 10
)

// stream writes WAL as a server does (CopyXLogRecordToWAL), for what no real
// server would write on demand.
type stream struct {
	magic     uint16
	timeline  uint32
	start     wal.LSN
	prev      wal.LSN
	overwrite bool // the next page begins in place of the rest of a lost record
	bytes     []byte
}

func newStream(start wal.LSN) *stream { return &stream{magic: 0xD118, timeline: 1, start: start} }

func (s *stream) pos() wal.LSN { return s.start + wal.LSN(len(s.bytes)) }

// page writes the page header that is due at pos.
func (s *stream) page(remaining int) {
	h := make([]byte, 24, 40)
	binary.LittleEndian.PutUint16(h, s.magic)
	binary.LittleEndian.PutUint32(h[4:], s.timeline)
	binary.LittleEndian.PutUint64(h[8:], uint64(s.pos()))
	binary.LittleEndian.PutUint32(h[16:], uint32(remaining))
	flags := uint16(4) // XLP_BKP_REMOVABLE means nothing here
	if remaining > 0 {
		flags |= 1
	}
	if s.overwrite {
		flags |= 8
		s.overwrite = false
	}
	if testSize.Offset(s.pos()) == 0 {
		flags |= 2
		h = binary.LittleEndian.AppendUint64(h, testSystem)
		h = binary.LittleEndian.AppendUint32(h, uint32(testSize))
		h = binary.LittleEndian.AppendUint32(h, wal.PageSize)
	}
	binary.LittleEndian.PutUint16(h[2:], flags)
	s.bytes = append(s.bytes, h...)
}

// put writes a record's bytes across pages.
func (s *stream) put(b []byte) {
	s.bytes = slices.Grow(s.bytes, len(b)+(len(b)/wal.PageSize+2)*40) // once, not at each page
	for len(b) > 0 {
		if s.pos()%wal.PageSize == 0 {
			s.page(len(b))
		}
		n := min(len(b), int(wal.PageSize-s.pos()%wal.PageSize))
		s.bytes = append(s.bytes, b[:n]...)
		b = b[n:]
	}
	for s.pos()%8 != 0 {
		s.bytes = append(s.bytes, 0)
	}
}

// next returns where the next record begins, and writes the page header
// before it if one is due.
func (s *stream) next() wal.LSN {
	if s.pos()%wal.PageSize == 0 {
		s.page(0)
	}
	return s.pos()
}

// record writes a record whose body is given whole.
func (s *stream) record(rm, info uint8, xid uint32, body []byte) (start, end wal.LSN) {
	start = s.next()
	s.put(s.encode(rm, info, xid, body))
	s.prev = start
	return start, s.pos()
}

// encode returns a record's bytes.
func (s *stream) encode(rm, info uint8, xid uint32, body []byte) []byte {
	b := make([]byte, 24, 24+len(body))
	binary.LittleEndian.PutUint32(b, uint32(24+len(body)))
	binary.LittleEndian.PutUint32(b[4:], xid)
	binary.LittleEndian.PutUint64(b[8:], uint64(s.prev))
	b[16], b[17] = info, rm
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(crc32.Checksum(body, table), table, b[:20])
	binary.LittleEndian.PutUint32(b[20:], crc)
	return append(b, body...)
}

// data returns a body that has only main data.
func data(main []byte) []byte {
	if len(main) < 256 {
		return append([]byte{255, byte(len(main))}, main...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte{254}, uint32(len(main))), main...)
}

// heap writes a record that is no event, of length bytes.
func (s *stream) heap(length int) (start, end wal.LSN) {
	return s.record(rmHeap, 0, 700, make([]byte, length-24))
}

// commit writes a plain commit record at the given time.
func (s *stream) commit(xid uint32, at wal.Time) (start, end wal.LSN) {
	return s.record(rmXact, 0, xid, data(binary.LittleEndian.AppendUint64(nil, uint64(at))))
}

// switchSegment writes a switch record and the unused rest of its segment.
func (s *stream) switchSegment() (start, end wal.LSN) {
	start, end = s.record(rmXLOG, 0x40, 0, nil)
	if n := testSize.Offset(end); n != 0 {
		unused := wal.LSN(testSize) - wal.LSN(n)
		s.bytes = append(s.bytes, make([]byte, unused)...)
		end += unused
	}
	return start, end
}

// fill writes a record that leaves free bytes of its last page.
func (s *stream) fill(free int) {
	s.next()
	room := int(wal.PageSize-s.pos()%wal.PageSize) - free
	if room < 24 {
		room += wal.PageSize - 24
	}
	s.heap(room)
}

// decode gives all of b to a new decoder, in pieces of step bytes.
func decode(t testing.TB, start wal.LSN, b []byte, step int, options ...wal.Option) ([]wal.Record, *wal.Decoder, error) {
	t.Helper()
	d := wal.NewDecoder(testSize, start, options...)
	var records []wal.Record
	for len(b) > 0 {
		n := min(step, len(b))
		err := d.Write(b[:n])
		for r, ok := d.Next(); ok; r, ok = d.Next() {
			records = append(records, r)
		}
		if err != nil {
			return records, d, err
		}
		b = b[n:]
	}
	return records, d, nil
}

// same compares records and their events.
func same(a, b []wal.Record) bool {
	return slices.EqualFunc(a, b, func(x, y wal.Record) bool {
		ex, ey := x.Event, y.Event
		x.Event, y.Event = nil, nil
		return x == y && (ex == nil && ey == nil || reflect.DeepEqual(ex, ey))
	})
}
