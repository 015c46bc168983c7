package memory

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
)

// KeepVersions makes the store keep what is deleted and put over from now on, as a bucket with versioning does.
func (s *Store) KeepVersions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeps = true
}

// SetClock replaces the clock that says when objects, versions and markers are made.
func (s *Store) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// Overwrite puts a new version over an object, as anybody with a key may who asks without a condition. It runs no script and records no call.
func (s *Store) Overwrite(key storage.Key, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, bytes.Clone(body))
}

// put is called with s.mu held. What is superseded is always kept.
func (s *Store) put(key storage.Key, body []byte) {
	if o, ok := s.objects[key]; ok {
		s.older[key] = append(s.older[key], o)
	}
	s.set(key, body)
}

// Versioning implements storage.Versioner.
func (s *Store) Versioning(ctx context.Context) (found storage.Versioning, err error) {
	err = s.do(ctx, Call{Op: Versioning}, func() error {
		found = storage.VersioningOff
		if s.keeps {
			found = storage.VersioningEnabled
		}
		return nil
	})
	return found, err
}

// Versions implements storage.Versioner. It yields the versions that were there when it began.
func (s *Store) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		var found []storage.Version
		err := prefix.ValidatePrefix()
		if err == nil {
			err = s.do(ctx, Call{Op: Versions, Key: prefix}, func() error {
				found = s.allVersions(prefix, after)
				return nil
			})
		} else {
			err = fault(Versions, prefix, err)
		}
		if err != nil {
			yield(storage.Version{}, err)
			return
		}
		for _, v := range found {
			if ctx.Err() != nil {
				yield(storage.Version{}, fault(Versions, prefix, context.Cause(ctx)))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (s *Store) allVersions(prefix, after storage.Key) []storage.Version {
	keys := make(map[storage.Key]struct{})
	for _, all := range []iter.Seq[storage.Key]{maps.Keys(s.objects), maps.Keys(s.older)} {
		for key := range all {
			if strings.HasPrefix(string(key), string(prefix)) && key > after && !s.isHidden(key) {
				keys[key] = struct{}{}
			}
		}
	}
	var found []storage.Version
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		for i, o := range s.history(key) {
			info := o.info(key)
			info.Archive = listed(info.Archive)
			found = append(found, storage.Version{Info: info, Marker: o.marker, Current: i == 0})
		}
	}
	return found
}

// history returns all of a key, the newest first.
func (s *Store) history(key storage.Key) []object {
	all := slices.Clone(s.older[key])
	if o, ok := s.objects[key]; ok {
		all = append(all, o)
	}
	slices.Reverse(all)
	return all
}

// versionOf is called with s.mu held.
func (s *Store) versionOf(key storage.Key, version string) (object, error) {
	for _, o := range s.history(key) {
		if o.version == version && !o.marker {
			return o, nil
		}
	}
	return object{}, storage.ErrNotFound
}

func validate(key storage.Key, version string) error {
	if version == "" {
		return storage.ErrNoVersion
	}
	return key.Validate()
}

// GetVersion implements storage.Versioner.
func (s *Store) GetVersion(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	if err := validate(key, version); err != nil {
		return nil, fault(Get, key, err)
	}
	var body []byte
	err := s.do(ctx, Call{Op: Get, Key: key, Span: span}, func() error {
		o, err := s.versionOf(key, version)
		if err != nil {
			return err
		}
		if o.archive.Readability(s.clock()) != storage.Readable {
			return storage.ErrArchived
		}
		n, err := span.Resolve(int64(len(o.body)))
		if err != nil {
			return err
		}
		body = o.body[span.Offset : span.Offset+n]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.reader(ctx, key, body), nil
}

// StatVersion implements storage.VersionStater.
func (s *Store) StatVersion(ctx context.Context, key storage.Key, version string) (info storage.Info, err error) {
	if err := validate(key, version); err != nil {
		return storage.Info{}, fault(Stat, key, err)
	}
	err = s.do(ctx, Call{Op: Stat, Key: key}, func() error {
		o, err := s.versionOf(key, version)
		info = o.info(key)
		return err
	})
	return info, err
}

// RenewVersion implements storage.Versioner.
func (s *Store) RenewVersion(ctx context.Context, version storage.Info) error {
	if err := validate(version.Key, version.Version); err != nil {
		return fault(Renew, version.Key, err)
	}
	return s.do(ctx, Call{Op: Renew, Key: version.Key}, func() error {
		o, err := s.versionOf(version.Key, version.Version)
		if err == nil {
			s.put(version.Key, o.body)
			renewed := s.objects[version.Key]
			renewed.from = version.Version
			s.objects[version.Key] = renewed
		}
		return err
	})
}

// RenewedFrom implements storage.Versioner.
func (s *Store) RenewedFrom(ctx context.Context, key storage.Key) (version string, err error) {
	if err := key.Validate(); err != nil {
		return "", fault(Stat, key, err)
	}
	err = s.do(ctx, Call{Op: Stat, Key: key}, func() error {
		o, ok := s.objects[key]
		if !ok {
			return storage.ErrNotFound
		}
		version = o.from
		return nil
	})
	return version, err
}

// RemoveVersion implements storage.Versioner.
func (s *Store) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	if err := validate(key, version); err != nil {
		return fault(Remove, key, err)
	}
	return s.do(ctx, Call{Op: Remove, Key: key}, func() error {
		all := s.history(key)
		slices.Reverse(all)
		all = slices.DeleteFunc(all, func(o object) bool { return o.version == version })
		delete(s.objects, key)
		delete(s.older, key)
		if last := len(all) - 1; last >= 0 && !all[last].marker {
			s.objects[key], all = all[last], all[:last]
		}
		if len(all) > 0 {
			s.older[key] = all
		}
		return nil
	})
}
