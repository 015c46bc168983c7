// Package retry wraps a storage.Store so that each call is made again while storage.Retryable says that
// this may help, with a deadline for each attempt. It is the only retry loop over storage.
package retry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/storage"
)

// Event is one failed attempt that will be made again.
type Event struct {
	// Op is the operation: put, begin, supersede, part, commit, abort, get, read, stat, list, delete, lock, probe, replication,
	// versioning, versions, renew, remove, thaw, lifecycle.
	Op string
	// Key is the key, or the prefix of a list.
	Key storage.Key
	// Size is how many bytes of an object the next attempt sends again.
	Size int64
	// Err is what the attempt returned.
	Err error
	// Attempt counts from 1.
	Attempt int
	// Since is the time since the first attempt of this call began.
	Since time.Duration
	// Wait is the time until the next attempt.
	Wait time.Duration
}

// Options of New. The zero value is valid.
type Options struct {
	// MinWait is the wait after the first failure; it doubles with each one. 0 means 100 ms.
	MinWait time.Duration
	// MaxWait is the longest wait between attempts. 0 means 15 s. Each wait is shortened at random by up
	// to half, so that many callers do not come back at once.
	MaxWait time.Duration
	// MaxElapsed is the time after which a failed call is not made again. 0 means never: a call ends
	// only by success, an error for which storage.Retryable is false, or the end of its context.
	MaxElapsed time.Duration
	// FirstAnswer is MaxElapsed for a store that has not given one good answer yet, and the longest that an attempt at it may take: who only looks wants to be told
	// soon that nobody is there. What has answered once is waited for as ever. 0 means that the first answer is as long in coming as any. The error is ErrSilent.
	FirstAnswer time.Duration
	// AttemptTimeout is the deadline of an attempt that carries no data, and the time that a body which
	// is read may stand still. 0 means 30 s.
	AttemptTimeout time.Duration
	// MinRate, in bytes a second, lengthens the deadline of an attempt that sends data. Each attempt
	// that runs out of time doubles the next one's, up to 16 times. 0 means 64 KiB a second.
	MinRate int64
	// OnRetry, if not nil, is called before each wait. It is called from many goroutines.
	OnRetry func(Event)
	// Observe, if not nil, is told of each attempt that failed, and of each that succeeded but for those of Get and List, whose bodies are the
	// caller's to read. It is called from many goroutines and must not block.
	Observe func(Attempt)
}

func (o Options) withDefaults() Options {
	if o.MinWait <= 0 {
		o.MinWait = 100 * time.Millisecond
	}
	if o.MaxWait <= 0 {
		o.MaxWait = 15 * time.Second
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = 30 * time.Second
	}
	if o.MinRate <= 0 {
		o.MinRate = 64 << 10
	}
	return o
}

// Store is a storage.Store whose calls are made again when they fail for a while. Because a first answer
// may be lost, a Put that is made again can return storage.ErrExists although the object is the caller's
// own: compare the content.
type Store struct {
	store   storage.Store
	options Options
	heard   atomic.Bool // it has given a good answer
}

// New wraps store.
func New(store storage.Store, options Options) *Store {
	return &Store{store: store, options: options.withDefaults()}
}

// errAttemptTimeout is the cause of the end of an attempt's context.
var errAttemptTimeout = fmt.Errorf("%w: no answer in time", storage.ErrUnavailable)

// call is one call of the store with all its attempts.
type call struct {
	op       string
	key      storage.Key
	size     int64 // bytes sent
	attempt  int
	timeouts int
	began    time.Time
}

// sends is how many bytes of an object each attempt sends. The size of other calls stands for the work that the store has with them.
func (c *call) sends() int64 {
	if c.op == "put" || c.op == "part" {
		return c.size
	}
	return 0
}

func (s *Store) begin(op string, key storage.Key, size int64) *call {
	return &call{op: op, key: key, size: size, began: time.Now()}
}

// run makes attempts until one succeeds, fails for good, or ctx ends.
func (s *Store) run(ctx context.Context, c *call, attempt func(ctx context.Context) error) error {
	for {
		began := time.Now()
		err := s.attempt(ctx, c, attempt)
		if err == nil {
			s.answered()
			s.succeeded(c, began)
			return nil
		}
		if err := s.wait(ctx, c, err); err != nil {
			return err
		}
	}
}

// attempt runs once under its own deadline. An attempt that ended because of that deadline returns an
// error that can be retried.
func (s *Store) attempt(ctx context.Context, c *call, attempt func(ctx context.Context) error) error {
	timeout := s.timeout(c)
	attemptCtx, cancel := context.WithTimeoutCause(ctx, timeout, errAttemptTimeout)
	defer cancel()
	err := attempt(attemptCtx)
	if err != nil && ctx.Err() == nil && attemptCtx.Err() != nil && !final(err) {
		return c.timedOut(err, timeout)
	}
	return err
}

// timedOut returns the error of an attempt that ran out of time. Err is what the store made of that;
// if it says so itself, it is kept, for it names the place.
func (c *call) timedOut(err error, timeout time.Duration) error {
	c.timeouts++
	if errors.Is(err, errAttemptTimeout) {
		return err
	}
	return &storage.Error{Op: c.op, Key: c.key, Err: errAttemptTimeout, Detail: timeout.Round(time.Second).String()}
}

// final tells whether err is an answer of the store rather than the attempt's end.
func final(err error) bool {
	for _, answer := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrDenied, storage.ErrNoStore, storage.ErrKey, storage.ErrNoVersion, storage.ErrSpan,
		storage.ErrClosed, storage.ErrUploadLost, storage.ErrNoVersions, storage.ErrArchived, storage.ErrNoLock, storage.ErrLocked,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

const maxDoublings = 4

func (s *Store) timeout(c *call) time.Duration {
	timeout := s.options.AttemptTimeout + time.Duration(float64(c.size)/float64(s.options.MinRate)*float64(time.Second))
	return s.firstAnswer(c, timeout<<min(c.timeouts, maxDoublings))
}

// wait returns nil when the next attempt is due, and the error of the call when there is none.
func (s *Store) wait(ctx context.Context, c *call, err error) error {
	s.failed(ctx, c, err)
	if final(err) {
		s.answered()
	}
	c.attempt++
	since, limit := time.Since(c.began), s.limit()
	switch {
	case ctx.Err() != nil:
		return ended(ctx, err)
	case !storage.Retryable(err):
		return err
	case limit > 0 && since >= limit:
		return s.gaveUp(c, err, since)
	}
	pause := s.pause(c.attempt)
	if limit > 0 {
		pause = min(pause, limit-since)
	}
	if s.options.OnRetry != nil {
		s.options.OnRetry(Event{Op: c.op, Key: c.key, Size: c.sends(), Err: err, Attempt: c.attempt, Since: since, Wait: pause})
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx, err)
	}
}

// ended returns the error of a call whose context ended: it wraps the context's cause, and says what
// the last attempt died of.
func ended(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if errors.Is(last, cause) {
		return last
	}
	return fmt.Errorf("%w (last attempt: %v)", cause, last) //nolint:errorlint // the cause alone decides
}

func (s *Store) pause(attempt int) time.Duration {
	pause := s.options.MaxWait
	if shift := attempt - 1; shift < 32 && s.options.MinWait<<shift > 0 {
		pause = min(pause, s.options.MinWait<<shift)
	}
	half := pause / 2
	return pause - half + time.Duration(rand.Int64N(int64(half)+1))
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	return s.run(ctx, s.begin("put", key, int64(len(body))), func(ctx context.Context) error {
		return s.store.Put(ctx, key, body)
	})
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key storage.Key) (info storage.Info, err error) {
	err = s.run(ctx, s.begin("stat", key, 0), func(ctx context.Context) error {
		info, err = s.store.Stat(ctx, key)
		return err
	})
	return info, err
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	return s.run(ctx, s.begin("delete", key, 0), func(ctx context.Context) error {
		return s.store.Delete(ctx, key)
	})
}

// Probe implements storage.Prober.
func (s *Store) Probe(ctx context.Context) (answer storage.Conditional, err error) {
	err = s.run(ctx, s.begin("probe", storage.ProbeKey, 0), func(ctx context.Context) error {
		answer, err = storage.Probe(ctx, s.store)
		return err
	})
	return answer, err
}

// Replication implements storage.Replicator.
func (s *Store) Replication(ctx context.Context) (found storage.Replication, err error) {
	err = s.run(ctx, s.begin("replication", "", 0), func(ctx context.Context) error {
		found, err = storage.BucketReplication(ctx, s.store)
		return err
	})
	return found, err
}

// Replicated implements storage.Replicator.
func (s *Store) Replicated(ctx context.Context, key storage.Key) (found storage.ReplicationStatus, err error) {
	err = s.run(ctx, s.begin("stat", key, 0), func(ctx context.Context) error {
		found, err = storage.Replicated(ctx, s.store, key)
		return err
	})
	return found, err
}

// BucketLock implements storage.Locker.
func (s *Store) BucketLock(ctx context.Context) (found storage.Lock, err error) {
	err = s.run(ctx, s.begin("lock", "", 0), func(ctx context.Context) error {
		found, err = storage.BucketLock(ctx, s.store)
		return err
	})
	return found, err
}

// Extend implements storage.Locker.
func (s *Store) Extend(ctx context.Context, key storage.Key, version string, l storage.Lock, least time.Duration) (extended bool, err error) {
	err = s.run(ctx, s.begin("lock", key, 0), func(ctx context.Context) error {
		extended, err = storage.Extend(ctx, s.store, storage.Info{Key: key, Version: version}, l, least)
		return err
	})
	return extended, err
}

// Locked implements storage.Locker.
func (s *Store) Locked(ctx context.Context, key storage.Key, version string) (mode storage.LockMode, until time.Time, err error) {
	err = s.run(ctx, s.begin("lock", key, 0), func(ctx context.Context) error {
		mode, until, err = storage.Locked(ctx, s.store, storage.Info{Key: key, Version: version})
		return err
	})
	return mode, until, err
}

// StaleUploads implements storage.Sweeper.
func (s *Store) StaleUploads(ctx context.Context, before time.Time) (found []storage.StaleUpload, err error) {
	err = s.run(ctx, s.begin("list", "", 0), func(ctx context.Context) error {
		found, err = storage.StaleUploads(ctx, s.store, before)
		return err
	})
	return found, err
}

// DropUpload implements storage.Sweeper.
func (s *Store) DropUpload(ctx context.Context, u storage.StaleUpload) error {
	return s.run(ctx, s.begin("abort", u.Key, 0), func(ctx context.Context) error {
		return storage.DropUpload(ctx, s.store, u)
	})
}

// Thaw implements storage.Thawer.
func (s *Store) Thaw(ctx context.Context, object storage.Info, how storage.Thaw) error {
	return s.run(ctx, s.begin("thaw", object.Key, 0), func(ctx context.Context) error {
		return storage.ThawObject(ctx, s.store, object, how)
	})
}

// Lifecycle implements storage.Lifecycler.
func (s *Store) Lifecycle(ctx context.Context) (found []storage.LifecycleRule, err error) {
	err = s.run(ctx, s.begin("lifecycle", "", 0), func(ctx context.Context) error {
		found, err = storage.BucketLifecycle(ctx, s.store)
		return err
	})
	return found, err
}

// List implements storage.Store. A list that is cut goes on after the last key it gave.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		c := s.begin("list", prefix, 0)
		for {
			last, err := s.list(ctx, c, list{prefix, after}, yield)
			if err == nil {
				return
			}
			if last > after {
				*c, after = *s.begin("list", prefix, 0), last
			}
			if err := s.wait(ctx, c, err); err != nil {
				yield(storage.Info{}, err)
				return
			}
		}
	}
}

type list struct{ prefix, after storage.Key }

// list runs one attempt. It returns the last key given, and nil when the list or its reader has ended.
func (s *Store) list(ctx context.Context, c *call, l list, yield func(storage.Info, error) bool) (storage.Key, error) {
	ctx, guard := newGuard(ctx, s.timeout(c))
	defer guard.stop()
	last := l.after
	for info, err := range s.store.List(ctx, l.prefix, l.after) {
		guard.pause()
		if err != nil {
			return last, guard.cause(c, err)
		}
		s.answered()
		last = info.Key
		if !yield(info, nil) {
			return last, nil
		}
		guard.resume()
	}
	s.answered()
	return last, nil
}

// Powers implements storage.PowerProber.
func (s *Store) Powers(ctx context.Context, key storage.Key) (found storage.Powers, err error) {
	err = s.run(ctx, s.begin("powers", key, 0), func(ctx context.Context) error {
		found, err = storage.ProbePowers(ctx, s.store, key)
		return err
	})
	return found, err
}

// Skew implements storage.Clock.
func (s *Store) Skew(ctx context.Context) (found storage.Skew, err error) {
	err = s.run(ctx, s.begin("clock", "", 0), func(ctx context.Context) error {
		found, err = storage.ClockSkew(ctx, s.store)
		return err
	})
	return found, err
}
