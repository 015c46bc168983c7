package retry

import (
	"errors"
	"fmt"
	"time"
)

// ErrSilent means that a store was given up because none of its answers was good within Options.FirstAnswer. The error wraps what the last attempt died of too.
var ErrSilent = errors.New("no good answer")

// lastAttempts is the part of FirstAnswer that an attempt has at least, also one that begins when nearly all of it is over.
const lastAttempts = 4

// answered notes that the store is there. That it says no, such as storage.ErrNotFound, is an answer too.
func (s *Store) answered() { s.heard.Store(true) }

// silent tells whether the store has to give its first answer within a time, and has not yet.
func (s *Store) silent() bool { return s.options.FirstAnswer > 0 && !s.heard.Load() }

// firstAnswer shortens the deadline of an attempt at a store of which nothing is known yet.
func (s *Store) firstAnswer(c *call, timeout time.Duration) time.Duration {
	if !s.silent() {
		return timeout
	}
	left := s.options.FirstAnswer - time.Since(c.began)
	return min(timeout, max(left, s.options.FirstAnswer/lastAttempts))
}

// limit is the time after which a failed call is not made again; 0 is never.
func (s *Store) limit() time.Duration {
	if s.silent() && (s.options.MaxElapsed <= 0 || s.options.FirstAnswer < s.options.MaxElapsed) {
		return s.options.FirstAnswer
	}
	return s.options.MaxElapsed
}

// gaveUp is the error of a call that is not made again because of limit.
func (s *Store) gaveUp(c *call, err error, after time.Duration) error {
	attempts := fmt.Sprintf("%d attempts", c.attempt)
	if c.attempt == 1 {
		attempts = "1 attempt"
	}
	after = after.Round(time.Millisecond)
	if s.silent() {
		return fmt.Errorf("%w; %w in %s, %s", err, ErrSilent, after, attempts)
	}
	return fmt.Errorf("%w; gave up after %s in %s", err, attempts, after)
}
