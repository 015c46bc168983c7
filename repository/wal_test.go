package repository_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
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
//
//go:norace
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
	size := wal.SegmentSize(16 * mib)
	if testing.Short() {
		size = 4 * mib
	}
	start := size.Start(5)
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		encoder := repository.NewWALEncoder(codec)
		for _, n := range []wal.LSN{1, 8192, mib - 1, mib, mib + 1, 3*mib + 1, wal.LSN(size)} {
			plain := walBytes(wal.Range{Start: start, End: start + n})
			for _, step := range []int{1000, mib - 1, mib, 3 * mib} {
				if n > 2*mib && step != mib-1 {
					continue
				}
				name := fmt.Sprintf("%s/%d by %d", codec.Name(), n, step)
				c, store := cluster(t)
				span := wal.Range{Start: start, End: start + n}
				kind := repository.KindPiece
				if n == wal.LSN(size) {
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
				if err != nil || h != e.Header || h.Summary != o.Summary || h.CRC32C != crc32.Checksum(plain, crc32.MakeTable(crc32.Castagnoli)) ||
					h.SHA256 != sha256.Sum256(store.Bytes(e.Key)[repository.HeaderSize:]) {
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

// twoFrames is a codec that encodes as another program might: each frame as two.
type twoFrames struct {
	compression.Codec
	compression.FrameEncoder
}

func (c twoFrames) NewEncoder() compression.FrameEncoder {
	return twoFrames{FrameEncoder: c.Codec.NewEncoder()}
}

func (c twoFrames) EncodeFrame(dst, plain []byte) []byte {
	half := len(plain) / 2
	return c.FrameEncoder.EncodeFrame(c.FrameEncoder.EncodeFrame(dst, plain[:half]), plain[half:])
}

func TestPutWALThatExistsInAnotherEncoding(t *testing.T) {
	span := r(mib, 2*mib)
	o := object(repository.KindSegment, 1, segSize, span)
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		c, store := cluster(t)
		e := encode(t, codec, o, walBytes(span))
		if err := c.PutWAL(t.Context(), encode(t, twoFrames{Codec: codec}, o, walBytes(span))); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(store.Bytes(e.Key), e.Body) {
			t.Fatal("both encodings are the same: nothing is tested")
		}
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Errorf("%s, equal content: got %v, want nil", codec.Name(), err)
		}
		other := walBytes(span)
		other[len(other)-1]++
		var conflict *repository.ConflictError
		if err := c.PutWAL(t.Context(), encode(t, codec, o, other)); !errors.As(err, &conflict) {
			t.Errorf("%s, other content: got %v, want a *ConflictError", codec.Name(), err)
		}
	}
}

// TestWALDecoderThatErrs reads stored bytes that are what was put, and decode to other plain bytes.
func TestWALDecoderThatErrs(t *testing.T) {
	c, store := cluster(t)
	span := r(mib, mib+100)
	e := encode(t, compression.Zstd(), object(repository.KindPiece, 1, segSize, span), walBytes(span))
	h := e.Header
	h.CRC32C++
	head, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	store.Replace(e.Key, append(head, e.Body[repository.HeaderSize:]...))
	var corrupt *repository.CorruptError
	if _, err := c.ReadWAL(t.Context(), entries(t, c, 1, mib)[0]); !errors.As(err, &corrupt) {
		t.Errorf("got %v, want a *CorruptError", err)
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
			if unseen != 0 {
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

// TestStockZstdReadsWAL decodes an object with the zstd of the machine.
func TestStockZstdReadsWAL(t *testing.T) {
	zstd := program(t, "zstd")
	size := wal.SegmentSize(16 * mib)
	if testing.Short() {
		size = 2 * mib
	}
	span := size.Range(1)
	e := encode(t, compression.Zstd(), object(repository.KindSegment, 1, size, span), walBytes(span))
	if got := run(t, e.Body, zstd, "-dc"); !bytes.Equal(got, walBytes(span)) {
		t.Error("zstd -dc gives other bytes")
	}
}
