package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/config"
)

// TestDrillSchedule: the first drill comes at the first time that the schedule names, a missed one is caught up with, one that cannot be held waits for
// the next time, and nothing is tried while there is no base backup.
func TestDrillSchedule(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		last  time.Duration // of the newest drill before the start; 0: none
		ready time.Duration // when there is a base backup
		fails bool
		want  []time.Duration // since the start, which is midnight: when drills began in two days and a half
	}{
		{"on a new cluster", 0, 0, false, []time.Duration{3 * time.Hour, 27 * time.Hour, 51 * time.Hour}},
		{"held today", 2 * time.Hour, 0, false, []time.Duration{3 * time.Hour, 27 * time.Hour, 51 * time.Hour}},
		{"missed yesterday's", 2 * day, 0, false, []time.Duration{0, 3 * time.Hour, 27 * time.Hour, 51 * time.Hour}},
		{"cannot be held", 2 * day, 0, true, []time.Duration{0, 3 * time.Hour, 27 * time.Hour, 51 * time.Hour}},
		{"no base backup yet", 0, 5 * time.Hour, false, []time.Duration{5 * time.Hour, 27 * time.Hour, 51 * time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan, err := parseDrills(config.Cluster{Drill: config.Drill{Dir: "/x", Schedule: "0 3 * * *"}})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now() // midnight, in a bubble
				var last time.Time
				if test.last > 0 {
					last = start.Add(-test.last)
				}
				var held []time.Duration
				s := jobSchedule{
					plan: plan, tell: func(context.Context, error) {},
					look: func(context.Context) (time.Time, bool, error) { return last, time.Since(start) >= test.ready, nil },
					do: func(context.Context) error {
						held = append(held, time.Since(start).Truncate(time.Hour))
						if test.fails {
							return errors.New("no room")
						}
						last = time.Now()
						return nil
					},
				}
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Hour)
				defer cancel()
				if err := s.run(ctx); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(held, test.want) {
					t.Errorf("held at %v, want %v", held, test.want)
				}
			})
		})
	}
}

// TestParseDrills: without a folder for them no drill is held by itself.
func TestParseDrills(t *testing.T) {
	for _, test := range []struct {
		dir, schedule string
		want          bool
	}{{"/x", "@daily", true}, {"", "@daily", false}, {"/x", config.Off, false}} {
		plan, err := parseDrills(config.Cluster{Drill: config.Drill{Dir: test.dir, Schedule: test.schedule}})
		if err != nil || (plan != nil) != test.want {
			t.Errorf("%q, %q: got %v, %v", test.dir, test.schedule, plan, err)
		}
	}
}

// TestHoldDrill: what the process prints is the drill, whatever its exit code; without a report it is no drill.
func TestHoldDrill(t *testing.T) {
	for _, test := range []struct {
		script, result, err string
	}{
		{`echo '{"report":{"id":"x","result":"failed","rto_seconds":2.5}}'; exit 1`, "failed", ""},
		{`echo '{"error":{"message":"no space in /x","fix":"free some","code":5}}' >&2; exit 5`, "", "hold drill: no space in /x; free some"},
		{`exit 0`, "", "hold drill: it printed no report: it ended well"},
		{`kill -9 $$`, "", "hold drill: it printed no report: signal: killed"},
	} {
		d, err := holdDrill(t.Context(), []string{"/bin/sh", "-c", test.script}, nil)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if string(d.Result) != test.result || got != test.err {
			t.Errorf("%s: got %q, %q", test.script, d.Result, got)
		}
	}
	if _, err := holdDrill(t.Context(), []string{"/nonexistent/pgark"}, nil); err == nil {
		t.Error("no program: no error")
	}
}
