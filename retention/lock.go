package retention

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

const (
	// MostLocks is how many objects one run asks for the end of their lock. Those beyond it are asked by the next runs: each begins elsewhere.
	MostLocks = 50_000
	// mostAhead is how long before its end a lock is made longer: by then the next run has come, also if some were missed.
	mostAhead = 7 * 24 * time.Hour
	// locking is how many requests are under way at a time.
	locking = 16
)

// Extended is what became of the locks of objects that stay.
type Extended struct {
	Lock     storage.Lock
	Asked    int // objects whose lock was asked for
	Extended int // of these, whose lock ended too soon and is longer now
	Failed   int // of these, whose lock could not be seen or made longer
	Left     int // that the next runs ask for
	// Err is the first error; nil if there was none. It keeps nothing else from being done.
	Err error
}

// ahead is for how long from now an object that stays must be under lock.
func ahead(l storage.Lock) time.Duration { return min(l.For/2, mostAhead) }

// Extend makes the locks of objects that stay longer, to end l.For from now, where they end sooner than the next run can be expected. Young objects are under lock since they
// were made, and are not asked. Broken off and called again it goes on. now is the clock's time. The error is the end of ctx.
func Extend(ctx context.Context, r *repository.Repository, objects []repository.Object, l storage.Lock, now time.Time) (Extended, error) {
	return extend(ctx, r, objects, locks{Lock: l, now: now, most: MostLocks})
}

// locks say how locks are made longer.
type locks struct {
	storage.Lock

	now  time.Time // by the host's clock
	most int       // objects that are asked
}

func extend(ctx context.Context, r *repository.Repository, objects []repository.Object, l locks) (Extended, error) {
	e := extender{repository: r, sum: Extended{Lock: l.Lock}}
	if l.IsZero() {
		return e.sum, nil
	}
	var old []storage.Key
	for _, o := range objects {
		if o.Modified.Before(l.now.Add(ahead(l.Lock) - l.For)) {
			old = append(old, o.Key)
		}
	}
	e.sum.Left = max(0, len(old)-l.most)
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(locking)
	for i := range min(len(old), l.most) {
		if asking.Err() != nil {
			break
		}
		key := old[(i+l.begin(len(old)))%len(old)]
		group.Go(func() error { return e.extend(asking, key) })
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return e.sum, context.Cause(ctx)
	}
	if hopeless(err) {
		e.sum.Failed += len(old) - e.sum.Left - e.sum.Asked
	}
	return e.sum, nil
}

// begin is where the run of a day begins among n objects: runs of consecutive days ask for all of them.
func (l locks) begin(n int) int {
	const day = 24 * 60 * 60
	return int(l.now.Unix()/day%int64(n)) * l.most % n
}

// extender makes locks longer.
type extender struct {
	repository *repository.Repository

	mu  sync.Mutex
	sum Extended
}

// extend returns an error if there is no use in asking for others.
func (e *extender) extend(ctx context.Context, key storage.Key) error {
	extended, err := e.repository.Extend(ctx, key, e.sum.Lock, ahead(e.sum.Lock))
	if errors.Is(err, storage.ErrNotFound) {
		err = nil // somebody removed it meanwhile
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sum.Asked++
	switch {
	case err != nil:
		e.sum.Failed++
		if e.sum.Err == nil {
			e.sum.Err = err
		}
	case extended:
		e.sum.Extended++
	}
	if hopeless(err) {
		return err
	}
	return nil
}

// hopeless reports whether the next object would fare no better.
func hopeless(err error) bool {
	return errors.Is(err, storage.ErrDenied) || errors.Is(err, storage.ErrNoLock)
}

// stays returns the objects of a catalog that a plan does not let go, and the repository's own.
func (p *Plan) stays(c *Catalog) []repository.Object {
	goes := map[storage.Key]bool{}
	for i := range p.Clusters {
		for _, key := range p.Clusters[i].keys() {
			goes[key] = true
		}
	}
	stays := []repository.Object{{Key: repository.MarkerKey, Class: repository.ClassMarker}}
	for i := range c.Clusters {
		for _, o := range c.Clusters[i].objects() {
			if !goes[o.Key] {
				stays = append(stays, o)
			}
		}
	}
	return stays
}

// objects are all of a cluster.
func (c *Cluster) objects() []repository.Object {
	var all []repository.Object
	for _, b := range c.Backups {
		all = append(all, b.Objects...)
	}
	for _, u := range c.Unfinished {
		all = append(all, u.Objects...)
	}
	for _, e := range c.WAL {
		all = append(all, e.Object())
	}
	for _, d := range c.Drills {
		all = append(all, d.Objects...)
	}
	for _, h := range c.Holds {
		all = append(all, h.Object)
	}
	for _, r := range c.Readings {
		all = append(all, r.Object)
	}
	return slices.Concat(all, c.Beats, c.Others)
}
