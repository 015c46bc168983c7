package retry

import (
	"context"
	"sync/atomic"

	"github.com/pgark/pgark/storage"
)

type upload struct {
	store  *Store
	key    storage.Key
	upload storage.Upload
	sent   atomic.Int64 // bytes
}

// commitShare is the part of the bytes sent that counts as the size of the Commit when its deadline is
// set: the store puts the parts together, or brings them to its disk.
const commitShare = 64

// Begin implements storage.Store. A Begin whose answer was lost leaves an upload in the store that
// nobody knows; a rule of the bucket that aborts incomplete uploads removes it.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.start(ctx, "begin", key, s.store.Begin)
}

// Supersede implements storage.Superseder.
func (s *Store) Supersede(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.start(ctx, "supersede", key, func(ctx context.Context, key storage.Key) (storage.Upload, error) {
		return storage.Supersede(ctx, s.store, key)
	})
}

func (s *Store) start(ctx context.Context, op string, key storage.Key,
	begin func(context.Context, storage.Key) (storage.Upload, error),
) (storage.Upload, error) {
	u := &upload{store: s, key: key}
	err := s.run(ctx, s.begin(op, key, 0), func(ctx context.Context) (err error) {
		u.upload, err = begin(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	u.sent.Add(int64(len(body)))
	return u.store.run(ctx, u.store.begin("part", u.key, int64(len(body))), func(ctx context.Context) error {
		return u.upload.Part(ctx, n, body)
	})
}

// Commit implements storage.Upload.
func (u *upload) Commit(ctx context.Context) error {
	return u.store.run(ctx, u.store.begin("commit", u.key, u.sent.Load()/commitShare), u.upload.Commit)
}

// Abort implements storage.Upload.
func (u *upload) Abort(ctx context.Context) error {
	return u.store.run(ctx, u.store.begin("abort", u.key, 0), u.upload.Abort)
}
