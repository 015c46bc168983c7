package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"syscall"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

const (
	// drillGoodbye is how long a drill may take to clean up when the agent stops. What is left then, the next one removes.
	drillGoodbye = 30 * time.Second
	// drillNice is how far a drill stands back behind everything else on its host (setpriority(2)).
	drillNice = 10
)

// drillSchedule holds drills when they are due: the first at the first time the schedule names.
type drillSchedule struct {
	plan backup.Schedule
	// look returns when the newest drill began, or the zero time if there is none, and whether there is a base backup to try.
	look func(context.Context) (last time.Time, ready bool, err error)
	// hold holds one. Its error says that none could be held.
	hold   func(context.Context) error
	logger *slog.Logger

	began time.Time // when the schedule began to run
	tried time.Time // when it held a drill, or could not, last
}

// parseDrills returns the schedule of a cluster's drills, nil where none is held by itself: there is no folder for them.
func parseDrills(c config.Cluster) (*backup.Schedule, error) {
	if c.Drill.Dir == "" || c.Drill.Schedule == config.Off {
		return nil, nil //nolint:nilnil // nil is a schedule that names no time
	}
	plan, err := backup.ParseSchedule(c.Drill.Schedule, c.Backup.Timezone)
	return &plan, err
}

// run holds drills until ctx ends, and returns nil then. Whatever comes of one, it never ends the agent.
func (s *drillSchedule) run(ctx context.Context) error {
	s.began = time.Now()
	for {
		wait, err := s.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			wait = longestWait
			s.logger.ErrorContext(ctx, "no drill could be held", "error", err)
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

// step holds a drill if one is due, and returns how long to wait until it looks again. One that could not be held is tried again when the next is due.
func (s *drillSchedule) step(ctx context.Context) (time.Duration, error) {
	last, ready, err := s.look(ctx)
	if err != nil {
		return 0, err
	}
	if last.IsZero() {
		last = s.began
	}
	if s.tried.After(last) {
		last = s.tried
	}
	now := time.Now()
	if next := s.plan.Next(last); ready && !next.IsZero() && !next.After(now) {
		s.tried = now
		if err := s.hold(ctx); err != nil {
			return 0, err
		}
		last, now = s.tried, time.Now()
	}
	next := s.plan.Next(last)
	if next.IsZero() || !ready {
		return longestWait, nil
	}
	return max(time.Second, min(next.Sub(now), longestWait)), nil
}

// drills holds drills as they are due. Each is a process of its own, so that none can harm the archiver.
func (a *running) drills(ctx context.Context, plan *backup.Schedule, command []string) error {
	if plan == nil || len(command) == 0 {
		return nil
	}
	var cluster *repository.Cluster
	select {
	case <-ctx.Done():
		return nil
	case cluster = <-a.archived:
	}
	s := drillSchedule{
		plan: *plan, logger: a.logger,
		look: func(ctx context.Context) (time.Time, bool, error) {
			drills, err := cluster.Drills(ctx, 1)
			if err != nil && !repository.OnlyUnreadable(err) {
				return time.Time{}, false, err
			}
			var last time.Time
			if len(drills) > 0 {
				last = drills[0].Started
			}
			_, ready, err := cluster.NewestRecord(ctx)
			return last, ready, err
		},
		hold: func(ctx context.Context) error {
			a.logger.InfoContext(ctx, "drill begins")
			report, err := holdDrill(ctx, command)
			if err != nil {
				return err
			}
			tellDrill(ctx, a.logger, report)
			return nil
		},
	}
	return s.run(ctx)
}

// holdDrill runs the command that holds a drill, and reads the report that it prints.
func holdDrill(ctx context.Context, command []string) (repository.Drill, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = drillGoodbye
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		return repository.Drill{}, fmt.Errorf("start drill: %w", err)
	}
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, drillNice) // it is only slower for the others without
	err := cmd.Wait()
	var held struct {
		Report repository.Drill `json:"report"`
	}
	if json.Unmarshal(out.Bytes(), &held) == nil && held.Report.Result != "" {
		return held.Report, nil // whatever the exit code says of it
	}
	var told struct {
		Error struct{ Message, Fix string } `json:"error"`
	}
	if json.Unmarshal(said.Bytes(), &told) == nil && told.Error.Message != "" {
		return repository.Drill{}, errors.New(told.Error.Message + "; " + told.Error.Fix)
	}
	return repository.Drill{}, fmt.Errorf("drill printed no report: %w", cmp.Or(err, errNoReport))
}

var errNoReport = errors.New("it ended well")

// tellDrill logs what a drill came to.
func tellDrill(ctx context.Context, logger *slog.Logger, d repository.Drill) {
	logger = logger.With("drill", d.ID, "elapsed", d.RTO.Duration())
	switch {
	case d.Result != repository.DrillPassed:
		logger.ErrorContext(ctx, "drill failed: the archive did not restore as it should", "phase", d.Phase, "error", d.Failure)
	case len(d.Missed) > 0:
		logger.WarnContext(ctx, "drill passed, and missed an objective", "missed", d.Missed)
	default:
		logger.InfoContext(ctx, "drill passed")
	}
}
