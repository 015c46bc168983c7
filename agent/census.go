package agent

import (
	"context"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	// censusEvery is how old a census of a repository is when the next one is taken: a reader uses one for twice as long.
	censusEvery = repository.CensusKept / 2
	// censusLeast is how many segments are worth a census: fewer are listed with a few requests.
	censusLeast = 4 * repository.BlockSegments
)

// censuses takes a census of each repository that the agent writes to every day, until ctx ends: what is counted there need not be listed by whoever asks how the cluster
// stands. It begins after a first wait. Nothing depends on it, so that a failure is told and no more.
func (a *running) censuses(ctx context.Context, cluster *repository.Cluster, first time.Duration) {
	counted := make([]time.Time, len(a.stores.all))
	for wait := first; ; wait = longestWait {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		for i, one := range a.stores.all {
			if time.Since(counted[i]) < censusEvery {
				continue
			}
			if at, ok := a.census(ctx, one, cluster.SystemID()); ok {
				counted[i] = at
			}
		}
	}
}

// census takes a census of a repository unless its last one is young, and returns when all its WAL was listed last; false if that is not known.
func (a *running) census(ctx context.Context, one place, id wal.SystemID) (time.Time, bool) {
	if one.byBucket || one.closed {
		return time.Time{}, false
	}
	began := time.Now()
	n, err := takeCensus(ctx, repository.Unchecked(one.store).Cluster(id), identity(one.url), began)
	switch {
	case ctx.Err() != nil:
		return time.Time{}, false
	case err != nil:
		a.logger.WarnContext(ctx, "the WAL could not be counted: until it is, pgark status lists all of it", "repo", one.name, "err", err)
		return time.Time{}, false
	case !n.Began.Before(began) && n.Segments() >= censusLeast:
		a.logger.InfoContext(ctx, "the WAL was counted", "repo", one.name, "segments", n.Segments(), "dur", n.Ended.Sub(n.Began))
	}
	return n.Began, true
}

// takeCensus returns the last census of a place if it is young, and otherwise takes one, which is put unless there is too little WAL for it to be of use.
func takeCensus(ctx context.Context, c *repository.Cluster, place string, now time.Time) (*repository.Census, error) {
	last, err := c.NewestCensus(ctx, place, now)
	if err != nil || last != nil && last.Began.After(now.Add(-censusEvery)) {
		return last, err
	}
	n, err := c.TakeCensus(ctx, place, nil)
	if err != nil || n.Segments() < censusLeast {
		return n, err
	}
	return n, c.PutCensus(ctx, n)
}
