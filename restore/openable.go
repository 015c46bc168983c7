package restore

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
)

const (
	openSample = 256 // objects of WAL whose header is tried, spread over what is needed
	openJobs   = 16
)

// openable returns nil if what the plan needs can be opened with the keys there are: the base backup, and of the WAL that is encrypted its first and last object
// and as many between them as tell when the public keys were changed. No more is read than headers. The error is a *repository.KeyError otherwise.
func openable(ctx context.Context, cluster *repository.Cluster, plan *Plan) error {
	if err := cluster.CanOpenBackup(ctx, plan.Backup); err != nil {
		return err
	}
	var needed []repository.Entry
	for _, leg := range plan.Legs {
		for e, err := range cluster.ListWAL(ctx, leg.Timeline, leg.Range.Start) {
			if err != nil {
				return err
			}
			if e.Range.Start >= leg.Range.End {
				break
			}
			if e.Sealed() && e.Range.End > leg.Range.Start {
				needed = append(needed, e)
			}
		}
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(openJobs)
	for _, e := range thinned(needed, openSample) {
		group.Go(func() error {
			var key *repository.KeyError
			if err := cluster.CanOpen(reading, e); errors.As(err, &key) {
				return err
			}
			return nil // gone since, or damaged: that is for who reads it
		})
	}
	return group.Wait()
}

// thinned returns at most n of all, the first and the last among them.
func thinned(all []repository.Entry, n int) []repository.Entry {
	if len(all) <= n {
		return all
	}
	some := make([]repository.Entry, 0, n)
	for i := range n {
		some = append(some, all[i*(len(all)-1)/(n-1)])
	}
	return some
}
