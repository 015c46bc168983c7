package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/pgark/pgark/wal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixtures are the first bytes of a segment that a real server wrote; what the
// decoder says of it was compared with the server's own pg_walinspect (15 to
// 18) by the test that runs real servers.
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/pg*.wal")
	if err != nil || len(paths) != 5 {
		t.Fatal("want the WAL of five majors, got ", paths)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".wal")] = b
	}
	return all
}

func startOf(t testing.TB, b []byte) wal.LSN {
	t.Helper()
	h, err := wal.ParsePageHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	return h.Address
}

func text(records []wal.Record) string {
	var s strings.Builder
	for _, r := range records {
		fmt.Fprintf(&s, "%s %s rm %d info %02X xid %d len %d", r.Start, r.End, r.RM, r.Info, r.XID, r.Len)
		if r.Event != nil {
			fmt.Fprintf(&s, " %s %+v", reflect.TypeOf(r.Event).Elem().Name(), reflect.ValueOf(r.Event).Elem())
		}
		s.WriteString("\n")
	}
	return s.String()
}

func TestDecoderFixtures(t *testing.T) {
	for name, b := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			records, d, err := decode(t, startOf(t, b), b, len(b), wal.CheckCRC, wal.StorageEvents)
			if err != nil {
				t.Fatal(err)
			}
			page, ok := d.Page()
			if !ok || fmt.Sprint("pg", page.Major) != name || page.SystemID == 0 || page.SegmentSize != testSize {
				t.Errorf("page header %+v", page)
			}
			if want := startOf(t, b) + wal.LSN(len(b)); d.LastEnd() != want || d.Pos() != want {
				t.Errorf("last record ends at %s, input at %s, want %s", d.LastEnd(), d.Pos(), want)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(text(records)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(records); got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Any cut of the input gives the same records, and a record is there as soon
// as its last byte is.
func TestDecoderCutAtEachByte(t *testing.T) {
	for name, b := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			whole, _, err := decode(t, startOf(t, b), b, len(b))
			if err != nil {
				t.Fatal(err)
			}
			d := wal.NewDecoder(testSize, startOf(t, b))
			var got []wal.Record
			for i := range b {
				if err := d.Write(b[i : i+1]); err != nil {
					t.Fatal(err)
				}
				for r, ok := d.Next(); ok; r, ok = d.Next() {
					if pos := startOf(t, b) + wal.LSN(i) + 1; r.Info&0xF0 != 0x40 && (r.End < pos || r.End-pos >= 8) {
						t.Errorf("record %s given at %s", r.Start, pos)
					}
					got = append(got, r)
				}
			}
			if !same(got, whole) {
				t.Errorf("got\n%s\nwant\n%s", text(got), text(whole))
			}
			for _, step := range []int{2, 3, 7, 8, 23, 24, 25, 39, 40, 41, 8191, 8192, 8193} {
				if records, _, err := decode(t, startOf(t, b), b, step); err != nil || !same(records, whole) {
					t.Errorf("in steps of %d bytes: %v", step, err)
				}
			}
		})
	}
}

// A stream cut short gives the records before the cut and no error, in one
// piece; with zeros after the cut, no record more, unless it is one that the
// zeros complete and the checksum cannot tell.
func TestDecoderCutShort(t *testing.T) {
	b := fixtures(t)["pg17"][:9000] // a record goes on over the page's end
	start := startOf(t, b)
	whole, _, err := decode(t, start, b, len(b))
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 7 // odd, so that all places within eight bytes come
	}
	for cut := 0; cut < len(b); cut += step {
		records, _, err := decode(t, start, b[:cut], len(b))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		n := len(records)
		if !same(records, whole[:n]) || n > 0 && whole[n-1].End-8 >= start+wal.LSN(cut) || n < len(whole) && whole[n].End <= start+wal.LSN(cut) {
			t.Fatalf("cut at %d: %d records", cut, n)
		}
		padded := append(b[:cut:cut], make([]byte, len(b)-cut)...)
		records, d, err := decode(t, start, padded, len(b), wal.CheckCRC)
		var corrupt *wal.CorruptError
		if err != nil && !errors.As(err, &corrupt) || err == nil && !d.AtEnd() && len(records) < len(whole) {
			t.Fatalf("padded from %d: %v, at end: %v", cut, err, d.AtEnd())
		}
		if len(records) < n || !same(records, whole[:len(records)]) {
			t.Fatalf("padded from %d: %d records, want %d", cut, len(records), n)
		}
	}
}

// Whatever single byte is wrong, no false event comes out.
func TestDecoderFlippedBytes(t *testing.T) {
	b := fixtures(t)["pg15"][:9000]
	start := startOf(t, b)
	whole, _, _ := decode(t, start, b, len(b))
	right := map[wal.LSN]wal.Record{}
	for _, r := range whole {
		right[r.Start] = r
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := rand.IntN(step); i < len(b); i += step {
		b[i] ^= 0x41
		records, _, err := decode(t, start, b, len(b))
		b[i] ^= 0x41
		var corrupt *wal.CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
		for _, r := range records {
			if r.Event != nil && !same([]wal.Record{r}, []wal.Record{right[r.Start]}) {
				t.Fatalf("byte %d: false event %s", i, text([]wal.Record{r}))
			}
		}
	}
}

func TestDecoderEventsOnly(t *testing.T) {
	b := fixtures(t)["pg16"]
	all, _, _ := decode(t, startOf(t, b), b, len(b))
	events, d, err := decode(t, startOf(t, b), b, 1000, wal.EventsOnly, wal.CheckCRC)
	if err != nil || d.LastEnd() != all[len(all)-1].End {
		t.Errorf("last end %s, error %v", d.LastEnd(), err)
	}
	var want []wal.Record
	for _, r := range all {
		if r.Event != nil {
			want = append(want, r)
		}
	}
	if !same(events, want) || len(want) < 10 {
		t.Errorf("got\n%s\nwant\n%s", text(events), text(want))
	}
}

func TestDecoderRecordsOfEverySize(t *testing.T) {
	for _, size := range []int{24, 25, 31, 32, 33, 8100, 8152, 8153, 8168, 8169, 9000, 16384, 1 << 20, 3<<20 + 5} {
		s := newStream(testSize.Start(1))
		var want []wal.LSN
		for i := range 20 {
			start, end := s.heap(size)
			want = append(want, start, end)
			start, end = s.commit(uint32(i), 1)
			want = append(want, start, end)
			if (size > 1<<20 || size == 1<<20 && testing.Short()) && i == 1 {
				break
			}
		}
		for _, step := range []int{1013, len(s.bytes)} {
			records, _, err := decode(t, s.start, s.bytes, step, wal.CheckCRC)
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			var got []wal.LSN
			for _, r := range records {
				got = append(got, r.Start, r.End)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("size %d: got %v, want %v", size, got, want)
			}
		}
	}
}

// A record header may be cut by the end of a page after 8 or 16 bytes.
func TestDecoderCutHeader(t *testing.T) {
	for _, free := range []int{8, 16, 24, 32} {
		s := newStream(testSize.Start(1))
		s.fill(free)
		start, end := s.commit(9, 123456)
		s.fill(free)
		s.heap(24)
		s.fill(free)
		s.heap(9000)
		records, _, err := decode(t, s.start, s.bytes, len(s.bytes), wal.CheckCRC)
		if err != nil || len(records) != 6 {
			t.Fatalf("%d bytes free: %d records, %v", free, len(records), err)
		}
		want := &wal.TransactionEnd{Kind: wal.Commit, XID: 9, Time: 123456, Start: start, End: end}
		if !reflect.DeepEqual(records[1].Event, want) {
			t.Errorf("%d bytes free: got %+v, want %+v", free, records[1].Event, want)
		}
	}
}

func TestDecoderSwitch(t *testing.T) {
	for _, free := range []int{24, 8, 16, 4000, 48} {
		for _, last := range []bool{false, true} {
			s := newStream(testSize.Start(3))
			if last { // of the segment
				s.heap(int(testSize) - wal.PageSize - 127*24 + 1000)
			}
			s.fill(free)
			start, end := s.switchSegment()
			s.commit(5, 1)
			records, d, err := decode(t, s.start, s.bytes, 5000, wal.CheckCRC)
			if err != nil {
				t.Fatalf("%d bytes free, last %v: %v", free, last, err)
			}
			n := len(records)
			if got := records[n-2]; got.Start != start || got.End != end || records[n-1].Event == nil || d.AtEnd() {
				t.Errorf("%d bytes free, last %v: got %+v, want %s to %s", free, last, got, start, end)
			}
			// From the next segment on, the decoder never saw the switch.
			at := testSize.Floor(start) + wal.LSN(testSize)
			if (end > at) != (last && free < 24) {
				t.Fatalf("%d bytes free, last %v: switch from %s to %s", free, last, start, end)
			}
			records, d, err = decode(t, at, s.bytes[at-s.start:], 5000)
			if spills := end > at; err != nil || len(records) != 1 || d.SkippedHead() != spills {
				t.Errorf("%d bytes free, last %v: from the next segment %d records, head %s: %v", free, last, len(records), d.Head(), err)
			}
		}
	}
}

func TestDecoderSkippedHead(t *testing.T) {
	s := newStream(testSize.Start(1))
	s.heap(100)
	big, end := s.heap(3 << 20)
	s.commit(5, 1)
	at := testSize.Start(2)
	d := wal.NewDecoder(testSize, at)
	rest := s.bytes[at-s.start:]
	if err := d.Write(rest[:1<<20]); err != nil {
		t.Fatal(err)
	}
	if want := (wal.Range{Start: at, End: at + 1<<20}); d.Head() != want || !d.SkippedHead() || d.LastEnd() != 0 {
		t.Errorf("head %s, want %s", d.Head(), want)
	}
	if err := d.Write(rest[1<<20:]); err != nil {
		t.Fatal(err)
	}
	if r, ok := d.Next(); !ok || r.Start != end || r.Event == nil || d.Head().End > end || end-d.Head().End >= 8 {
		t.Errorf("record %+v after %s, head %s; it began at %s", r, end, d.Head(), big)
	}
	// A start inside a page says nothing of the page's records.
	inside := s.start + 200
	d = wal.NewDecoder(testSize, inside)
	if err := d.Write(s.bytes[200:]); err != nil || !d.SkippedHead() || d.Head().Start != inside {
		t.Errorf("head %s: %v", d.Head(), err)
	}
	if d = wal.NewDecoder(testSize, s.start); d.Write(s.bytes) != nil || d.SkippedHead() {
		t.Errorf("head %s at the start of the log", d.Head())
	}
}

func TestDecoderOverwrittenRecord(t *testing.T) {
	s := newStream(testSize.Start(1))
	first, _ := s.heap(100)
	s.fill(64)
	prev := s.prev
	s.heap(30000) // lost from its third page on
	s.bytes = s.bytes[:3*wal.PageSize]
	s.prev, s.overwrite = prev, true
	start, _ := s.record(rmXLOG, 0xD0, 0, data(make([]byte, 16)))
	s.commit(5, 1)
	for _, step := range []int{1, 4096, len(s.bytes)} {
		records, _, err := decode(t, s.start, s.bytes, step, wal.CheckCRC)
		if err != nil || len(records) != 4 || records[0].Start != first || records[2].Start != start {
			t.Errorf("in steps of %d bytes: %v\n%s", step, err, text(records))
		}
	}
	// Starting at the lost record's second page, its rest is passed over.
	records, d, err := decode(t, s.start+wal.PageSize, s.bytes[wal.PageSize:], 100)
	if err != nil || len(records) != 2 || !d.SkippedHead() {
		t.Errorf("from its second page: %v, head %s\n%s", err, d.Head(), text(records))
	}
}

func TestDecoderZeros(t *testing.T) {
	s := newStream(testSize.Start(1))
	s.heap(100)
	_, end := s.commit(5, 1)
	padded := append(s.bytes, make([]byte, int(testSize)-len(s.bytes))...)
	for _, step := range []int{1, 999, len(padded)} {
		records, d, err := decode(t, s.start, padded, step)
		if err != nil || len(records) != 2 || !d.AtEnd() || d.LastEnd() != end {
			t.Errorf("in steps of %d bytes: %d records, at end %v: %v", step, len(records), d.AtEnd(), err)
		}
	}
	next := newStream(testSize.Start(2))
	next.prev = s.prev
	next.commit(6, 2)
	if records, d, err := decode(t, s.start, append(padded, next.bytes...), 999); err != nil || len(records) != 3 || d.AtEnd() {
		t.Errorf("a segment after the padding: %d records: %v", len(records), err)
	}
	next.bytes, next.prev = nil, s.prev+8
	next.commit(6, 2)
	if _, _, err := decode(t, s.start, append(padded, next.bytes...), 999); err == nil {
		t.Error("records are missing before the next segment: no error")
	}
	padded[5000] = 1
	if _, _, err := decode(t, s.start, padded, 999); err == nil {
		t.Error("bytes after the end of WAL: no error")
	}
}

func TestDecoderCorrupt(t *testing.T) {
	le := binary.LittleEndian
	tests := []struct {
		name, want string
		change     func(b []byte)
	}{
		{"magic", "magic D119", func(b []byte) { le.PutUint16(b, 0xD119) }},
		{"flags", "unknown flags", func(b []byte) { b[3] = 1 }},
		{"timeline 0", "timeline 0", func(b []byte) { b[4] = 0 }},
		{"address", "page says it is at 0/104000", func(b []byte) { le.PutUint64(b[8:], 0x104000) }},
		{"address inside a page", "is not a page's", func(b []byte) { le.PutUint64(b[8:], 0x100001) }},
		{"segment size", "segment size is 2097152 bytes, want 1048576", func(b []byte) { le.PutUint32(b[32:], 2<<20) }},
		{"segment size 0", "segment size 0 bytes", func(b []byte) { le.PutUint32(b[32:], 0) }},
		{"page size", "page size 4096 bytes", func(b []byte) { le.PutUint32(b[36:], 4096) }},
		{"short header", "length of the page header", func(b []byte) { b[2] &^= 2 }},
		{"remaining without flag", "that does not go on", func(b []byte) { b[16] = 8 }},
		{"flag without remaining", "goes on with 0 bytes", func(b []byte) { b[2] |= 1 }},
		{"gone on and given up", "both goes on and was given up", func(b []byte) { b[2] |= 9; b[16] = 8 }},
		{"record too short", "record of 23 bytes", func(b []byte) { b[40] = 23 }},
		{"resource manager", "unknown resource manager 22", func(b []byte) { b[57] = 22 }},
		{"previous record", "record before is at 0/100000, want 0/100028", func(b []byte) { le.PutUint64(b[144+8:], 0x100000) }},
		{"previous record ahead", "record before is at 0/200000", func(b []byte) { le.PutUint64(b[48:], 0x200000) }},
		{"checksum of an event", "checksum", func(b []byte) { b[144+24+3]++ }},
		{"second page: continues less", "7 bytes of an earlier record", func(b []byte) { b[8192+16] = 7; b[8192+17] = 0; b[8192+18] = 0 }},
		{"second page: does not go on", "does not go on", func(b []byte) { b[8192+2] = 0; le.PutUint32(b[8192+16:], 0) }},
		{"second page: version", "page is of PostgreSQL 17, before it was 18", func(b []byte) { b[8192] = 0x16 }},
		{"second segment: system", "system identifier is 1, before it was", func(b []byte) { le.PutUint64(b[testSize+24:], 1) }},
		{"second segment: timeline", "timeline is 1, before it was 3", func(b []byte) { b[testSize+4] = 1 }},
	}
	s := newStream(testSize.Start(1))
	s.timeline = 3
	s.heap(104)
	s.commit(5, 1)
	s.heap(int(testSize)) // into the second segment
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := bytes.Clone(s.bytes)
			test.change(b)
			for _, step := range []int{1, len(b)} {
				_, d, err := decode(t, s.start, b, step)
				var corrupt *wal.CorruptError
				if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				if err2 := d.Write(nil); err2 != err { //nolint:errorlint // the very same
					t.Errorf("after the error: %v", err2)
				}
			}
		})
	}
}

// A record of any length costs no memory of its length.
func TestDecoderMemory(t *testing.T) {
	scale := 4
	if testing.Short() {
		scale = 1 // each record is still several times what may be allocated
	}
	s := newStream(testSize.Start(1))
	s.heap(scale * 2 << 20)
	s.record(rmXact, 0x80, 5, data(xactFields{subs: scale << 18, rels: scale << 16}.encode()))
	s.commit(6, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := wal.NewDecoder(testSize, s.start, wal.CheckCRC)
	for p := s.bytes; len(p) > 0; p = p[min(len(p), 100_000):] {
		if err := d.Write(p[:min(len(p), 100_000)]); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
		t.Errorf("%d bytes allocated for %d bytes of WAL", got, len(s.bytes))
	}
}
