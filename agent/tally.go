package agent

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
)

// mostFailures is how many kinds of failed requests are told apart for each repository.
const mostFailures = 12

// tally counts what the repositories of one cluster took and refused. It is safe for concurrent use; a nil one counts nothing.
type tally struct {
	// uploaded is told of each WAL object that a repository took; nil tells nobody. It must not block.
	uploaded func(repository string, took time.Duration)

	mu     sync.Mutex
	places []status.LiveRepository
}

func newTally(names []string) *tally {
	t := &tally{}
	for _, name := range names {
		t.places = append(t.places, status.LiveRepository{Name: name})
	}
	return t
}

// of returns what counts the attempts of one repository; nil for one that is not counted.
func (t *tally) of(name string) func(retry.Attempt) {
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(t.places, func(p status.LiveRepository) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return func(a retry.Attempt) {
		t.count(i, a)
		if tookWAL(a) && t.uploaded != nil {
			t.uploaded(name, a.Took)
		}
	}
}

// tookWAL reports whether a repository took an object of WAL.
func tookWAL(a retry.Attempt) bool { return a.Op == "put" && a.Err == nil && repository.IsWAL(a.Key) }

func (t *tally) count(i int, a retry.Attempt) {
	if a.Op == "versioning" {
		return // a question about the bucket, which a credential that archives may be refused
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.places[i]
	code := failureCode(a.Err)
	up := code == ""
	p.Up = &up
	if tookWAL(a) {
		p.StoredWAL += uint64(a.Size)
	}
	if requestKind(a.Op) == "put" {
		if p.Puts++; p.PutsSince == nil {
			now := time.Now().UTC()
			p.PutsSince = &now
		}
		p.Refusing = refusal(p.Refusing, a.Err, up)
	}
	if up {
		return
	}
	kind := status.RequestFailures{Op: requestKind(a.Op), Code: code}
	find := func() int {
		return slices.IndexFunc(p.Failures, func(f status.RequestFailures) bool { return f.Op == kind.Op && f.Code == kind.Code })
	}
	at := find()
	if at < 0 && len(p.Failures) >= mostFailures-1 {
		kind = status.RequestFailures{Op: "other", Code: "other"}
		at = find()
	}
	if at < 0 {
		p.Failures = append(p.Failures, kind)
		at = len(p.Failures) - 1
	}
	p.Failures[at].Count++
}

// refusal is what is known of puts that fail, after one more of them. What was known before is not changed: others read it.
func refusal(before *status.Outage, err error, up bool) *status.Outage {
	switch {
	case up:
		return nil
	case before == nil:
		return &status.Outage{Since: time.Now().UTC(), Tries: 1, Error: err.Error()}
	}
	return &status.Outage{Since: before.Since, Tries: before.Tries + 1, Error: err.Error()}
}

// requestKind is the kind of an operation of storage/retry.
func requestKind(op string) string {
	switch op {
	case "put", "begin", "supersede", "part", "commit", "abort":
		return "put"
	case "get", "read":
		return "get"
	case "list", "versions":
		return "list"
	case "stat":
		return "stat"
	case "delete", "remove":
		return "delete"
	}
	return "other"
}

// failureCode says in a word why a request failed; "" where the store answered what was asked.
func failureCode(err error) string {
	if err == nil {
		return ""
	}
	for _, answer := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrKey, storage.ErrNoVersion, storage.ErrSpan, storage.ErrClosed, storage.ErrUploadLost,
		storage.ErrNoVersions, storage.ErrArchived, storage.ErrNoLock, storage.ErrTooLarge,
	} {
		if errors.Is(err, answer) {
			return ""
		}
	}
	for _, known := range []struct {
		err  error
		code string
	}{
		{storage.ErrDenied, "denied"},
		{storage.ErrExpired, "expired"},
		{storage.ErrSkewed, "skewed"},
		{storage.ErrNoStore, "no_bucket"},
		{storage.ErrLocked, "locked"},
		{storage.ErrUnavailable, "unavailable"},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return "other"
}

// versioned notes whether a repository's bucket keeps versions; nil is not known.
func (t *tally) versioned(name string, yes *bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if t.places[i].Name == name {
			t.places[i].Versioned = yes
		}
	}
}

// fill adds what was counted to a Live.
func (t *tally) fill(l *status.Live) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.places {
		p.Failures = slices.SortedFunc(slices.Values(p.Failures), func(a, b status.RequestFailures) int {
			return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Code, b.Code))
		})
		l.Repositories = append(l.Repositories, p)
	}
}
