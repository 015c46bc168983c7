package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestFollowerWaitsForAHoleToBeFilled: what another process archives comes in any order. A later piece that is there does not make a base
// backup fail for the one before it, which is on its way.
func TestFollowerWaitsForAHoleToBeFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = wal.SegmentSize(1 << 20)
		r, err := repository.Create(t.Context(), memory.New())
		if err != nil {
			t.Fatal(err)
		}
		c := r.Cluster(7)
		put := func(from, to wal.LSN) {
			t.Helper()
			o := repository.WALObject{SystemID: 7, Timeline: 1, SegmentSize: size, Kind: repository.KindPiece, Range: wal.Range{Start: from, End: to}}
			e, err := repository.NewWALEncoder(compression.Zstd()).Encode(o, make([]byte, to-from))
			if err == nil {
				err = c.PutWAL(t.Context(), e)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		put(0x300000, 0x300100)
		put(0x400000, 0x400100) // behind an old hole
		f := follower{cluster: c, stall: time.Minute}
		if err := f.wait(t.Context(), 1, 0x400100); err != nil {
			t.Fatalf("before: got %v", err)
		}
		f.whole = archiver.Position{Timeline: 1, LSN: 0x400100}
		put(0x400200, 0x400300)
		done := make(chan error, 1)
		go func() { done <- f.wait(t.Context(), 1, 0x400300) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(done) > 0 {
			t.Fatalf("with a hole: got %v, want it to wait", <-done)
		}
		put(0x400100, 0x400200)
		if err := <-done; err != nil {
			t.Errorf("without a hole: got %v", err)
		}
		if err := f.wait(t.Context(), 1, 0x500000); !errors.Is(err, ErrNoAgent) {
			t.Errorf("nothing comes: got %v, want ErrNoAgent", err)
		}
	})
}
