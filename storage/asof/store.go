// Package asof shows a store as it was at an instant: what was deleted or put over since is there as it lay, and what came since is not.
// It reads older versions, of stores that keep them, and writes nothing.
package asof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// Options of New.
type Options struct {
	// At is the instant. Stores tell the time of a version to the second, so that its whole second counts: what was put or deleted in it is seen.
	At time.Time
	// First gives of each object that was there at the instant the first version since it was last deleted, and not the newest: of what is
	// created once that is the one its writer made, whoever put others over it.
	First bool
	// All shows every object that has a version, whenever it was put, also if it was deleted since. At says nothing then.
	All bool
}

// Store is a storage.Store whose writing methods return storage.ErrReadOnly. It is safe for concurrent use.
//
// An object is there if its newest version or delete marker that is not later than the instant is a version. A version that a store dates
// when its upload began may be seen a little early; nothing else names it then.
type Store struct {
	store   storage.Store
	options Options

	mu    sync.Mutex
	kept  bool                         // the store is known to keep versions, or does not say
	lossy bool                         // it is known not to have kept all of them since the instant
	known map[storage.Key]storage.Info // versions found before, at most maxKnown
}

// maxKnown bounds what is remembered, some 300 bytes each. An object is read many times in a row, and not again later.
const maxKnown = 4096

// New returns a view of store, which must implement storage.Versioner and keep versions: otherwise each call returns storage.ErrNoVersions.
func New(store storage.Store, options Options) *Store {
	options.At = options.At.Truncate(time.Second)
	return &Store{store: store, options: options, known: make(map[storage.Key]storage.Info)}
}

// pick chooses from the versions of one key, which it is given from the newest on.
type pick struct {
	options Options
	found   storage.Info // the version seen; no key if there is none
	decided bool
}

func (p *pick) add(v storage.Version) {
	switch {
	case p.options.All && v.Marker:
	case p.decided || !p.options.All && v.Modified.Truncate(time.Second).After(p.options.At):
	case v.Marker:
		p.decided = true
	default:
		p.found, p.decided = v.Info, !p.options.First
	}
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := s.ready(ctx); err != nil {
			yield(storage.Info{}, err)
			return
		}
		at := pick{options: s.options}
		var key storage.Key
		give := func() bool {
			if at.found.Key == "" {
				return true
			}
			s.remember(at.found)
			return yield(at.found, nil)
		}
		for v, err := range storage.Versions(ctx, s.store, prefix, after) {
			if err != nil {
				yield(storage.Info{}, err)
				return
			}
			if v.Key != key {
				if !give() {
					return
				}
				key, at = v.Key, pick{options: s.options}
			}
			s.see(v)
			at.add(v)
		}
		give()
	}
}

// Stat implements storage.Store. Of a version that may be archived it asks the store whether it is.
func (s *Store) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	found, err := s.find(ctx, key)
	if err != nil || !found.Archive.Listed {
		return found, err
	}
	now, err := storage.StatVersion(ctx, s.store, found)
	if err != nil {
		return storage.Info{}, err
	}
	found.Archive = now.Archive
	return found, nil
}

// Thaw implements storage.Thawer, of the version that is seen. It changes no object.
func (s *Store) Thaw(ctx context.Context, object storage.Info, how storage.Thaw) error {
	found, err := s.find(ctx, object.Key)
	if err != nil {
		return err
	}
	object.Version = found.Version
	return storage.ThawObject(ctx, s.store, object, how)
}

// find returns what a list says of the version that is seen.
func (s *Store) find(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := key.Validate(); err != nil {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: err}
	}
	if err := s.ready(ctx); err != nil {
		return storage.Info{}, err
	}
	s.mu.Lock()
	found, ok := s.known[key]
	s.mu.Unlock()
	if ok {
		return found, nil
	}
	at := pick{options: s.options}
	for v, err := range storage.Versions(ctx, s.store, key, "") {
		if err != nil {
			return storage.Info{}, err
		}
		if v.Key != key { // the others begin with it and come after it
			break
		}
		s.see(v)
		at.add(v)
	}
	if at.found.Key == "" {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Place: "as of " + s.options.At.UTC().Format(time.RFC3339), Err: storage.ErrNotFound}
	}
	s.remember(at.found)
	return at.found, nil
}

// see notes what shows that no versions were kept at a time behind the instant: what was deleted or put over then is gone without a trace.
func (s *Store) see(v storage.Version) {
	if v.Version != storage.NullVersion || !v.Modified.Truncate(time.Second).After(s.options.At) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lossy = true
}

// Lossy reports whether it has shown by now that what was there at the instant may be missing: versioning is suspended, or was off or suspended for a time since.
// What was deleted or put over meanwhile, and had been put meanwhile, left no version.
func (s *Store) Lossy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lossy
}

func (s *Store) remember(v storage.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[v.Key] = v
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	found, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	return storage.GetVersion(ctx, s.store, found, span)
}

// ready returns storage.ErrNoVersions if the store shows only what it holds now. One that does not tell whether it keeps versions, to this
// credential, is taken to.
func (s *Store) ready(ctx context.Context) error {
	s.mu.Lock()
	kept := s.kept
	s.mu.Unlock()
	if kept {
		return nil
	}
	if _, ok := s.store.(storage.Versioner); !ok {
		return s.noVersions()
	}
	versioning, err := storage.BucketVersioning(ctx, s.store)
	switch {
	case errors.Is(err, errors.ErrUnsupported), err == nil && versioning == storage.VersioningOff:
		return s.noVersions()
	case err != nil && !errors.Is(err, storage.ErrDenied):
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.lossy = true, s.lossy || versioning == storage.VersioningSuspended
	return nil
}

func (s *Store) noVersions() error {
	return fmt.Errorf("look at it as of %s: %w", s.options.At.UTC().Format(time.RFC3339), storage.ErrNoVersions)
}
