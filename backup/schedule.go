package backup

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/go-co-op/gocron/v2"
)

// Schedule says when backups are to begin. The zero value is never due; ParseSchedule makes one. It is
// not safe for concurrent use.
type Schedule struct {
	// Jitter spreads the runs of many clusters: each run begins up to Jitter after the time the
	// expression names, always by the same for one Seed and time. It is meant to be far less than the
	// time between two runs; 0 means none.
	Jitter time.Duration
	// Seed tells clusters apart, for example the system identifier.
	Seed uint64

	cron gocron.Cron
}

// ParseSchedule reads a cron expression: five fields (minute, hour, day of month, month, day of week)
// or @hourly, @daily, @weekly, @monthly, @yearly, or "@every 6h". Its times are in the IANA timezone
// name ("Europe/Berlin"); empty means UTC.
func ParseSchedule(expression, timezone string) (Schedule, error) {
	if strings.Contains(expression, "=") {
		return Schedule{}, fmt.Errorf("schedule %q: a timezone is given apart from the expression", expression)
	}
	if timezone == "" {
		timezone = "UTC"
	}
	location, err := time.LoadLocation(timezone)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: timezone %q: %w", expression, timezone, err)
	}
	if location == time.Local {
		return Schedule{}, fmt.Errorf("schedule %q: timezone %q: an IANA name is needed", expression, timezone)
	}
	cron := gocron.NewDefaultCron(false)
	if err := cron.IsValid(strings.TrimSpace(expression), location, time.Unix(0, 0)); err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", expression, err)
	}
	return Schedule{cron: cron}, nil
}

// Next returns when the first run after the time last begins, in UTC. A daylight saving switch that
// leaves a named time out moves or drops that day's run, as cron does. It returns the zero time if
// there is no such run.
func (s Schedule) Next(last time.Time) time.Time {
	if s.cron == nil {
		return time.Time{}
	}
	at := s.cron.Next(last)
	if at.IsZero() {
		return time.Time{}
	}
	return at.Add(s.shift(at)).UTC()
}

// shift is the jitter of the run named at: fixed for one seed, so that a restart does not move it.
func (s Schedule) shift(at time.Time) time.Duration {
	if s.Jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], s.Seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(at.Unix()))
	_, _ = h.Write(b[:])
	return time.Duration(h.Sum64() % uint64(s.Jitter))
}

// Due reports whether a backup is to begin at the time now, when the last good one began at last: one
// is due when a run lies between the two, however many were missed, and when there was none at all
// (last is zero). A schedule that is the zero value is never due.
func Due(last, now time.Time, s Schedule) bool {
	if s.cron == nil {
		return false
	}
	if last.IsZero() {
		return true
	}
	next := s.Next(last)
	return !next.IsZero() && !next.After(now)
}
