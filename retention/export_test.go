package retention

import (
	"context"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// Keys are what goes of a cluster.
func Keys(p *ClusterPlan) []storage.Key { return p.keys() }

// LocksOf are locks with another bound than MostLocks.
func LocksOf(l storage.Lock, now time.Time, most int) locks {
	return locks{Lock: l, now: now, most: most}
}

// ExtendSome is Extend with them.
func ExtendSome(ctx context.Context, r *repository.Repository, objects []repository.Object, l locks) (Extended, error) {
	return extend(ctx, r, objects, l)
}
