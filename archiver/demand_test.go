package archiver_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// commit writes a transaction of n bytes and returns when the server was told that it is durable, as a
// session does under synchronous replication.
func (s *server) commit(n wal.LSN) {
	var end wal.LSN
	s.change(func() {
		s.system.Flush += n
		end = s.system.Flush
	})
	for {
		s.mu.Lock()
		changed, told := s.changed, false
		for _, c := range s.conns {
			told = told || c.streaming && c.status.Flush >= end
		}
		s.mu.Unlock()
		if told {
			return
		}
		<-changed
	}
}

// Clients commit one after another and wait for the archive: with four uploads in flight a commit takes little more
// than one, however many wait, because those that come together share a piece.
func TestCommitsThatWaitTakeAboutOnePut(t *testing.T) {
	const put = 20 * time.Millisecond
	for clients, limit := range map[int]time.Duration{1: put, 4: put, 16: put * 5 / 4} {
		t.Run(fmt.Sprintf("%d clients", clients), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.store.Delay(memory.Put, "*/wal/*", put)
				l.start()
				l.archiver.FlushOnDemand(true)
				time.Sleep(time.Second)
				const each = 50
				began := time.Now()
				var group sync.WaitGroup
				for i := range clients {
					group.Go(func() {
						time.Sleep(time.Duration(i) * put / time.Duration(clients))
						for range each {
							l.server.commit(200)
						}
					})
				}
				group.Wait()
				mean := time.Since(began) / each
				if mean > limit+put/each {
					t.Errorf("a commit takes %s, want at most %s", mean, limit)
				}
				if puts := l.store.Count(memory.Put, "*/wal/*"); puts > 4*each*5/4+1 {
					t.Errorf("%d puts for %d commits: they did not share pieces", puts, clients*each)
				}
				l.await()
				l.finish()
				l.compare(1, l.anchor, l.server.end())
			})
		})
	}
}

// A commit that was waiting before the archiver came returns when it comes.
func TestCommitThatWaitedBeforeReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.commit(200)
		l.finish()
		done := make(chan struct{})
		go func() {
			l.server.commit(200)
			close(done)
		}()
		time.Sleep(time.Minute)
		select {
		case <-done:
			t.Fatal("a commit returned without an archiver")
		default:
		}
		l.start()
		from := time.Now()
		<-done
		if took := time.Since(from); took > time.Second {
			t.Errorf("it took %s", took)
		}
		l.finish()
	})
}

// While the store hangs commits wait, and when it answers they return.
func TestCommitsWaitWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.archiver.FlushOnDemand(true)
		l.server.commit(200)
		release := l.store.Hang(memory.Put, "*/wal/*")
		var returned atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				l.server.commit(200)
				returned.Add(1)
			})
		}
		time.Sleep(time.Hour)
		if n := returned.Load(); n != 0 {
			t.Errorf("%d commits returned", n)
		}
		release()
		group.Wait()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// Never is the server told that WAL was applied: a commit under remote_apply must not return on our word.
func TestNothingIsEverApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.archiver.FlushOnDemand(true)
		for range 10 {
			l.server.commit(100_000)
		}
		l.finish()
		told := 0
		for _, e := range l.log.Events() {
			if e.Kind != archivertest.Told {
				continue
			}
			told++
			if e.Apply != 0 || e.Write != e.Flush {
				t.Fatalf("server was told %+v", e)
			}
		}
		if told < 10 {
			t.Errorf("told %d times: nothing was judged", told)
		}
	})
}

// Segments that went up in pieces go up whole too, and only then are their pieces deleted.
func TestPiecesOfFullSegmentsAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.store.Delay(memory.Put, "", 5*time.Millisecond)
		l.start()
		l.archiver.FlushOnDemand(true)
		for range 60 {
			l.server.commit(100_000)
			// Whatever moment it is, all that was confirmed is there.
			at := l.archiver.Durable().LSN
			v, err := l.peek().Coverage(context.Background(), 1, l.anchor)
			if err != nil || !v.Covers(wal.Range{Start: l.anchor, End: at}) {
				t.Fatalf("coverage: got %v, %v, want up to %s", v.Spans, err, at)
			}
		}
		l.finish()
		if s := l.archiver.Status(); s.Segments != 5 || s.Pieces < 60 {
			t.Errorf("put %d segments and %d pieces, want 5 and more than 60", s.Segments, s.Pieces)
		}
		l.compare(1, l.anchor, l.server.end())
		if segments, pieces := l.objects(1); segments != 5 || pieces > 10 {
			t.Errorf("got %d segments and %d pieces, want 5 and the pieces of the last", segments, pieces)
		}
	})
}

// A commit at the end of a segment does not wait for the upload of the whole segment.
func TestCommitAtTheEndOfASegmentWaitsForAPieceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.archiver.FlushOnDemand(true)
		l.server.commit(wal.LSN(segSize) - 100)
		l.store.Delay(memory.Put, "*/000000010000000000000003.zst", time.Minute)
		from := time.Now()
		l.server.commit(300)
		if took := time.Since(from); took > time.Second {
			t.Errorf("commit took %s", took)
		}
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// The store hangs for whole segments alone: commits go on as long as the buffer holds what waits, and nothing is
// lost when the process dies then.
func TestDeathBeforeASegmentReplacedItsPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.opts.StopTimeout = time.Second
		var releases []func()
		for n := range 6 {
			releases = append(releases, l.store.Hang(memory.Put, fmt.Sprintf("*/00000001000000000000000%d.zst", n+3)))
		}
		l.start()
		l.archiver.FlushOnDemand(true)
		for range 30 {
			l.server.commit(100_000)
		}
		if s := l.archiver.Status(); s.Segments != 0 {
			t.Fatalf("%d segments were put", s.Segments)
		}
		l.finish()
		for _, release := range releases {
			release()
		}
		l.start()
		l.server.write(2 << 20)
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// peek reads the store with its script in force, as another process would.
func (l *lab) peek() *repository.Cluster {
	l.t.Helper()
	r, err := repository.Open(context.Background(), l.store)
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Cluster(systemID)
}

// Killed at any put while commits wait: what was confirmed is there, and a new archiver goes on.
func TestKilledWhileCommitsWait(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for nth := 3; nth <= 40; nth += step {
		for _, when := range []moment{beforePut, afterPut} {
			synctest.Test(t, func(t *testing.T) { killOnDemand(t, nth, when) })
		}
	}
}

func killOnDemand(t *testing.T, nth int, when moment) {
	l := newLab(t)
	dead := make(chan struct{})
	var left atomic.Int64
	left.Store(int64(nth))
	ctx, cancel := context.WithCancel(context.Background())
	opts := l.opts
	opts.StopTimeout = 1 // a dead process uploads nothing more
	a := archiver.New(l.server.connect, func(ctx context.Context) (*repository.Repository, error) {
		return repository.Create(ctx, mortal{
			Store: recorder{Store: l.store, log: l.log}, left: &left, when: when,
			die: sync.OnceFunc(func() { close(dead) }),
		})
	}, opts)
	a.FlushOnDemand(true)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	synctest.Wait()
	for i := 0; ; i++ {
		l.server.write(wal.LSN(30_000 + i%5*20_000))
		time.Sleep(10 * time.Millisecond)
		select {
		case <-dead:
		default:
			continue
		}
		break
	}
	l.server.kill()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.log.judge(t, l.anchor)
	l.start()
	l.archiver.FlushOnDemand(true)
	l.server.write(1_200_000)
	l.await()
	l.finish()
	l.compare(1, l.anchor, l.server.end())
}
