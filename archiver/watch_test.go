package archiver_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestCloneBesideItsSource guards I4: a clone that begins exactly where the archive ends puts a piece of its own beside those of its source. Their keys differ, so
// nothing collides; the archiver looks, and stops, now and at each start.
func TestCloneBesideItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		end := l.server.end()
		l.putPiece(1, wal.Range{Start: end, End: end + 64}, bytes.Repeat([]byte{7}, 64))
		l.server.write(1000)
		l.await()
		time.Sleep(time.Minute)
		for i := range 4 {
			if i > 0 {
				l.start()
			}
			var conflict *repository.ConflictError
			if err := <-l.done; !errors.As(err, &conflict) || conflict.Range.Start != end {
				t.Fatalf("run: got %v, want a conflict at %s\n%s", err, end, l.logged.String())
			}
		}
	})
}

// TestAnotherAgentOfTheSameServer: two agents with a slot each do no harm, and are told of once.
func TestAnotherAgentOfTheSameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		end := l.server.end()
		l.putPiece(1, wal.Range{Start: end, End: end + 64}, l.server.bytes(end, end+64))
		l.server.write(1000)
		l.await()
		time.Sleep(5 * time.Minute)
		l.server.write(3_000_000)
		l.await()
		time.Sleep(5 * time.Minute)
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if n := strings.Count(l.logged.String(), "another agent archives here too"); n != 1 {
			t.Errorf("told %d times, want once:\n%s", n, l.logged.String())
		}
	})
}

// TestAgentAloneIsNotAnother: an agent is not told of its own pieces, nor of those it found.
func TestAgentAloneIsNotAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		for range 3 {
			l.start()
			for range 6 {
				l.server.write(300_000)
				l.await()
				time.Sleep(17 * time.Second)
			}
			l.finish()
		}
		if strings.Contains(l.logged.String(), "another agent") {
			t.Errorf("told of another agent:\n%s", l.logged.String())
		}
	})
}

// TestArchivedMeanwhile guards A3 and A9: between what the server says of itself and the list of what is archived another agent of it archives more, also of a timeline that is new. That is no server
// that was set back, and no fence.
func TestArchivedMeanwhile(t *testing.T) {
	for name, promoted := range map[string]bool{"more": false, "a new timeline": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.start()
				l.server.write(1_500_000)
				l.await()
				l.finish()
				release := l.store.Hang(memory.List, "")
				l.start()
				tli, at := wal.TimelineID(1), l.server.end()
				if promoted {
					tli = 2
					l.server.promote(tli, at)
					if err := l.cluster().PutHistory(t.Context(), tli, l.server.raw[tli]); err != nil {
						t.Fatal(err)
					}
				}
				l.server.write(1000)
				l.putPiece(tli, wal.Range{Start: at, End: at + 1000}, l.server.bytes(at, at+1000))
				release()
				l.server.write(300_000)
				l.await()
				l.finish()
				l.compare(1, l.anchor, at)
				l.compare(tli, at, l.server.end())
			})
		})
	}
}

// TestPromotionElsewhere guards P6: while this server streams on, another one is promoted and archived. The archiver does not go on for months beside it.
func TestPromotionElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		if err := l.cluster().PutHistory(t.Context(), 2, []byte("1\t0/400000\tno recovery target specified\n")); err != nil {
			t.Fatal(err)
		}
		var timeline *archiver.TimelineError
		if err := <-l.done; !errors.As(err, &timeline) || timeline.Archive != 2 || timeline.Switch != 0x400000 {
			t.Errorf("run: got %v, want a fence", err)
		}
	})
}
