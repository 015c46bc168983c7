package copies

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/storage"
)

// leastGrace is how long the members that are not required are waited for at least, once those that are
// have taken a part.
const leastGrace = 2 * time.Second

// abortTime is how long dropping an upload may take that nobody waits for.
const abortTime = time.Minute

// upload is one large object on its way to several members. A member that fails, or is much slower than
// those required, is dropped from it: it gets the whole object from another member after Commit.
type upload struct {
	store *Store
	key   storage.Key

	mu    sync.Mutex
	to    map[*member]storage.Upload
	ended bool
}

// Begin implements storage.Store.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	if err := key.Validate(); err != nil {
		return nil, &storage.Error{Op: "begin", Key: key, Err: err}
	}
	u := &upload{store: s, key: key, to: map[*member]storage.Upload{}}
	if err := u.invite(ctx); err != nil {
		return nil, &storage.Error{Op: "begin", Key: key, Err: err}
	}
	err := u.each(ctx, func(ctx context.Context, m *member, _ storage.Upload) error {
		to, err := m.Store.Begin(ctx, key)
		if err != nil {
			return err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if _, ok := u.to[m]; !ok { // dropped meanwhile
			go abort(ctx, to)
			return nil
		}
		u.to[m] = to
		return nil
	}, nil)
	if err != nil {
		return nil, errors.Join(err, u.Abort(ctx))
	}
	return u, nil
}

// invite waits until enough members are live and takes all that are.
func (u *upload) invite(ctx context.Context) error {
	s := u.store
	for {
		s.mu.Lock()
		is := make([]bool, len(s.members))
		for i, m := range s.members {
			is[i] = m.state == Live
			if is[i] {
				u.to[m] = nil
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if s.options.Required.enough(is) {
			return nil
		}
		clear(u.to)
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// abort drops one member's part of an upload; the bucket's rule for unfinished uploads takes what is left.
func abort(ctx context.Context, to storage.Upload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	_ = to.Abort(ctx)
}

// members returns who the upload goes to. Those that were left behind are dropped.
func (u *upload) members(ctx context.Context) map[*member]storage.Upload {
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	to := make(map[*member]storage.Upload, len(u.to))
	for m, up := range u.to {
		if m.state != Live {
			delete(u.to, m)
			if up != nil {
				go abort(ctx, up)
			}
			continue
		}
		to[m] = up
	}
	return to
}

// drop leaves a member out of the upload.
func (u *upload) drop(ctx context.Context, m *member) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if up := u.to[m]; up != nil {
		go abort(ctx, up)
	}
	delete(u.to, m)
}

// each calls do for all members at once. It returns when those that are required are done and the others
// had their grace; who fails, or is not done by then, is dropped. Calls that are may go on; ended, if not nil, is called after the last.
func (u *upload) each(ctx context.Context, do func(ctx context.Context, m *member, to storage.Upload) error, ended func()) error {
	type result struct {
		m   *member
		err error
	}
	to := u.members(ctx)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan result, len(to))
	var working atomic.Int64
	working.Store(int64(len(to)))
	for m, up := range to {
		go func() {
			err := do(work, m, up)
			if working.Add(-1) == 0 && ended != nil {
				ended()
			}
			results <- result{m, err}
		}()
	}
	began, done := time.Now(), make([]bool, len(u.store.members))
	var grace <-chan time.Time
	var failed error
	for len(to) > 0 {
		select {
		case r := <-results:
			delete(to, r.m)
			if r.err != nil {
				failed = r.err
				u.drop(ctx, r.m)
			}
			done[r.m.index] = r.err == nil
		case <-grace:
			for m := range to {
				u.drop(ctx, m)
			}
			clear(to)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if grace == nil && u.store.options.Required.enough(done) {
			grace = time.After(max(leastGrace, 2*time.Since(began)))
		}
	}
	switch {
	case u.store.options.Required.enough(done):
		return nil
	case failed != nil:
		return fmt.Errorf("not on enough copies: %w", failed)
	}
	return &storage.Error{Op: "part", Key: u.key, Err: storage.ErrUploadLost, Detail: "not enough copies"}
}

// closed returns ErrClosed after the end of the upload.
func (u *upload) closed(op string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return &storage.Error{Op: op, Key: u.key, Err: storage.ErrClosed}
	}
	return nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	if err := u.closed("part"); err != nil {
		return err
	}
	lent := u.store.lend(body)
	return u.each(ctx, func(ctx context.Context, _ *member, to storage.Upload) error { return to.Part(ctx, n, *lent) }, func() { u.store.parts.Put(lent) })
}

// lend copies the body of a part, which the caller may use again before a member that is not waited for has read it.
func (s *Store) lend(body []byte) *[]byte {
	lent, ok := s.parts.Get().(*[]byte)
	if !ok {
		lent = new([]byte)
	}
	*lent = append((*lent)[:0], body...)
	return lent
}

// Commit implements storage.Upload. Live members that were dropped are left behind, and get the object
// when they are brought up to date.
func (u *upload) Commit(ctx context.Context) error {
	if err := u.closed("commit"); err != nil {
		return err
	}
	to := u.members(ctx)
	only := []*member{} // not nil, which means all
	for m := range to {
		only = append(only, m)
	}
	o := &op{key: u.key, once: true, send: func(ctx context.Context, m *member) (answer, error) {
		err := to[m].Commit(ctx)
		if errors.Is(err, storage.ErrExists) {
			return other, nil
		}
		return made, err
	}}
	u.store.begin(o, only) //nolint:contextcheck // members go on after the caller
	if err := u.store.wait(ctx, o); err != nil {
		return &storage.Error{Op: "commit", Key: u.key, Err: err}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	return nil
}

// Abort implements storage.Upload.
func (u *upload) Abort(ctx context.Context) error {
	u.mu.Lock()
	to := u.to
	if u.ended {
		to = nil
	}
	u.to, u.ended = map[*member]storage.Upload{}, true
	u.mu.Unlock()
	errs := make(chan error, len(to))
	n := 0
	for m, up := range to {
		if up == nil {
			continue
		}
		n++
		go func() {
			err := up.Abort(ctx)
			if err != nil && m.index != 0 {
				err = nil // what is left on a copy waits for the bucket's rule
			}
			errs <- err
		}()
	}
	var failed error
	for range n {
		failed = errors.Join(failed, <-errs)
	}
	return failed
}
