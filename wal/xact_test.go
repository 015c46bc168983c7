package wal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/pgark/pgark/wal"
)

// xactFields are the parts of a commit or abort record in the order in which
// they stand there.
type xactFields struct {
	db, twoPhase, origin      bool
	subs, rels, stats, invals int
	statsItem                 int // bytes of one of stats
}

func (f xactFields) encode() []byte {
	le := binary.LittleEndian
	var info uint32
	set := func(bit int, present bool) {
		if present {
			info |= 1 << bit
		}
	}
	set(0, f.db)
	set(1, f.subs > 0)
	set(2, f.rels > 0)
	set(3, f.invals > 0)
	set(4, f.twoPhase)
	set(5, f.origin)
	set(8, f.stats > 0)
	b := le.AppendUint32(le.AppendUint64(nil, 777), info)
	if f.db {
		b = append(b, make([]byte, 8)...)
	}
	array := func(count, size int) {
		if count > 0 {
			b = append(le.AppendUint32(b, uint32(count)), bytes.Repeat([]byte{0xEE}, count*size)...)
		}
	}
	if f.subs > 0 {
		b = le.AppendUint32(b, uint32(f.subs))
		for i := range f.subs {
			b = le.AppendUint32(b, uint32(1000+i))
		}
	}
	if f.rels > 0 {
		b = le.AppendUint32(b, uint32(f.rels))
		for i := range f.rels {
			b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 1663), 5), uint32(16384+i))
		}
	}
	array(f.stats, f.statsItem)
	if f.invals > 0 {
		b = le.AppendUint32(b, uint32(f.invals))
		for i := range f.invals {
			id := byte(0xFE - 0x10*(i%2)) // of the relation cache, and another
			b = le.AppendUint32(append(b, id, 0xEE, 0xEE, 0xEE), 5)
			b = append(le.AppendUint32(b, uint32(20000+i)), 0xEE, 0xEE, 0xEE, 0xEE)
		}
	}
	if f.twoPhase {
		b = le.AppendUint32(b, 4321)
	}
	if f.origin {
		b = append(b, bytes.Repeat([]byte{0xDD}, 16)...)
	}
	return b
}

// checkChanged compares a commit that was decoded with what it changed and without.
func (f xactFields) checkChanged(whole, without []wal.Record) error {
	if len(whole) != 1 || len(without) != 1 {
		return fmt.Errorf("%d and %d records", len(whole), len(without))
	}
	e, ok := whole[0].Event.(*wal.TransactionEnd)
	if !ok {
		return fmt.Errorf("got %T", whole[0].Event)
	}
	var want []wal.RelationID
	for i := 0; i < f.invals && len(want) < 4096; i += 2 {
		want = append(want, wal.RelationID{Database: 5, OID: uint32(20000 + i)})
	}
	if got := *e; !slices.Equal(got.Changed, want) || got.ChangedCount != (f.invals+1)/2 {
		return fmt.Errorf("changed %d: %v", got.ChangedCount, got.Changed)
	}
	rest := *e
	rest.Changed, rest.ChangedCount = nil, 0
	if !reflect.DeepEqual(&rest, without[0].Event) {
		return fmt.Errorf("got %+v", rest)
	}
	return nil
}

func TestTransactionEnds(t *testing.T) {
	magics := map[uint16]int{0xD10D: 12, 0xD110: 12, 0xD113: 12, 0xD116: 12, 0xD118: 16}
	tests := map[string]xactFields{
		"plain":        {},
		"all":          {db: true, subs: 3, rels: 2, stats: 4, invals: 5, origin: true},
		"one array":    {stats: 1},
		"invals last":  {db: true, subs: 1, invals: 7},
		"stats last":   {stats: 9},
		"subs last":    {subs: 4097},
		"huge":         {db: true, subs: 100_000, rels: 50_000, stats: 50_000, invals: 100_000, origin: true},
		"over a limit": {subs: 250, rels: 1},
		"rels last":    {rels: 4097},
	}
	for name, f := range tests {
		for magic, item := range magics {
			if testing.Short() && f.subs > 4096 && magic != 0xD118 {
				continue
			}
			for _, info := range []uint8{0x80, 0xA0, 0xB0, 0xC0} {
				f := f
				f.statsItem = item
				f.twoPhase = info >= 0xB0
				kind := map[uint8]wal.EndKind{0x80: wal.Commit, 0xA0: wal.Abort, 0xB0: wal.CommitPrepared, 0xC0: wal.AbortPrepared}[info]
				if kind == wal.Abort || kind == wal.AbortPrepared {
					f.invals = 0
				}
				if magic == 0xD10D {
					f.stats = 0 // since 15
				}
				want := wal.TransactionEnd{Kind: kind, XID: 99, Time: 777, SubxactCount: f.subs, DroppedRelCount: f.rels}
				if f.twoPhase {
					want.XID = 4321
				}
				for i := range min(f.subs, 4096) {
					want.Subxacts = append(want.Subxacts, wal.XID(1000+i))
				}
				for i := range min(f.rels, 4096) {
					want.DroppedRels = append(want.DroppedRels, wal.RelFile{Tablespace: wal.DefaultTablespace, Database: 5, Number: uint32(16384 + i)})
				}
				s := newStream(testSize.Start(1))
				s.magic = magic
				// Origin and top-level xid may stand before main data.
				body := append([]byte{253, 1, 0, 252, 1, 2, 3, 4}, data(f.encode())...)
				want.Start, want.End = s.record(rmXact, info, 99, body)
				for _, step := range []int{1, 1000, len(s.bytes)} {
					if step == 1 && f.subs > 5000 {
						continue
					}
					records, _, err := decode(t, s.start, s.bytes, step)
					if err == nil && step == 1000 && (f.invals < 100 || info == 0x80 && magic == 0xD118) {
						var whole []wal.Record
						if whole, _, err = decode(t, s.start, s.bytes, 999, wal.StorageEvents); err == nil {
							err = f.checkChanged(whole, records)
						}
					}
					if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Event, &want) {
						t.Fatalf("%s, magic %04X, info %02X, in steps of %d bytes: %v\n got %+v\nwant %+v", name, magic, info, step, err, records, want)
					}
				}
			}
		}
	}
}

func TestTransactionEndsCorrupt(t *testing.T) {
	whole := xactFields{db: true, twoPhase: true, subs: 3, rels: 2, stats: 4, invals: 5, statsItem: 16}.encode()
	for cut := range whole {
		s := newStream(testSize.Start(1))
		s.record(rmXact, 0xB0, 0, data(whole[:cut]))
		if records, _, err := decode(t, s.start, s.bytes, len(s.bytes)); err == nil {
			t.Errorf("cut after %d of %d bytes: got %+v", cut, len(whole), records)
		}
	}
	negative := bytes.Clone(whole)
	negative[8+4+8+3] = 0x80
	bodies := map[string][]byte{
		"negative count":               data(negative),
		"no main data":                 nil,
		"length past the end":          {255, 200, 1, 2, 3},
		"length short of the end":      append([]byte{255, 8}, make([]byte, 40)...),
		"long form cut":                {254, 1, 0},
		"unknown block ID":             append([]byte{100}, data(whole)...),
		"block header cut":             {0, 0x10, 0, 0, 1},
		"prepared without a two-phase": data(make([]byte, 12)),
	}
	for name, body := range bodies {
		s := newStream(testSize.Start(1))
		s.record(rmXact, 0xB0, 0, body)
		if records, _, err := decode(t, s.start, s.bytes, len(s.bytes)); err == nil {
			t.Errorf("%s: got %+v", name, records)
		}
	}
}

// Main data stands after block headers, and after the blocks' images and data.
func TestEventAfterBlocks(t *testing.T) {
	le := binary.LittleEndian
	for magic, compressed := range map[uint16]byte{0xD10D: 0x02, 0xD110: 0x04, 0xD113: 0x08, 0xD118: 0x10} {
		var headers, images []byte
		block := func(id, flags byte, dataLen, imageLen int, image byte) {
			headers = le.AppendUint16(append(headers, id, flags), uint16(dataLen))
			if flags&0x10 != 0 {
				headers = append(le.AppendUint16(headers, uint16(imageLen)), 0, 0, image)
				if image&1 != 0 && image&compressed != 0 {
					headers = append(headers, 0, 0)
				}
			}
			if flags&0x80 == 0 {
				headers = append(headers, make([]byte, 12)...)
			}
			headers = append(headers, 0, 0, 0, 0)
			images = append(images, bytes.Repeat([]byte{0xEE}, dataLen+imageLen)...)
		}
		block(0, 0x30, 10, 4000, 1|compressed)
		block(1, 0x90, 0, 8192, compressed)
		block(2, 0xB0, 700, 6000, 1)
		block(32, 0x20, 3, 0, 0)
		s := newStream(testSize.Start(1))
		s.magic = magic
		main := le.AppendUint64(nil, 777)
		body := append(append(append(headers, data(main)[:2]...), images...), main...)
		start, end := s.record(rmXact, 0, 99, body)
		want := &wal.TransactionEnd{Kind: wal.Commit, XID: 99, Time: 777, Start: start, End: end}
		records, _, err := decode(t, s.start, s.bytes, 100)
		if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Event, want) {
			t.Errorf("magic %04X: %v\n got %+v\nwant %+v", magic, err, records, want)
		}
	}
}

func TestOtherEvents(t *testing.T) {
	le := binary.LittleEndian
	checkpoint := make([]byte, 88)
	le.PutUint64(checkpoint, 0x1000028)
	checkpoint[8], checkpoint[12] = 3, 2
	le.PutUint64(checkpoint[24:], 7<<32|42)
	le.PutUint64(checkpoint[64:], 946684801) // pg_time_t: seconds of Unix time
	point := make([]byte, 72)
	point[0] = 5
	copy(point[8:], "a name")
	recovery := le.AppendUint32(le.AppendUint32(le.AppendUint64(nil, 6), 3), 2)
	unnamed := bytes.Repeat([]byte{'x'}, 72)

	tests := []struct {
		name  string
		info  uint8
		main  []byte
		event func(start, end wal.LSN) any
	}{
		{"checkpoint", 0x10, checkpoint, func(s, e wal.LSN) any {
			return &wal.Checkpoint{Redo: 0x1000028, Timeline: 3, Previous: 2, NextXID: 7<<32 | 42, Time: 1_000_000, Start: s, End: e}
		}},
		{"shutdown", 0x00, checkpoint, func(s, e wal.LSN) any {
			return &wal.Checkpoint{Shutdown: true, Redo: 0x1000028, Timeline: 3, Previous: 2, NextXID: 7<<32 | 42, Time: 1_000_000, Start: s, End: e}
		}},
		{"restore point", 0x70, point, func(s, e wal.LSN) any { return &wal.RestorePoint{Name: "a name", Time: 5, Start: s, End: e} }},
		{"end of recovery", 0x90, append(recovery, 1, 0, 0, 0), func(s, e wal.LSN) any {
			return &wal.EndOfRecovery{Time: 6, Timeline: 3, Previous: 2, Start: s, End: e}
		}},
		{"backup end", 0x50, le.AppendUint64(nil, 0x28), func(s, e wal.LSN) any { return &wal.BackupEnd{BackupStart: 0x28, Start: s, End: e} }},
		{"no event", 0x20, nil, func(wal.LSN, wal.LSN) any { return nil }},
		{"name without end", 0x70, unnamed, nil},
		{"short checkpoint", 0x10, checkpoint[:87], nil},
		{"short restore point", 0x70, point[:71], nil},
		{"short end of recovery", 0x90, recovery[:15], nil},
		{"short backup end", 0x50, recovery[:7], nil},
	}
	for _, test := range tests {
		s := newStream(testSize.Start(1))
		start, end := s.record(rmXLOG, test.info, 0, data(test.main))
		records, _, err := decode(t, s.start, s.bytes, len(s.bytes))
		switch {
		case test.event == nil && err == nil:
			t.Errorf("%s: got %+v, want an error", test.name, records)
		case test.event != nil && (err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Event, test.event(start, end))):
			t.Errorf("%s: got %+v, %v", test.name, records, err)
		}
	}
}
