package memory

import (
	"context"
	"iter"

	"github.com/pgark/pgark/storage"
)

// Folders implements storage.Folderer. In a script it is a List.
func (s *Store) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		last := storage.Key("")
		for info, err := range s.List(ctx, prefix, after) {
			if err != nil {
				yield("", err)
				return
			}
			if folder, in := storage.FolderBelow(prefix, info.Key); in && folder != last {
				if last = folder; !yield(folder, nil) {
					return
				}
			}
		}
	}
}
