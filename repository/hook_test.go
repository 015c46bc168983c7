package repository_test

import (
	"context"
	"io"
	"iter"

	"github.com/pgark/pgark/storage"
)

// hookStore calls get before each Get and listed for each key that a List yields.
type hookStore struct {
	storage.Store

	get    func(storage.Key)
	listed func()
}

func (s *hookStore) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if s.get != nil {
		s.get(key)
	}
	return s.Store.Get(ctx, key, span)
}

func (s *hookStore) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix, after) {
			if s.listed != nil {
				s.listed()
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
