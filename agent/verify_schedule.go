package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/verify"
)

// parseVerifications returns the schedule of a cluster's verifications, nil where none is made by itself.
func parseVerifications(c config.Cluster) (*backup.Schedule, error) {
	if c.Verify.Schedule == config.Off || c.Verify.Schedule == "" {
		return nil, nil //nolint:nilnil // nil is a schedule that names no time
	}
	plan, err := backup.ParseSchedule(c.Verify.Schedule, c.Backup.Timezone)
	return &plan, err
}

// verifications returns the schedule of the verifications of a cluster that is archived. When the last one was is told by the primary repository.
func (a *running) verifications(cluster *repository.Cluster, plan *backup.Schedule, command []string) *jobSchedule {
	primary := a.stores.all[0]
	return &jobSchedule{
		plan: plan, command: command,
		tell: func(ctx context.Context, err error) {
			a.logger.ErrorContext(ctx, "repositories could not be verified", "err", err)
		},
		look: func(ctx context.Context) (time.Time, bool, error) {
			readings, err := repository.Unchecked(primary.store).Cluster(cluster.SystemID()).Readings(ctx, identity(primary.url), time.Now())
			if err != nil && !repository.OnlyUnreadable(err) {
				return time.Time{}, false, err
			}
			var last time.Time
			for _, r := range readings {
				last = r.Began
			}
			return last, true, nil
		},
		do: func(ctx context.Context) error {
			a.logger.InfoContext(ctx, "verification begins")
			var report verify.Report
			job := a.activity.begin(status.JobVerify)
			if err := runJob(ctx, command, &report, job); err != nil {
				job.end(ctx, outcome{result: status.JobFailed, detail: err.Error()})
				return fmt.Errorf("verify: %w", err)
			}
			a.activity.noteVerified(report)
			o := outcome{result: status.JobDone, detail: string(report.Verdict)}
			if report.Verdict == verify.Impaired || report.Verdict == verify.Lost {
				o.result = status.JobFailed
			}
			job.end(ctx, o)
			tellVerified(ctx, a.logger, report)
			return nil
		},
	}
}

// tellVerified logs what a verification came to: the first object that is wrong by name.
func tellVerified(ctx context.Context, logger *slog.Logger, r verify.Report) {
	var objects, bytes int64
	for _, p := range r.Repositories {
		objects, bytes = objects+p.Read, bytes+p.ReadBytes
		if p.Error != "" {
			logger.WarnContext(ctx, "a repository was not verified", "repo", p.Name, "err", p.Error)
		}
	}
	logger = logger.With("objects", objects, "bytes", bytes, "dur", r.Ended.Sub(r.Began))
	if len(r.Damage) > 0 {
		d := r.Damage[0]
		logger = logger.With("damaged", len(r.Damage), "repo", d.Repository, "key", string(d.Key), "err", d.Reason)
	}
	switch r.Verdict {
	case verify.Lost:
		logger.ErrorContext(ctx, "verification found damage that no repository holds right: pgark verify says what is at risk")
	case verify.Impaired, verify.Healed:
		logger.ErrorContext(ctx, "verification found damage: pgark verify --repair puts it right from a copy")
	case verify.Sound:
		logger.InfoContext(ctx, "verification found nothing wrong")
	}
}
