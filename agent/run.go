package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/wal"
)

// Options say how an agent runs. The zero value is valid.
type Options struct {
	// Adopt is a system identifier that may be archived beside another that the repository keeps.
	Adopt wal.SystemID
	// Drill is the command that holds a drill and prints its report in JSON; empty holds none.
	Drill []string
	// Verify is the command that verifies the repositories and prints its report in JSON; empty verifies nothing.
	Verify []string
	// Prune is the command that removes what need not be kept and prints its report in JSON; empty removes nothing.
	Prune []string
	// Bandwidth is shared with the other agents of the process; nil limits nothing.
	Bandwidth *Bandwidth
	// FirstCensus is how long after WAL began to stream the repositories are looked at for a census that is due; 0 is ten minutes: an agent that ends again and again
	// does not begin with a listing of all WAL each time.
	FirstCensus time.Duration
	// Vitals are kept up to date for who asks; nil keeps none.
	Vitals *Vitals
	// Logger gets what the agent does; nil means nobody.
	Logger *slog.Logger
}

// Validate returns what is wrong with a cluster's configuration as far as that can be seen without
// a connection.
func Validate(c config.Cluster) error {
	srv, err := newServer(c)
	if err != nil {
		return err
	}
	for _, one := range c.Repositories() {
		if !strings.HasPrefix(one.URL, "s3:") {
			continue
		}
		if _, err := s3.ParseURL(one.URL); err != nil {
			return err
		}
	}
	if _, err := compression.ByName(c.Repo.Compression); err != nil {
		return err
	}
	if _, err := parsePlan(c, 0); err != nil {
		return err
	}
	if _, err := parseDrills(c); err != nil {
		return err
	}
	if _, err := parsePruning(c); err != nil {
		return err
	}
	if err := checkArchive(c); err != nil {
		return err
	}
	return errors.Join(checkFollow(srv, c), checkPolicy(srv, c))
}

// checkFollow refuses an agent of a standby that would take another server for it.
func checkFollow(srv server, c config.Cluster) error {
	if c.Standby.Role != config.RoleFollow || len(srv.config.Servers()) == 1 {
		return nil
	}
	return &ConnectionError{errors.New("with standby.role follow it names one server: the standby on this host")}
}

// Run archives one cluster until ctx ends, and takes base backups as they are due. When ctx ends it
// stops gracefully: what was received is uploaded first, as far as the store answers in time. Then it
// returns nil. An error is one that waiting does not mend: a credential that is refused, another
// cluster's repository, a history that is not the archived one. A server or a store that does not
// answer is waited for, for ever. An agent that is to follow does so until its server is no standby.
func Run(ctx context.Context, c config.Cluster, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	srv, err := newServer(c)
	if err != nil {
		return err
	}
	if c.Standby.Role == config.RoleFollow {
		if err := checkFollow(srv, c); err != nil {
			return err
		}
		if promoted, err := newFollowing(srv, c, o).run(ctx); err != nil || !promoted {
			return err
		}
	}
	uploads := newUploadSpans(ctx, c.Name)
	stores, err := openPlaces(ctx, c, StoreOptions{Patience: Forever, Bandwidth: o.Bandwidth, Logger: o.Logger, tally: o.Vitals.counts(), uploads: uploads})
	if err != nil {
		return err
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	if stores.unopened != nil {
		return stores.unopened
	}
	system, err := preflight(ctx, srv, stores, o)
	if err != nil || ctx.Err() != nil {
		return err
	}
	codec, err := compression.ByName(c.Repo.Compression)
	if err != nil {
		return err
	}
	plan, err := parsePlan(c, uint64(system))
	if err != nil {
		return err
	}
	drills, err := parseDrills(c)
	if err != nil {
		return err
	}
	verifications, err := parseVerifications(c)
	if err != nil {
		return err
	}
	pruning, err := parsePruning(c)
	if err != nil {
		return err
	}
	if err := checkPolicy(srv, c); err != nil {
		return err
	}
	if strings.HasPrefix(c.Repo.URL, "file:") && len(c.Copies) == 0 {
		o.Logger.WarnContext(ctx, "the repository is a folder: on this host it protects against mistakes, not against losing the host")
	}
	if n := stores.keys.Recipients.Count(); n > 0 {
		o.Logger.InfoContext(ctx, "contents are encrypted", "recipients", n)
	}
	a := newAgent(srv, c, o.Logger, stores)
	connect := func(ctx context.Context) (archiver.Conn, error) { return srv.connect(ctx) }
	a.archiver = archiver.New(connect, a.open, archiver.Options{
		Slot: c.Slot, Interval: c.Repo.Every, Codec: codec, Adopt: o.Adopt, Logger: o.Logger, Gap: a.gap,
		Fence: newFences(stores, o.Logger).ask, Putting: uploads.putting(),
	})
	a.commits, a.vitals, a.activity = newCommits(srv, c, a.archiver, o.Logger), o.Vitals, o.Vitals.jobs()
	return a.run(ctx, plan, func(ctx context.Context) error {
		return a.jobs(ctx, func(ctx context.Context, c *repository.Cluster) {
			a.censuses(ctx, c, cmp.Or(o.FirstCensus, makeUpAfter))
		},
			func(c *repository.Cluster) *jobSchedule { return a.drills(c, drills, o.Drill) },
			func(c *repository.Cluster) *jobSchedule { return a.verifications(c, verifications, o.Verify) },
			func(c *repository.Cluster) *jobSchedule { return a.pruning(c, pruning, o.Prune) })
	})
}

// running is one agent at work.
type running struct {
	server   server
	config   config.Cluster
	logger   *slog.Logger
	stores   *places
	archiver *archiver.Archiver
	commits  *commits
	vitals   *Vitals   // nil if nobody asks
	activity *activity // nil if nobody asks
	// opened gets the repository once.
	opened chan *repository.Repository
	// archived gets the cluster once, when its WAL streams.
	archived chan *repository.Cluster
	// lost gets an element when WAL was lost.
	lost chan struct{}
}

func newAgent(srv server, c config.Cluster, logger *slog.Logger, stores *places) *running {
	return &running{server: srv, config: c, logger: logger, stores: stores, opened: make(chan *repository.Repository, 1), archived: make(chan *repository.Cluster, 1), lost: make(chan struct{}, 1)}
}

// gap has a base backup taken at once: until then nothing that is written can be restored.
func (a *running) gap(g repository.Gap) {
	a.activity.lost(g)
	select {
	case a.lost <- struct{}{}:
	default:
	}
}

// open is the archiver's Opener: it makes the repository where there is none.
func (a *running) open(ctx context.Context) (*repository.Repository, error) {
	r, err := a.stores.create(ctx)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", a.config.Repo.URL, err)
	}
	select {
	case a.opened <- r:
	default:
	}
	return r, nil
}

func (a *running) run(ctx context.Context, plan *backup.Schedule, jobs func(context.Context) error) error {
	// The copies are looked after until the last write has ended, and so is the watchdog: other agents of the process may go on.
	keeping, endKeeping := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { a.stores.keep(keeping) })
	kept.Go(func() { keepWatchdog(keeping, a.logger, func() pulse { return feel(a.archiver.Status(), time.Now()) }) })
	defer kept.Wait()
	defer endKeeping()
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return a.archiver.Run(inner) })
	group.Go(func() error { return a.backups(inner, plan) })
	group.Go(func() error { return jobs(inner) })
	group.Go(func() error { return newGovernor(a.server, a.config, a.archiver, a.logger).seenBy(a.vitals).run(inner) })
	group.Go(func() error { return a.commits.run(inner) })
	group.Go(func() error { return a.commits.journal.run(inner) })
	group.Go(func() error { (&guard{primary: a.stores.all[0], logger: a.logger}).run(inner); return nil })
	if a.vitals != nil {
		group.Go(func() error { a.vitals.watch(inner, a); return nil })
		group.Go(func() error { a.vitals.watchVersions(inner, a.stores.all); return nil })
	}
	if s := newStandbys(a.server, a.config, a.archiver.Status, a.logger); s != nil && a.config.StandbySlots {
		group.Go(func() error { s.run(inner); return nil })
	}
	tellReady(ctx, a.logger)
	err := group.Wait()
	a.stores.drain(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// feel is what systemd is told of an agent whose archiver is in state s.
func feel(s archiver.Status, now time.Time) pulse {
	facts := health.Facts{Archive: health.Archive{Streaming: streams(s), Turned: s.Turned}}
	p := pulse{fmt.Sprintf("%s, durable %s", s.State, s.Durable.LSN), !facts.Alive(now).OK}
	if s.Error != "" {
		p.state = fmt.Sprintf("%s: %s", s.State, s.Error)
	}
	return p
}

// backups takes base backups once the archiver has a slot: the WAL from before would be missing.
func (a *running) backups(ctx context.Context, plan *backup.Schedule) error {
	system, ok := a.awaitStream(ctx)
	if !ok {
		return nil
	}
	t := taker{a.server, (<-a.opened).Cluster(system), a.config}
	a.commits.open(t.cluster)
	a.archived <- t.cluster
	var lock backup.Lock
	hurry := true
	var newest time.Time
	s := schedule{
		plan:   plan,
		logger: a.logger,
		wake:   a.lost,
		look: func(ctx context.Context) (time.Time, bool, error) {
			found, err := takeStock(ctx, t.cluster, a.archiver.Durable().Timeline)
			hurry = found.newest.IsZero() || found.lost
			if err == nil {
				if found.newest.Before(newest) {
					a.logger.ErrorContext(ctx, "the newest base backup is not in the repository any more: prune lets go of no such one", "began", newest,
						"fix", "pgark repo undelete tells what the bucket still holds; docs/runbooks/bucket-lost.md")
				}
				newest = found.newest
			}
			return found.newest, found.lost, err
		},
		take: func(ctx context.Context) error {
			speed := spread
			if hurry {
				speed = atOnce
			}
			began := time.Now()
			a.logger.InfoContext(ctx, "base backup begins")
			job := a.activity.begin(status.JobBackup)
			ctx, span := beginBackup(ctx, a.config.Name, a.server)
			b, err := t.take(ctx, speed, backup.Options{WaitDurable: a.archiver.WaitDurable, Lock: &lock, Logger: a.logger, Progress: span.watch(func(p backup.Progress) {
				job.progress(string(p.Phase), p.Done, p.Total)
			})})
			span.end(b, err)
			if err != nil {
				job.end(ctx, outcome{result: status.JobFailed, detail: err.Error()})
				return err
			}
			job.end(ctx, outcome{result: status.JobDone, subject: b.ID})
			a.logger.InfoContext(ctx, "base backup done", "backup", b.ID, "bytes", b.Plain, "stored", b.Stored,
				"dur", time.Since(began).Round(time.Millisecond))
			if a.vitals != nil && b.Good() {
				a.vitals.backedUp.Store(true)
			}
			return nil
		},
	}
	return s.run(ctx)
}

// awaitStream waits until the archiver streams from its slot, and returns the system identifier.
func (a *running) awaitStream(ctx context.Context) (wal.SystemID, bool) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		s := a.archiver.Status()
		if s.SystemID != 0 && (s.State == archiver.Streaming || s.State == archiver.CatchingUp) {
			return s.SystemID, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-ticker.C:
		}
	}
}

// preflightTimeout is how long an agent looks at the server, and then at the store, before it starts.
const preflightTimeout = 10 * time.Second

// preflight finds what waiting does not mend before anything is written, and returns the system
// identifier if the server answers.
func preflight(ctx context.Context, srv server, stores *places, o Options) (wal.SystemID, error) {
	asking, answered := context.WithTimeout(ctx, preflightTimeout)
	system, err := srv.identify(asking)
	answered()
	if err != nil {
		if lasting(err) {
			return 0, err
		}
		o.Logger.WarnContext(ctx, "the server does not answer yet; the agent keeps trying", "err", err)
	}
	// A server that says nothing has used its time up, not the store's.
	looking, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	found, errs := stores.look(looking)
	if _, err := stores.agree(found, errs); err != nil {
		return 0, err
	}
	for i, one := range stores.all {
		err := errs[i]
		if errors.Is(err, repository.ErrNoRepository) {
			if p := pastOf(looking, one.store, repository.MarkerKey); p != nil && i == 0 {
				o.Logger.ErrorContext(ctx, "there was a repository here, and it was deleted; a new one is made, so that WAL is archived meanwhile",
					"repo", one.name, "deleted", p.Lost, "fix", "pgark repo undelete brings back what the bucket still holds; docs/runbooks/bucket-lost.md")
			}
			continue
		}
		if err == nil && system.ID != 0 && o.Adopt != system.ID {
			err = refuseForeign(looking, found[i], system.ID)
		}
		switch {
		case err == nil:
		case lasting(err) && i == 0:
			return 0, fmt.Errorf("open repository: %w", err)
		default:
			o.Logger.WarnContext(ctx, "the repository does not answer yet; the agent keeps trying", "repo", one.name, "err", err)
		}
	}
	return system.ID, nil
}

// lasting tells whether err is one that waiting does not mend.
func lasting(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || storage.Retryable(err) {
		return false
	}
	for _, passing := range []error{postgres.ErrUnreachable, postgres.ErrShuttingDown, postgres.ErrTooManyConnections} {
		if errors.Is(err, passing) {
			return false
		}
	}
	return true
}
