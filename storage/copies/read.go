package copies

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/pgark/pgark/storage"
)

// errPatience ends a read that another member may answer.
var errPatience = errors.New("no answer in time")

// best waits for a live member and returns the one that holds most: it holds all that was returned for.
func (s *Store) best(ctx context.Context) (*member, error) {
	for {
		s.mu.Lock()
		best, changed := s.live(nil), s.changed
		s.mu.Unlock()
		if best != nil {
			return best, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// read runs a read on the best member. One that does not answer, or is not what it was, is left behind
// and the next one asked. Whoever does more than one reading stops the timer in between, which ends the attempt.
func (s *Store) read(ctx context.Context, do func(ctx context.Context, store storage.Store, patience *time.Timer) error) error {
	for {
		m, err := s.best(ctx)
		if err != nil {
			return err
		}
		try, cancel := context.WithCancelCause(ctx)
		patience := time.AfterFunc(s.options.Patience, func() { cancel(errPatience) })
		err = do(try, m.Store, patience)
		patience.Stop()
		late := try.Err() != nil && ctx.Err() == nil
		cancel(nil)
		switch {
		case err == nil:
			return nil
		case late || storage.Retryable(err) || errors.Is(err, storage.ErrDenied) || errors.Is(err, storage.ErrNoStore):
			s.mu.Lock()
			s.leave(m, err)
			s.mu.Unlock()
		default:
			return err
		}
	}
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (body io.ReadCloser, err error) {
	err = s.read(ctx, func(try context.Context, store storage.Store, _ *time.Timer) error {
		// The body lives longer than the attempt to open it.
		open, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(try, func() { cancel(context.Cause(try)) })
		b, err := store.Get(open, key, span)
		if !stop() || err != nil {
			cancel(nil)
			if err == nil {
				_ = b.Close()
				err = context.Cause(try)
			}
			return err
		}
		body = &closer{ReadCloser: b, cancel: cancel}
		return nil
	})
	return body, err
}

// closer ends a body's context with it.
type closer struct {
	io.ReadCloser

	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (c *closer) Close() error {
	defer c.cancel(nil)
	return c.ReadCloser.Close()
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key storage.Key) (info storage.Info, err error) {
	err = s.read(ctx, func(ctx context.Context, store storage.Store, _ *time.Timer) error {
		info, err = store.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements storage.Store. It goes on with another member where one fails. However long it is, and its caller takes over it, a member is waited for only as long as over one reading.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		ended := false
		err := s.read(ctx, func(ctx context.Context, store storage.Store, patience *time.Timer) error {
			for info, err := range store.List(ctx, prefix, after) {
				if err != nil {
					return err
				}
				after = info.Key
				patience.Stop()
				if !yield(info, nil) {
					ended = true
					return nil
				}
				patience.Reset(s.options.Patience)
			}
			return nil
		})
		if err != nil && !ended {
			yield(storage.Info{}, err)
		}
	}
}

// Probe implements storage.Prober: the answer of the least careful member.
func (s *Store) Probe(ctx context.Context) (storage.Conditional, error) {
	worst := storage.ConditionalHonoured
	for _, m := range s.members {
		try, cancel := context.WithTimeoutCause(ctx, s.options.Patience, errPatience)
		answer, err := storage.Probe(try, m.Store)
		late := try.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return storage.ConditionalUnknown, context.Cause(ctx)
		case late:
			continue // it is probed when it joins
		case err != nil:
			return storage.ConditionalUnknown, err
		case answer == storage.ConditionalIgnored:
			worst = answer
		}
	}
	return worst, nil
}
