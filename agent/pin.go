package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// Pinning says what became of a pin in one repository.
type Pinning struct {
	Name string // "primary" or a copy's
	Err  error  // nil: it is there, durable
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
			others = append(others, Pinning{one.name, opening(one.url, err)})
			continue
		}
		holders, names = append(holders, holder), append(names, one.name)
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
		if !taken || attempt == pinAttempts {
			return append(done, others...), nil
		}
	}
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
		done = append(done, Pinning{names[i], errs[i]})
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
