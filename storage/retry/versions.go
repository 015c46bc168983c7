package retry

import (
	"context"
	"io"
	"iter"

	"github.com/pgark/pgark/storage"
)

// Versioning implements storage.Versioner.
func (s *Store) Versioning(ctx context.Context) (found storage.Versioning, err error) {
	err = s.run(ctx, s.begin("versioning", "", 0), func(ctx context.Context) error {
		found, err = storage.BucketVersioning(ctx, s.store)
		return err
	})
	return found, err
}

// Versions implements storage.Versioner. A list that is cut goes on with the key it had come to, behind the versions of it that it gave.
func (s *Store) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		c := s.begin("versions", prefix, 0)
		at := &place{done: after, given: make(map[string]struct{})}
		for {
			before := *at
			err := s.versions(ctx, c, at, list{prefix, at.done}, yield)
			if err == nil {
				return
			}
			if at.count > before.count {
				*c = *s.begin("versions", prefix, 0)
			}
			if err := s.wait(ctx, c, err); err != nil {
				yield(storage.Version{}, err)
				return
			}
		}
	}
}

// place is how far a list of versions has come.
type place struct {
	done  storage.Key // the last key all of whose versions were given, or where the list begins
	key   storage.Key // the one that it is at
	given map[string]struct{}
	count int // of all versions that were given
}

// isNew tells whether a version was not given yet, and notes that it is.
func (p *place) isNew(v storage.Info) bool {
	if v.Key != p.key {
		if p.key != "" {
			p.done = p.key
		}
		p.key = v.Key
		clear(p.given)
	}
	if _, given := p.given[v.Version]; given {
		return false
	}
	p.given[v.Version] = struct{}{}
	p.count++
	return true
}

// versions runs one attempt. It returns nil when the list or its reader has ended.
func (s *Store) versions(ctx context.Context, c *call, at *place, l list, yield func(storage.Version, error) bool) error {
	ctx, guard := newGuard(ctx, s.timeout(c))
	defer guard.stop()
	for v, err := range storage.Versions(ctx, s.store, l.prefix, l.after) {
		guard.pause()
		if err != nil {
			return guard.cause(c, err)
		}
		s.answered()
		if at.isNew(v.Info) && !yield(v, nil) {
			return nil
		}
		guard.resume()
	}
	s.answered()
	return nil
}

// GetVersion implements storage.Versioner. A body that is cut goes on from where it stopped.
func (s *Store) GetVersion(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	return s.read(ctx, key, span, func(ctx context.Context, span storage.Span) (io.ReadCloser, error) {
		return storage.GetVersion(ctx, s.store, storage.Info{Key: key, Version: version}, span)
	})
}

// StatVersion implements storage.VersionStater.
func (s *Store) StatVersion(ctx context.Context, key storage.Key, version string) (info storage.Info, err error) {
	err = s.run(ctx, s.begin("stat", key, 0), func(ctx context.Context) error {
		info, err = storage.StatVersion(ctx, s.store, storage.Info{Key: key, Version: version})
		return err
	})
	return info, err
}

// RenewVersion implements storage.Versioner. One whose answer was lost has made a version, and the next makes one more with the same bytes.
func (s *Store) RenewVersion(ctx context.Context, version storage.Info) error {
	return s.run(ctx, s.begin("renew", version.Key, version.Size/commitShare), func(ctx context.Context) error {
		return storage.RenewVersion(ctx, s.store, version)
	})
}

// RenewedFrom implements storage.Versioner.
func (s *Store) RenewedFrom(ctx context.Context, key storage.Key) (version string, err error) {
	err = s.run(ctx, s.begin("stat", key, 0), func(ctx context.Context) error {
		version, err = storage.RenewedFrom(ctx, s.store, key)
		return err
	})
	return version, err
}

// RemoveVersion implements storage.Versioner.
func (s *Store) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	return s.run(ctx, s.begin("remove", key, 0), func(ctx context.Context) error {
		return storage.RemoveVersion(ctx, s.store, key, version)
	})
}
