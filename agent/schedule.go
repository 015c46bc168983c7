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
	// look returns when the newest good backup began, or the zero time if there is none, and whether WAL was lost since, so
	// that nothing written now can be restored before the next backup.
	look func(context.Context) (last time.Time, lost bool, err error)
	// take takes one.
	take func(context.Context) error
	// wake gets an element when WAL was lost just now.
	wake   <-chan struct{}
	logger *slog.Logger
}

// errNotEnded says that a backup was taken and WAL that was lost lies behind its start all the same: a standby's last
// restartpoint is older.
var errNotEnded = errors.New("the backup begins before WAL that was lost")

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
		return s.tellLost(ctx)
	}
	retry := firstRetry
	for {
		wait, err := s.step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end of the agent, not a failure
			}
			wait, retry = retry, min(2*retry, lastRetry)
			s.logger.ErrorContext(ctx, "base backup failed", "err", err, "wait", wait)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
			retry = firstRetry
		case <-timer.C:
		}
	}
}

// tellLost tells when WAL was lost, until ctx ends: nobody but a person takes the base backup that is due then.
func (s schedule) tellLost(ctx context.Context) error {
	told := false
	for {
		_, lost, err := s.look(ctx)
		if err == nil && lost && !told {
			s.logger.ErrorContext(ctx, "WAL was lost, and no base backup is scheduled: run pgark backup; "+
				"until then nothing that is written can be restored, and no commit that waits for the archive returns")
		}
		if err == nil {
			told = lost
		}
		timer := time.NewTimer(longestWait)
		select {
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// step takes a backup if one is due, and returns how long to wait until it looks again. One is due at once when WAL was
// lost, and stays so until a backup that begins behind the gap is there: also for an agent that was started again.
func (s schedule) step(ctx context.Context) (time.Duration, error) {
	last, lost, err := s.look(ctx)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if lost || backup.Due(last, now, *s.plan) {
		if err := s.take(ctx); err != nil && !errors.Is(err, backup.ErrRunning) {
			return 0, err
		}
		last, now = now, time.Now()
	}
	if lost {
		if _, lost, err = s.look(ctx); err != nil {
			return 0, err
		}
		if lost {
			return 0, errNotEnded
		}
	}
	next := s.plan.Next(last)
	if next.IsZero() {
		return longestWait, nil
	}
	return max(time.Second, min(next.Sub(now), longestWait)), nil
}
