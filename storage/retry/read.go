package retry

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/storage"
)

// guard ends a context when the store stands still for too long. The time that the caller takes
// between two reads does not count.
type guard struct {
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
	fired   atomic.Bool
}

// newGuard returns the context that it guards, armed.
func newGuard(ctx context.Context, timeout time.Duration) (context.Context, *guard) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &guard{cancel: cancel, timeout: timeout}
	g.timer = time.AfterFunc(timeout, func() {
		g.fired.Store(true)
		cancel(errAttemptTimeout)
	})
	return ctx, g
}

func (g *guard) pause()  { g.timer.Stop() }
func (g *guard) resume() { g.timer.Reset(g.timeout) }

func (g *guard) stop() {
	g.timer.Stop()
	g.cancel(nil)
}

// cause returns what is to be judged: the attempt's timeout if it was that, and err otherwise.
func (g *guard) cause(c *call, err error) error {
	if g.fired.Load() && !final(err) {
		return c.timedOut(err, g.timeout)
	}
	return err
}

// Get implements storage.Store. A body that is cut goes on from where it stopped.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	return s.read(ctx, key, span, func(ctx context.Context, span storage.Span) (io.ReadCloser, error) {
		return s.store.Get(ctx, key, span)
	})
}

// read gives the bytes of span over as many bodies of get as it takes.
func (s *Store) read(ctx context.Context, key storage.Key, span storage.Span,
	get func(context.Context, storage.Span) (io.ReadCloser, error),
) (io.ReadCloser, error) {
	r := &reader{store: s, key: key, span: span, get: get}
	r.open = func() error { return r.start(ctx) }
	r.await = func(err error) error { return s.wait(ctx, r.call, err) }
	r.judge = func(err error) error { return r.guard.cause(r.call, err) }
	r.call = s.begin("get", key, 0)
	if err := r.reopen(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader is the body of a Get over as many bodies of the store as it takes.
type reader struct {
	store *Store
	key   storage.Key
	span  storage.Span // what is still to be read
	call  *call        // since the last byte that came
	guard *guard
	body  io.ReadCloser
	err   error

	get   func(context.Context, storage.Span) (io.ReadCloser, error)
	open  func() error      // one attempt to open the body at span
	await func(error) error // as Store.wait
	judge func(error) error // as guard.cause
}

// start is one attempt to open the body. The guard's context lives as long as the body.
func (r *reader) start(ctx context.Context) error {
	ctx, r.guard = newGuard(ctx, r.store.timeout(r.call))
	body, err := r.get(ctx, r.span)
	r.guard.pause()
	if err != nil {
		err = r.judge(err)
		r.guard.stop()
		return err
	}
	r.store.answered()
	r.body = body
	return nil
}

// reopen opens the body, in as many attempts as it takes.
func (r *reader) reopen() error {
	for {
		err := r.open()
		if err == nil {
			return nil
		}
		if err := r.await(err); err != nil {
			return err
		}
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for r.err == nil {
		r.guard.resume()
		n, err := r.body.Read(p)
		r.guard.pause()
		r.advance(n)
		switch {
		case err == nil && n > 0, err == nil && len(p) == 0:
			return n, nil
		case err == io.EOF:
			r.err = io.EOF
		case err != nil:
			r.err = r.recover(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.err
}

func (r *reader) advance(n int) {
	if n == 0 {
		return
	}
	r.span.Offset += int64(n)
	if r.span.Length > 0 {
		r.span.Length -= int64(n)
	}
	r.call = r.store.begin("read", r.key, 0)
}

// recover closes the broken body and opens one at the offset reached. It returns nil if that worked.
func (r *reader) recover(err error) error {
	err = r.judge(err)
	_ = r.body.Close() // it has failed already
	r.guard.stop()
	if r.span.Length == 0 {
		return io.EOF // all bytes came; only the end was cut
	}
	if err := r.await(err); err != nil {
		return err
	}
	return r.reopen()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.err == nil {
		r.err = storage.ErrClosed
	}
	err := r.body.Close()
	r.guard.stop()
	return err
}
