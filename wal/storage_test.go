package wal_test

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/pgark/pgark/wal"
)

// uint32s is main data that is nothing else.
func uint32s(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func TestStorageEvents(t *testing.T) {
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(20000 + i)
	}
	block := append([]byte{0, 0x20, 3, 0}, append(uint32s(1664, 0, 1262, 7), append([]byte{255, 2}, 'b', 'b', 'b', 5, 0)...)...)
	tests := []struct {
		name     string
		magic    uint16
		rm, info uint8
		body     []byte
		event    func(start, end wal.LSN) any // nil: an error
	}{
		{"create", 0xD118, 2, 0x10, data(uint32s(1663, 5, 16384, 2)), func(s, e wal.LSN) any {
			return &wal.RelFileCreate{File: wal.RelFile{Tablespace: 1663, Database: 5, Number: 16384}, Fork: 2, Start: s, End: e}
		}},
		{"drop, 14", 0xD10D, 4, 0x10, data(uint32s(16400, 1, 1663)), func(s, e wal.LSN) any {
			return &wal.DatabaseDrop{Database: 16400, Tablespaces: []uint32{1663}, Start: s, End: e}
		}},
		{"drop, 15", 0xD110, 4, 0x20, data(uint32s(16400, 2, 1663, 16500)), func(s, e wal.LSN) any {
			return &wal.DatabaseDrop{Database: 16400, Tablespaces: []uint32{1663, 16500}, Start: s, End: e}
		}},
		{"running", 0xD116, 8, 0x10, data(uint32s(1, 0, 0, 900, 890, 899, 890)), func(s, e wal.LSN) any {
			return &wal.RunningXacts{NextXID: 900, OldestXID: 890, Start: s, End: e}
		}},
		{"truncate", 0xD113, 10, 0x30, data(uint32s(5, 2, 1, 16384, 16390)), func(s, e wal.LSN) any {
			return &wal.Truncate{Database: 5, Relations: []uint32{16384, 16390}, RelationCount: 2, Start: s, End: e}
		}},
		{"truncate of many", 0xD118, 10, 0xB0, data(append(uint32s(5, 100, 0), uint32s(many...)...)), func(s, e wal.LSN) any {
			return &wal.Truncate{Database: 5, Relations: many[:64], RelationCount: 100, Start: s, End: e}
		}},
		{"in place", 0xD118, 10, 0x70, block, func(s, e wal.LSN) any {
			return &wal.InPlaceUpdate{File: wal.RelFile{Tablespace: wal.GlobalTablespace, Number: 1262}, Start: s, End: e}
		}},
		{"other smgr", 0xD118, 2, 0x20, data(uint32s(0, 1663, 5, 16384, 7)), func(wal.LSN, wal.LSN) any { return nil }},
		{"create of a database, 15", 0xD110, 4, 0x10, data(uint32s(16400, 2, 1663, 16500)), func(wal.LSN, wal.LSN) any { return nil }},
		{"no drop, 14", 0xD10D, 4, 0x20, data(uint32s(16400, 2, 1663, 16500)), func(wal.LSN, wal.LSN) any { return nil }},
		{"insert", 0xD118, 10, 0x80, data(uint32s(1)), func(wal.LSN, wal.LSN) any { return nil }},
		{"short create", 0xD118, 2, 0x10, data(uint32s(1663, 5, 16384)), nil},
		{"short drop", 0xD118, 4, 0x20, data(uint32s(16400)), nil},
		{"tablespaces missing", 0xD118, 4, 0x20, data(uint32s(16400, 2, 1663)), nil},
		{"short running", 0xD118, 8, 0x10, data(uint32s(1, 0, 0, 900, 890)), nil},
		{"short truncate", 0xD118, 10, 0x30, data(uint32s(5, 2)), nil},
		{"relations missing", 0xD118, 10, 0x30, data(uint32s(5, 2, 0, 16384)), nil},
	}
	for _, test := range tests {
		s := newStream(testSize.Start(1))
		s.magic = test.magic
		start, end := s.record(test.rm, test.info, 9, test.body)
		for _, step := range []int{1, len(s.bytes)} {
			records, _, err := decode(t, s.start, s.bytes, step, wal.StorageEvents)
			switch {
			case test.event == nil && err == nil:
				t.Errorf("%s: got %+v, want an error", test.name, records)
			case test.event != nil && (err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Event, test.event(start, end))):
				t.Errorf("%s: %v\n got %+v\nwant %+v", test.name, err, records, test.event(start, end))
			}
		}
		// Nobody pays for them who did not ask.
		if records, _, err := decode(t, s.start, s.bytes, len(s.bytes)); err != nil || len(records) != 1 || records[0].Event != nil {
			t.Errorf("%s, not asked for: %+v, %v", test.name, records, err)
		}
	}
}

func TestRelFilePath(t *testing.T) {
	for want, f := range map[string]wal.RelFile{
		"base/5/16384":              {Tablespace: 1663, Database: 5, Number: 16384},
		"global/1262":               {Tablespace: 1664, Number: 1262},
		"pg_tblspc/16400/*/5/16385": {Tablespace: 16400, Database: 5, Number: 16385},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
