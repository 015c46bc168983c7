package archiver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// gaps returns what is recorded as lost.
func (l *lab) gaps() []repository.Gap {
	l.t.Helper()
	gaps, err := l.cluster().Gaps(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return gaps
}

// ranges returns the bytes recorded as lost on a timeline.
func (l *lab) ranges(tli wal.TimelineID) []wal.Range {
	var own []wal.Range
	for _, g := range l.gaps() {
		if g.Timeline == tli {
			own = append(own, g.Range)
		}
	}
	return own
}

// told returns how much was recorded so far.
func (c *conversation) told() int { return len(c.Events()) }

// recordedFirst checks that the store had the record of each gap before it had a byte behind it that came after
// the event numbered from, and before the server was told of one (I2).
func (c *conversation) recordedFirst(t testing.TB, g repository.Gap, from int) {
	t.Helper()
	name := fmt.Sprintf("/gaps/%s-%s-%s.json", g.Timeline, g.Range.Start.Hex(), g.Range.End.Hex())
	behind := fmt.Sprintf("%s/%s", g.Timeline, segSize.FileName(segSize.Segment(g.Timeline, g.Range.End)))
	recorded := false
	for i, e := range c.Events()[from:] {
		_, object, isWAL := strings.Cut(e.Key, "/wal/")
		switch {
		case e.Kind == archivertest.Told && wal.TimelineID(e.Conn) == g.Timeline && e.Flush > g.Range.Start && !recorded:
			t.Fatalf("event %d: the server was told %s before gap %s was recorded", from+i, e.Flush, g.Range)
		case e.Kind == archivertest.Held && strings.HasSuffix(e.Key, name):
			recorded = true
		case e.Kind == archivertest.Held && isWAL && strings.Contains(object, "/") && object >= behind && !recorded:
			t.Fatalf("event %d: %s was put before gap %s was recorded", from+i, e.Key, g.Range)
		}
	}
	if !recorded {
		t.Fatalf("gap %s was not recorded behind event %d", g.Range, from)
	}
}

// away archives for a while, stops, and has the server write on: from end to back.
func (l *lab) away() (end, back wal.LSN) {
	l.start()
	l.server.write(1_500_000)
	l.await()
	l.finish()
	end = l.server.end()
	l.server.write(6_500_000)
	return end, l.server.end() &^ (wal.LSN(segSize) - 1)
}

// TestGap guards I2 and I10: WAL that the server removed while nobody looked is recorded as lost, exactly that, before anything
// behind it is put or confirmed; then archiving goes on, over a slot that keeps WAL.
func TestGap(t *testing.T) {
	tests := []struct {
		cause   repository.Cause
		change  func(s *server, held wal.LSN)
		created int
	}{
		{repository.CauseSlotLost, func(s *server, _ wal.LSN) { s.restart = 0 }, 2},
		{repository.CauseSlotLost, func(s *server, _ wal.LSN) { s.invalid = true }, 2},
		{repository.CauseSlotDropped, func(s *server, _ wal.LSN) { s.dropSlot() }, 2},
		{repository.CauseSlotAhead, func(s *server, held wal.LSN) { s.restart = held + 1 }, 1},
		{repository.CauseWALRemoved, func(*server, wal.LSN) {}, 1},
	}
	for _, test := range tests {
		for _, segments := range []wal.LSN{0, 1, 3} { // that the server still has before the one it writes
			if testing.Short() && segments == 1 {
				continue
			}
			t.Run(string(test.cause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t)
					var told []repository.Gap
					l.opts.Gap = l.judging(t, func(g repository.Gap) { told = append(told, g) })
					end, back := l.away()
					back -= segments * wal.LSN(segSize)
					l.server.removed = back
					test.change(l.server, end)
					before, flush := l.log.told(), l.server.end()
					l.start()
					l.await()
					l.server.write(2_000_000)
					l.await()
					l.finish()
					gaps := l.gaps()
					if len(gaps) != 1 || len(told) != 1 || told[0].Range != gaps[0].Range {
						t.Fatalf("gaps: got %+v, told %+v, want one", gaps, told)
					}
					g := gaps[0]
					if g.Timeline != 1 || (g.Range != wal.Range{Start: end, End: back}) || g.Cause != test.cause || g.ServerFlush != flush || time.Since(g.FirstSeen) > time.Minute {
						t.Errorf("got %+v, want %s to %s, %s", g, end, back, test.cause)
					}
					l.log.recordedFirst(t, g, before)
					l.compare(1, l.anchor, end)
					l.compare(1, back, l.server.end())
					if l.server.created != test.created || l.server.restart != l.server.end() || l.server.invalid {
						t.Errorf("slot: created %d times, keeps from %s", l.server.created, l.server.restart)
					}
					// The next one finds the record, and looks for nothing.
					l.start()
					connects := l.server.connections()
					l.server.write(10)
					l.await()
					l.finish()
					if len(l.gaps()) != 1 || len(told) != 1 || l.server.connections() != connects {
						t.Errorf("after a restart: %d gaps, told of %d, %d connections more", len(l.gaps()), len(told), l.server.connections()-connects)
					}
				})
			})
		}
	}
}

// TestLetGoIsNotLost: WAL that retention let go, between a base backup that stays and the window, is no hole that a killed process left: nothing is recorded as lost, and
// none of it is archived again, whether the server has it still or not.
func TestLetGoIsNotLost(t *testing.T) {
	for _, removed := range []bool{false, true} {
		t.Run(fmt.Sprintf("removed=%t", removed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.opts.Gap = func(g repository.Gap) { t.Errorf("told of a gap: %+v", g) }
				l.start()
				l.server.write(6_500_000)
				l.await()
				l.finish()
				goes := wal.Range{Start: segSize.Start(6), End: segSize.Start(8)}
				if err := l.cluster().PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{WAL: []repository.Stretch{{Timeline: 1, Range: goes}}}); err != nil {
					t.Fatal(err)
				}
				l.remove("*:wal:00000001:000000010000000000000006.zst")
				l.remove("*:wal:00000001:000000010000000000000007.zst")
				if removed {
					l.server.removed = segSize.Start(9)
				}
				l.start()
				l.server.write(2_000_000)
				l.await()
				if lost := l.archiver.Status().Lost; lost != 0 {
					t.Errorf("a base backup is waited for since %s", lost)
				}
				l.finish()
				v, err := l.cluster().Coverage(t.Context(), 1, 0)
				if err != nil || len(v.Spans) != 2 || v.Spans[0].End != goes.Start || v.Spans[1].Start != goes.End || len(l.gaps()) > 0 {
					t.Errorf("got %v, %v, and gaps %+v", v.Spans, err, l.gaps())
				}
				l.compare(1, goes.End, l.server.end())
			})
		})
	}
}

// TestSlotGoneWithItsWALThere: nothing is lost without the slot as long as the server has the WAL.
func TestSlotGoneWithItsWALThere(t *testing.T) {
	for name, change := range map[string]func(*server){
		"dropped": func(s *server) { s.dropSlot() }, "lost": func(s *server) { s.restart = 0 }, "invalid": func(s *server) { s.invalid = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				end, _ := l.away()
				l.server.removed = end &^ (wal.LSN(segSize) - 1)
				change(l.server)
				l.start()
				l.await()
				l.finish()
				l.compare(1, l.anchor, l.server.end())
				if gaps := l.gaps(); len(gaps) != 0 || l.server.restart != l.server.end() {
					t.Errorf("got %+v, the slot keeps from %s", gaps, l.server.restart)
				}
			})
		})
	}
}

// TestGapAroundUploadsInFlight: a process died with later segments put and an earlier one not, and then the server removed it all. What
// is in the archive is not recorded as lost.
func TestGapAroundUploadsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.opts.StopTimeout = 1
		l.start()
		l.server.write(100)
		l.await()
		l.store.Hang(memory.Put, "*/000000010000000000000004.*")
		l.server.write(4_500_000)
		time.Sleep(5 * time.Second)
		l.finish()
		l.store.Reset()
		v, err := l.cluster().Coverage(t.Context(), 1, 0)
		if err != nil || len(v.Spans) != 2 {
			t.Fatalf("coverage: got %v, %v, want a hole", v.Spans, err)
		}
		l.server.write(5_000_000)
		back := l.server.end() &^ (wal.LSN(segSize) - 1)
		l.server.removed = back
		l.server.dropSlot()
		l.start()
		l.await()
		l.finish()
		want := []wal.Range{{Start: v.Spans[0].End, End: v.Spans[1].Start}, {Start: v.Spans[1].End, End: back}}
		if got := l.ranges(1); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		l.compare(1, v.Spans[1].Start, v.Spans[1].End)
		l.compare(1, back, l.server.end())
	})
}

// TestGapSlotMadeAnew: a hole that a dead process left lies before what a new slot keeps. It is filled all the same.
func TestGapSlotMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.opts.StopTimeout = 1
		l.start()
		l.server.write(100)
		l.await()
		l.store.Hang(memory.Put, "*/000000010000000000000004.*")
		l.server.write(4_500_000)
		time.Sleep(5 * time.Second)
		l.finish()
		l.store.Reset()
		v, err := l.cluster().Coverage(t.Context(), 1, 0)
		if err != nil || len(v.Spans) != 2 {
			t.Fatalf("coverage: got %v, %v, want a hole", v.Spans, err)
		}
		l.server.restart = v.Spans[1].End
		l.start()
		l.server.write(1000)
		l.await()
		l.finish()
		l.compare(1, l.anchor, l.server.end())
		if gaps := l.gaps(); len(gaps) != 0 {
			t.Errorf("got %+v, want no gap", gaps)
		}
	})
}

// TestGapRemovedAgain: what the server had when the gap was recorded is removed before it is streamed. The gap goes on.
func TestGapRemovedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		end, back := l.away()
		l.server.removed = end&^(wal.LSN(segSize)-1) + 2*wal.LSN(segSize)
		first := l.server.removed
		l.opts.Gap = func(repository.Gap) { l.server.change(func() { l.server.removed = back }) }
		l.start()
		l.await()
		l.finish()
		if got, want := l.ranges(1), []wal.Range{{Start: end, End: first}, {Start: first, End: back}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		l.compare(1, back, l.server.end())
	})
}

// TestGapPromotion guards I9: the promoted server lacks WAL of the old timeline, or of its own.
func TestGapPromotion(t *testing.T) {
	const segment = wal.LSN(segSize)
	tests := []struct {
		name    string
		removed func(end, at wal.LSN) wal.LSN
		old     func(end, at, removed wal.LSN) []wal.Range
		own     func(at, removed wal.LSN) []wal.Range
	}{
		{"it has all", func(end, _ wal.LSN) wal.LSN { return end &^ (segment - 1) }, nil, nil},
		{
			"it lacks some of the old timeline", func(end, _ wal.LSN) wal.LSN { return end&^(segment-1) + 2*segment },
			func(end, _, removed wal.LSN) []wal.Range { return []wal.Range{{Start: end, End: removed}} }, nil,
		},
		{
			"it lacks all of it before the switch's segment", func(_, at wal.LSN) wal.LSN { return at &^ (segment - 1) },
			func(end, _, removed wal.LSN) []wal.Range { return []wal.Range{{Start: end, End: removed}} }, nil,
		},
		{
			"it lacks the beginning of its own too", func(_, at wal.LSN) wal.LSN { return at&^(segment-1) + segment },
			func(end, at, _ wal.LSN) []wal.Range { return []wal.Range{{Start: end, End: at}} },
			func(at, removed wal.LSN) []wal.Range { return []wal.Range{{Start: at, End: removed}} },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				end, _ := l.away()
				at := l.server.end()
				l.server.promote(2, at)
				l.server.write(3_000_000)
				l.server.dropSlot() // it is another server
				removed := test.removed(end, at)
				l.server.removed = removed
				before := l.log.told()
				l.start()
				l.await()
				l.finish()
				var old, own []wal.Range
				if test.old != nil {
					old = test.old(end, at, removed)
				}
				if test.own != nil {
					own = test.own(at, removed)
				}
				if got := l.ranges(1); !slices.Equal(got, old) {
					t.Errorf("timeline 1: got %v, want %v", got, old)
				}
				if got := l.ranges(2); !slices.Equal(got, own) {
					t.Errorf("timeline 2: got %v, want %v", got, own)
				}
				for _, g := range l.gaps() {
					l.log.recordedFirst(t, g, before)
					if g.Cause != repository.CauseFailover {
						t.Errorf("cause: got %s", g.Cause)
					}
				}
				if own == nil {
					l.compare(1, max(removed, l.anchor), at)
					l.compare(2, at&^(segment-1), l.server.end())
				} else {
					l.compare(2, removed, l.server.end())
				}
				// Again from the beginning: nothing changes.
				gaps := len(l.gaps())
				l.start()
				l.server.write(100)
				l.await()
				l.finish()
				if len(l.gaps()) != gaps {
					t.Errorf("after a restart: got %+v", l.gaps())
				}
			})
		})
	}
}

// TestGapOfAnotherBranch: the archive holds WAL of another branch of history only. That this one begins in its middle is recorded.
func TestGapOfAnotherBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.promote(2, l.server.end()-1000)
		l.start()
		l.server.write(1_000_000)
		l.await()
		l.finish()
		// The other server was promoted from timeline 1 too, long ago.
		at := l.anchor - 5000
		l.server.system.Timeline = 1
		l.server.promote(3, at)
		l.server.write(5_000_000)
		l.server.dropSlot()
		l.server.removed = l.server.end() &^ (wal.LSN(segSize) - 1)
		l.start()
		l.await()
		l.stop()
		if err := <-l.done; err != nil {
			t.Fatal(err)
		}
		gaps := l.gaps()
		if len(gaps) != 1 || gaps[0].Timeline != 3 || gaps[0].Range != (wal.Range{Start: at, End: l.server.removed}) || gaps[0].Cause != repository.CauseNotArchived {
			t.Errorf("got %+v", gaps)
		}
		l.compare(3, l.server.removed, l.server.end())
	})
}

// TestGapKilled kills the archiver at each put, and lets the store fail it once: the record is made, once, and nothing is put or told
// before it.
func TestGapKilled(t *testing.T) {
	for nth := 1; nth <= 6; nth++ {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			end, back := l.away()
			l.server.removed = back
			l.server.dropSlot()
			before := l.log.told()
			l.opts.StopTimeout = 1
			// The first ones answer, then nothing does.
			for i := range 6 {
				if i+1 >= nth {
					l.store.Fail(memory.Put, "*", i+1, errors.New("killed"))
				}
			}
			l.start()
			l.server.write(300_000)
			time.Sleep(time.Second)
			l.finish()
			l.store.Reset()
			l.start()
			l.await()
			l.finish()
			if got, want := l.ranges(1), []wal.Range{{Start: end, End: back}}; !slices.Equal(got, want) {
				t.Errorf("put %d: got %v, want %v", nth, got, want)
			}
			l.log.recordedFirst(t, l.gaps()[0], before)
			l.compare(1, back, l.server.end())
		})
	}
}

// TestGapWaitsForItsRecord: while the store does not take the record the server is told nothing new and nothing is put.
func TestGapWaitsForItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		end, back := l.away()
		l.server.removed = back
		l.server.dropSlot()
		release := l.store.Hang(memory.Put, "*/gaps/*")
		before := l.log.told()
		l.start()
		time.Sleep(time.Hour)
		if got := l.archiver.Durable().LSN; got > end {
			t.Errorf("durable: got %s, the archive ends at %s", got, end)
		}
		release()
		l.await()
		l.finish()
		l.log.recordedFirst(t, l.gaps()[0], before)
	})
}

// TestSlotLostWhileTheStoreHangs guards P10: the store hangs, the server gives the slot up and removes WAL.
func TestSlotLostWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.opts.Buffer = 8 << 20
		l.server.noise = true
		l.start()
		l.server.write(500_000)
		l.await()
		held := l.server.end()
		release := l.store.Hang(memory.Put, "*/wal/*")
		l.server.write(20 << 20)
		time.Sleep(time.Minute)
		back := l.server.end() &^ (wal.LSN(segSize) - 1)
		l.server.change(func() { l.server.removed, l.server.restart = back, 0 })
		l.server.kill()
		time.Sleep(10 * time.Minute)
		release()
		l.server.write(1000)
		l.await()
		l.finish()
		gaps := l.gaps()
		if len(gaps) != 1 || gaps[0].Range.Start < held || gaps[0].Range.End != back || gaps[0].Cause != repository.CauseSlotLost {
			t.Errorf("got %+v, want one from %s or later to %s", gaps, held, back)
		}
		l.compare(1, l.anchor, gaps[0].Range.Start)
		l.compare(1, back, l.server.end())
	})
}

// TestGapNotOfAnotherServer: while the server is looked through another one answers. Nothing is recorded.
func TestGapNotOfAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		_, back := l.away()
		l.server.removed = back
		l.server.dropSlot()
		other := newServer(t, l.log)
		other.system.ID = 42
		connects := 0
		connect := func(ctx context.Context) (archiver.Conn, error) {
			if connects++; connects%2 == 0 {
				return other.connect(ctx)
			}
			return l.server.connect(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		a, done := archiver.New(connect, l.open, l.opts), make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		err := <-done
		var foreign *archiver.ForeignError
		if err != nil && !errors.As(err, &foreign) {
			t.Errorf("run: got %v", err)
		}
		if gaps := l.gaps(); len(gaps) != 0 || connects < 2 {
			t.Errorf("got %+v after %d connections", gaps, connects)
		}
	})
}

// TestSlotActiveElsewhere: a slot without WAL that another program holds is left alone.
func TestSlotActiveElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.await()
		l.finish()
		l.server.restart, l.server.failDrop = 0, postgres.ErrSlotActive
		l.start()
		time.Sleep(time.Minute)
		if l.server.created != 1 || !l.server.slot {
			t.Errorf("slot: created %d times", l.server.created)
		}
		l.server.change(func() { l.server.failDrop = nil })
		l.server.write(100)
		l.await()
		l.finish()
		if l.server.created != 2 || len(l.gaps()) != 0 {
			t.Errorf("slot: created %d times; gaps %+v", l.server.created, l.gaps())
		}
	})
}

// TestSegmentBeforeIsRemoved: little of the last segment is archived, and the server keeps only that segment, as the slot asks it to. The one
// before, which was to be compared too, is done without.
func TestSegmentBeforeIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.start()
		l.server.write(3*wal.LSN(segSize) + 100)
		l.await()
		l.finish()
		l.server.removed = l.server.end() &^ (wal.LSN(segSize) - 1)
		connects := l.server.connections()
		l.start()
		l.server.write(10)
		l.await()
		l.finish()
		if got := l.server.connections() - connects; got > 2 || len(l.gaps()) != 0 {
			t.Errorf("got %d connections and gaps %+v, want two and none", got, l.gaps())
		}
		l.compare(1, l.anchor, l.server.end())
	})
}
