package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
)

// Pinning says what became of a pin in one repository.
type Pinning struct {
	Name string // "primary" or a copy's
	Err  error  // nil: it is there, durable
	// Locks is what became of the locks of what the backup needs; nil if they were not looked at. No error of it ends the pin.
	Locks *retention.LocksReport
}

// errGoes says that a pin came while retention let its backup go, or after that was broken off.
var errGoes = errors.New("it is pinned, but retention had begun to let it go: pgark prune shows whether it is kept")

// pinAttempts is how often a number is looked for that no other command takes at the same time.
const pinAttempts = 5

// Pin exempts a backup from retention, or ends that, in every repository of a cluster that holds it. Of p it sets the number. A copy that the primary's bucket makes
// gets it from there. A repository that does not take the pin is in the answer, and keeps no other from having it. The error is repository.ErrNoBackup if all answer
// and none holds the backup.
func Pin(ctx context.Context, c config.Cluster, p repository.Pin, so StoreOptions) ([]Pinning, error) {
	stores, err := openPlaces(ctx, c, so)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	found, errs := stores.look(ctx)
	if _, err := stores.agree(found, errs); err != nil {
		return nil, err
	}
	var holders []*repository.Cluster
	var names []string
	var held []int // places of the holders
	var others []Pinning
	for i, one := range stores.all {
		if one.byBucket {
			continue
		}
		var holder *repository.Cluster
		err := errs[i]
		if err == nil {
			holder, err = holderOf(ctx, found[i], p.Backup)
		}
		if err != nil {
			others = append(others, Pinning{Name: one.name, Err: opening(one.url, err)})
			continue
		}
		holders, names, held = append(holders, holder), append(names, one.name), append(held, i)
	}
	if len(holders) == 0 {
		for _, one := range others {
			if !errors.Is(one.Err, repository.ErrNoBackup) {
				return others, one.Err
			}
		}
		return nil, fmt.Errorf("backup %s: %w", p.Backup, repository.ErrNoBackup)
	}
	for attempt := 1; ; attempt++ {
		done, taken := pinIn(ctx, holders, names, p)
		if taken && attempt < pinAttempts {
			continue
		}
		if p.Change == repository.Pinned {
			for i := range done {
				if done[i].Err == nil {
					done[i].Locks = lockPinned(ctx, stores.all[held[i]], holders[i], p.Backup)
				}
			}
		}
		return append(done, others...), nil
	}
}

// lockPinned makes the locks of what a pinned backup needs longer, where they end soon. Later runs of prune see to them again.
func lockPinned(ctx context.Context, one place, holder *repository.Cluster, id string) *retention.LocksReport {
	if one.lock.IsZero() {
		return nil
	}
	extended := retention.Extended{Lock: one.lock}
	backup, err := holder.Backup(ctx, id)
	var needs []repository.Object
	if err == nil {
		needs, err = holder.Needs(ctx, backup)
	}
	if err == nil {
		extended, err = retention.Extend(ctx, one.store, needs, one.lock)
	}
	if err != nil {
		extended.Err, extended.Failed = err, max(extended.Failed, 1)
	}
	return retention.DescribeLocks(extended)
}

// holderOf returns the cluster that has the backup.
func holderOf(ctx context.Context, r *repository.Repository, backup string) (*repository.Cluster, error) {
	ids, err := r.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		cluster := r.Cluster(id)
		if _, err := cluster.Backup(ctx, backup); err == nil || !errors.Is(err, repository.ErrNoBackup) {
			return cluster, err
		}
	}
	return nil, fmt.Errorf("backup %s: %w", backup, repository.ErrNoBackup)
}

// pinIn puts p behind the pins that any of the repositories has. One that lacks some of those gets them first, because the numbers have no hole. taken says that another
// command took the number meanwhile.
func pinIn(ctx context.Context, holders []*repository.Cluster, names []string, p repository.Pin) (done []Pinning, taken bool) {
	numbers, errs := make([]int, len(holders)), make([]error, len(holders))
	leader := 0
	for i, holder := range holders {
		last, err := holder.NewestPin(ctx, p.Backup, 0)
		if numbers[i], errs[i] = last.Number, err; last.Number > numbers[leader] {
			leader = i
		}
	}
	p.Number = numbers[leader] + 1
	for i, holder := range holders {
		for n := numbers[i] + 1; n < p.Number && errs[i] == nil; n++ {
			var missed repository.Pin
			if missed, errs[i] = holders[leader].Pin(ctx, p.Backup, n); errs[i] == nil {
				errs[i] = holder.PutPin(ctx, missed)
			}
		}
		if errs[i] == nil {
			errs[i] = holder.PutPin(ctx, p)
		}
		if errs[i] == nil && p.Change == repository.Pinned {
			errs[i] = stays(ctx, holder, p.Backup)
		}
		taken = taken || errors.Is(errs[i], storage.ErrExists)
		done = append(done, Pinning{Name: names[i], Err: errs[i]})
	}
	return done, taken
}

// stays returns errGoes if nothing tells that the pin which was just put came in time. Retention records what it lets go before it asks for pins
// the last time: of the two, one sees the other.
func stays(ctx context.Context, holder *repository.Cluster, backup string) error {
	expiry, err := holder.Expiry(ctx)
	if err == nil && expiry.HasBackup(backup) {
		err = errGoes
	}
	return err
}
