package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// parseDrills returns the schedule of a cluster's drills, nil where none is held by itself: there is no folder for them.
func parseDrills(c config.Cluster) (*backup.Schedule, error) {
	if c.Drill.Dir == "" || c.Drill.Schedule == config.Off {
		return nil, nil //nolint:nilnil // nil is a schedule that names no time
	}
	plan, err := backup.ParseSchedule(c.Drill.Schedule, c.Backup.Timezone)
	return &plan, err
}

// drills returns the schedule of the drills of a cluster that is archived.
func (a *running) drills(cluster *repository.Cluster, plan *backup.Schedule, command []string) *jobSchedule {
	return &jobSchedule{
		plan: plan, command: command,
		tell: func(ctx context.Context, err error) {
			a.logger.ErrorContext(ctx, "no drill could be held", "err", err)
		},
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
		do: func(ctx context.Context) error {
			a.logger.InfoContext(ctx, "drill begins")
			job := a.activity.begin(status.JobDrill)
			report, err := holdDrill(ctx, command, job)
			if err != nil {
				job.end(ctx, outcome{result: status.JobFailed, detail: err.Error()})
				return err
			}
			job.end(ctx, outcomeOf(report))
			tellDrill(ctx, a.logger, report)
			return nil
		},
	}
}

// holdDrill runs the command that holds a drill, and reads the report that it prints.
func holdDrill(ctx context.Context, command []string, j *job) (repository.Drill, error) {
	var held struct {
		Report repository.Drill `json:"report"`
	}
	err := runJob(ctx, command, &held, j)
	if held.Report.Result != "" {
		return held.Report, nil // whatever the exit code says of it
	}
	return repository.Drill{}, fmt.Errorf("hold drill: %w", cmp.Or(err, errNoReport))
}

// outcomeOf is what came of a drill.
func outcomeOf(d repository.Drill) outcome {
	o := outcome{result: status.JobDone, subject: d.ID}
	if d.RTO > 0 {
		rto := float64(d.RTO)
		o.rto = &rto
	}
	if d.Result != repository.DrillPassed {
		o.result, o.detail = status.JobFailed, d.Failure
	}
	return o
}

// tellDrill logs what a drill came to.
func tellDrill(ctx context.Context, logger *slog.Logger, d repository.Drill) {
	logger = logger.With("drill", d.ID, "repo", d.Repository, "dur", d.RTO.Duration())
	switch {
	case d.Result != repository.DrillPassed:
		logger.ErrorContext(ctx, "drill failed: the archive did not restore as it should", "phase", d.Phase, "err", d.Failure)
	case d.Substituted > 0:
		logger.WarnContext(ctx, "drill passed, with objects that one repository holds damaged or not at all", "objects", d.Substituted, "missed", d.Missed)
	case len(d.Missed) > 0:
		logger.WarnContext(ctx, "drill passed, and missed an objective", "missed", d.Missed)
	default:
		logger.InfoContext(ctx, "drill passed")
	}
}
