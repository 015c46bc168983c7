package repository_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const (
	system  wal.SystemID    = 7312345678901234567
	mib                     = 1 << 20
	segSize wal.SegmentSize = 1 << 20
)

var errScripted = errors.New("scripted failure")

// cluster returns a new repository's cluster and the store below it.
func cluster(t testing.TB) (*repository.Cluster, *memory.Store) {
	t.Helper()
	store := memory.New()
	return openCluster(t, store), store
}

func openCluster(t testing.TB, store storage.Store) *repository.Cluster {
	t.Helper()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return r.Cluster(system)
}

// walBytes returns what stands at r in a made-up log: the same at the same place always.
func walBytes(r wal.Range) []byte {
	b := make([]byte, r.Len())
	for i := range b {
		at := uint64(r.Start) + uint64(i)
		b[i] = byte(at>>13) * byte(at%251>>3)
	}
	return b
}

func object(kind repository.Kind, tli wal.TimelineID, size wal.SegmentSize, r wal.Range) repository.WALObject {
	return repository.WALObject{SystemID: system, Timeline: tli, SegmentSize: size, Kind: kind, Range: r}
}

func encode(t testing.TB, codec compression.Codec, o repository.WALObject, plain []byte) *repository.EncodedWAL {
	t.Helper()
	e, err := repository.NewWALEncoder(codec).Encode(o, plain)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func putSegment(t testing.TB, c *repository.Cluster, tli wal.TimelineID, n wal.SegmentNumber) {
	t.Helper()
	span := segSize.Range(n)
	put(t, c, object(repository.KindSegment, tli, segSize, span))
}

func putPiece(t testing.TB, c *repository.Cluster, tli wal.TimelineID, span wal.Range) {
	t.Helper()
	put(t, c, object(repository.KindPiece, tli, segSize, span))
}

func put(t testing.TB, c *repository.Cluster, o repository.WALObject) {
	t.Helper()
	if err := c.PutWAL(t.Context(), encode(t, compression.Zstd(), o, walBytes(o.Range))); err != nil {
		t.Fatal(err)
	}
}

func entries(t testing.TB, c *repository.Cluster, tli wal.TimelineID, from wal.LSN) []repository.Entry {
	t.Helper()
	var all []repository.Entry
	for e, err := range c.ListWAL(t.Context(), tli, from) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func ranges(all []repository.Entry) []wal.Range {
	var rs []wal.Range
	for _, e := range all {
		rs = append(rs, e.Range)
	}
	return rs
}

func TestWALRoundTrip(t *testing.T) {
	const size = 16 << 20
	start := wal.LSN(5 * size)
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		encoder := repository.NewWALEncoder(codec)
		for _, n := range []wal.LSN{1, 8192, mib - 1, mib, mib + 1, 3*mib + 1, size} {
			plain := walBytes(wal.Range{Start: start, End: start + n})
			for _, step := range []int{1000, mib - 1, mib, 3 * mib} {
				if n > 2*mib && step != mib-1 {
					continue
				}
				name := fmt.Sprintf("%s/%d by %d", codec.Name(), n, step)
				c, store := cluster(t)
				span := wal.Range{Start: start, End: start + n}
				kind := repository.KindPiece
				if n == size {
					kind = repository.KindSegment
				}
				for part := range slices.Chunk(plain, step) {
					if k, err := encoder.Write(part); err != nil || k != len(part) {
						t.Fatal(name, k, err)
					}
				}
				o := object(kind, 1, size, span)
				o.Summary = repository.Summary{Ends: 1, FirstXID: 7, LastXID: 7, FirstTime: 5, LastTime: 5, MinTime: 5, MaxTime: 5}
				e, err := encoder.Finish(o)
				if err != nil {
					t.Fatal(name, err)
				}
				if err := c.PutWAL(t.Context(), e); err != nil {
					t.Fatal(name, err)
				}
				all := entries(t, c, 1, start)
				if len(all) != 1 || all[0].Key != e.Key || all[0].Range != span || all[0].Stored != int64(len(store.Bytes(e.Key))) {
					t.Fatalf("%s: listed %+v", name, all)
				}
				got, err := c.ReadWAL(t.Context(), all[0])
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: read differs, %v", name, err)
				}
				h, err := c.ReadHeader(t.Context(), all[0])
				if err != nil || h != e.Header || h.Summary != o.Summary || h.SHA256 != sha256.Sum256(plain) {
					t.Errorf("%s: got header %+v, %v", name, h, err)
				}
			}
		}
	}
}

func TestEncoderRefuses(t *testing.T) {
	good := object(repository.KindPiece, 1, segSize, r(mib, mib+100))
	tests := []struct {
		name   string
		object repository.WALObject
		plain  []byte
	}{
		{"too few bytes", good, make([]byte, 99)},
		{"too many bytes", good, make([]byte, 101)},
		{"no bytes", object(repository.KindPiece, 1, segSize, r(mib, mib)), nil},
		{"pack", object(repository.KindPack, 1, segSize, r(mib, mib+100)), make([]byte, 100)},
		{"index", object(repository.KindIndex, 1, segSize, r(mib, 0)), make([]byte, 100)},
		{"no timeline", object(repository.KindPiece, 0, segSize, good.Range), make([]byte, 100)},
		{"part of a segment", object(repository.KindSegment, 1, segSize, good.Range), make([]byte, 100)},
	}
	encoder := repository.NewWALEncoder(compression.Zstd())
	for _, tt := range tests {
		if e, err := encoder.Encode(tt.object, tt.plain); err == nil {
			t.Errorf("%s: got %+v, want an error", tt.name, e.Header)
		}
		if _, err := encoder.Encode(good, make([]byte, 100)); err != nil {
			t.Errorf("after %s: %v", tt.name, err)
		}
	}
}

func TestPutWALThatExists(t *testing.T) {
	c, store := cluster(t)
	span := r(mib, mib+100)
	o := object(repository.KindPiece, 1, segSize, span)
	e := encode(t, compression.Zstd(), o, walBytes(span))
	if err := c.PutWAL(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	// The same plain bytes, told by another header.
	o.Summary.HeadUnknown = true
	if err := c.PutWAL(t.Context(), encode(t, compression.Zstd(), o, walBytes(span))); err != nil {
		t.Errorf("equal content: got %v, want nil", err)
	}
	other := walBytes(span)
	other[99]++
	err := c.PutWAL(t.Context(), encode(t, compression.Zstd(), o, other))
	var conflict *repository.ConflictError
	if !errors.As(err, &conflict) || conflict.Key != e.Key || conflict.Range != span {
		t.Errorf("other content: got %v, want a *ConflictError", err)
	}
	// What exists cannot be verified: neither success nor a conflict.
	body := store.Bytes(e.Key)
	body[len(body)-1] ^= 1
	store.Replace(e.Key, body[:len(body)-1])
	var corrupt *repository.CorruptError
	if err := c.PutWAL(t.Context(), e); !errors.As(err, &corrupt) || errors.As(err, &conflict) {
		t.Errorf("corrupt: got %v, want a *CorruptError", err)
	}
	store.Reset()
	store.Fail(memory.Get, "", 1, errScripted)
	if err := c.PutWAL(t.Context(), e); !errors.Is(err, errScripted) {
		t.Errorf("cannot compare: got %v", err)
	}
	foreign := object(repository.KindPiece, 1, segSize, span)
	foreign.SystemID = 8
	if err := c.PutWAL(t.Context(), encode(t, compression.Zstd(), foreign, walBytes(span))); err == nil {
		t.Error("WAL of another system: got nil")
	}
}

func TestPutWALLostAnswer(t *testing.T) {
	c, store := cluster(t)
	span := r(mib, mib+100)
	e := encode(t, compression.Zstd(), object(repository.KindPiece, 1, segSize, span), walBytes(span))
	store.LoseResponse(memory.Put, "", 1)
	if err := c.PutWAL(t.Context(), e); !storage.Retryable(err) {
		t.Fatalf("got %v, want a retryable error", err)
	}
	if err := c.PutWAL(t.Context(), e); err != nil {
		t.Errorf("again: got %v, want nil", err)
	}
}

// TestWALCorruption changes a small object in every way: each cut, each bit, bytes behind. What is read is right or an error.
func TestWALCorruption(t *testing.T) {
	span := r(mib, mib+300)
	plain := walBytes(span)
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		c, store := cluster(t)
		e := encode(t, codec, object(repository.KindPiece, 1, segSize, span), plain)
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		entry := entries(t, c, 1, mib)[0]
		fresh := entry
		fresh.Stored = 0 // as if not listed: the size is not known
		unseen := 0
		check := func(what string, body []byte) {
			store.Replace(e.Key, body)
			for _, entry := range []repository.Entry{entry, fresh} {
				got, err := c.ReadWAL(t.Context(), entry)
				var corrupt *repository.CorruptError
				switch {
				case err == nil && !bytes.Equal(got, plain):
					t.Fatalf("%s %s: wrong bytes without an error", codec.Name(), what)
				case err == nil:
					unseen++
				case !errors.As(err, &corrupt) || errors.Is(err, repository.ErrNoWAL):
					t.Fatalf("%s %s: got %v, want a *CorruptError", codec.Name(), what, err)
				}
			}
		}
		for cut := range e.Body {
			check(fmt.Sprintf("cut at %d", cut), e.Body[:cut])
		}
		check("a byte behind", append(bytes.Clone(e.Body), 0))
		check("twice", append(bytes.Clone(e.Body), e.Body...))
		if unseen != 0 {
			t.Errorf("%s: %d cuts were not seen", codec.Name(), unseen)
		}
		for bit := range 8 * len(e.Body) {
			body := bytes.Clone(e.Body)
			body[bit/8] ^= 1 << (bit % 8)
			check(fmt.Sprintf("bit %d", bit), body)
			// Behind the header another encoding of the same plain bytes may result: that is no damage.
			if bit/8 < repository.HeaderSize && unseen != 0 {
				t.Fatalf("%s: bit %d of byte %d flipped: not seen", codec.Name(), bit%8, bit/8)
			}
		}
	}
}

func TestWALUnderWrongKey(t *testing.T) {
	c, store := cluster(t)
	putPiece(t, c, 1, r(mib, mib+100))
	good := entries(t, c, 1, mib)[0]
	for _, o := range []repository.WALObject{
		object(repository.KindPiece, 1, segSize, r(mib, mib+101)),
		object(repository.KindPiece, 1, segSize, r(2*mib, 2*mib+100)),
		object(repository.KindPiece, 2, segSize, r(mib, mib+100)),
		object(repository.KindSegment, 1, segSize, r(mib, 2*mib)),
	} {
		key := repository.WALKey(o, compression.Zstd())
		store.Replace(key, store.Bytes(good.Key))
		e := repository.Entry{Key: key, Kind: o.Kind, Timeline: o.Timeline, Range: o.Range}
		var corrupt *repository.CorruptError
		if _, err := c.ReadWAL(t.Context(), e); !errors.As(err, &corrupt) {
			t.Errorf("%s: got %v, want a *CorruptError", key, err)
		}
		if _, err := c.ReadHeader(t.Context(), e); !errors.As(err, &corrupt) {
			t.Errorf("header of %s: got %v, want a *CorruptError", key, err)
		}
	}
	other := repository.Open
	r2, err := other(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *repository.CorruptError
	if _, err := r2.Cluster(8).ReadWAL(t.Context(), good); !errors.As(err, &corrupt) {
		t.Errorf("other system: got %v, want a *CorruptError", err)
	}
}

func TestReadSegment(t *testing.T) {
	seg := segSize.Segment(1, 3*mib)
	whole := segSize.Range(3)
	pieces := func(ends ...wal.LSN) func(*testing.T, *repository.Cluster) {
		return func(t *testing.T, c *repository.Cluster) {
			for i := 0; i < len(ends); i += 2 {
				putPiece(t, c, 1, r(ends[i], ends[i+1]))
			}
		}
	}
	const at = 3 * mib
	tests := []struct {
		name string
		put  func(*testing.T, *repository.Cluster)
		want wal.LSN // end of what is read
		err  error
	}{
		{"nothing", pieces(4*mib, 4*mib+1), 0, repository.ErrNoWAL},
		{"complete", func(t *testing.T, c *repository.Cluster) { putSegment(t, c, 1, 3) }, whole.End, nil},
		{"pieces", pieces(at, at+100, at+100, at+300), at + 300, nil},
		{"hole", pieces(at, at+100, at+101, at+300), at + 100, nil},
		{"overlap", pieces(at, at+100, at, at+200, at+150, at+400), at + 400, nil},
		{"pieces to the end", pieces(at, at+100, at+100, 4*mib), 4 * mib, nil},
		{"complete beside pieces", func(t *testing.T, c *repository.Cluster) {
			putPiece(t, c, 1, r(at, at+100))
			putSegment(t, c, 1, 3)
		}, whole.End, nil},
		{"complete under the other codec", func(t *testing.T, c *repository.Cluster) {
			putPiece(t, c, 1, r(at, at+100))
			o := object(repository.KindSegment, 1, segSize, whole)
			if err := c.PutWAL(t.Context(), encode(t, compression.S2(), o, walBytes(whole))); err != nil {
				t.Fatal(err)
			}
		}, whole.End, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := cluster(t)
			putPiece(t, c, 2, r(at, at+7)) // another timeline
			tt.put(t, c)
			got, err := c.ReadSegment(t.Context(), segSize, seg)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(got, walBytes(r(at, tt.want))) {
				t.Errorf("got %d bytes, want %d", len(got), tt.want-at)
			}
		})
	}
}

// TestAbsenceIsProved: what fails, what is hidden and what lacks its start is never ErrNoWAL, on which recovery would end.
func TestAbsenceIsProved(t *testing.T) {
	seg := segSize.Segment(1, mib)
	for _, op := range []memory.Op{memory.Get, memory.List} {
		c, store := cluster(t)
		store.Fail(op, "*/wal/*", 0, storage.ErrUnavailable)
		if _, err := c.ReadSegment(t.Context(), segSize, seg); err == nil || errors.Is(err, repository.ErrNoWAL) {
			t.Errorf("%s fails: got %v", op, err)
		}
	}
	c, _ := cluster(t)
	putPiece(t, c, 1, r(mib+10, mib+20))
	if _, err := c.ReadSegment(t.Context(), segSize, seg); err == nil || errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("start is missing: got %v", err)
	}
	c, store := cluster(t)
	putPiece(t, c, 1, r(mib, mib+20))
	store.Fail(memory.Get, "", 0, storage.ErrNotFound)
	if _, err := c.ReadSegment(t.Context(), segSize, seg); err == nil || errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("listed and never found: got %v", err)
	}
}

// TestPiecesReplacedWhileRead puts the complete segment and deletes the pieces between listing and reading.
func TestPiecesReplacedWhileRead(t *testing.T) {
	c, store := cluster(t)
	putPiece(t, c, 1, r(mib, mib+20))
	replaced := false
	racing := openCluster(t, &hookStore{Store: store, get: func(key storage.Key) {
		if !replaced && bytes.Contains([]byte(key), []byte(".part/")) {
			replaced = true
			putSegment(t, c, 1, 1)
			if err := c.DeletePieces(t.Context(), segSize, segSize.Segment(1, mib)); err != nil {
				t.Error(err)
			}
		}
	}})
	got, err := racing.ReadSegment(t.Context(), segSize, segSize.Segment(1, mib))
	if err != nil || !bytes.Equal(got, walBytes(r(mib, 2*mib))) || !replaced {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestDeletePieces(t *testing.T) {
	seg := segSize.Segment(1, mib)
	c, store := cluster(t)
	putPiece(t, c, 1, r(mib, mib+20))
	putPiece(t, c, 1, r(mib+20, mib+50))
	putPiece(t, c, 1, r(2*mib, 2*mib+50))
	if err := c.DeletePieces(t.Context(), segSize, seg); !errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("no complete segment: got %v, want ErrNoWAL", err)
	}
	if got := len(entries(t, c, 1, 0)); got != 3 {
		t.Fatalf("got %d objects, want 3: pieces were deleted without a complete segment", got)
	}
	putSegment(t, c, 1, 1)
	complete := entries(t, c, 1, mib)[0].Key
	body := store.Bytes(complete)
	for name, broken := range map[string][]byte{"cut": body[:len(body)-1], "short": body[:10], "flipped": append([]byte{1}, body[1:]...)} {
		store.Replace(complete, broken)
		if err := c.DeletePieces(t.Context(), segSize, seg); err == nil {
			t.Errorf("%s: pieces of a broken segment were deleted", name)
		}
	}
	store.Replace(complete, body)
	store.Fail(memory.Delete, "", 1, storage.ErrDenied)
	if err := c.DeletePieces(t.Context(), segSize, seg); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("denied: got %v, want ErrDenied", err)
	}
	for range 2 { // again is nothing
		if err := c.DeletePieces(t.Context(), segSize, seg); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ranges(entries(t, c, 1, 0)), []wal.Range{r(mib, 2*mib), r(2*mib, 2*mib+50)}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

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
	for _, stray := range []storage.Key{"0", "zzz.zst", "000000010000000100000000", "000000010000000100000000.lz4", "000000020000000100000000.zst",
		"000000010000000100000000.part/x.zst", "000000010000000100000000.part/0000000100000000-0000000200000000.zst"} {
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
	for range c.ListWAL(t.Context(), 1, 0) { // a caller that stops early
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

func TestKeys(t *testing.T) {
	whole := segSize.Range(4097)
	for want, o := range map[storage.Key]repository.WALObject{
		"7/wal/00000001/000000010000000100000001.zst":                                        object(repository.KindSegment, 1, segSize, whole),
		"7/wal/00000001/000000010000000100000001.part/0000000100100000-0000000100100010.zst": object(repository.KindPiece, 1, segSize, r(whole.Start, whole.Start+16)),
	} {
		o.SystemID = 7
		got := repository.WALKey(o, compression.Zstd())
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
		e, ok := repository.ParseWALKey(segSize, got)
		if !ok || e.Kind != o.Kind || e.Range != o.Range || e.Timeline != 1 {
			t.Errorf("got %+v, %t", e, ok)
		}
	}
}

func FuzzWALKey(f *testing.F) {
	f.Add("7/wal/00000001/000000010000000100000001.zst")
	f.Add("7/wal/00000001/000000010000000100000001.part/0000000100100000-0000000100100010.s2")
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := repository.ParseWALKey(segSize, storage.Key(s))
		if !ok {
			return
		}
		codec, err := compression.BySuffix(s)
		if err != nil {
			t.Fatal(err)
		}
		o := repository.WALObject{SystemID: 7, Timeline: e.Timeline, SegmentSize: segSize, Kind: e.Kind, Range: e.Range}
		if got := repository.WALKey(o, codec); got != storage.Key(s) {
			t.Errorf("got %s, want %s", got, s)
		}
	})
}

// TestStockZstdReadsWAL decodes an object with the zstd of the machine.
func TestStockZstdReadsWAL(t *testing.T) {
	zstd := program(t, "zstd")
	span := wal.Range{Start: 16 * mib, End: 32 * mib}
	e := encode(t, compression.Zstd(), object(repository.KindSegment, 1, 16*mib, span), walBytes(span))
	if got := run(t, e.Body, zstd, "-dc"); !bytes.Equal(got, walBytes(span)) {
		t.Error("zstd -dc gives other bytes")
	}
}

// program finds a program of the machine, or skips; where everything is required it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("the %s program is missing", name)
	}
	t.Skipf("the %s program is missing", name)
	return ""
}

func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.Bytes())
	}
	return out
}

// BenchmarkEncodeSegment encodes 16 MiB that shrink about as WAL does.
func BenchmarkEncodeSegment(b *testing.B) {
	span := wal.Range{Start: 16 * mib, End: 32 * mib}
	plain := noisyPages(16 * mib)
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		b.Run(codec.Name(), func(b *testing.B) {
			encoder := repository.NewWALEncoder(codec)
			var body []byte
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				encoder.Reset(body)
				e, err := encoder.Encode(object(repository.KindSegment, 1, 16*mib, span), plain)
				if err != nil {
					b.Fatal(err)
				}
				body = e.Body
			}
			b.ReportMetric(float64(len(plain))/float64(len(body)), "ratio")
		})
	}
}

func BenchmarkReadSegment(b *testing.B) {
	span := wal.Range{Start: 16 * mib, End: 32 * mib}
	c, _ := cluster(b)
	plain := noisyPages(16 * mib)
	e := encode(b, compression.Zstd(), object(repository.KindSegment, 1, 16*mib, span), plain)
	if err := c.PutWAL(context.Background(), e); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.ReadSegment(context.Background(), 16*mib, wal.SegmentID{Timeline: 1, Number: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// noisyPages returns bytes of which a quarter is random, in pages of 8 KiB.
func noisyPages(n int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, n)
	for i := 0; i < n; i += 64 {
		copy(b[i:], "heap insert off 12 flags 0x00 blkref rel 1663/16384/2619 ")
		for j := i + 44; j < min(i+60, n); j++ {
			b[j] = byte(random.Uint32())
		}
	}
	return b
}
