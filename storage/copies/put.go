package copies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/storage"
)

// Put implements storage.Store. storage.ErrExists says that the members agree on what exists. If they do not,
// and too few have what the others took, it returns storage.ErrConflict.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := key.Validate(); err != nil {
		return &storage.Error{Op: "put", Key: key, Err: err}
	}
	if ctx.Err() != nil {
		return &storage.Error{Op: "put", Key: key, Err: context.Cause(ctx)}
	}
	body = bytes.Clone(body) // members that are not waited for read it later
	o := &op{key: key, size: int64(len(body)), send: func(ctx context.Context, m *member) (answer, error) {
		err := m.Store.Put(ctx, key, body)
		if errors.Is(err, storage.ErrExists) {
			return s.compare(ctx, m, key, body)
		}
		return made, err
	}}
	s.begin(o, nil) //nolint:contextcheck // members go on after the caller
	if err := s.wait(ctx, o); err != nil {
		return &storage.Error{Op: "put", Key: key, Err: err}
	}
	return nil
}

// compare reads what m holds under key.
func (s *Store) compare(ctx context.Context, m *member, key storage.Key, body []byte) (answer, error) {
	found, err := storage.ReadAll(ctx, m.Store, key, 2*int64(len(body))+compareSlack)
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return other, nil
	case err != nil:
		return 0, fmt.Errorf("compare with the object that exists: %w", err)
	case bytes.Equal(found, body), s.options.Same != nil && s.options.Same(key, found, body):
		return same, nil
	default:
		return other, nil
	}
}

// compareSlack is how much longer than twice an object may be that still is compared, in bytes.
const compareSlack = 1 << 20

// Delete implements storage.Store. Members that are behind keep the object. Of a member that refuses to
// delete, the primary's word counts.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := key.Validate(); err != nil {
		return &storage.Error{Op: "delete", Key: key, Err: err}
	}
	if ctx.Err() != nil {
		return &storage.Error{Op: "delete", Key: key, Err: context.Cause(ctx)}
	}
	refused := make([]error, len(s.members))
	o := &op{key: key, send: func(ctx context.Context, m *member) (answer, error) {
		err := m.Store.Delete(ctx, key)
		if errors.Is(err, storage.ErrDenied) {
			s.mu.Lock()
			defer s.mu.Unlock()
			refused[m.index] = err
			return made, nil
		}
		return made, err
	}}
	s.begin(o, nil) //nolint:contextcheck // members go on after the caller
	if err := s.wait(ctx, o); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(refused, func(err error) bool { return err != nil }); i >= 0 {
		return refused[i]
	}
	return nil
}
