package repository_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// together is a store that answers the first request for a piece only when another one for a piece is under way.
type together struct {
	storage.Store

	asked  atomic.Int32
	second chan struct{}
}

func (s *together) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if bytes.Contains([]byte(key), []byte(".part/")) {
		if s.asked.Add(1) == 2 {
			close(s.second)
		}
		select {
		case <-s.second:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Get(ctx, key, span)
}

// TestPiecesAreReadTogether: the open segment of a cluster whose commits wait has thousands of pieces. A restore to the newest instant, and a standby, wait for all of them.
func TestPiecesAreReadTogether(t *testing.T) {
	c, inner := cluster(t)
	const at, n, size = 3 * mib, 100, 70
	for i := range wal.LSN(n) {
		putPiece(t, c, 1, r(at+i*size, at+(i+1)*size))
	}
	want := walBytes(r(at, at+n*size))
	store := &together{Store: inner, second: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := openCluster(t, store).ReadSegment(ctx, segSize, segSize.Segment(1, at))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
	// One that is damaged is told of, whichever was read first.
	key := entries(t, c, 1, at)[50].Key
	if err := errors.Join(inner.Delete(t.Context(), key), inner.Put(t.Context(), key, []byte("no piece"))); err != nil {
		t.Fatal(err)
	}
	var corrupt *repository.CorruptError
	if _, err := c.ReadSegment(t.Context(), segSize, segSize.Segment(1, at)); !errors.As(err, &corrupt) || corrupt.Key != key {
		t.Errorf("got %v, want damage at %s", err, key)
	}
}
