package file

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/pgark/pgark/storage"
)

// Folders implements storage.Folderer. A folder without a key in it, which deletions leave behind, is none.
func (s *Store) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		fail := func(err error) { yield("", s.fault("list", prefix, err)) }
		root, err := s.toList(ctx, prefix)
		if err != nil {
			fail(err)
			return
		}
		if root == nil {
			return
		}
		w := walk{root: root, after: string(after)}
		names, err := w.names(string(prefix))
		if err != nil {
			fail(err)
			return
		}
		for _, name := range names {
			folder := string(prefix) + name
			if !strings.HasSuffix(name, "/") || !w.wanted(folder) {
				continue
			}
			holds := false
			w.yield = func(storage.Info) (bool, error) {
				holds = true
				return false, nil
			}
			if _, err := w.dir(folder); err != nil || ended(ctx) != nil {
				fail(errors.Join(err, ended(ctx)))
				return
			}
			if holds && !yield(storage.Key(strings.TrimSuffix(folder, "/")), nil) {
				return
			}
		}
	}
}
