package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestCensus: a repository with much WAL is counted once a day, one with little is not worth it, and what a bucket copies is never written to.
func TestCensus(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(7)
	const size = wal.MinSegmentSize
	segment := repository.WALObject{SystemID: 7, Timeline: 1, SegmentSize: size, Kind: repository.KindSegment, Range: size.Range(1)}
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(segment, make([]byte, size))
	if err == nil {
		err = c.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := &running{logger: slog.New(slog.NewTextHandler(&log, nil))}
	censuses := func() (n int) {
		for _, key := range store.Keys() {
			if strings.HasPrefix(string(key), "7/census/") {
				n++
			}
		}
		return n
	}
	primary := place{name: "primary", url: "s3://b/main?region=eu", store: &Store{Store: limit.Wrap(store, limit.Options{})}}
	if _, ok := a.census(t.Context(), primary, 7); censuses() != 0 || !ok {
		t.Errorf("%d censuses of one segment, %v", censuses(), ok)
	}
	for n := wal.SegmentNumber(2); n < 4000; n++ { // their names alone
		store.Replace(storage.Key("7/wal/00000001/"+size.FileName(wal.SegmentID{Timeline: 1, Number: n})+".zst"), []byte("x"))
	}
	mirror := primary
	mirror.byBucket = true
	if _, ok := a.census(t.Context(), mirror, 7); censuses() != 0 || ok {
		t.Error("a census was put where the bucket copies")
	}
	for range 2 { // the second is that of another agent, which finds the first one's
		if _, ok := a.census(t.Context(), primary, 7); censuses() != 1 || !ok {
			t.Errorf("%d censuses, %v, want one", censuses(), ok)
		}
	}
	if n, err := c.NewestCensus(t.Context(), "s3://b/main", time.Now()); err != nil || n == nil || n.Segments() != 3999 {
		t.Errorf("got %+v, %v, want all segments", n, err)
	}
	if n := strings.Count(log.String(), "the WAL was counted"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	store.Fail(memory.List, "7/census*", 0, storage.ErrDenied)
	if _, ok := a.census(t.Context(), primary, 7); !strings.Contains(log.String(), "could not be counted") || ok {
		t.Errorf("told %s", log.String())
	}
}
