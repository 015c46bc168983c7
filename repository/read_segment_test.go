package repository_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

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
			c, store := cluster(t)
			putPiece(t, c, 2, r(at, at+7)) // another timeline
			tt.put(t, c)
			got, err := c.ReadSegment(t.Context(), segSize, seg)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(got, walBytes(r(at, tt.want))) {
				t.Errorf("got %d bytes, want %d", len(got), tt.want-at)
			}
			store.Reset()
			_, end, err := c.SegmentSummary(t.Context(), segSize, seg)
			if !errors.Is(err, tt.err) || end != tt.want {
				t.Errorf("summary to %s, %v, want %s, %v", end, err, tt.want, tt.err)
			}
			if calls := store.Calls(); strings.HasPrefix(tt.name, "complete") && !strings.HasSuffix(tt.name, "codec") &&
				(len(calls) != 1 || calls[0].Span.Length != repository.HeaderSize) {
				t.Errorf("a complete segment costs one ranged GET, got %+v", calls)
			}
		})
	}
}

// TestSegmentSummary: what pieces say is added up, and what cannot be read is no absence.
func TestSegmentSummary(t *testing.T) {
	seg, at := segSize.Segment(1, 3*mib), wal.LSN(3*mib)
	c, store := cluster(t)
	first := object(repository.KindPiece, 1, segSize, r(at, at+100))
	first.Summary = repository.Summary{Ends: 2, FirstXID: 7, LastXID: 8, FirstTime: 50, LastTime: 40, MinTime: 40, MaxTime: 50}
	second := object(repository.KindPiece, 1, segSize, r(at+100, at+200))
	second.Summary = repository.Summary{RestorePoints: 1, HeadUnknown: true}
	third := object(repository.KindPiece, 1, segSize, r(at+200, at+300))
	third.Summary = repository.Summary{Ends: 1, FirstXID: 9, LastXID: 9, FirstTime: 45, LastTime: 45, MinTime: 45, MaxTime: 45}
	for _, o := range []repository.WALObject{first, second, third} {
		put(t, c, o)
	}
	got, end, err := c.SegmentSummary(t.Context(), segSize, seg)
	want := repository.Summary{
		Ends: 3, RestorePoints: 1, FirstXID: 7, LastXID: 9, FirstTime: 50, LastTime: 45, MinTime: 40, MaxTime: 50, HeadUnknown: true,
	}
	if err != nil || got != want || end != at+300 {
		t.Errorf("got %+v to %s, %v, want %+v", got, end, err, want)
	}
	store.Alter("*.part/*", 2, func(b []byte) []byte { b[20] ^= 1; return b })
	var corrupt *repository.CorruptError
	if _, _, err := c.SegmentSummary(t.Context(), segSize, seg); !errors.As(err, &corrupt) {
		t.Errorf("a damaged header: %v", err)
	}
	putPiece(t, c, 1, r(5*mib+8, 5*mib+16))
	if _, _, err := c.SegmentSummary(t.Context(), segSize, segSize.Segment(1, 5*mib)); !errors.As(err, &corrupt) {
		t.Errorf("a segment without its start: %v", err)
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
