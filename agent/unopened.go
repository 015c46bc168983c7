package agent

import (
	"context"
	"io"
	"iter"

	"github.com/pgark/pgark/storage"
)

// unopened stands for a store that could not be opened.
type unopened struct{ err error }

// Put implements storage.Store.
func (s unopened) Put(context.Context, storage.Key, []byte) error { return s.err }

// Begin implements storage.Store.
func (s unopened) Begin(context.Context, storage.Key) (storage.Upload, error) { return nil, s.err }

// Get implements storage.Store.
func (s unopened) Get(context.Context, storage.Key, storage.Span) (io.ReadCloser, error) {
	return nil, s.err
}

// Stat implements storage.Store.
func (s unopened) Stat(context.Context, storage.Key) (storage.Info, error) {
	return storage.Info{}, s.err
}

// List implements storage.Store.
func (s unopened) List(context.Context, storage.Key, storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, s.err) }
}

// Delete implements storage.Store.
func (s unopened) Delete(context.Context, storage.Key) error { return s.err }
