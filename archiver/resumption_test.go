package archiver_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// A new archiver compares, and goes on where the one before was killed.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		for range 5 {
			l.start()
			l.server.write(333_333)
			l.await()
			l.finish()
		}
		// To a segment's end, where the segment before is compared.
		l.server.write(wal.LSN(segSize) - l.server.end()%wal.LSN(segSize))
		l.start()
		l.await()
		l.finish()
		l.start()
		l.server.write(10)
		l.await()
		l.finish()
		// The server has only what the slot keeps: nothing to compare with.
		l.server.write(wal.LSN(segSize) - l.server.end()%wal.LSN(segSize))
		l.start()
		l.await()
		l.finish()
		l.server.removed = l.server.end()
		l.start()
		l.server.write(10)
		l.await()
		l.finish()
		// And little of the segment that it keeps.
		connects := l.server.connections()
		l.start()
		l.server.write(10)
		l.await()
		l.finish()
		if got := l.server.connections() - connects; got != 2 {
			t.Errorf("connections: got %d, want 2", got)
		}
		l.compare(1, l.anchor, l.server.end())
	})
}

// Uploads end in any order. A process that dies with a later segment put and an earlier one not leaves a hole:
// the next one fills it (I2).
func TestHoleOfUploadsInFlightIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.opts.StopTimeout = 1 // dies with what is in flight
		l.start()
		l.server.write(100)
		l.await()
		l.store.Hang(memory.Put, "*/000000010000000000000004.*")
		l.server.write(4_500_000)
		time.Sleep(5 * time.Second)
		if segments, _ := l.listed(1); segments < 2 {
			t.Fatalf("segments past the hole: got %d, want some", segments)
		}
		if got := l.archiver.Durable().LSN; got > l.anchor+2<<20 {
			t.Fatalf("durable: got %s past a hole", got)
		}
		l.finish()
		l.store.Reset()
		l.start()
		l.server.write(1000)
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// On a timeline with nothing archived the first object goes alone: nothing may be there that begins later.
func TestFirstObjectOfATimelineGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		at := l.server.end()
		l.server.promote(2, at)
		l.server.write(4_000_000)
		l.opts.StopTimeout = 1
		l.store.Hang(memory.Put, "*/000000020000000000000004.*")
		l.start()
		time.Sleep(5 * time.Second)
		if segments, pieces := l.listed(2); segments+pieces != 0 {
			t.Errorf("objects that begin after the timeline does: %d segments, %d pieces", segments, pieces)
		}
		l.finish()
		l.store.Reset()
		l.start()
		l.await()
		l.finish()
		l.compare(2, at&^(1<<20-1), l.server.end())
	})
}

func TestTimelineSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		at := l.server.end() + 100_000
		l.server.write(100_000)
		l.server.promote(2, at)
		l.server.write(200_000)
		l.await()
		l.awaitLSN(1, at)
		// Several promotions while nobody looks.
		l.finish()
		second := l.server.end()
		l.server.promote(3, second)
		l.server.write(2_000_000)
		third := l.server.end()
		l.server.promote(5, third)
		l.server.write(50_000)
		l.start()
		l.await()
		l.awaitLSN(2, second)
		if err := l.archiver.WaitDurable(t.Context(), 2, second+1); err == nil {
			t.Error("waiting past the end of a timeline: got nil")
		}
		l.finish()
		l.compare(1, l.anchor, at)
		l.compare(2, at&^(1<<20-1), second)
		l.compare(3, second&^(1<<20-1), third)
		l.compare(5, third&^(1<<20-1), l.server.end())
		histories, err := l.cluster().Histories(t.Context())
		if err != nil || len(histories) != 3 {
			t.Errorf("histories: got %v, %v, want 2, 3 and 5", histories, err)
		}
	})
}

// The promoted standby lacked what the archive holds: the rest stays as a branch.
func TestArchiveBeyondTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		at := l.server.end() - 400_000
		l.server.promote(2, at)
		l.start()
		l.server.write(1_000_000)
		l.await()
		l.finish()
		l.compare(2, at&^(1<<20-1), l.server.end())
		if !bytes.Contains(l.logged.Bytes(), []byte("bytes=400000")) {
			t.Error("nobody was told of the branch")
		}
	})
}

// What must stop the archiver, and stay stopped.
func TestFences(t *testing.T) {
	var (
		conflict *archiver.ConflictError
		ahead    *archiver.AheadError
		foreign  *archiver.ForeignError
		size     *archiver.SegmentSizeError
		timeline *archiver.TimelineError
		stored   *repository.ConflictError
		history  *archiver.HistoryError
		restored *archiver.RestoredError
	)
	tests := []struct {
		name   string
		change func(l *lab)
		want   any
	}{
		{"other bytes under a durable piece", func(l *lab) { l.server.seed[l.anchor+1_100_000] = 1 }, &conflict},
		{"server set back", func(l *lab) { l.server.system.Flush -= 1000 }, &ahead},
		{"foreign server", func(l *lab) { l.server.system.ID = 42 }, &foreign},
		{"other segment size", func(l *lab) { l.server.system.SegmentSize = 2 << 20 }, &size},
		{"older timeline", func(l *lab) {
			l.server.promote(2, l.server.end())
			l.start()
			l.await()
			l.finish()
			l.server.system.Timeline = 1
		}, &timeline},
		{"other history under the same name", func(l *lab) {
			l.server.promote(2, l.server.end())
			l.start()
			l.await()
			l.finish()
			l.server.raw[2] = append([]byte("# edited\n"), l.server.raw[2]...)
		}, &history},
		{"another ancestry, of which the server lacks the file", func(l *lab) {
			l.server.promote(2, l.server.end())
			l.start()
			l.await()
			l.finish()
			l.server.promote(3, l.server.end())
			h := l.server.histories[3]
			h.Parents[0].At -= 64
			delete(l.server.histories, 2)
			l.server.raw[3] = historyFile(h)
		}, &history},
		{"promoted, with other bytes before the switch", func(l *lab) {
			l.server.seed[l.server.end()-500] = 1
			l.server.promote(2, l.server.end())
			l.server.write(1000)
		}, &conflict},
		{"promoted, with other bytes in the segment before the switch", func(l *lab) {
			l.fill()
			l.server.seed[l.server.end()-5000] = 1
			l.server.promote(2, l.server.end())
			l.server.write(1000)
		}, &conflict},
		{"promoted past the archive, with other bytes in it", func(l *lab) {
			l.server.seed[l.server.end()-500] = 1
			l.server.write(700_000)
			l.server.promote(2, l.server.end())
		}, &conflict},
		{"other bytes, and little in the last segment", func(l *lab) {
			l.fill()
			l.server.write(50)
			l.start()
			l.await()
			l.finish()
			l.server.seed[l.server.end()-5000] = 1
		}, &conflict},
		{"other bytes behind a hole", func(l *lab) {
			l.fill()
			at := l.server.end()
			l.server.write(wal.LSN(3 * segSize))
			l.start()
			l.await()
			l.finish()
			l.remove("*:0000000100000000" + fmt.Sprintf("%08X", segSize.Number(at)+1) + ".*")
			l.server.seed[at+wal.LSN(2*segSize)+7] = 1
		}, &conflict},
		{"restored from this archive", func(l *lab) {
			l.server.promote(2, l.server.end())
			l.server.histories[2].Parents[0].Reason = "after LSN 0/46E300"
			l.server.raw[2] = historyFile(l.server.histories[2])
		}, &restored},
		{"younger timeline that wrote nothing yet", func(l *lab) {
			if err := l.cluster().PutHistory(l.t.Context(), 2, []byte("1\t0/400000\tno recovery target specified\n")); err != nil {
				l.t.Fatal(err)
			}
		}, &timeline},
		{"two histories in the archive", func(l *lab) {
			l.putPiece(1, wal.Range{Start: l.server.end() - 10, End: l.server.end()}, bytes.Repeat([]byte{7}, 10))
		}, &stored},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fenced(newLab(t), test.change, test.want) })
		})
		// What two objects of the archive hold is told apart by the server's own bytes, where they cannot be opened.
		want := test.want
		if want == any(&stored) {
			want = &conflict
		}
		if want != any(&conflict) {
			continue // no content decides
		}
		t.Run(test.name+", without a private key", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.seal()
				fenced(l, test.change, want)
			})
		})
	}
}

// fenced archives, changes something, and wants the archiver to stop before it writes anything.
func fenced(l *lab, change func(l *lab), want any) {
	t := l.t
	t.Helper()
	l.start()
	l.server.write(1_500_000)
	l.await()
	l.finish()
	change(l)
	puts := l.store.Count(memory.Put, "*")
	l.start()
	err := <-l.done
	if !errors.As(err, want) {
		t.Fatalf("run: got %v, want %T\n%s", err, want, l.logged.String())
	}
	if got := l.store.Count(memory.Put, "*"); got != puts {
		t.Errorf("puts: got %d more, want none", got-puts)
	}
	var fence *archiver.FenceError
	if !errors.As(err, &fence) || fence.Server != "127.0.0.1:5432" {
		t.Errorf("run: got %v, which names no server", err)
	}
	if s := l.archiver.Status(); s.State != archiver.Fenced || s.Error == "" {
		t.Errorf("status: %+v", s)
	}
	if err := l.archiver.WaitDurable(t.Context(), 1, l.server.end()+1<<30); !errors.Is(err, archiver.ErrStopped) {
		t.Errorf("wait: got %v, want ErrStopped", err)
	}
	l.log.judge(t, l.anchor)
}

// TestSealedGoesOn: an archiver without a private key goes on where the one before ended or was killed; all is encrypted, and opens to the server's bytes.
func TestSealedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.seal()
		for range 4 {
			l.start()
			l.server.write(433_333)
			l.await()
			l.finish()
		}
		l.opts.StopTimeout = 1 // dies with what is in flight
		l.start()
		l.store.Hang(memory.Put, "*/00000001000000000000000*.*")
		l.server.write(2_500_000)
		time.Sleep(5 * time.Second)
		l.finish()
		l.opts.StopTimeout = 0
		l.store.Reset()
		l.fill()
		at := l.server.end()
		l.server.promote(2, at)
		l.start()
		l.server.write(100_000)
		l.await()
		l.finish()
		l.compare(1, l.anchor, at)
		l.compare(2, at, l.server.end())
		for _, key := range l.store.Keys() {
			if strings.Contains(string(key), "/wal/") && !strings.HasSuffix(string(key), ".age") && !strings.HasSuffix(string(key), ".history") {
				t.Errorf("%s is not encrypted", key)
			}
		}
	})
}

// TestSealedFences: who can neither open nor prove what is archived, or would put in clear what is encrypted, stops.
func TestSealedFences(t *testing.T) {
	var key *repository.KeyError
	for name, test := range map[string]struct {
		keys func(l *lab)
		want func(error) bool
	}{
		"no keys any more": {func(l *lab) { l.keys = encryption.Keys{} }, func(err error) bool { return errors.As(err, &key) }},
		"another proof key": {func(l *lab) {
			l.keys.Proofs, _ = encryption.ParseProofKeys([]byte(strings.Repeat("00", encryption.ProofSize)))
		}, func(err error) bool { return errors.As(err, &key) }},
		"public keys alone": {func(l *lab) { l.keys.Proofs = nil }, func(err error) bool { return errors.As(err, &key) }},
		"a private key alone": {func(l *lab) {
			l.keys = encryption.Keys{Identities: l.opens}
			l.server.write(1000)
		}, func(err error) bool { return errors.Is(err, repository.ErrPlain) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.seal()
				l.start()
				l.server.write(1_500_000)
				l.await()
				l.finish()
				objects := len(l.store.Keys())
				test.keys(l)
				l.start()
				if err := <-l.done; !test.want(err) {
					t.Fatalf("run: %v", err)
				}
				if got := len(l.store.Keys()); got != objects {
					t.Errorf("objects: got %d, want %d", got, objects)
				}
			})
		})
	}
}

func TestForeignServerMayBeAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		l.server.system.ID = 42
		l.opts.Adopt = 42
		l.start()
		l.server.write(10)
		l.await()
		l.stop()
		if err := <-l.done; err != nil {
			t.Fatal(err)
		}
	})
}

// A standby that was started again has less than the archive for a while: no fence.
func TestStandbyMayBeBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.standby = true
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		end := l.server.end()
		l.server.system.Flush -= 1000
		l.start()
		time.Sleep(time.Minute)
		l.server.change(func() { l.server.system.Flush = end + 50 })
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
	})
}

// TestBeginsAndGoesOn: the log tells the first start of an archive, which an operator should know of, from every later one.
func TestBeginsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		for _, want := range []string{"archiving begins", "archiving goes on"} {
			l.logged.Reset()
			l.start()
			l.server.write(5000)
			l.await()
			l.finish()
			if !bytes.Contains(l.logged.Bytes(), []byte(want)) {
				t.Errorf("log: want %q in it:\n%s", want, l.logged.String())
			}
		}
	})
}

// TestMissedHistories: a server made from a base backup may lack the history files of its ancestors; those that nobody archived are taken from its own, byte
// for byte.
func TestMissedHistories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		want := map[wal.TimelineID][]byte{}
		for tli := wal.TimelineID(2); tli <= 5; tli++ {
			l.server.promote(tli, l.server.end())
			l.server.write(10_000)
			want[tli] = l.server.raw[tli]
		}
		for tli := wal.TimelineID(2); tli <= 4; tli++ {
			delete(l.server.histories, tli)
		}
		l.start()
		l.await()
		l.finish()
		for tli, raw := range want {
			if _, got, err := l.cluster().History(t.Context(), tli); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("history of timeline %d: got %q, %v, want %q", tli, got, err, raw)
			}
		}
	})
}

// TestRestoredServerMayBeAdopted: once, and it belongs to the archive from then on.
func TestRestoredServerMayBeAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		l.server.promote(2, l.server.end()-1000)
		l.server.histories[2].Parents[0].Reason = "before LSN 0/46E300\n"
		l.server.raw[2] = historyFile(l.server.histories[2])
		l.server.write(1000)
		l.opts.Adopt = systemID
		for range 2 {
			l.start()
			l.server.write(1000)
			l.await()
			l.finish()
			l.opts.Adopt = 0
		}
	})
}

// TestPromotionIsHeardOfLate: a standby that is on its old timeline for a while yet is no server that goes on beside the archive.
func TestPromotionIsHeardOfLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(1_500_000)
		l.await()
		l.finish()
		at := l.server.end()
		l.server.promote(2, at)
		l.start()
		l.await()
		l.finish()
		l.server.change(func() { l.server.standby, l.server.system.Timeline = true, 1 })
		l.start()
		time.Sleep(time.Minute)
		if s := l.archiver.Status(); s.State != archiver.Waiting {
			t.Errorf("status: %+v", s)
		}
		l.server.change(func() { l.server.system.Timeline = 2 })
		l.await()
		l.finish()
	})
}
