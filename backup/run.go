package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	// abortTimeout bounds the clearing up after a failed backup.
	abortTimeout = time.Minute
	// idTries is how many seconds are tried for an id that is free.
	idTries = 5
)

// Run takes one base backup from src into cluster, and returns its record. The server's files are
// compared with its manifest, size and CRC32C, and one difference fails the backup. The record is
// written last, when the repository holds the WAL from the backup's start to its stop. After any error
// but ErrPageChecksums no backup is visible, and what was stored is removed as far as the store allows;
// only where the answer to the record's own write was lost may the backup be visible, and then it is whole.
//
// If the server found pages with wrong checksums, Run stores the backup with the verdict "failed",
// returns its record and an error that wraps ErrPageChecksums: such a backup may be all there is to
// rescue, but it is not a good one, and no older backup may go because of it.
//
// Other errors to tell apart: ErrRunning, ErrWALMissing, *TimelineError, *ContentError, *MemberError
// and those of the rooms postgres, repository and storage.
func Run(ctx context.Context, src Source, cluster *repository.Cluster, o Options) (repository.Backup, error) {
	o = o.withDefaults()
	if o.Lock != nil {
		if !o.Lock.mu.TryLock() {
			return repository.Backup{}, ErrRunning
		}
		defer o.Lock.mu.Unlock()
	}
	began := time.Now().UTC().Truncate(time.Second)
	o.Progress(Progress{Phase: PhaseBegin})
	start, err := src.Begin(ctx)
	if err != nil {
		return repository.Backup{}, fmt.Errorf("begin backup: %w", err)
	}
	if start.SystemID != cluster.SystemID() {
		return repository.Backup{}, fmt.Errorf("begin backup: server has system identifier %s, want %s", start.SystemID, cluster.SystemID())
	}
	b := &run{options: o, source: src, cluster: cluster, start: start, began: began}
	record, err := b.take(ctx)
	if err != nil {
		return repository.Backup{}, err
	}
	if record.Checksums == repository.ChecksumsFailed {
		return record, fmt.Errorf("backup %s: %w: %d pages", record.ID, ErrPageChecksums, record.ChecksumFailures)
	}
	return record, nil
}

// run is one backup on its way.
type run struct {
	options Options
	source  Source
	cluster *repository.Cluster
	start   Start
	began   time.Time
}

// take stores the backup, or clears up.
func (b *run) take(ctx context.Context) (repository.Backup, error) {
	w, err := b.open(ctx)
	if err != nil {
		return repository.Backup{}, err
	}
	record, err := b.store(ctx, w)
	if err == nil {
		return record, nil
	}
	clearing, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if left := w.Abort(clearing); left != nil {
		b.options.Logger.WarnContext(ctx, "objects of a failed backup are left behind",
			"system_id", b.start.SystemID.String(), "backup", w.ID(), "err", left)
	}
	return repository.Backup{}, fmt.Errorf("backup %s: %w", w.ID(), err)
}

// open begins the backup in the repository under the first id that is free: an earlier try that was
// killed may have left objects behind within this very second.
func (b *run) open(ctx context.Context) (*repository.BackupWriter, error) {
	for try := range idTries {
		w, err := b.cluster.NewBackup(ctx, repository.BackupStart{
			ID:       repository.NewBackupID(b.began.Add(time.Duration(try) * time.Second)),
			Timeline: b.start.Timeline, StartLSN: b.start.LSN, SegmentSize: b.start.SegmentSize,
			Codec: b.options.Codec,
		})
		if err == nil || !errors.Is(err, repository.ErrBackupExists) {
			return w, err
		}
	}
	return nil, fmt.Errorf("begin backup at %s: %w", b.began.Format(time.RFC3339), repository.ErrBackupExists)
}

// store copies the files, checks them, waits for the WAL and writes the record.
func (b *run) store(ctx context.Context, w *repository.BackupWriter) (repository.Backup, error) {
	p := newPipeline(b.options, b.source, w, b.start.Total)
	if err := p.run(ctx); err != nil {
		return repository.Backup{}, err
	}
	stop, err := b.source.Finish(ctx)
	if err != nil {
		return repository.Backup{}, fmt.Errorf("end backup: %w", err)
	}
	if stop.Time.IsZero() {
		b.options.Logger.WarnContext(ctx, "the server did not tell its clock: the end of the backup is by this host's",
			"system_id", b.start.SystemID.String(), "backup", w.ID())
	}
	found, err := b.verify(p, stop)
	if err != nil {
		return repository.Backup{}, fmt.Errorf("verify: %w", err)
	}
	progress := p.progress
	progress.Phase = PhaseWAL
	b.options.Progress(progress)
	need := wal.Range{Start: b.start.LSN, End: stop.LSN}
	if err := waitWAL(ctx, b.cluster, b.options, b.start.Timeline, need); err != nil {
		return repository.Backup{}, err
	}
	progress.Phase = PhaseCommit
	b.options.Progress(progress)
	return w.Commit(ctx, b.record(found, stop), stop.Manifest)
}

// ended is when a backup was over, by the server's clock: the times of transactions are of that clock. Were it before the end, the backup would serve for
// instants whose later transactions it holds, and what is restored would not be of that instant. So it is rounded up to a millisecond, and never before the
// start. Where the server did not tell, it is now by our clock, which may be behind, but not before the end of the second in which the server says that it
// began: the WAL from there on is looked through for later transactions when the backup is chosen.
func ended(started, server, now time.Time) time.Time {
	least := started
	if server.IsZero() {
		server, least = now, started.Add(time.Second)
	}
	server = server.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
	if server.Before(least) {
		return least
	}
	return server
}

// record is the backup record but for the fields that the repository knows.
func (b *run) record(found findings, stop Stop) repository.Backup {
	started := found.started
	if started.IsZero() {
		started = b.began
	}
	return repository.Backup{
		PGVersionNum:     b.start.VersionNum,
		CatalogVersion:   uint32(found.control.CatalogVersion),
		StopLSN:          stop.LSN,
		Started:          started,
		Stopped:          ended(started, stop.Time, time.Now()),
		Label:            found.label.Label,
		Tablespaces:      b.start.Tablespaces,
		Checksums:        stop.Checksums,
		ChecksumFailures: stop.ChecksumFailures,
		History:          b.start.History,
		Writer:           b.options.Writer,
		Labels:           b.options.Labels,
		KeptUntil:        b.options.KeptUntil,
	}
}
