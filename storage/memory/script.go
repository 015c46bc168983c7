package memory

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
)

// Op is a kind of call.
type Op string

// The operations of a store and of its uploads. Any in a script stands for all of them.
const (
	Any   Op = ""
	Put   Op = "put"
	Begin Op = "begin"
	// Supersede stands for the beginning of such an upload.
	Supersede Op = "supersede"
	Part      Op = "part"
	Commit    Op = "commit"
	Abort     Op = "abort"
	Get       Op = "get"
	Stat      Op = "stat"
	List      Op = "list"
	Delete    Op = "delete"
	Thaw      Op = "thaw"
	// Versioning, Versions, Renew and Remove stand for the calls of storage.Versioner; Get stands for its GetVersion too.
	Versioning Op = "versioning"
	Versions   Op = "versions"
	Renew      Op = "renew"
	Remove     Op = "remove"
)

// Call is one call that was made and, once it has ended, its result.
type Call struct {
	Op   Op
	Key  storage.Key  // the prefix of a List
	Part int          // number of the part of a Part
	Size int64        // bytes sent by a Put or Part
	Span storage.Span // of a Get
	Err  error        // what the caller got
}

type rule struct {
	op      Op
	pattern string
	nth     int // 0: every call
	seen    int
	before  func(ctx context.Context, crash <-chan struct{}) error // runs without the lock
	after   error                                                  // the call is applied and its answer replaced
	body    func([]byte) []byte                                    // changes what a Get gives
}

// Fail makes the nth call, counted from 1 and from now on, of op on keys that match the pattern return
// err without doing anything; nth 0 means every call. An asterisk in the pattern stands for any bytes,
// slashes included; an empty pattern matches every key.
func (s *Store) Fail(op Op, pattern string, nth int, err error) {
	s.add(&rule{op: op, pattern: pattern, nth: nth, before: func(context.Context, <-chan struct{}) error { return err }})
}

// LoseResponse makes the nth such call do its work and then return storage.ErrUnavailable.
func (s *Store) LoseResponse(op Op, pattern string, nth int) {
	s.add(&rule{op: op, pattern: pattern, nth: nth, after: storage.ErrUnavailable})
}

// Delay makes each such call wait for d, or for the end of its context, before it begins.
func (s *Store) Delay(op Op, pattern string, d time.Duration) {
	s.add(&rule{op: op, pattern: pattern, before: func(ctx context.Context, crash <-chan struct{}) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		return wait(ctx, timer.C, crash)
	}})
}

// Hang makes each such call wait until release is called, its context ends or the store crashes. A
// released call then goes on. Release may be called more than once.
func (s *Store) Hang(op Op, pattern string) (release func()) {
	released := make(chan time.Time)
	s.add(&rule{op: op, pattern: pattern, before: func(ctx context.Context, crash <-chan struct{}) error {
		return wait(ctx, released, crash)
	}})
	var done bool
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !done {
			done = true
			close(released)
		}
	}
}

func wait(ctx context.Context, ready <-chan time.Time, crash <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-crash:
		return storage.ErrUnavailable
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Alter makes the nth Get that finds a key which matches the pattern give change(body) instead of the
// body it should give. If that is shorter, the reader ends with storage.ShortBody.
func (s *Store) Alter(pattern string, nth int, change func(body []byte) []byte) {
	s.add(&rule{op: Get, pattern: pattern, nth: nth, body: change})
}

// Hide leaves objects whose keys match the pattern out of lists, as a store whose lists lag does,
// until show is called.
func (s *Store) Hide(pattern string) (show func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[pattern] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hidden, pattern)
	}
}

func (s *Store) isHidden(key storage.Key) bool {
	for pattern := range s.hidden {
		if match(pattern, string(key)) {
			return true
		}
	}
	return false
}

// Crash drops all uploads that were not committed and ends the calls that hang or wait, with
// storage.ErrUnavailable. Objects stay.
func (s *Store) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.crash)
	s.crash = make(chan struct{})
	clear(s.uploads)
}

// Reset drops the script and the record of calls; hidden objects show again. Objects stay.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.calls = nil, nil
	clear(s.hidden)
}

// Calls returns the calls that have ended, in the order in which they ended.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count returns how many calls of op on keys that match the pattern have ended.
func (s *Store) Count(op Op, pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if (op == Any || op == c.Op) && match(pattern, string(c.Key)) {
			n++
		}
	}
	return n
}

func (s *Store) add(r *rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
}

// do runs one call: the script's part before it, the work under the lock, the script's part after it.
func (s *Store) do(ctx context.Context, call Call, work func() error) error {
	before, crash, after := s.script(call)
	err := ctx.Err()
	if err != nil {
		err = context.Cause(ctx)
	}
	for _, f := range before {
		if err == nil {
			err = f(ctx, crash)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = work()
		if after != nil {
			err = after
		}
	}
	if err != nil {
		var known *storage.Error
		if !errors.As(err, &known) {
			err = fault(call.Op, call.Key, err)
		}
	}
	call.Err = err
	s.calls = append(s.calls, call)
	return err
}

type step = func(ctx context.Context, crash <-chan struct{}) error

func (s *Store) script(call Call) (before []step, crash <-chan struct{}, after error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.body != nil || !r.fires(call.Op, call.Key) {
			continue
		}
		if r.before != nil {
			before = append(before, r.before)
		}
		if r.after != nil {
			after = r.after
		}
	}
	return before, s.crash, after
}

// bodyRule returns the altered body, or nil if no rule alters it.
func (s *Store) bodyRule(key storage.Key, body []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var change func([]byte) []byte
	for _, r := range s.rules {
		if r.body != nil && r.fires(Get, key) && change == nil {
			change = r.body
		}
	}
	if change == nil {
		return nil
	}
	return append([]byte{}, change(bytes.Clone(body))...) // not nil, which means unaltered
}

func (r *rule) fires(op Op, key storage.Key) bool {
	if (r.op != Any && r.op != op) || !match(r.pattern, string(key)) {
		return false
	}
	r.seen++
	return r.nth == 0 || r.nth == r.seen
}

func match(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	first, rest, star := strings.Cut(pattern, "*")
	s, ok := strings.CutPrefix(s, first)
	if !ok || !star {
		return ok && s == ""
	}
	if rest == "" {
		return true
	}
	for i := range len(s) + 1 {
		if match(rest, s[i:]) {
			return true
		}
	}
	return false
}
