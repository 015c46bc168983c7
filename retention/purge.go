package retention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/asof"
)

// planRemoval plans what of a repository goes for good, when what goes is deleted. It returns nil where the store keeps no versions: there each deletion is for good.
func planRemoval(ctx context.Context, r *repository.Repository, o Options, now time.Time, goes map[storage.Key]bool) (*Removal, error) {
	g, err := exhume(ctx, o.ForGood, goes)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil //nolint:nilnil // nil is a removal of nothing
	}
	if err != nil {
		return nil, err
	}
	if len(g.of) == 0 {
		return &Removal{}, nil
	}
	catalog, err := Load(ctx, r.Over(asof.New(o.ForGood, asof.Options{All: true, First: true})), o.Place)
	if errors.Is(err, storage.ErrNoVersions) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, fmt.Errorf("older versions: %w", err)
	}
	return removal(Make(catalog, o.Policy, now), g), nil
}

// exhume lists what was deleted, and what goes.
func exhume(ctx context.Context, store storage.Store, goes map[storage.Key]bool) (graves, error) {
	g := graves{of: map[storage.Key]repository.ObjectVersions{}, expiry: map[storage.Key]time.Time{}}
	for o, err := range repository.ListVersions(ctx, store) {
		switch {
		case err != nil:
			return g, err
		case o.Deleted() || goes[o.Key]:
			g.of[o.Key] = o
		case o.Class == repository.ClassExpiry:
			g.expiry[folderOf(o.Key)] = later(g.expiry[folderOf(o.Key)], o.Modified)
		}
	}
	return g, nil
}

// look asks which of what goes for good is under lock.
func (r *Removal) look(ctx context.Context, store storage.Store) error {
	var mu sync.Mutex
	blind := false // the store shows no locks, or has none
	w := &undertaker{removal: r, remove: func(ctx context.Context, v storage.Version) error {
		mu.Lock()
		skip := blind
		mu.Unlock()
		if skip || v.Marker {
			return nil
		}
		mode, until, err := storage.Locked(ctx, store, v.Info)
		switch {
		case errors.Is(err, storage.ErrNoLock), errors.Is(err, storage.ErrDenied):
			mu.Lock()
			defer mu.Unlock()
			blind = true
			return nil
		case errors.Is(err, storage.ErrNotFound): // it went meanwhile
			return nil
		case err == nil && mode != storage.Unlocked && until.After(time.Now()):
			return &storage.LockedError{Until: until}
		default:
			return err
		}
	}}
	err := w.all(ctx)
	r.Held = w.held
	return err
}

// carryOut removes what goes for good. What is under lock stays, and goes in a run after its end.
func (r *Removal) carryOut(ctx context.Context, store storage.Store, done func(storage.Version)) (Held, error) {
	w := &undertaker{removal: r, remove: func(ctx context.Context, v storage.Version) error {
		err := storage.RemoveVersion(ctx, store, v.Key, v.Version)
		if err == nil && !v.Marker {
			done(v)
		}
		return err
	}}
	err := w.all(ctx)
	return w.held, err
}

// undertaker goes through what goes for good, in its order.
type undertaker struct {
	removal *Removal
	// remove returns an error that wraps storage.ErrLocked if the version is under lock.
	remove func(context.Context, storage.Version) error

	mu   sync.Mutex
	held Held
}

func (u *undertaker) all(ctx context.Context) error {
	waits := false // something of the batch before is under lock
	for _, b := range u.removal.batches {
		if waits = waits && b.chained; waits {
			u.wait(b.all())
			continue
		}
		if b.head != "" {
			held, err := u.object(ctx, b.head)
			if err != nil {
				return err
			}
			if waits = held; held {
				u.wait(b.keys)
				continue
			}
		}
		held, err := u.objects(ctx, b.keys)
		if err != nil {
			return err
		}
		waits = held
	}
	return nil
}

// objects removes objects in about their order.
func (u *undertaker) objects(ctx context.Context, keys []storage.Key) (held bool, err error) {
	group, removing := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	var mu sync.Mutex
	for _, key := range keys {
		if removing.Err() != nil {
			break
		}
		group.Go(func() error {
			one, err := u.object(removing, key)
			mu.Lock()
			defer mu.Unlock()
			held = held || one
			return err
		})
	}
	err = group.Wait()
	return held, err
}

// object removes all versions of an object, and then the markers, the newest at last: it hides the others until they are gone.
func (u *undertaker) object(ctx context.Context, key storage.Key) (held bool, err error) {
	versions := u.removal.of[key].Versions
	for _, markers := range []bool{false, true} {
		if markers && held {
			break
		}
		for _, v := range slices.Backward(versions) {
			if v.Marker != markers {
				continue
			}
			err := u.remove(ctx, v)
			if errors.Is(err, storage.ErrLocked) {
				held = true
				u.locked(v, err)
				continue
			}
			if err != nil {
				return held, fmt.Errorf("remove for good: %w", err)
			}
		}
	}
	return held, nil
}

// locked notes a version that is under lock.
func (u *undertaker) locked(v storage.Version, err error) {
	var lock *storage.LockedError
	until := time.Time{}
	if errors.As(err, &lock) {
		until = lock.Until
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held.add(v, until)
}

// wait notes objects that are not removed before others.
func (u *undertaker) wait(keys []storage.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range keys {
		for _, v := range u.removal.of[key].Versions {
			if !v.Marker {
				u.held.add(v, time.Time{})
			}
		}
	}
}
