package repository_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

func TestListWAL(t *testing.T) {
	c, store := cluster(t)
	if got := entries(t, c, 1, 0); len(got) != 0 {
		t.Fatalf("empty repository: got %v", got)
	}
	var want []wal.Range
	add := func(span wal.Range) { want = append(want, span) }
	// Across 4 GiB of log, where names jump.
	for n := wal.SegmentNumber(4090); n < 4100; n++ {
		putSegment(t, c, 1, n)
		add(segSize.Range(n))
		if n%3 == 0 {
			s := segSize.Start(n)
			putPiece(t, c, 1, r(s+5, s+7))
			putPiece(t, c, 1, r(s, s+5))
			putPiece(t, c, 1, r(s, s+2))
			add(r(s, s+2))
			add(r(s, s+5))
			add(r(s+5, s+7))
		}
	}
	last := segSize.Start(4100)
	putPiece(t, c, 1, r(last, last+9))
	add(r(last, last+9))
	putSegment(t, c, 2, 4100)
	prefix := storage.Key(system.String()) + "/wal/00000001/"
	for _, stray := range []storage.Key{
		"0", "zzz.zst", "000000010000000100000000", "000000010000000100000000.lz4", "000000020000000100000000.zst",
		"000000010000000100000000.part/x.zst", "000000010000000100000000.part/0000000100000000-0000000200000000.zst",
	} {
		store.Replace(prefix+stray, []byte("stray"))
	}
	for from := range want {
		start := want[from].Start
		i := slices.IndexFunc(want, func(span wal.Range) bool { return segSize.Floor(span.Start) == segSize.Floor(start) })
		if got := ranges(entries(t, c, 1, start)); !slices.Equal(got, want[i:]) {
			t.Errorf("from %s: got %v\nwant %v", start, got, want[i:])
		}
	}
	v, err := c.Coverage(t.Context(), 1, 0)
	if err != nil || !slices.Equal(v.Spans, []wal.Range{r(segSize.Start(4090), last+9)}) {
		t.Errorf("got coverage %v, %v", v, err)
	}
	for _, err := range c.ListWAL(t.Context(), 1, 0) { // a caller that stops early
		if err != nil {
			t.Error(err)
		}
		break
	}
	store.Fail(memory.List, "*/wal/00000001/", 0, storage.ErrUnavailable)
	n := 0
	for _, err := range c.ListWAL(t.Context(), 1, 0) {
		if n++; !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d answers, want 1", n)
	}
}

func TestTimelinesAndHistories(t *testing.T) {
	c, store := cluster(t)
	if _, err := c.SegmentSize(t.Context()); !errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("segment size of nothing: got %v, want ErrNoWAL", err)
	}
	raw2 := []byte("1\t0/300000\tno recovery target specified\n")
	raw3 := []byte("1\t0/300000\tno recovery target specified\n2\t0/500000\tbefore 2026-11-21\n")
	for tli, raw := range map[wal.TimelineID][]byte{2: raw2, 3: raw3} {
		for range 2 {
			if err := c.PutHistory(t.Context(), tli, raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	var conflict *repository.ConflictError
	if err := c.PutHistory(t.Context(), 2, append(raw2, '\n')); !errors.As(err, &conflict) {
		t.Errorf("got %v, want a *ConflictError", err)
	}
	if err := c.PutHistory(t.Context(), 2, []byte("junk")); err == nil {
		t.Error("junk for a history: got nil")
	}
	for n := wal.SegmentNumber(1); n < 30; n++ {
		putSegment(t, c, 1, n)
	}
	putPiece(t, c, 0x1F, r(mib, mib+1))
	store.Replace(storage.Key(system.String())+"/wal/junk/a", []byte("x"))
	store.Reset()
	got, err := c.Timelines(t.Context())
	if want := []wal.TimelineID{1, 2, 3, 0x1F}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if n := store.Count(memory.List, ""); n > 6 {
		t.Errorf("%d requests for 4 timelines", n)
	}
	histories, err := c.Histories(t.Context())
	if err != nil || len(histories) != 2 || histories[3].Parents[1].At != 0x500000 {
		t.Errorf("got %v, %v", histories, err)
	}
	if _, raw, err := c.History(t.Context(), 3); err != nil || !bytes.Equal(raw, raw3) {
		t.Errorf("got %q, %v", raw, err)
	}
	if _, _, err := c.History(t.Context(), 1); !errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("timeline 1: got %v, want ErrNoWAL", err)
	}
	if size, err := openCluster(t, store).SegmentSize(t.Context()); err != nil || size != segSize {
		t.Errorf("segment size: got %d, %v", size, err)
	}
	store.Replace(storage.Key(system.String())+"/wal/00000002.history", []byte("1\tjunk"))
	var corrupt *repository.CorruptError
	if _, err := c.Histories(t.Context()); !errors.As(err, &corrupt) {
		t.Errorf("got %v, want a *CorruptError", err)
	}
}

// TestListStartsInTheMiddle counts what a list of a long archive costs from near its end.
func TestListStartsInTheMiddle(t *testing.T) {
	c, store := cluster(t)
	putSegment(t, c, 1, 1)
	body := store.Bytes(entries(t, c, 1, 0)[0].Key)
	for n := wal.SegmentNumber(2); n < 5000; n++ {
		store.Replace(repository.WALKey(object(repository.KindSegment, 1, segSize, segSize.Range(n)), compression.Zstd()), body)
	}
	seen := 0
	listed := openCluster(t, &hookStore{Store: store, listed: func() { seen++ }})
	if got := entries(t, listed, 1, segSize.Start(4990)); len(got) != 10 {
		t.Errorf("got %d, want 10", len(got))
	}
	if seen > 20 {
		t.Errorf("%d keys were listed for 10", seen)
	}
}

// TestSegmentSizeBesideADamagedObject: the first object of a timeline is damaged. Another timeline says the same, and where there is none the
// error names the object.
func TestSegmentSizeBesideADamagedObject(t *testing.T) {
	c, store := cluster(t)
	putPiece(t, c, 1, r(32*mib, 32*mib+1000))
	damaged := entries(t, c, 1, 0)[0].Key
	store.Replace(damaged, []byte("no header"))
	var corrupt *repository.CorruptError
	if size, err := openCluster(t, store).SegmentSize(t.Context()); !errors.As(err, &corrupt) || corrupt.Key != damaged {
		t.Errorf("got %d, %v, want a *CorruptError of %s", size, err, damaged)
	}
	putPiece(t, c, 2, r(32*mib, 32*mib+1000))
	if size, err := openCluster(t, store).SegmentSize(t.Context()); err != nil || size != segSize {
		t.Errorf("got %d, %v, want %d", size, err, segSize)
	}
}
