package archiver_test

import (
	"bytes"
	"context"
	"log/slog"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// lab is one server, one store, and archivers that come and go.
type lab struct {
	t      testing.TB
	log    *conversation
	server *server
	store  *memory.Store
	anchor wal.LSN
	opts   archiver.Options
	logged bytes.Buffer
	keys   encryption.Keys       // of the archiver
	opens  encryption.Identities // opens what it encrypted

	archiver *archiver.Archiver
	stop     context.CancelFunc
	done     chan error
}

func newLab(t testing.TB) *lab {
	log := newConversation()
	l := &lab{t: t, log: log, server: newServer(t, log), store: memory.New()}
	l.anchor = l.server.end()
	l.opts.Logger = slog.New(slog.NewTextHandler(&l.logged, nil))
	l.opts.Workers = 1
	return l
}

func (l *lab) open(ctx context.Context) (*repository.Repository, error) {
	r, err := repository.Create(ctx, recorder{Store: l.store, log: l.log})
	if err != nil {
		return nil, err
	}
	return r.With(l.keys), nil
}

// seal makes the archiver encrypt, with public keys and a proof key alone.
func (l *lab) seal() {
	l.t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		l.t.Fatal(err)
	}
	if l.keys.Recipients, err = encryption.ParseRecipients([]byte(key.Recipient().String())); err != nil {
		l.t.Fatal(err)
	}
	if l.keys.Proofs, err = encryption.ParseProofKeys([]byte(strings.Repeat("5c", encryption.ProofSize))); err != nil {
		l.t.Fatal(err)
	}
	if l.opens, err = encryption.ParseIdentities([]byte(key.String())); err != nil {
		l.t.Fatal(err)
	}
}

// start runs an archiver.
func (l *lab) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.archiver = archiver.New(l.server.connect, l.open, l.opts)
	l.stop, l.done = cancel, make(chan error, 1)
	a, done := l.archiver, l.done
	go func() { done <- a.Run(ctx) }()
	synctest.Wait()
}

// finish stops the archiver in good order and judges the conversation.
func (l *lab) finish() {
	l.t.Helper()
	l.stop()
	if err := <-l.done; err != nil {
		l.t.Fatalf("run: got %v, want nil\n%s", err, l.logged.String())
	}
	l.log.judge(l.t, l.anchor)
}

// await waits until all that the server has is durable.
func (l *lab) await() {
	l.t.Helper()
	l.awaitLSN(l.server.system.Timeline, l.server.end())
}

func (l *lab) awaitLSN(tli wal.TimelineID, lsn wal.LSN) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := l.archiver.WaitDurable(ctx, tli, lsn); err != nil {
		l.t.Fatalf("%v\nstatus %+v\n%s", err, l.archiver.Status(), l.logged.String())
	}
}

// cluster reads the store without its script.
func (l *lab) cluster() *repository.Cluster {
	l.t.Helper()
	l.store.Reset()
	r, err := repository.Open(context.Background(), l.store)
	if err != nil {
		l.t.Fatal(err)
	}
	return r.With(encryption.Keys{Recipients: l.keys.Recipients, Identities: l.opens}).Cluster(systemID)
}

// fill writes to a segment's end and archives it.
func (l *lab) fill() {
	l.t.Helper()
	l.server.write(wal.LSN(segSize) - l.server.end()%wal.LSN(segSize))
	l.start()
	l.await()
	l.finish()
}

// remove deletes the one object whose key matches.
func (l *lab) remove(pattern string) {
	l.t.Helper()
	for _, key := range l.store.Keys() {
		if ok, _ := path.Match(pattern, strings.ReplaceAll(string(key), "/", ":")); ok {
			if err := l.store.Delete(l.t.Context(), key); err != nil {
				l.t.Fatal(err)
			}
			return
		}
	}
	l.t.Fatalf("no object matches %s: %v", pattern, l.store.Keys())
}

// putPiece puts a piece as another agent would.
func (l *lab) putPiece(tli wal.TimelineID, r wal.Range, plain []byte) {
	l.t.Helper()
	encoder := repository.NewWALEncoder(compression.Zstd())
	writer := l.cluster().With(l.keys)
	writer.Prove(encoder)
	e, err := encoder.Encode(repository.WALObject{
		SystemID: systemID, Timeline: tli, SegmentSize: segSize, Kind: repository.KindPiece, Range: r,
	}, plain)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := writer.PutWAL(l.t.Context(), e); err != nil {
		l.t.Fatal(err)
	}
}

// compare checks that the archive holds exactly the server's bytes.
func (l *lab) compare(tli wal.TimelineID, from, to wal.LSN) {
	l.t.Helper()
	c := l.cluster()
	ctx := context.Background()
	v, err := c.Coverage(ctx, tli, from)
	if err != nil || !v.Covers(wal.Range{Start: from, End: to}) {
		l.t.Fatalf("coverage of timeline %d: got %v, %v, want %s-%s", tli, v.Spans, err, from, to)
	}
	for e, err := range c.ListWAL(ctx, tli, from) {
		if err != nil {
			l.t.Fatal(err)
		}
		got, err := c.ReadWAL(ctx, e)
		if err != nil {
			l.t.Fatal(err)
		}
		if !bytes.Equal(got, l.server.bytes(e.Range.Start, e.Range.End)) {
			l.t.Fatalf("%s holds other bytes than the server", e.Key)
		}
	}
}

// objects counts the objects of a timeline, and drops the store's script.
func (l *lab) objects(tli wal.TimelineID) (segments, pieces int) {
	l.t.Helper()
	l.store.Reset()
	return l.listed(tli)
}

// listed counts the objects of a timeline.
func (l *lab) listed(tli wal.TimelineID) (segments, pieces int) {
	l.t.Helper()
	r, err := repository.Open(context.Background(), l.store)
	if err != nil {
		l.t.Fatal(err)
	}
	for e, err := range r.Cluster(systemID).ListWAL(context.Background(), tli, 0) {
		if err != nil {
			l.t.Fatal(err)
		}
		if e.Kind == repository.KindSegment {
			segments++
		} else {
			pieces++
		}
	}
	return segments, pieces
}

func TestStreamSegmentsAndPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		for range 20 {
			l.server.write(300 << 10)
			time.Sleep(300 * time.Millisecond)
		}
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		// 20 times 300 KiB: five whole segments whose pieces were deleted, and the tail.
		if segments, pieces := l.objects(1); segments != 5 || pieces == 0 || pieces > 4 {
			t.Errorf("got %d segments and %d pieces, want 5 and the tail's", segments, pieces)
		}
		s := l.archiver.Status()
		if s.State != archiver.Stopped || s.Durable != (archiver.Position{Timeline: 1, LSN: l.server.end()}) || s.Segments != 5 {
			t.Errorf("status: %+v", s)
		}
	})
}

// A commit on an idle server is durable at once, and then a second passes between pieces.
func TestPieceAtOnceWhenIdleTurnsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		time.Sleep(5 * time.Second)
		l.server.write(200)
		from := time.Now()
		l.await()
		if took := time.Since(from); took > 0 {
			t.Errorf("first piece: got %s, want at once", took)
		}
		l.server.write(200)
		from = time.Now()
		l.await()
		if took := time.Since(from); took != time.Second {
			t.Errorf("second piece: got %s, want 1s", took)
		}
		time.Sleep(time.Minute)
		puts := l.store.Count(memory.Put, "*/wal/*")
		if puts != 2 {
			t.Errorf("puts: got %d, want 2 and none while idle", puts)
		}
		l.finish()
	})
}

// The store hangs while the server writes more than fits: what does not fit stays on the
// server, which hears of us all the same, and all is archived when the store answers.
func TestBufferIsBoundedAndConnectionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.noise = true // what is compressed counts as what it is stored in
		l.opts.Buffer, l.opts.Workers = 8<<20, 2
		release := l.store.Hang(memory.Put, "*/wal/*")
		l.start()
		time.Sleep(time.Second)
		l.server.write(12 << 20)
		time.Sleep(10 * time.Minute)
		s := l.archiver.Status()
		if got := s.Received.LSN - l.anchor; got < 4<<20 || got > 10<<20 {
			t.Errorf("received: got %d bytes, want about what the buffer holds", got)
		}
		if s.State != archiver.CatchingUp || s.Durable.LSN != l.anchor || time.Since(s.Behind) < 9*time.Minute {
			t.Errorf("status: %+v", s)
		}
		l.server.change(func() {
			if l.server.maxSilence > 2*time.Second {
				t.Errorf("server heard nothing for %s", l.server.maxSilence)
			}
		})
		release()
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if n := l.server.connections(); n > 700 {
			t.Errorf("connections: %d", n)
		}
	})
}

func TestGracefulStopPutsTheTailAndTellsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.store.Delay(memory.Put, "", 200*time.Millisecond)
		l.start()
		time.Sleep(5 * time.Second)
		l.server.write(100)
		synctest.Wait()
		l.server.write(300 << 10) // within the interval: no piece of it is due
		synctest.Wait()
		end := l.server.end()
		from := time.Now()
		l.finish()
		if took := time.Since(from); took > time.Second {
			t.Errorf("stop took %s", took)
		}
		l.compare(1, l.anchor, end)
		events := l.log.Events()
		last := events[len(events)-1]
		if last.Kind != archivertest.Told || last.Flush != end {
			t.Errorf("last told: got %+v, want flush %s", last, end)
		}
	})
}

func TestStopWithHangingStoreEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.store.Hang(memory.Put, "*/wal/*")
		l.start()
		time.Sleep(time.Second)
		l.server.write(3 << 20)
		time.Sleep(time.Second)
		from := time.Now()
		l.finish()
		if took := time.Since(from); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("stop took %s, want the stop timeout of 30s", took)
		}
	})
}

// I12: pg_ctl stop -m fast is not held up by a store that hangs, and in the usual case hardly at all.
func TestServerShutdown(t *testing.T) {
	for _, hang := range []bool{false, true} {
		name := map[bool]string{false: "store answers", true: "store hangs"}[hang]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.start()
				l.server.write(100 << 10)
				time.Sleep(10 * time.Second)
				release := func() {}
				if hang {
					release = l.store.Hang(memory.Put, "*/wal/*")
				}
				before := l.archiver.Durable().LSN
				from := time.Now()
				l.server.shutDown()
				took := l.server.awaitStopped(from)
				if limit := map[bool]time.Duration{false: time.Second, true: 10 * time.Second}[hang]; took > limit {
					t.Errorf("stop took %s, want at most %s", took, limit)
				}
				if durable := l.archiver.Durable().LSN; hang && durable != before {
					t.Errorf("durable moved from %s to %s while the store hangs", before, durable)
				}
				// The server comes back, with the store: all is archived.
				release()
				l.server.change(func() { l.server.stopping = false })
				l.server.write(100)
				l.await()
				l.finish()
				l.compare(1, l.anchor, l.server.end())
			})
		})
	}
}

// What was received goes up although the server is gone.
func TestLostServerLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		time.Sleep(5 * time.Second)
		l.server.write(100)
		synctest.Wait()
		l.server.write(400 << 10)
		synctest.Wait()
		end := l.server.end()
		l.server.change(func() { l.server.refuse = postgres.ErrUnreachable })
		l.server.kill()
		time.Sleep(time.Second)
		if got := l.archiver.Durable().LSN; got != end {
			t.Errorf("durable: got %s, want %s", got, end)
		}
		away := l.archiver.Status()
		if away.State != archiver.Waiting || away.Error == "" || away.Attempts == 0 || time.Since(away.AwayFrom) > time.Second {
			t.Errorf("status: %+v", away)
		}
		time.Sleep(time.Hour)
		if s := l.archiver.Status(); !s.AwayFrom.Equal(away.AwayFrom) || s.Attempts <= away.Attempts {
			t.Errorf("away since %s after %d attempts, and an hour later since %s after %d", away.AwayFrom, away.Attempts, s.AwayFrom, s.Attempts)
		}
		l.server.change(func() { l.server.refuse = nil })
		l.server.write(100)
		l.await()
		time.Sleep(time.Second) // the state is told within a turn of the loop, also where the server says nothing more
		if s := l.archiver.Status(); !s.AwayFrom.IsZero() {
			t.Errorf("it streams, and is away: %+v", s)
		}
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// The connection breaks after every few messages.
func TestConnectionBreaksAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.cutAfter = 11 // more than a segment: a stream begins at a segment's start
		l.start()
		for range 20 {
			l.server.write(377_777)
			time.Sleep(200 * time.Millisecond)
		}
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if l.server.connections() < 6 {
			t.Errorf("connections: got %d, want many", l.server.connects)
		}
	})
}

func TestSilentServerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		l.server.change(func() { l.server.mute = true })
		time.Sleep(40 * time.Second)
		if l.server.connections() < 2 {
			t.Error("a silent connection was kept")
		}
		l.server.change(func() { l.server.mute = false })
		l.server.write(100)
		l.await()
		l.finish()
	})
}

func TestSlotActiveIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.failStart = postgres.ErrSlotActive
		l.start()
		l.server.write(1000)
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if n := strings.Count(l.logged.String(), "archiving begins"); n != 1 {
			t.Errorf("the log says %d times that archiving begins, it did once:\n%s", n, l.logged.String())
		}
	})
}

// A coverage beat says that the server was idle, and only what is proved.
func TestBeatsWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		time.Sleep(time.Minute)
		beat, ok, err := l.cluster().NewestBeat(context.Background())
		if err != nil || !ok || beat.LSN != l.server.end() || time.Since(beat.Time) > 20*time.Second {
			t.Fatalf("beat: got %+v, %v, %v", beat, ok, err)
		}
		if s := l.archiver.Status(); time.Since(s.CoverageTime) > 7*time.Second {
			t.Errorf("coverage: got %s ago", time.Since(s.CoverageTime))
		}
		time.Sleep(9 * time.Second)
		l.finish()
		last, _, err := l.cluster().NewestBeat(context.Background())
		if err != nil || !last.Time.After(beat.Time) {
			t.Errorf("last beat: got %s, %v, want after %s", last.Time, err, beat.Time)
		}
		if n := l.store.Count(memory.Put, "*/beats/*"); n != 0 {
			t.Errorf("the script was reset: %d", n)
		}
	})
}

// A store that refuses for good, as when credentials expired, is tried again until it does not.
func TestDeniedPutIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(100)
		l.await()
		for nth := range 6 {
			l.store.Fail(memory.Put, "*/wal/*", nth+1, storage.ErrDenied)
		}
		l.server.write(5000)
		time.Sleep(3 * time.Second)
		if s := l.archiver.Status(); s.StoreError == "" || s.State != archiver.Streaming {
			t.Errorf("status: %+v", s)
		}
		l.await()
		if s := l.archiver.Status(); s.StoreError != "" {
			t.Errorf("status: %+v", s)
		}
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// Pieces that may not be deleted stay, and nobody minds.
func TestPiecesMayNotBeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.store.Fail(memory.Delete, "*/wal/*", 0, storage.ErrDenied)
		l.start()
		for range 30 {
			l.server.write(100_000)
			time.Sleep(2 * time.Second)
		}
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if _, pieces := l.objects(1); pieces < 20 {
			t.Errorf("pieces: got %d, want all of them", pieces)
		}
	})
}
