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
	// Tablespaces says where each tablespace goes: from its OID, its original
	// path or the last part of that, to an absolute path that does not exist or
	// is an empty folder.
	Tablespaces map[string]string
	// RestoreCommand is what the server runs for each WAL file, with %f and %p.
	RestoreCommand string
	// Action is what the server does at the stop: ActionPromote if it is empty.
	Action Action
	// Jobs is the number of requests at work, 0 for four per processor. Each
	// holds up to about 8 MiB.
	Jobs int
	// Owner is whom the files are given to, which takes root; nil keeps them.
	Owner *Owner
	// Progress is called now and then with the plain bytes laid down and those
	// of the whole backup. It must be safe for concurrent use.
	Progress func(done, total int64)
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
	Took  time.Duration
	Notes []string // what a person should know
}

// layer lays one backup down.
type layer struct {
	options LayOptions
	plan    *Plan
	reader  *repository.BackupReader
	places  []*place // the data directory first

	dirsMu sync.Mutex
	dirs   map[string]bool

	files    atomic.Int64
	written  atomic.Int64
	total    int64
	reported atomic.Int64 // of written, in steps
	notes    []string
}

// LayDown writes the plan's backup into a folder beside options.Dir, verifies
// every byte on its way, prepares recovery, makes all of it durable, and then
// renames it into place. It refuses, with a *RefusedError or *SpaceError, before
// anything is written. After any other error, or a kill at any moment, the
// data directory is not there; what was written lies in options.Dir with the
// suffix ".pgark-partial", in which no server starts, and is removed by the
// next call.
func LayDown(ctx context.Context, cluster *repository.Cluster, plan *Plan, options LayOptions) (*Laid, error) {
	started := time.Now()
	l := &layer{options: options, plan: plan, dirs: map[string]bool{}}
	var err error
	if l.places, err = places(options.Dir, plan.Backup.Tablespaces, options.Tablespaces); err != nil {
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
	if err := l.extract(ctx, packs); err != nil {
		return nil, fmt.Errorf("restore backup %s into %s: %w", plan.Backup.ID, l.places[0].partial(), err)
	}
	if err := l.settle(ctx); err != nil {
		return nil, fmt.Errorf("restore backup %s into %s: %w", plan.Backup.ID, l.places[0].partial(), err)
	}
	return &Laid{Dir: l.places[0].final, Files: l.files.Load(), Bytes: l.total, Took: time.Since(started), Notes: l.notes}, nil
}

// extract lays all packs down in parallel.
func (l *layer) extract(ctx context.Context, packs []repository.Pack) error {
	jobs := l.options.Jobs
	if jobs <= 0 {
		jobs = 4 * runtime.GOMAXPROCS(0)
	}
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
	for range jobs {
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
	for _, place := range l.places {
		if place.archive == p.Archive {
			return l.newPackJob(place, table)
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
