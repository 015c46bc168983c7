package backup_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/backup"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestScheduleNext(t *testing.T) {
	for name, test := range map[string]struct{ expression, timezone, last, want string }{
		"daily":                  {"0 2 * * *", "", "2026-11-21T01:59:59Z", "2026-11-21T02:00:00Z"},
		"on the minute":          {"0 2 * * *", "", "2026-11-21T02:00:00Z", "2026-11-22T02:00:00Z"},
		"every other day":        {"0 2 */2 * *", "UTC", "2026-11-21T03:00:00Z", "2026-11-23T02:00:00Z"},
		"word":                   {"@daily", "", "2026-11-21T03:00:00Z", "2026-11-22T00:00:00Z"},
		"duration":               {"@every 6h", "", "2026-11-21T03:00:00Z", "2026-11-21T09:00:00Z"},
		"zone":                   {"0 2 * * *", "Europe/Berlin", "2026-11-21T03:00:00Z", "2026-11-22T01:00:00Z"},
		"zone in summer":         {"0 2 * * *", "Europe/Berlin", "2026-07-21T03:00:00Z", "2026-07-22T00:00:00Z"},
		"hour that comes twice":  {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		"hour that is left out":  {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"},
		"day that never is":      {"0 0 29 2 *", "", "2026-11-21T03:00:00Z", "2028-02-29T00:00:00Z"},
		"spaces are passed over": {" 0 2 * * * ", "", "2026-11-21T01:00:00Z", "2026-11-21T02:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := backup.ParseSchedule(test.expression, test.timezone)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Next(at(t, test.last)); !got.Equal(at(t, test.want)) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestParseScheduleRefuses(t *testing.T) {
	for name, test := range map[string]struct{ expression, timezone string }{
		"empty":            {"", ""},
		"four fields":      {"0 2 * *", ""},
		"six fields":       {"0 0 2 * * *", ""},
		"minute 60":        {"60 2 * * *", ""},
		"never":            {"0 0 30 2 *", ""},
		"own zone":         {"TZ=UTC 0 2 * * *", ""},
		"own zone alone":   {"CRON_TZ=UTC", ""},
		"unknown zone":     {"0 2 * * *", "Europe/Atlantis"},
		"local":            {"0 2 * * *", "Local"},
		"zone with a path": {"0 2 * * *", "../../etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := backup.ParseSchedule(test.expression, test.timezone); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func TestDue(t *testing.T) {
	s, err := backup.ParseSchedule("0 2 * * *", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		last, now string
		want      bool
	}{
		"never taken":           {"", "2026-11-21T01:00:00Z", true},
		"before the run":        {"2026-11-20T02:00:00Z", "2026-11-21T01:59:59Z", false},
		"at the run":            {"2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z", true},
		"late":                  {"2026-11-20T02:00:00Z", "2026-11-21T09:00:00Z", true},
		"many missed":           {"2026-10-20T02:00:00Z", "2026-11-21T09:00:00Z", true},
		"just taken after late": {"2026-11-21T09:00:00Z", "2026-11-21T09:00:01Z", false},
		"clock went back":       {"2026-11-22T09:00:00Z", "2026-11-21T09:00:01Z", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := backup.Due(at(t, test.last), at(t, test.now), s); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if backup.Due(time.Time{}, modified, backup.Schedule{}) || !(backup.Schedule{}).Next(modified).IsZero() {
		t.Error("the zero schedule is due")
	}
}

func TestScheduleJitter(t *testing.T) {
	s, err := backup.ParseSchedule("0 2 * * *", "")
	if err != nil {
		t.Fatal(err)
	}
	s.Jitter = time.Hour
	last := at(t, "2026-11-20T23:00:00Z")
	seen := map[time.Time]bool{}
	for s.Seed = range uint64(20) {
		next := s.Next(last)
		if again := s.Next(last); !again.Equal(next) {
			t.Errorf("seed %d: got %v, then %v", s.Seed, next, again)
		}
		if next.Before(at(t, "2026-11-21T02:00:00Z")) || !next.Before(at(t, "2026-11-21T03:00:00Z")) {
			t.Errorf("seed %d: %v is not within the hour", s.Seed, next)
		}
		// A run that began with its jitter is not due again the same day.
		if day := s.Next(next); day.Before(at(t, "2026-11-22T02:00:00Z")) {
			t.Errorf("seed %d: after %v comes %v", s.Seed, next, day)
		}
		seen[next] = true
	}
	if len(seen) < 15 {
		t.Errorf("20 seeds give %d times", len(seen))
	}
}

func FuzzParseSchedule(f *testing.F) {
	f.Add("0 2 * * *", "UTC")
	f.Add("@every 1s", "Europe/Berlin")
	f.Add("TZ=", "")
	f.Fuzz(func(t *testing.T, expression, timezone string) {
		s, err := backup.ParseSchedule(expression, timezone)
		if err != nil {
			return
		}
		if next := s.Next(modified); !next.IsZero() && !next.After(modified) {
			t.Errorf("%q: %v is not after %v", expression, next, modified)
		}
	})
}
