package dashboard

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgark/pgark/status"
)

const (
	// lookEvery is how often is looked while nobody asks: what metrics tell is as old. A look costs a request for each base backup and some, and more where WAL is not counted (FORMAT.md, section 18).
	lookEvery = 5 * time.Minute
	// leastEvery is the least time between the beginnings of two looks, and restShare how many times as long as a look took nothing is looked at after it.
	leastEvery = 10 * time.Second
	restShare  = 10
	// doubtEvery is how soon is looked again after a look that failed or found that not all is well, and twice as long after each further one, up to lookEvery: an
	// agent that has just begun is soon known to receive, and metrics and heartbeat go by the last look.
	doubtEvery = 10 * time.Second
	// failedRest is how long nothing is looked at after a look that failed: what it found is soon not so any more, as where an agent has just begun.
	failedRest = time.Second
	// lookPatience is how long one may take, and askPatience how long who asks waits for one.
	lookPatience = time.Minute
	askPatience  = 12 * time.Second
)

// errSlow says that a look goes on for longer than anybody is to wait.
var errSlow = errors.New("the repository does not answer in time; it is asked further")

// Survey looks once at the repositories and the server of a cluster, and judges what it finds.
type Survey func(context.Context) (status.Report, error)

// Look has a cluster looked at now and then, and when somebody asks, but never more often than is good: all who ask get the same report. Its methods are safe for
// concurrent use; they tell of nothing before Run.
type Look struct {
	survey Survey
	told   func(Found) // of each look
	want   chan struct{}

	mu    sync.Mutex
	found Found
	rest  time.Time     // before which nothing is looked at again
	doubt time.Duration // after which is looked though nobody asks; 0, where all was well, is lookEvery
	done  chan struct{} // closed when the next look has ended
}

// Found is what a look found, and when that was.
type Found struct {
	// Report is nil where Err says why there is none.
	Report *status.Report
	Err    error
	At     time.Time
}

// NewLook returns a look that tells what it finds to told, which may be nil.
func NewLook(survey Survey, told func(Found)) *Look {
	return &Look{survey: survey, told: told, want: make(chan struct{}, 1), done: make(chan struct{})}
}

// Run looks until ctx ends.
func (l *Look) Run(ctx context.Context) {
	for {
		l.once(ctx)
		if !l.await(ctx) {
			return
		}
	}
}

// await returns true when it is time to look again, and false when ctx ended.
func (l *Look) await(ctx context.Context) bool {
	l.mu.Lock()
	rest, patience := time.Until(l.rest), cmp.Or(l.doubt, lookEvery)
	l.mu.Unlock()
	resting := time.NewTimer(rest)
	defer resting.Stop()
	select {
	case <-resting.C:
	case <-ctx.Done():
		return false
	}
	idle := time.NewTimer(max(0, patience-rest))
	defer idle.Stop()
	select {
	case <-l.want:
	case <-idle.C:
	case <-ctx.Done():
		return false
	}
	return true
}

func (l *Look) once(ctx context.Context) {
	select { // who asks until now asks for this one
	case <-l.want:
	default:
	}
	began := time.Now()
	looking, cancel := context.WithTimeout(ctx, lookPatience)
	report, err := l.survey(looking)
	cancel()
	found := Found{Err: err, At: began}
	if err == nil {
		found.Report = &report
	}
	l.mu.Lock()
	l.found = found
	if err == nil && (report.Verdict == status.Protected || report.Verdict == "") {
		l.doubt = 0
	} else {
		l.doubt = min(max(doubtEvery, 2*l.doubt), lookEvery)
	}
	l.rest = began.Add(max(leastEvery, restShare*time.Since(began)))
	if err != nil {
		l.rest = time.Now().Add(failedRest)
	}
	close(l.done)
	l.done = make(chan struct{})
	l.mu.Unlock()
	if l.told != nil && ctx.Err() == nil {
		l.told(found)
	}
}

// Ask has it looked soon, without waiting for it.
func (l *Look) Ask() {
	select {
	case l.want <- struct{}{}:
	default:
	}
}

// Last is what the last look found that succeeded; nil before one did, and where the last one failed.
func (l *Look) Last() *status.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found.Report
}

// Get is what the last look found if that is not old, and what the next one finds otherwise.
func (l *Look) Get(ctx context.Context) Found {
	l.mu.Lock()
	found, done := l.found, l.done
	fresh := !found.At.IsZero() && time.Now().Before(l.rest)
	l.mu.Unlock()
	if fresh {
		return found
	}
	l.Ask()
	waiting := time.NewTimer(askPatience)
	defer waiting.Stop()
	select {
	case <-done:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.found
	case <-ctx.Done():
		return Found{Err: context.Cause(ctx), At: time.Now()}
	case <-waiting.C:
		return Found{Err: errSlow, At: time.Now()}
	}
}
