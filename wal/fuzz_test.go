package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/wal"
)

// FuzzDecoder changes bytes of real WAL: each three bytes of changes are an
// offset and what is put there. (Fuzzing on the WAL itself would spend its time
// making inputs of many kilobytes smaller.)
func FuzzDecoder(f *testing.F) {
	all := fixtures(f)
	f.Add(uint8(14), []byte(nil), uint16(30000), uint16(100), uint8(0))
	f.Add(uint8(15), []byte{0, 32, 1}, uint16(9000), uint16(8191), uint8(1))
	f.Add(uint8(16), []byte{2, 32, 9, 16, 32, 0, 17, 32, 0}, uint16(20000), uint16(7), uint8(2))
	f.Add(uint8(17), []byte{40, 0, 0, 41, 0, 0}, uint16(200), uint16(1), uint8(3))
	f.Add(uint8(18), []byte{2, 0, 3, 16, 0, 100}, uint16(20000), uint16(1000), uint8(0))
	f.Fuzz(func(t *testing.T, major uint8, changes []byte, length, step uint16, options uint8) {
		b := bytes.Clone(all[fmt.Sprint("pg", 14+major%5)])
		start := startOf(t, b)
		b = b[:min(len(b), int(length))]
		for ; len(changes) >= 3; changes = changes[3:] {
			if at := int(changes[0]) | int(changes[1])<<8; at < len(b) {
				b[at] = changes[2]
			}
		}
		checkDecoder(t, start, b, int(step)+1, wal.Option(options))
	})
}

// FuzzRecord gives the decoder a record of any content with the right
// checksum.
func FuzzRecord(f *testing.F) {
	fields := xactFields{db: true, twoPhase: true, subs: 3, rels: 2, stats: 4, invals: 5, statsItem: 12, origin: true}
	f.Add(uint16(0xD110), uint8(rmXact), uint8(0xB0), data(fields.encode()), uint16(1))
	f.Add(uint16(0xD118), uint8(rmXLOG), uint8(0x70), data(make([]byte, 72)), uint16(5))
	f.Add(uint16(0xD10D), uint8(rmXLOG), uint8(0x10), append([]byte{0, 0x30, 1, 0, 1, 0, 0, 0, 3}, data(make([]byte, 88))...), uint16(50))
	f.Add(uint16(0xD10D), uint8(rmXLOG), uint8(0x40), []byte{}, uint16(50))
	f.Add(uint16(0xD110), uint8(2), uint8(0x10), data(make([]byte, 16)), uint16(3))
	f.Add(uint16(0xD10D), uint8(4), uint8(0x10), data([]byte{0, 64, 0, 0, 1, 0, 0, 0, 127, 6, 0, 0}), uint16(9))
	f.Add(uint16(0xD116), uint8(8), uint8(0x10), data(make([]byte, 24)), uint16(9))
	f.Add(uint16(0xD118), uint8(rmHeap), uint8(0x30), data([]byte{5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 64, 0, 0}), uint16(9))
	f.Fuzz(func(t *testing.T, magic uint16, rm, info uint8, body []byte, step uint16) {
		s := newStream(testSize.Start(1))
		s.magic = magic
		s.record(rm, info, 1, body)
		s.commit(2, 3)
		checkDecoder(t, s.start, s.bytes, int(step)+1, wal.StorageEvents)
	})
}

// checkDecoder makes sure that the input's cuts change nothing and that what
// comes out can be.
func checkDecoder(t *testing.T, start wal.LSN, b []byte, step int, option wal.Option) {
	t.Helper()
	whole, d, err := decode(t, start, b, len(b), option)
	cut, _, err2 := decode(t, start, b, step, option)
	if (err == nil) != (err2 == nil) || !same(whole, cut) {
		t.Fatalf("whole: %v\n%s\nin steps of %d bytes: %v\n%s", err, text(whole), step, err2, text(cut))
	}
	var corrupt *wal.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		t.Fatal(err)
	}
	if err == nil && d.Pos() != start+wal.LSN(len(b)) {
		t.Fatalf("at %s after %d bytes from %s", d.Pos(), len(b), start)
	}
	last := start
	for _, r := range whole {
		if r.Start < last || r.End <= r.Start {
			t.Fatalf("record %s to %s after %s", r.Start, r.End, last)
		}
		last = r.End
	}
}

func FuzzParsePageHeader(f *testing.F) {
	for _, b := range fixtures(f) {
		f.Add(b[:40])
		f.Add(b[wal.PageSize : wal.PageSize+24])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := wal.ParsePageHeader(b); err == nil && (h.Major < 14 || h.Major > 18 || h.Timeline == 0 || h.Address%wal.PageSize != 0) {
			t.Errorf("%+v", h)
		}
	})
}

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "ffffffff/ffffffff", "1/2/3", "+1/0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if lsn, err := wal.ParseLSN(s); err == nil {
			if again, err := wal.ParseLSN(lsn.String()); err != nil || again != lsn || len(s) > 17 {
				t.Errorf("%q is %s, which is %s, %v", s, lsn, again, err)
			}
		}
		if lsn, err := wal.ParseHexLSN(s); err == nil && lsn.Hex() != s {
			t.Errorf("%q is %s", s, lsn.Hex())
		}
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add(uint32(4), []byte("1\t0/3000148\tno recovery target specified\n\n2\t1/A\tat restore point \"x\"\n"))
	f.Add(uint32(1), []byte("# nothing\n"))
	f.Fuzz(func(t *testing.T, tli uint32, b []byte) {
		h, err := wal.ParseHistory(wal.TimelineID(tli), b)
		if err != nil {
			return
		}
		if len(h.Parents) > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d parents in %q", len(h.Parents), b)
		}
		end := wal.LSN(0)
		for _, p := range h.Parents {
			r, ok := h.RangeOf(p.Timeline)
			if !ok || r.Start != end || r.End < r.Start || !r.Empty() && h.TimelineAt(r.Start) != p.Timeline {
				t.Errorf("%q: %+v has %s after %s", b, p, r, end)
			}
			end = r.End
		}
		if r, ok := h.RangeOf(h.Timeline); !ok || r.Start != end || h.TimelineAt(end) != h.Timeline {
			t.Errorf("%q: last range %s after %s", b, r, end)
		}
	})
}

func FuzzFileNames(f *testing.F) {
	f.Add("000000010000000000000001", uint8(4))
	f.Add("00000002.history", uint8(0))
	f.Add("000000010000000000000FFF", uint8(0))
	f.Fuzz(func(t *testing.T, s string, shift uint8) {
		size := wal.MinSegmentSize << (shift % 11)
		if id, err := size.ParseFileName(s); err == nil && size.FileName(id) != s {
			t.Errorf("%q is %v, which is %q", s, id, size.FileName(id))
		}
		if tli, err := wal.ParseHistoryFileName(s); err == nil && tli.HistoryFileName() != s {
			t.Errorf("%q is %s", s, tli)
		}
		if id, err := wal.ParseSystemID(s); err == nil && (id.String() != s || strings.HasPrefix(s, "0")) {
			t.Errorf("%q is %s", s, id)
		}
	})
}
