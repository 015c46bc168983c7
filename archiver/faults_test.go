package archiver_test

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// job is a day of an archiver's life: it starts on an empty repository, sees bursts
// and quiet, a promotion, a stop and a new start.
func job(l *lab) {
	l.start()
	for _, n := range []wal.LSN{300, 1_100_000, 9_000} { // a piece, a segment, the tail
		l.server.write(n)
		time.Sleep(1500 * time.Millisecond)
	}
	l.await()
	time.Sleep(15 * time.Second) // a beat
	l.finish()
	l.server.promote(2, l.server.end())
	l.start()
	l.server.write(100_000)
	l.await()
	l.finish()
}

func judgeJob(l *lab) {
	at, _ := l.server.histories[2].SwitchOf(1)
	l.compare(1, l.anchor, at)
	l.compare(2, at&^(1<<20-1), l.server.end())
}

// Each call of the store fails in turn, in each way a store can fail, and the job ends with
// all WAL archived and the server never told too much.
func TestEveryStorageCallFailsInTurn(t *testing.T) {
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		job(l)
		calls = len(l.store.Calls())
		judgeJob(l)
	})
	if calls < 30 {
		t.Fatalf("the job makes %d calls only: nothing is tested", calls)
	}
	ways := map[string]func(s *memory.Store, nth int){
		"unavailable": func(s *memory.Store, nth int) { s.Fail(memory.Any, "", nth, storage.ErrUnavailable) },
		"denied":      func(s *memory.Store, nth int) { s.Fail(memory.Any, "", nth, storage.ErrDenied) },
		"answer lost": func(s *memory.Store, nth int) { s.LoseResponse(memory.Any, "", nth) },
	}
	step := 1
	if testing.Short() {
		step = 20
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			for nth := 1 + len(name)%step; nth <= calls; nth += step { // other calls in each way
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t)
					fail(l.store, nth)
					job(l)
					judgeJob(l)
				})
			}
		})
	}
}

// moment is when a process dies.
type moment string

const (
	beforePut moment = "before the put"
	afterPut  moment = "after the put"
)

// mortal is a store through which a process speaks that dies at its nth call:
// before the call does anything, or after it did and before the answer came.
type mortal struct {
	storage.Store

	left *atomic.Int64
	when moment
	die  func()
}

func (m mortal) Put(ctx context.Context, key storage.Key, body []byte) error {
	left := m.left.Add(-1)
	switch {
	case left > 0:
		return m.Store.Put(ctx, key, body)
	case left == 0 && m.when == afterPut:
		_ = m.Store.Put(ctx, key, body)
	}
	m.die()
	<-ctx.Done()
	return context.Cause(ctx)
}

// Killed before or after every put, with whatever else was in flight: a new archiver goes
// on with what the repository and the server have, and nothing is missing.
func TestKilledBetweenAnyTwoPuts(t *testing.T) {
	for _, when := range []moment{beforePut, afterPut} {
		t.Run(string(when), func(t *testing.T) {
			step := 1
			if testing.Short() {
				step = 8 // the first and the last
			}
			for nth := 2; nth <= 10; nth += step { // 1 is the repository's marker
				synctest.Test(t, func(t *testing.T) { killAt(t, nth, when) })
			}
		})
	}
}

func killAt(t *testing.T, nth int, when moment) {
	l := newLab(t)
	dead := make(chan struct{})
	var left atomic.Int64
	left.Store(int64(nth))
	ctx, cancel := context.WithCancel(context.Background())
	opts := l.opts
	opts.StopTimeout = 1 // a dead process uploads nothing more
	open := func(ctx context.Context) (*repository.Repository, error) {
		return repository.Create(ctx, mortal{
			Store: recorder{Store: l.store, log: l.log}, left: &left, when: when,
			die: sync.OnceFunc(func() { close(dead) }),
		})
	}
	a := archiver.New(l.server.connect, open, opts)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for i := range 12 {
		synctest.Wait()
		l.server.write(wal.LSN(5_000 + i%4*300_000))
		time.Sleep(1100 * time.Millisecond)
	}
	select {
	case <-dead:
	default:
		t.Fatalf("the process did not die at put %d", nth)
	}
	l.server.kill() // what a dead process says does not reach the server
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.log.judge(t, l.anchor)
	if nth == 2 && when == beforePut {
		l.anchor = l.server.end() &^ (1<<20 - 1) // died before anything was archived
	}
	l.start()
	l.server.write(50_000)
	l.await()
	l.finish()
	l.compare(1, l.anchor, l.server.end())
}

// blind is a store whose lists show no WAL, as one does that lags or was emptied.
type blind struct {
	storage.Store

	still *atomic.Bool
}

func (b blind) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for o, err := range b.Store.List(ctx, prefix, after) {
			if b.still.Load() && strings.Contains(string(o.Key), "/wal/") {
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// What the slot kept is archived, and never told to be durable unseen, when the store shows nothing of what is there (S10, I2).
func TestListShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(700_000)
		l.await()
		l.finish()
		l.server.write(3_000_000) // while no agent runs: the slot keeps it
		var still atomic.Bool
		still.Store(true)
		ctx, cancel := context.WithCancel(context.Background())
		open := func(ctx context.Context) (*repository.Repository, error) {
			return repository.Create(ctx, recorder{Store: blind{l.store, &still}, log: l.log})
		}
		l.archiver = archiver.New(l.server.connect, open, l.opts)
		done := make(chan error, 1)
		go func() { done <- l.archiver.Run(ctx) }()
		l.await()
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("%v\n%s", err, l.logged.String())
		}
		l.log.judge(t, l.anchor)
		l.compare(1, l.anchor, l.server.end())
	})
}
