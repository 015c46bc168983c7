package retry

import (
	"context"
	"iter"

	"github.com/pgark/pgark/storage"
)

// Folders implements storage.Folderer. A list that is cut goes on behind the last folder it gave.
func (s *Store) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		c := s.begin("list", prefix, 0)
		for {
			last, err := s.folders(ctx, c, list{prefix, after}, yield)
			if err == nil {
				return
			}
			if last > after {
				*c, after = *s.begin("list", prefix, 0), last
			}
			if err := s.wait(ctx, c, err); err != nil {
				yield("", err)
				return
			}
		}
	}
}

// folders runs one attempt. It returns a key behind the last folder given, and nil when the list or its reader has ended.
func (s *Store) folders(ctx context.Context, c *call, l list, yield func(storage.Key, error) bool) (storage.Key, error) {
	ctx, guard := newGuard(ctx, s.timeout(c))
	defer guard.stop()
	last := l.after
	for folder, err := range storage.Folders(ctx, s.store, l.prefix, l.after) {
		guard.pause()
		if err != nil {
			return last, guard.cause(c, err)
		}
		s.answered()
		last = storage.BehindFolder(folder)
		if !yield(folder, nil) {
			return last, nil
		}
		guard.resume()
	}
	s.answered()
	return last, nil
}
