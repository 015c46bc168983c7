package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// fenceTime is how long a repository may take to say whether somebody took over.
const fenceTime = 10 * time.Second

// fences asks every repository of a cluster, copies and those that a bucket fills too, whether somebody took over from the server: whoever did may have
// reached only one of them.
type fences struct {
	stores *places
	logger *slog.Logger

	mu     sync.Mutex
	opened []*repository.Repository // of each place, once it answered
	mute   []bool                   // that it did not answer was told
}

func newFences(stores *places, logger *slog.Logger) *fences {
	return &fences{stores: stores, logger: logger, opened: make([]*repository.Repository, len(stores.all)), mute: make([]bool, len(stores.all))}
}

// ask returns a *repository.FencedError or *archiver.TimelineError if a repository that answers says that another server took over, or is about to. Who must not be
// confirmed without its answer, the archiver asks again after each object (repository.Cluster.Unfenced); the others are asked again in a while.
func (f *fences) ask(ctx context.Context, server postgres.System) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	found := make([]error, len(f.stores.all))
	var group errgroup.Group
	for i := range f.stores.all {
		group.Go(func() error {
			found[i] = f.askOne(ctx, i, server)
			return nil
		})
	}
	_ = group.Wait() // the errors are in found
	var taken error
	for i, err := range found {
		var fenced *repository.FencedError
		var timeline *archiver.TimelineError
		switch {
		case errors.As(err, &fenced), errors.As(err, &timeline):
			taken = err
		case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		default:
			f.tell(ctx, i, err)
		}
	}
	return taken
}

// tell logs once that a repository does not answer.
func (f *fences) tell(ctx context.Context, i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && !f.mute[i] {
		f.logger.WarnContext(ctx, "the repository does not say whether another server took over; it is asked again", "repo", f.stores.all[i].name, "err", err)
	}
	f.mute[i] = err != nil
}

func (f *fences) askOne(ctx context.Context, i int, server postgres.System) error {
	cluster, err := f.cluster(ctx, i, server.ID)
	if err != nil || cluster == nil {
		return err
	}
	newest, err := cluster.NewestFence(ctx, server.Timeline)
	if err != nil {
		return err
	}
	if newest.Stands() {
		return &repository.FencedError{Fence: newest, Repository: f.stores.all[i].name}
	}
	return f.younger(ctx, cluster, server)
}

// cluster returns the part of a place that belongs to the server; nil if the place holds no repository yet.
func (f *fences) cluster(ctx context.Context, i int, id wal.SystemID) (*repository.Cluster, error) {
	f.mu.Lock()
	r := f.opened[i]
	f.mu.Unlock()
	if r == nil {
		var err error
		r, err = f.stores.open(ctx, f.stores.all[i].store)
		if errors.Is(err, repository.ErrNoRepository) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.opened[i] = r
		f.mu.Unlock()
	}
	return r.Cluster(id), nil
}

// younger returns an *archiver.TimelineError if the place knows a timeline that left the server's.
func (f *fences) younger(ctx context.Context, cluster *repository.Cluster, server postgres.System) error {
	if after, err := cluster.HasTimelineAfter(ctx, server.Timeline); err != nil || !after {
		return err
	}
	timelines, err := cluster.Timelines(ctx)
	if err != nil {
		return err
	}
	for _, tli := range timelines {
		if tli <= server.Timeline {
			continue
		}
		h, _, err := cluster.History(ctx, tli)
		if err != nil {
			return err
		}
		if at, left := h.SwitchOf(server.Timeline); left && h.Contains(server.Timeline) {
			return &archiver.TimelineError{Server: server.Timeline, Archive: tli, Flush: server.Flush, Switch: at}
		}
	}
	return nil
}
