package archiver_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestPuttingIsTold: who wants to know is told once of each object as it is put, and once when it is durable, also where the store refused it for a while.
func TestPuttingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var mu sync.Mutex
		var begun []wal.Range
		ended := map[wal.LSN]int{}
		l.opts.Putting = func(ctx context.Context, e *repository.EncodedWAL) (context.Context, func(error)) {
			mu.Lock()
			defer mu.Unlock()
			at := e.Header.Range
			begun = append(begun, at)
			return ctx, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("put of %v: %v", at, err)
				}
				ended[at.Start]++
			}
		}
		l.start()
		l.server.write(100)
		l.await()
		for nth := range 6 {
			l.store.Fail(memory.Put, "*/wal/*", nth+1, storage.ErrDenied)
		}
		l.server.write(3 << 20)
		time.Sleep(3 * time.Second)
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if len(begun) < 4 { // a piece, and 3 MiB in segments of one
			t.Errorf("%d objects were told of: %v", len(begun), begun)
		}
		told := 0
		for _, n := range ended {
			told += n
		}
		if told != len(begun) {
			t.Errorf("%d began, %d ended", len(begun), told)
		}
	})
}
