package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/wal"
)

// BackupOptions say how a backup is taken on demand.
type BackupOptions struct {
	// Wait lets the WAL take as long as it takes; otherwise the backup is given up when no agent
	// archives.
	Wait bool
	// Labels go into the record.
	Labels map[string]string
	// KeptUntil exempts the backup from retention until then; zero does not.
	KeptUntil time.Time
	Progress  func(backup.Progress)
	// Lacks is told of each copy that did not get the backup, and why; nil tells nobody.
	Lacks func(name string, err error)
	// Bandwidth is what it may use; nil is no limit.
	Bandwidth *Bandwidth
	Logger    *slog.Logger
}

const (
	// aliveTimeout is how long an agent may take to archive what the server has already flushed. It
	// puts WAL each second, and a beat every ten while the server is idle.
	aliveTimeout = 20 * time.Second
	// stallTimeout is how long the WAL of a backup may take to come when nobody wants to wait: an
	// agent that archives at all has it within seconds, one with a backlog shows progress.
	stallTimeout = 2 * time.Minute
	pollEvery    = time.Second
)

// ErrNoAgent says that no agent archives the cluster, so that a backup could not be made consistent.
var ErrNoAgent = errors.New("no agent archives this cluster")

// Backup takes a base backup with connections of its own. The WAL that makes it consistent is the
// agent's affair: a backup without an agent would never be restorable, so ErrNoAgent is returned
// before a byte is read when none is at work. It goes to the primary, and from there to each copy as soon as the agent has the WAL
// there; a copy that does not get it is told and is no error, for the agent brings it up to date.
func Backup(ctx context.Context, c config.Cluster, o BackupOptions) (repository.Backup, error) {
	srv, err := newServer(c)
	if err != nil {
		return repository.Backup{}, err
	}
	if o.Progress == nil {
		o.Progress = func(backup.Progress) {}
	}
	ctx, span := beginBackup(ctx, c.Name, srv)
	o.Progress = span.watch(o.Progress)
	b, err := takeNow(ctx, srv, c, o)
	span.end(b, err)
	return b, err
}

// takeNow is Backup with the server that it asks.
func takeNow(ctx context.Context, srv server, c config.Cluster, o BackupOptions) (repository.Backup, error) {
	stores, err := openPlaces(ctx, c, StoreOptions{Patience: Brief, Bandwidth: o.Bandwidth, Logger: o.Logger})
	if err != nil {
		return repository.Backup{}, err
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	r, err := stores.open(ctx, stores.all[0].store)
	if err != nil {
		return repository.Backup{}, opening(c.Repo.URL, err)
	}
	if _, err := storage.Probe(ctx, stores.all[0].store); err != nil {
		return repository.Backup{}, err
	}
	system, err := srv.identify(ctx)
	if err != nil {
		return repository.Backup{}, err
	}
	if err := refuseForeign(ctx, r, system.ID); err != nil {
		return repository.Backup{}, err
	}
	w := follower{cluster: r.Cluster(system.ID), stall: aliveTimeout}
	if o.Wait {
		w.stall = 0
	}
	o.Progress(backup.Progress{Phase: backup.PhaseWAL})
	if err := w.wait(ctx, system.Timeline, system.Flush); err != nil {
		return repository.Backup{}, fmt.Errorf("before the backup: %w", err)
	}
	if !o.Wait {
		w.stall = stallTimeout
	}
	w.whole = archiver.Position{Timeline: system.Timeline, LSN: system.Flush}
	b, err := taker{srv, w.cluster, c}.take(ctx, atOnce, backup.Options{
		WaitDurable: w.wait, Labels: o.Labels, KeptUntil: o.KeptUntil, Progress: o.Progress, Logger: o.Logger,
	})
	if b.ID == "" {
		return b, err
	}
	for _, to := range stores.all[1:] {
		if to.byBucket {
			continue
		}
		copying, span := telemetry.Begin(ctx, telemetry.Backup.Phase(telemetry.Mirror), telemetry.Repo.String(to.name))
		copyErr := w.copy(copying, stores.all[0], to, b)
		span.End(copyErr)
		if copyErr != nil && o.Lacks != nil {
			o.Lacks(to.name, copyErr)
		}
	}
	return b, err
}

// copy brings a backup to a copy once the agent has its WAL there.
func (f follower) copy(ctx context.Context, from, to place, b repository.Backup) error {
	r, err := repository.Open(ctx, to.store)
	if err != nil {
		return opening(to.url, err)
	}
	if _, err := storage.Probe(ctx, to.store); err != nil {
		return err
	}
	f.cluster = r.Cluster(f.cluster.SystemID())
	if err := f.wait(ctx, b.Timeline, b.StopLSN); err != nil {
		return err
	}
	return repository.CopyBackup(Patient(ctx), from.store, to.store, f.cluster.SystemID(), b.ID)
}

// taker takes base backups of one cluster.
type taker struct {
	server  server
	cluster *repository.Cluster
	config  config.Cluster
}

// pace says whether the server's checkpoint is made at once, or spread out to spare the disks.
type pace uint8

const (
	atOnce pace = iota
	spread
)

// take connects and takes one backup.
func (t taker) take(ctx context.Context, pace pace, o backup.Options) (repository.Backup, error) {
	c, srv := t.config, t.server
	codec, err := compression.ByName(c.Repo.Compression)
	if err != nil {
		return repository.Backup{}, err
	}
	o.Codec, o.Writer = codec, "pgark "+Version()
	conn, err := srv.connect(ctx)
	if err != nil {
		return repository.Backup{}, err
	}
	defer hangUp(ctx, conn)
	return backup.Run(Patient(ctx), backup.Stream(conn, backup.StreamOptions{Fast: pace == atOnce, MaxRate: c.Backup.MaxRate}), t.cluster, o)
}

// follower waits, by looking into the repository, for WAL that another process archives.
type follower struct {
	cluster *repository.Cluster
	// stall is how long the archive may stand still before the wait is given up; 0 means for ever.
	stall time.Duration
	// whole is a place up to which WAL was there. On its timeline it must go on from there without a hole: uploads overtake each other. The zero
	// value takes the end of what is there.
	whole archiver.Position
}

// wait returns when the repository holds the WAL of timeline tli without a hole up to lsn, and
// ErrNoAgent when it stands still before that.
func (f follower) wait(ctx context.Context, tli wal.TimelineID, lsn wal.LSN) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var seen wal.LSN
	moved := time.Now()
	for {
		end, err := f.end(ctx, tli, seen)
		if err != nil {
			return err
		}
		if end >= lsn {
			return nil
		}
		if end > seen {
			seen, moved = end, time.Now()
		}
		if f.stall > 0 && time.Since(moved) > f.stall {
			return fmt.Errorf("%w: WAL of timeline %d is in the repository up to %s, the server is at %s, and nothing came for %s",
				ErrNoAgent, tli, end, lsn, f.stall)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// end returns where WAL on timeline tli ends that the repository holds, looking from the segment of from on; 0 if there is none.
func (f follower) end(ctx context.Context, tli wal.TimelineID, from wal.LSN) (wal.LSN, error) {
	if f.whole.Timeline == tli {
		from = max(from, f.whole.LSN)
	}
	coverage, err := f.cluster.Coverage(ctx, tli, max(from, 1)-1)
	if err != nil {
		return 0, fmt.Errorf("look for WAL in the repository: %w", err)
	}
	if len(coverage.Spans) == 0 {
		return 0, nil
	}
	if f.whole.Timeline == tli {
		end, _ := coverage.EndFrom(max(from, 1) - 1)
		return end, nil
	}
	return coverage.Spans[len(coverage.Spans)-1].End, nil
}
