package agent

import (
	"context"
	"sync"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/telemetry"
)

// mostUploads is how many uploads are remembered, those in flight and the newest of those that are durable: a copy that is not waited for may take an object
// long after the others.
const mostUploads = 128

// uploadSpans make spans of the WAL objects that are put: one for each, and below it one for each attempt at a repository. A nil one makes none and costs
// nothing. It is safe for concurrent use.
type uploadSpans struct {
	cluster string

	mu    sync.Mutex
	known map[storage.Key]*uploadSpan
	order []storage.Key // of known, the oldest first
}

type uploadSpan struct {
	span   *telemetry.Span
	failed int
}

// newUploadSpans returns those of a cluster; nil where nothing is exported.
func newUploadSpans(ctx context.Context, cluster string) *uploadSpans {
	if !telemetry.On(ctx) {
		return nil
	}
	return &uploadSpans{cluster: cluster, known: map[storage.Key]*uploadSpan{}}
}

// putting is archiver.Options.Putting; nil where nothing is exported.
func (u *uploadSpans) putting() func(context.Context, *repository.EncodedWAL) (context.Context, func(error)) {
	if u == nil {
		return nil
	}
	return u.put
}

func (u *uploadSpans) put(ctx context.Context, e *repository.EncodedWAL) (context.Context, func(error)) {
	h := &e.Header
	ctx, span := telemetry.Begin(ctx, telemetry.Upload, append(walFacts(h.SystemID, h.Timeline, h.Range), telemetry.Cluster.String(u.cluster),
		telemetry.Bytes.Int64(int64(h.Plain)), telemetry.StoredBytes.Int(len(e.Body)))...)
	one := &uploadSpan{span: span}
	u.remember(e.Key, one)
	return ctx, func(err error) {
		u.mu.Lock()
		failed := one.failed
		u.mu.Unlock()
		span.Set(telemetry.Retries.Int(failed))
		span.End(err)
	}
}

func (u *uploadSpans) remember(key storage.Key, one *uploadSpan) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[key] == nil {
		u.order = append(u.order, key)
	}
	u.known[key] = one
	if len(u.order) > mostUploads {
		delete(u.known, u.order[0])
		u.order = u.order[1:]
	}
}

// of returns what makes spans of the attempts at one repository, and passes them on to next, which may be nil; next, where nothing is exported.
func (u *uploadSpans) of(ctx context.Context, repo string, next func(retry.Attempt)) func(retry.Attempt) {
	if u == nil {
		return next
	}
	return func(a retry.Attempt) {
		if next != nil {
			next(a)
		}
		u.attempt(ctx, repo, a)
	}
}

func (u *uploadSpans) attempt(ctx context.Context, repo string, a retry.Attempt) {
	if a.Op != "put" || !repository.IsWAL(a.Key) {
		return
	}
	err := a.Err
	if failureCode(err) == "" {
		err = nil // that it is there already is an answer
	}
	u.mu.Lock()
	one := u.known[a.Key]
	if one != nil && err != nil {
		one.failed++
	}
	u.mu.Unlock()
	if one != nil {
		one.span.Done(ctx, telemetry.Put, a.Took, err, telemetry.Repo.String(repo), telemetry.StoredBytes.Int64(a.Size))
	}
}
