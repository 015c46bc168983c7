package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
)

const (
	// firstRetry and lastRetry bound the wait after a backup that failed; it doubles between them.
	firstRetry = 30 * time.Second
	lastRetry  = time.Hour
	// longestWait is how long the schedule is believed without a look at the clock and the
	// repository: a clock may be set, and a backup taken by hand may make the next one later.
	longestWait = 10 * time.Minute
)

// schedule takes base backups when they are due: at once when there is none.
type schedule struct {
	// plan says when; nil when no backup is scheduled.
	plan *backup.Schedule
	// last returns when the newest good backup began, or the zero time if there is none.
	last func(context.Context) (time.Time, error)
	// take takes one.
	take   func(context.Context) error
	logger *slog.Logger
}

func parsePlan(c config.Cluster, seed uint64) (*backup.Schedule, error) {
	if c.Backup.Schedule == config.Off {
		return nil, nil
	}
	plan, err := backup.ParseSchedule(c.Backup.Schedule, c.Backup.Timezone)
	if err != nil {
		return nil, err
	}
	plan.Seed = seed
	return &plan, nil
}

// run takes backups until ctx ends, and returns nil then. A backup that fails is logged and tried
// again later; it never ends the agent.
func (s schedule) run(ctx context.Context) error {
	if s.plan == nil {
		s.logger.WarnContext(ctx, "no base backup is scheduled: only those taken by hand can be restored")
		return nil
	}
	retry := firstRetry
	for {
		wait, err := s.step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end of the agent, not a failure
			}
			wait, retry = retry, min(2*retry, lastRetry)
			s.logger.ErrorContext(ctx, "base backup failed", "error", err, "wait", wait)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// step takes a backup if one is due, and returns how long to wait until it looks again.
func (s schedule) step(ctx context.Context) (time.Duration, error) {
	last, err := s.last(ctx)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if backup.Due(last, now, *s.plan) {
		if err := s.take(ctx); err != nil && !errors.Is(err, backup.ErrRunning) {
			return 0, err
		}
		last, now = now, time.Now()
	}
	next := s.plan.Next(last)
	if next.IsZero() {
		return longestWait, nil
	}
	return max(time.Second, min(next.Sub(now), longestWait)), nil
}
