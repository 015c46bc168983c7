package archiver_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
)

// fence fences timeline 1, as another server would.
func (l *lab) fence(number int, change repository.FenceChange) {
	l.t.Helper()
	r, err := repository.Open(context.Background(), l.store)
	if err == nil {
		err = r.Cluster(systemID).PutFence(context.Background(), repository.Fence{
			Timeline: 1, Number: number, Change: change, Time: time.Now(), Host: "far", Directory: "/far",
		})
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// wantFenced waits for the end of the archiver.
func (l *lab) wantFenced() {
	l.t.Helper()
	var fenced *repository.FencedError
	if err := <-l.done; !errors.As(err, &fenced) || fenced.Fence.Host != "far" {
		l.t.Fatalf("run: got %v, want a *FencedError\n%s", err, l.logged.String())
	}
}

// TestFenceStopsConfirmations guards I5: once somebody takes over, nothing more is confirmed, at once, and the archiver ends.
func TestFenceStopsConfirmations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		end := l.server.end()
		l.fence(1, repository.FenceUp)
		from := l.log.told()
		l.server.write(100)
		l.wantFenced()
		if got := l.log.furthest(from); got > end {
			t.Errorf("confirmed %s behind the fence, which came at %s", got, end)
		}
	})
}

// TestFencedBeforeItBegins: nothing is written for a server that is fenced, and no slot is made on it. Lifted, it goes on; a server that took over is not fenced by what
// fences the timeline that it came from.
func TestFencedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		l.finish()
		l.fence(1, repository.FenceUp)
		l.server.change(func() { l.server.dropSlot() })
		objects, slots := len(l.store.Keys()), l.server.created
		l.start()
		l.wantFenced()
		if len(l.store.Keys()) != objects || l.server.created != slots {
			t.Errorf("the archiver of a fenced server wrote: %v", l.store.Keys())
		}
		l.fence(2, repository.FenceLift)
		l.start()
		l.server.write(100)
		l.await()
		l.finish()

		l.fence(3, repository.FenceUp)
		l.server.write(100) // replayed by who takes over, and not archived yet
		l.server.promote(2, l.server.end())
		l.start()
		l.server.write(100)
		l.await()
		l.finish()
	})
}

// TestStandbyIsNotFenced: the archiver of a standby waits for its promotion.
func TestStandbyIsNotFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		l.server.change(func() { l.server.standby = true })
		l.fence(1, repository.FenceUp)
		l.server.write(100)
		time.Sleep(time.Minute)
		if s := l.archiver.Status(); s.State == archiver.Fenced || !strings.Contains(s.Error, "fenced") {
			t.Errorf("got %+v, want it to wait", s)
		}
		l.server.change(func() { l.server.standby = false })
		l.server.promote(2, l.server.end())
		l.server.kill()
		l.server.write(100)
		l.await()
		l.finish()
	})
}

// TestNothingIsConfirmedUnasked guards the order: what lies durable already when a stream begins may have been put by one that died before it asked.
func TestNothingIsConfirmedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		l.finish()
		from := l.log.told()
		l.opts.Fence = func(context.Context, postgres.System) error {
			l.store.Hang(memory.Get, "*/fences/*") // asked once before, and no answer from then on
			return nil
		}
		l.start()
		l.server.write(100)
		time.Sleep(time.Minute)
		if got := l.log.furthest(from); got != 0 {
			t.Errorf("confirmed %s unasked", got)
		}
		l.opts.Fence = nil
		l.store.Reset()
		l.stop()
		if err := <-l.done; err != nil {
			t.Error(err)
		}
	})
}

// TestFenceElsewhere: what another repository says ends the archiver, at its start and within the time of a watch.
func TestFenceElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var taken atomic.Bool
		l.opts.Fence = func(context.Context, postgres.System) error {
			if taken.Load() {
				return &repository.FencedError{Fence: repository.Fence{Timeline: 1, Host: "far"}, Repository: "dr"}
			}
			return nil
		}
		l.start()
		l.server.write(100)
		l.await()
		taken.Store(true)
		began := time.Now()
		l.wantFenced()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		l.start()
		l.wantFenced()
	})
}
