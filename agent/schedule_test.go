package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/config"
)

// shelf is a repository as far as a schedule sees it.
type shelf struct {
	last  time.Time
	taken []time.Duration // since the start
	fail  int             // how many takes fail first
	lost  bool            // WAL was lost; the next backup ends it
	late  int             // how many backups begin before it all the same
	wake  chan struct{}
	start time.Time

	mu *sync.Mutex // the schedule runs beside the test; schedule makes it
}

// lose says whether WAL was lost, from now on.
func (s *shelf) lose(lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = lost
}

// count tells how many backups were begun.
func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

func (s *shelf) schedule(t *testing.T, expression string) schedule {
	t.Helper()
	plan, err := parsePlan(config.Cluster{Backup: config.Backup{Schedule: expression, Timezone: "UTC"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.mu = new(sync.Mutex)
	return schedule{
		plan: plan, logger: slog.New(slog.DiscardHandler), wake: s.wake,
		look: func(context.Context) (time.Time, bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.last, s.lost, nil
		},
		take: func(context.Context) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.taken = append(s.taken, time.Since(s.start).Round(time.Minute))
			if s.fail > 0 {
				s.fail--
				return errors.New("the server went away")
			}
			s.last = time.Now()
			if s.late--; s.late < 0 {
				s.lost = false
			}
			return nil
		},
	}
}

// run runs a schedule for so long on the bubble's clock, which begins at midnight.
func (s *shelf) run(t *testing.T, expression string, length time.Duration) {
	t.Helper()
	s.start = time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	if err := s.schedule(t, expression).run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSchedule(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		name       string
		expression string
		shelf      shelf
		before     time.Duration // age of the newest backup at the start; 0 is none
		length     time.Duration
		want       []time.Duration
	}{
		{"the first at once, then daily at two", "0 2 * * *", shelf{}, 0, 2*day + time.Hour, []time.Duration{0, 2 * time.Hour, day + 2*time.Hour}},
		{"none too early", "0 2 * * *", shelf{}, 10 * time.Hour, 3 * time.Hour, []time.Duration{2 * time.Hour}},
		{"a missed one is caught up", "0 2 * * *", shelf{}, 3 * day, time.Hour, []time.Duration{0}},
		{"a failed one is tried again, less and less often", "0 2 * * *", shelf{fail: 3}, 0, time.Hour, []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute}},
		{"off", "off", shelf{}, 0, 10 * day, nil},
		{"WAL was lost while nobody looked", "0 2 * * *", shelf{lost: true}, time.Minute, time.Hour, []time.Duration{0}},
		{"and the backup fails", "0 2 * * *", shelf{lost: true, fail: 3}, time.Minute, time.Hour, []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute}},
		{"and it begins before the gap", "0 2 * * *", shelf{lost: true, late: 2}, time.Minute, time.Hour, []time.Duration{0, time.Minute, 2 * time.Minute}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := test.shelf
				if test.before > 0 {
					s.last = time.Now().Add(-test.before)
				}
				s.run(t, test.expression, test.length)
				if len(s.taken) != len(test.want) {
					t.Fatalf("taken at %v, want %v", s.taken, test.want)
				}
				for i := range test.want {
					// Retries are at 30 s, 90 s, 210 s: to the minute.
					if diff := s.taken[i] - test.want[i]; diff < -time.Minute || diff > time.Minute {
						t.Errorf("taken at %v, want %v", s.taken, test.want)
					}
				}
			})
		})
	}
}

func TestScheduleOutlivesAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		plan := s.schedule(t, "0 2 * * *")
		calls := 0
		plan.look = func(context.Context) (time.Time, bool, error) {
			if calls++; calls < 5 {
				return time.Time{}, false, errors.New("no answer")
			}
			return s.last, false, nil
		}
		s.start = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := plan.run(ctx); err != nil || len(s.taken) != 1 {
			t.Errorf("got %v and %d backups, want one", err, len(s.taken))
		}
	})
}

// TestScheduleStopsAtOnce: an agent that stops does not wait for the next backup.
func TestScheduleStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{last: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.schedule(t, "0 2 * * *").run(ctx) }()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) > 0 {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
	})
}

// TestScheduleWakesWhenWALIsLost: the base backup that ends a gap does not wait for the next look (I10).
func TestScheduleWakesWhenWALIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{last: time.Now(), wake: make(chan struct{}, 1), fail: 1}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.schedule(t, "0 2 * * *").run(ctx) }()
		synctest.Wait()
		began := time.Now()
		s.lose(true)
		s.wake <- struct{}{}
		synctest.Wait()
		if n := s.count(); n != 1 || time.Since(began) > 0 {
			t.Fatalf("taken %d after %s, want one at once", n, time.Since(began))
		}
		time.Sleep(firstRetry)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || len(s.taken) != 2 || s.lost {
			t.Errorf("got %v, %d taken, lost %t: want the one that failed and one more", err, len(s.taken), s.lost)
		}
	})
}

// TestLostWithoutASchedule: where base backups are taken by hand alone, the agent says once that one is due, and again when more is lost.
func TestLostWithoutASchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := shelf{wake: make(chan struct{}, 1)}
		plan := s.schedule(t, config.Off)
		plan.logger = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- plan.run(ctx) }()
		pass := func(lost bool) {
			synctest.Wait()
			if s.lose(lost); lost {
				s.wake <- struct{}{}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
		}
		for i, lost := range []bool{false, true, false, true} {
			pass(lost)
			if n, want := strings.Count(log.String(), "level=ERROR"), (i+1)/2; n != want {
				t.Errorf("look %d: told %d times, want %d:\n%s", i, n, want, log.String())
			}
		}
		cancel()
		if err := <-done; err != nil || len(s.taken) > 0 || !strings.Contains(log.String(), "pgark backup") {
			t.Errorf("got %v, taken %v, log:\n%s", err, s.taken, log.String())
		}
	})
}
