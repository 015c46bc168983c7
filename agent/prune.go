package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/telemetry"
)

// PruneOptions say how repositories are pruned.
type PruneOptions struct {
	// Remove carries the plans out; without it nothing is written.
	Remove bool
	// Sparing refuses to remove most base backups of a cluster: retention.ErrTooMuch.
	Sparing bool
	// As is the name of the repository that alone is pruned, where the configuration that names it was cut down to it; empty otherwise.
	As string
	// Show, if not nil, is given the plan of each repository before anything is deleted there.
	Show func(retention.RepositoryReport)
	// Progress, if not nil, is called after each deletion in a repository.
	Progress func(name string, r retention.Removed)
}

var (
	// errNoAgreement says that a copy is not one.
	errNoAgreement = errors.New("it holds another repository than the primary")
	// errNoPrimary says that nothing tells whether a copy is one. It can wait.
	errNoPrimary = errors.New("nothing goes while the primary does not show that this is a copy of it")
)

// Prune plans for each repository of a cluster, by what that one holds, what need not be kept, and removes it if o says so. One that fails keeps no other from
// being pruned: its error is in the report; but no copy is while the primary does not answer, or was emptied. Then, whatever came of that, the locks of what is there are made longer. A copy that the primary's bucket makes is left out. The error is that of a configuration that cannot be used, or the end of ctx.
func Prune(ctx context.Context, c config.Cluster, so StoreOptions, o PruneOptions) (retention.Report, error) {
	ctx, span := telemetry.Begin(ctx, telemetry.Prune, telemetry.Cluster.String(c.Name))
	report, err := prune(ctx, c, so, o)
	span.Set(pruneFacts(report)...)
	failed := err
	for _, r := range report.Repositories {
		failed = cmp.Or(failed, r.Err)
	}
	span.End(failed)
	return report, err
}

// prune is Prune.
func prune(ctx context.Context, c config.Cluster, so StoreOptions, o PruneOptions) (retention.Report, error) {
	report := retention.Report{
		Cluster: c.Name, Removed: o.Remove, Window: int64(c.Retain.Window.Seconds()), Grace: int64(c.Retain.Grace.Seconds()), Repositories: []retention.RepositoryReport{},
	}
	policy, err := policyFor(c)
	if err != nil {
		return report, err
	}
	stores, err := openPlaces(ctx, c, so)
	if err != nil {
		return report, err
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	found, errs := stores.look(ctx)
	for i, one := range stores.all {
		if one.byBucket {
			continue
		}
		one.name = cmp.Or(o.As, one.name)
		err := errs[i]
		switch {
		case err != nil:
		case found[0] == nil:
			err = errNoPrimary
		case found[i].Marker().RepositoryID != found[0].Marker().RepositoryID:
			err = errNoAgreement
		}
		r := retention.RepositoryReport{Name: one.name, Repository: one.url, Clusters: []retention.ClusterReport{}}
		if err == nil {
			how := retention.Options{Policy: policy}
			if c.Retain.Versions == config.RemoveVersions {
				how.ForGood = one.store
			}
			r, err = pruneOne(ctx, one, found[i], how, o)
		} else {
			err = opening(one.url, err)
		}
		if o.Remove && ctx.Err() == nil {
			r.Locks = renew(ctx, c, one)
		}
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		if err != nil {
			r.Error, r.Changed, r.Err = err.Error(), errors.Is(err, retention.ErrChanged), err
		}
		report.Repositories = append(report.Repositories, r)
	}
	return report, nil
}

// policyFor returns the policy of the configuration.
func policyFor(c config.Cluster) (retention.Policy, error) {
	zone, err := time.LoadLocation(c.Backup.Timezone)
	if err != nil {
		return retention.Policy{}, fmt.Errorf("timezone %s: %w", c.Backup.Timezone, err)
	}
	r := c.Retain
	return retention.Policy{
		Window: r.Window, Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, Yearly: r.Yearly, MinBackups: r.MinBackups, Grace: r.Grace, Reread: c.Verify.Since, Zone: zone,
	}, nil
}

// pruneOne prunes one repository. Of how, the policy and what goes for good are given.
func pruneOne(ctx context.Context, one place, r *repository.Repository, how retention.Options, o PruneOptions) (retention.RepositoryReport, error) {
	how.Place, how.Now = retention.Place{Name: one.name, ID: identity(one.url)}, time.Now()
	how.Remove, how.Sparing = o.Remove, o.Sparing
	if o.Show != nil {
		how.Show = func(p retention.Plan) { o.Show(retention.Describe(one.name, one.url, p)) }
	}
	how.Progress = func(sum retention.Removed) {
		if o.Progress != nil {
			o.Progress(one.name, sum)
		}
	}
	plan, removed, err := retention.Prune(ctx, r, how)
	report := retention.Describe(one.name, one.url, plan)
	report.DeletedObjects, report.DeletedBytes = removed.Objects, removed.Bytes
	report.Versions = retention.DescribeRemoval(plan, removed)
	if err != nil || how.Policy.Window == 0 {
		return report, err
	}
	return report, sweep(ctx, one.store, how.Now, o, &report)
}

// renew makes the locks of all that is still there longer, whatever kept the repository from being pruned: a record that cannot be read, or a primary that is lost, must not
// let the locks of the rest end. It returns nil where nothing is to be locked.
func renew(ctx context.Context, c config.Cluster, one place) *retention.LocksReport {
	if one.lock.IsZero() {
		return nil
	}
	r := retention.Renewal{Lock: one.lock, Now: time.Now()}
	if plan, err := parsePruning(c); err == nil && plan != nil {
		r.Every = longestPause(*plan)
	}
	extended, err := retention.Renew(ctx, one.store, r)
	if err != nil {
		return nil // with the end of ctx
	}
	return retention.DescribeLocks(extended)
}

// abandonedUpload is how old an upload is that nobody ends any more: the parts of a pack come within minutes.
const abandonedUpload = 7 * 24 * time.Hour

// sweep drops the uploads that were begun long ago and never ended.
func sweep(ctx context.Context, store storage.Sweeper, now time.Time, o PruneOptions, report *retention.RepositoryReport) error {
	stale, err := store.StaleUploads(ctx, now.Add(-abandonedUpload))
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case errors.Is(err, storage.ErrDenied):
		report.UploadsError = err.Error() // the bucket's own rules may see to it
		return nil
	case err != nil:
		return fmt.Errorf("look for unfinished uploads: %w", err)
	}
	report.Uploads = len(stale)
	for _, u := range stale {
		if !o.Remove {
			break
		}
		if err := store.DropUpload(ctx, u); err != nil {
			return fmt.Errorf("drop unfinished upload: %w", err)
		}
	}
	return nil
}

// parsePruning returns the schedule at which a cluster's repositories are pruned, nil where the agent never does. Where everything is kept for ever there may be locks to be
// made longer.
func parsePruning(c config.Cluster) (*backup.Schedule, error) {
	if c.Retain.Schedule == config.Off || c.Retain.Schedule == "" || c.Retain.Window == 0 && !locks(c) {
		return nil, nil //nolint:nilnil // nil is a schedule that names no time
	}
	plan, err := backup.ParseSchedule(c.Retain.Schedule, c.Backup.Timezone)
	return &plan, err
}

// locks reports whether the objects of any repository of a cluster come under lock.
func locks(c config.Cluster) bool {
	return slices.ContainsFunc(c.Repositories(), func(p config.Copy) bool { return !p.Lock.IsZero() })
}

// makeUpAfter is how long an agent has run before it makes up for a run that came due while none did: one that ends again and again does not begin with that each time.
const makeUpAfter = longestWait

// pruning returns the schedule at which the repositories of a cluster that is archived are pruned.
func (a *running) pruning(cluster *repository.Cluster, plan *backup.Schedule, command []string) *jobSchedule {
	s := &jobSchedule{
		plan: plan, command: command,
		tell: func(ctx context.Context, err error) {
			a.logger.ErrorContext(ctx, "repositories could not be pruned", "err", err)
		},
		do: func(ctx context.Context) error {
			var report retention.Report
			job := a.activity.begin(status.JobPrune)
			if err := runJob(ctx, command, &report, job); err != nil {
				job.end(ctx, outcome{result: status.JobFailed, detail: err.Error()})
				return fmt.Errorf("prune: %w", err)
			}
			job.end(ctx, pruned(report))
			tellPruned(ctx, a.logger, report)
			return nil
		},
	}
	primary := repository.Unchecked(a.stores.all[0].store).Cluster(cluster.SystemID())
	s.look = func(ctx context.Context) (time.Time, bool, error) {
		last, err := lastPruned(ctx, primary, s)
		return last, true, err
	}
	return s
}

// lastPruned is when the repository was pruned last, as far as that is looked for: the agent knows of its own runs, and once it has run for makeUpAfter the repository's expiry records tell of those
// before. A run that let nothing go left none, and is made again; it may have locks to make longer.
func lastPruned(ctx context.Context, primary *repository.Cluster, s *jobSchedule) (time.Time, error) {
	now := time.Now()
	if !s.tried.IsZero() || now.Sub(s.began) < makeUpAfter {
		return s.began, nil
	}
	e, err := primary.Expiry(ctx)
	switch {
	case err != nil && !repository.OnlyUnreadable(err):
		return time.Time{}, err
	case e.Time.IsZero():
		return time.Unix(0, 0), nil
	case e.Time.After(now): // by a clock that was wrong
		return s.began, nil
	}
	return e.Time, nil
}

// pruned is what came of letting go what need not be kept.
func pruned(r retention.Report) outcome {
	o := outcome{result: status.JobDone}
	for _, one := range r.Repositories {
		if one.Error != "" && !one.Changed {
			o.result, o.detail = status.JobFailed, one.Error
		}
	}
	return o
}

// tellPruned logs what became of each repository.
func tellPruned(ctx context.Context, logger *slog.Logger, r retention.Report) {
	for _, one := range r.Repositories {
		logger := logger.With("repo", one.Name, "objects", one.DeletedObjects, "bytes", one.DeletedBytes)
		if l := one.Locks; l != nil && l.Failed > 0 {
			logger.ErrorContext(ctx, "locks of what stays were not made longer", "locks", l.Failed, "err", l.Error)
		}
		switch {
		case one.Changed: // perhaps by the agent of another host, which prunes at the same time
			logger.InfoContext(ctx, "repository changed while it was pruned: the next time a new plan is made", "err", one.Error)
		case one.Error != "":
			logger.ErrorContext(ctx, "repository was not pruned", "err", one.Error)
		case one.DeletedObjects > 0 || one.Versions != nil && one.Versions.Removed > 0:
			if v := one.Versions; v != nil {
				logger = logger.With("versions", v.Removed, "version_bytes", v.RemovedBytes, "locked_versions", v.Locked, "locked_bytes", v.LockedBytes)
			}
			logger.InfoContext(ctx, "repository was pruned")
		}
	}
}
