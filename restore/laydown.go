package restore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
)

// LayOptions says where and how a cluster is laid down. Dir and
// RestoreCommand are needed; the zero value of all else is valid.
type LayOptions struct {
	// Dir is the new data directory. It must not exist, or be an empty folder.
	Dir string
	// InPlace says that Dir is a data directory of the same cluster, whose
	// server does not run, and that it is replaced: files that are right
	// already are kept, and its tablespaces stay where they are.
	InPlace bool
	// Tablespaces says where each tablespace goes: from its OID, its original
	// path or the last part of that, to an absolute path that does not exist or
	// is an empty folder.
	Tablespaces map[string]string
	// RestoreCommand is what the server runs for each WAL file, with %f and %p.
	RestoreCommand string
	// Action is what the server does at the stop: ActionPromote if it is empty.
	Action Action
	// Standby makes the cluster a standby that follows the archive on and on; nil: it recovers to the plan's stop.
	Standby *Standby
	// Jobs is the number of requests at work, 0 for four per processor. Each
	// holds up to about 8 MiB.
	Jobs int
	// Owner is whom the files are given to, which takes root; nil keeps them.
	Owner *Owner
	// Progress is called now and then with the plain bytes laid down and those
	// of the whole backup. It must be safe for concurrent use.
	Progress func(done, total int64)
}

// Standby says how a standby follows the archive, beside LayOptions.RestoreCommand. The zero value is valid.
type Standby struct {
	// Conninfo is its primary_conninfo, such as that of a follower on its host; empty: it takes WAL from the archive by files alone.
	Conninfo string
	// Silence is how long a server that it streams from may say nothing before it is given up (wal_receiver_timeout); 0 leaves the server's own limit.
	Silence time.Duration
}

// Action is what a server does when recovery has reached its stop
// (recovery_target_action).
type Action string

// The actions.
const (
	ActionPromote  Action = "promote"
	ActionPause    Action = "pause"
	ActionShutdown Action = "shutdown"
)

// Laid says what was laid down.
type Laid struct {
	Dir   string // absolute
	Files int64
	Bytes int64 // plain
	// ReusedFiles and ReusedBytes are those of them that were there already.
	ReusedFiles, ReusedBytes int64
	Took                     time.Duration
	Notes                    []string // what a person should know
}

// layer lays one backup down.
type layer struct {
	options LayOptions
	plan    *Plan
	reader  *repository.BackupReader
	places  []*place // the data directory first
	reuse   *reuse   // nil where nothing lay there before

	dirsMu sync.Mutex
	dirs   map[string]bool
	// members is how many the packs that were opened have, and claimed the files among them: they are opened one after the other.
	members int
	claimed struct{ files, bytes int64 }

	files   atomic.Int64
	written atomic.Int64

	reusedFiles, reusedBytes atomic.Int64

	total    int64
	reported atomic.Int64 // of written, in steps
	notes    []string
}

// LayDown writes the plan's backup into a folder beside options.Dir, verifies
// every byte on its way, prepares recovery, makes all of it durable, and then
// renames it into place. It refuses, with a *RefusedError or *SpaceError, before
// anything is written. After any other error, or a kill at any moment, the
// data directory is not there; what was written lies in options.Dir with the
// suffix ".pgark-partial", in which no server starts, and the next call goes on
// from the files that are right in it.
//
// In place it writes into options.Dir itself. Before anything there is changed
// its pg_control is taken away, without which no server starts, and it comes
// back when all else is durable.
func LayDown(ctx context.Context, cluster *repository.Cluster, plan *Plan, options LayOptions) (*Laid, error) {
	started := time.Now()
	l := &layer{options: options, plan: plan, dirs: map[string]bool{}}
	if err := plan.Frozen(started); err != nil {
		return nil, fmt.Errorf("restore backup %s: %w", plan.Backup.ID, err)
	}
	var err error
	if l.places, err = placesOf(plan, options); err != nil {
		return nil, err
	}
	if l.reader, err = cluster.OpenBackup(ctx, plan.Backup); err != nil {
		return nil, fmt.Errorf("restore backup %s: %w", plan.Backup.ID, err)
	}
	packs := l.reader.Packs()
	for _, p := range packs {
		l.total += p.Plain
	}
	if err := room(l.places, packs, plan.Needed-min(plan.Needed, uint64(max(plan.Backup.Plain, 0)))); err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range l.places {
			p.close()
		}
	}()
	if err := prepare(ctx, l.places, options.Owner); err != nil {
		return nil, err
	}
	there, err := l.leftovers()
	if err == nil && there {
		err = l.sift(ctx, packs)
	}
	if err != nil {
		return nil, fmt.Errorf("restore backup %s into %s: %w", plan.Backup.ID, l.places[0].partial(), err)
	}
	if err := l.extract(ctx, packs); err != nil {
		return nil, fmt.Errorf("restore backup %s into %s: %w", plan.Backup.ID, l.places[0].partial(), err)
	}
	l.written.Store(l.total) // also what lies between the files, of packs that need not be read
	l.report()
	if err := l.settle(ctx); err != nil {
		return nil, fmt.Errorf("restore backup %s into %s: %w", plan.Backup.ID, l.places[0].partial(), err)
	}
	return &Laid{
		Dir: l.places[0].final, Files: l.files.Load(), Bytes: l.total, Took: time.Since(started), Notes: l.notes,
		ReusedFiles: l.reusedFiles.Load(), ReusedBytes: l.reusedBytes.Load(),
	}, nil
}

// placesOf decides where each archive of the plan's backup goes.
func placesOf(plan *Plan, options LayOptions) ([]*place, error) {
	if options.InPlace {
		return inPlaces(plan, options)
	}
	return places(options.Dir, plan.Backup.Tablespaces, options.Tablespaces)
}

// jobs is how many files or requests are at work at the same time.
func (l *layer) jobs() int {
	if l.options.Jobs > 0 {
		return l.options.Jobs
	}
	return 4 * runtime.GOMAXPROCS(0)
}

// extract lays all packs down in parallel.
func (l *layer) extract(ctx context.Context, packs []repository.Pack) error {
	var all []*packJob
	defer func() {
		for _, j := range all {
			j.abandon()
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	tasks := make(chan task)
	g.Go(func() error {
		defer close(tasks)
		for _, p := range packs {
			j, err := l.openPack(ctx, p)
			if err != nil {
				return err
			}
			all = append(all, j)
			for _, t := range j.tasks() {
				select {
				case tasks <- t:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range l.jobs() {
		g.Go(func() error {
			w := &worker{
				layer: l, decoder: l.reader.Codec().NewDecoder(), table: crcTable(), done: &l.written,
				buffer: make([]byte, 0, repository.FrameSize),
			}
			for t := range tasks {
				if err := w.run(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, j := range all {
		if len(j.open) > 0 {
			return errors.New("files were left incomplete")
		}
	}
	return nil
}

// openPack reads the index of a pack and makes its folders.
func (l *layer) openPack(ctx context.Context, p repository.Pack) (*packJob, error) {
	table, err := l.reader.Table(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := l.claim(table); err != nil {
		return nil, err
	}
	place, err := l.placeOf(p)
	if err != nil {
		return nil, err
	}
	return l.newPackJob(place, table)
}

// claim counts what a pack holds, and refuses a backup that holds more than its record says: what a restore writes is known before it begins.
func (l *layer) claim(t *repository.PackTable) error {
	l.members += len(t.Files)
	for i := range t.Files {
		if f := &t.Files[i]; f.Type == repository.TypeFile {
			l.claimed.files, l.claimed.bytes = l.claimed.files+1, l.claimed.bytes+f.Size
		}
	}
	if rec := l.plan.Backup; l.claimed.files > rec.Files || l.claimed.bytes > rec.Plain {
		return &CorruptFileError{Path: t.Pack.Name, Reason: fmt.Sprintf("%d files of %d bytes up to here, the record says %d of %d",
			l.claimed.files, l.claimed.bytes, rec.Files, rec.Plain)}
	}
	return nil
}

// placeOf returns the place that a pack is laid into.
func (l *layer) placeOf(p repository.Pack) (*place, error) {
	for _, place := range l.places {
		if place.archive == p.Archive {
			return place, nil
		}
	}
	return nil, &CorruptFileError{Path: p.Name, Reason: "archive " + strconv.Quote(p.Archive) + " is no tablespace of the backup"}
}

// progressStep is how much is laid down between two calls of Progress, in bytes.
const progressStep = 16 << 20

// report calls Progress if enough was laid down since the last call.
func (l *layer) report() {
	if l.options.Progress == nil {
		return
	}
	done, last := l.written.Load(), l.reported.Load()
	if (done-last >= progressStep || done == l.total) && l.reported.CompareAndSwap(last, done) {
		l.options.Progress(done, l.total)
	}
}
