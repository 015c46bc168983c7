package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

const (
	// MostLocks is how many objects one run asks for the end of their lock, if the runs that come before a lock ends then ask for all; it asks for more otherwise.
	MostLocks = 50_000
	// mostAhead is how long before its end a lock is made longer: by then the next run has come, also if some were missed.
	mostAhead = 7 * 24 * time.Hour
	// locking is how many requests are under way at a time.
	locking = 16
	// mostVersions is how many versions of an object are kept under lock: the first ones, among which is what its writer made, and the current one.
	mostVersions = 8
	// mostDenied is how many objects are tried if not one may be asked: one alone may be under a lock that no policy lets anybody touch.
	mostDenied = 32
)

// Extended is what became of the locks of objects that stay.
type Extended struct {
	Lock     storage.Lock
	Asked    int // objects whose lock was asked for
	Extended int // of these, whose lock ended too soon, or which had none, and is longer now
	Failed   int // whose lock could not be seen or made longer
	Left     int // that the next runs ask for
	// Err is the first error; nil if there was none. It keeps nothing else from being done.
	Err error
}

// ahead is for how long from now an object that stays must be under lock.
func ahead(l storage.Lock) time.Duration { return min(l.For/2, mostAhead) }

// MostApart is how far apart runs may be at most that make locks longer, so that none ends before.
func MostApart(l storage.Lock) time.Duration { return ahead(l) }

// Renewal says how the locks of a repository are made longer.
type Renewal struct {
	Lock storage.Lock
	// Now is the time that the clock shows.
	Now time.Time
	// Every is how far apart runs are at most. 0 says that it is not known, as where a janitor's own schedule runs them: each run asks for all then.
	Every time.Duration

	most int // that are asked in a run; 0 is MostLocks
}

// Renew makes the locks of all that a repository holds longer, also of the versions that somebody put another over, to end r.Lock.For from now, where they end sooner than the next run can be expected. It goes by the names
// alone and reads nothing, so that neither damage nor a forged record keeps it from its work; and it goes by no age, since nothing tells that an object was made under
// this lock, or under any. A large repository is asked in shares, one in each run: all records, and what belongs to backups with pins, in each of them. Broken off and called
// again it goes on. The error is the end of ctx.
func Renew(ctx context.Context, store storage.Store, r Renewal) (Extended, error) {
	sum := Extended{Lock: r.Lock}
	if r.Lock.IsZero() {
		return sum, nil
	}
	many := []repository.Class{ // of these a repository may hold very many objects
		repository.ClassSegment, repository.ClassPiece, repository.ClassPack, repository.ClassBeat, repository.ClassReading, repository.ClassCensus, repository.ClassSync,
	}
	var first, rest []repository.Object
	pinned := map[string]bool{}
	older := map[storage.Key][]string{}
	for o, err := range listRenewable(ctx, store) {
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		if err != nil {
			sum.Failed, sum.Err = 1, err
			continue // what is listed is made longer
		}
		if len(o.versions) > 1 {
			older[o.Key] = o.versions
		}
		if o.Class == repository.ClassPin {
			pinned[o.Backup] = true
		}
		if slices.Contains(many, o.Class) {
			rest = append(rest, o.Object)
		} else {
			first = append(first, o.Object)
		}
	}
	turn, shares := r.turn(len(rest))
	var then []keyHash
	for _, o := range rest {
		switch h := hash(o.Key); {
		case pinned[o.Backup]:
			first = append(first, o)
		case h%shares == turn:
			then = append(then, keyHash{o.Key, h})
		default:
			sum.Left++
		}
	}
	// In no order of age or kind: what cannot be asked may lie together, and must not stand for all.
	slices.SortFunc(then, func(a, b keyHash) int { return cmp.Compare(a.hash, b.hash) })
	all := make([]lockable, 0, len(first)+len(then))
	for _, o := range first {
		all = append(all, lockable{key: o.Key, versions: older[o.Key]})
	}
	for _, k := range then {
		all = append(all, lockable{key: k.key, versions: older[k.key]})
	}
	return extend(ctx, store, all, sum)
}

// lockable is an object whose lock is made longer, of several versions where it has more than the current one.
type lockable struct {
	key      storage.Key
	versions []string // none: the current one alone
	unlisted bool     // its versions were not listed yet
}

// renewable is an object that is there, with its versions.
type renewable struct {
	repository.Object

	versions []string
}

// listRenewable lists what is there. Where older versions may not be listed it says so, and goes on without them.
func listRenewable(ctx context.Context, store storage.Store) iter.Seq2[renewable, error] {
	return func(yield func(renewable, error) bool) {
		for o, err := range repository.ListVersions(ctx, store) {
			if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, storage.ErrDenied) {
				if errors.Is(err, storage.ErrDenied) && !yield(renewable{}, err) {
					return
				}
				for o, err := range repository.ListAll(ctx, store) {
					if !yield(renewable{Object: o}, err) {
						return
					}
				}
				return
			}
			if err == nil && o.Deleted() {
				continue
			}
			if !yield(renewable{o.Object, counting(o.Versions)}, err) {
				return
			}
		}
	}
}

// counting are the versions of an object that may be the right one: nothing tells which without reading them. All are created once, so that the first is the one its writer made,
// unless it was damaged: then that is one of the next which a repair put over it. Whoever puts very many over it makes no more work than with a few.
func counting(versions []storage.Version) []string {
	var ids []string
	for i := len(versions) - 1; i >= 0; i-- {
		if v := versions[i]; !v.Marker && (len(ids) < mostVersions || v.Current) {
			ids = append(ids, v.Version)
		}
	}
	return ids
}

// turn is the share of n objects that the run of this time asks for, of so many. Another run comes in each stretch of Every, so that each share has its turn; and all have had theirs
// twice before a lock ends.
func (r Renewal) turn(n int) (turn, of uint32) {
	if r.Every == 0 {
		return 0, 1
	}
	most := cmp.Or(r.most, MostLocks)
	shares := max(1, min((n+most-1)/most, int(ahead(r.Lock)/2/r.Every)))
	return uint32(r.Now.UnixNano() / int64(r.Every) % int64(shares)), uint32(shares) //nolint:gosec // a share is small and positive
}

type keyHash struct {
	key  storage.Key
	hash uint32
}

// hash chooses the share of an object, which stays the same whatever else comes or goes.
func hash(key storage.Key) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // it never fails
	return h.Sum32()
}

// Extend makes the locks of some objects longer, as Renew does.
func Extend(ctx context.Context, store storage.Store, objects []repository.Object, l storage.Lock) (Extended, error) {
	all := make([]lockable, 0, len(objects))
	for _, o := range objects {
		all = append(all, lockable{key: o.Key, unlisted: true})
	}
	return extend(ctx, store, all, Extended{Lock: l})
}

// versionsOf lists the versions of one object that may be the right one.
func versionsOf(ctx context.Context, store storage.Store, key storage.Key) ([]string, error) {
	var all []storage.Version
	for v, err := range storage.Versions(ctx, store, key, "") {
		if err != nil {
			return nil, err
		}
		if v.Key != key { // the others begin with it and come after it
			break
		}
		all = append(all, v)
	}
	return counting(all), nil
}

func extend(ctx context.Context, store storage.Store, all []lockable, sum Extended) (Extended, error) {
	if sum.Lock.IsZero() {
		return sum, nil
	}
	e := extender{store: store, sum: sum}
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(locking)
	for _, o := range all {
		if asking.Err() != nil {
			break
		}
		group.Go(func() error { return e.extend(asking, o) })
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return e.sum, context.Cause(ctx)
	}
	if err != nil {
		e.sum.Failed += len(all) - e.sum.Asked
	}
	return e.sum, nil
}

// extender makes locks longer.
type extender struct {
	store storage.Store

	mu     sync.Mutex
	sum    Extended
	denied int
	fine   bool // at least one lock was seen to be long enough, or made longer
}

// extend returns an error if there is no use in asking for others.
func (e *extender) extend(ctx context.Context, o lockable) error {
	versions := o.versions
	if o.unlisted {
		// Who may not list them sees to the current one alone, which Renew tells.
		versions, _ = versionsOf(ctx, e.store, o.key)
	}
	if len(versions) == 0 {
		versions = []string{""}
	}
	extended, gone := false, 0
	var err error
	for _, version := range versions {
		longer, one := storage.Extend(ctx, e.store, storage.Info{Key: o.key, Version: version}, e.sum.Lock, ahead(e.sum.Lock))
		extended = extended || longer
		if errors.Is(one, storage.ErrNotFound) {
			gone++
		} else {
			err = cmp.Or(err, one)
		}
	}
	if gone == len(versions) {
		err = storage.ErrNotFound
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sum.Asked++
	switch {
	case errors.Is(err, storage.ErrNotFound): // somebody removed it meanwhile
		return nil
	case err != nil:
		err = fmt.Errorf("make a lock longer: %w", err)
		e.sum.Failed++
		e.sum.Err = cmp.Or(e.sum.Err, err)
	default:
		e.fine = true
	}
	if extended {
		e.sum.Extended++
	}
	if errors.Is(err, storage.ErrDenied) {
		e.denied++
	}
	if errors.Is(err, storage.ErrNoLock) || !e.fine && e.denied >= mostDenied {
		return err
	}
	return nil
}
