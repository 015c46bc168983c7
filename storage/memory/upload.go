package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pgark/pgark/storage"
)

type upload struct {
	store *Store
	key   storage.Key
	// supersedes says that it takes the place of an object, which is kept.
	supersedes bool
	parts      map[int][]byte // guarded by store.mu
	done       bool           // committed; guarded by store.mu
}

// Begin implements storage.Store.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.begin(ctx, Begin, &upload{store: s, key: key, parts: make(map[int][]byte)})
}

// Supersede implements storage.Superseder. Older returns what was superseded.
func (s *Store) Supersede(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.begin(ctx, Supersede, &upload{store: s, key: key, supersedes: true, parts: make(map[int][]byte)})
}

func (s *Store) begin(ctx context.Context, op Op, u *upload) (storage.Upload, error) {
	if err := u.key.Validate(); err != nil {
		return nil, fault(op, u.key, err)
	}
	err := s.do(ctx, Call{Op: op, Key: u.key}, func() error {
		s.uploads[u] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	if n < 1 || n > storage.MaxParts {
		return fault(Part, u.key, fmt.Errorf("part %d is not within 1 to %d", n, storage.MaxParts))
	}
	call := Call{Op: Part, Key: u.key, Part: n, Size: int64(len(body))}
	return u.store.do(ctx, call, func() error {
		if err := u.open(); err != nil {
			return err
		}
		u.parts[n] = bytes.Clone(body)
		return nil
	})
}

// open is called with the store's lock held.
func (u *upload) open() error {
	if _, ok := u.store.uploads[u]; ok {
		return nil
	}
	if u.done {
		return storage.ErrClosed
	}
	return storage.ErrUploadLost
}

// Commit implements storage.Upload.
func (u *upload) Commit(ctx context.Context) error {
	return u.store.do(ctx, Call{Op: Commit, Key: u.key}, func() error {
		if u.done {
			return nil
		}
		if err := u.open(); err != nil {
			return err
		}
		body, err := u.join()
		if err != nil {
			return err
		}
		if err := u.make(body); err != nil {
			return err
		}
		u.done = true
		delete(u.store.uploads, u)
		return nil
	})
}

// make is called with the store's lock held.
func (u *upload) make(body []byte) error {
	if !u.supersedes {
		return u.store.create(u.key, body)
	}
	u.store.put(u.key, body)
	return nil
}

func (u *upload) join() ([]byte, error) {
	var body []byte
	for n := 1; n <= len(u.parts); n++ {
		part, ok := u.parts[n]
		if !ok {
			return nil, fmt.Errorf("part %d of %d is missing", n, len(u.parts))
		}
		if n < len(u.parts) && len(part) < storage.MinPart {
			return nil, fmt.Errorf("part %d has %d bytes, at least %d", n, len(part), storage.MinPart)
		}
		body = append(body, part...)
	}
	if len(u.parts) == 0 {
		return nil, fmt.Errorf("no part was sent")
	}
	return body, nil
}

// Abort implements storage.Upload.
func (u *upload) Abort(ctx context.Context) error {
	return u.store.do(ctx, Call{Op: Abort, Key: u.key}, func() error {
		delete(u.store.uploads, u)
		return nil
	})
}

// Uploads returns the keys of uploads that were begun and neither committed nor aborted.
func (s *Store) Uploads() []storage.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []storage.Key
	for u := range s.uploads {
		keys = append(keys, u.key)
	}
	return keys
}

// reader gives body, after which it ends as the script says.
type reader struct {
	ctx    func() error
	body   *bytes.Reader
	cut    error
	closed sync.Once
}

func (s *Store) reader(ctx context.Context, key storage.Key, body []byte) io.ReadCloser {
	r := &reader{body: bytes.NewReader(body)}
	r.ctx = func() error {
		if ctx.Err() != nil {
			return fault(Get, key, context.Cause(ctx))
		}
		return nil
	}
	if b := s.bodyRule(key, body); b != nil {
		r.body = bytes.NewReader(b)
		if len(b) < len(body) {
			r.cut = fault(Get, key, storage.ShortBody(int64(len(b)), int64(len(body))))
		}
	}
	return r
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx(); err != nil {
		return 0, err
	}
	n, err := r.body.Read(p)
	if err == io.EOF && r.cut != nil {
		return n, r.cut
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.closed.Do(func() { r.body.Reset(nil) })
	return nil
}
