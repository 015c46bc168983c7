package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

const (
	// holdTime is how long a hold lasts that nobody ends: as long as a reader that was killed keeps what it needed.
	holdTime = 3 * 24 * time.Hour
	// holdAgain is how often it is renewed, by one more.
	holdAgain = 24 * time.Hour
	// holdPatience is how long a repository may take for one: nobody waits longer for a restore to begin.
	holdPatience = 3 * time.Second
)

// Hold calls f while the repositories of a cluster are told that somebody reads there, so that nothing that is kept now is let go before f returns. It is
// said of every PostgreSQL cluster in them. Where the credential may not write, or the store does not answer, the grace of the retention must do (docs/FORMAT.md, section 15).
func Hold(ctx context.Context, c config.Cluster, why string, so StoreOptions, f func() error) error {
	h := holder{why: why, options: so}
	return h.during(ctx, c, f, func(error) bool { return false })
}

// HoldOn is Hold for what others go on with after f, such as the recovery of a server that a person starts: where f succeeded the holds stay until they end by
// themselves, at least two days later.
func HoldOn(ctx context.Context, c config.Cluster, why string, so StoreOptions, f func() error) error {
	h := holder{why: why, options: so}
	return h.during(ctx, c, f, func(err error) bool { return err == nil })
}

// holder keeps holds.
type holder struct {
	stores  *places
	why     string
	options StoreOptions
	since   time.Time // of the first

	mu   sync.Mutex
	made []madeHold
}

type madeHold struct {
	cluster *repository.Cluster
	hold    repository.Hold
}

// during calls f with holds, which stay where stays says so of what f returned.
func (h *holder) during(ctx context.Context, c config.Cluster, f func() error, stays func(error) bool) error {
	stores, err := openPlaces(ctx, c, h.options)
	if err != nil {
		return f() // whoever reads says why it cannot be opened
	}
	defer func() { _ = stores.Close() }() // the holds are durable, or are not
	h.stores = stores
	h.put(ctx)
	renewing, stop := context.WithCancel(ctx)
	var renewed sync.WaitGroup
	renewed.Go(func() {
		again := time.NewTicker(holdAgain)
		defer again.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-again.C:
				h.put(renewing)
			}
		}
	})
	defer func() {
		stop()
		renewed.Wait()
		if !stays(err) {
			h.end(context.WithoutCancel(ctx))
		}
	}()
	err = f()
	return err
}

// put puts a hold in each repository that takes one. The later ones say when reading began, too.
func (h *holder) put(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, holdPatience)
	defer cancel()
	now := time.Now()
	if h.since.IsZero() {
		h.since = now
	}
	var all sync.WaitGroup
	for _, one := range h.stores.all {
		if one.byBucket {
			continue
		}
		all.Go(func() {
			if err := h.putIn(ctx, one, now); err != nil && h.options.Logger != nil {
				h.options.Logger.DebugContext(ctx, "the repository is not told that it is read: the grace of its retention must do", "repo", one.name, "error", err)
			}
		})
	}
	all.Wait()
}

func (h *holder) putIn(ctx context.Context, one place, now time.Time) error {
	r, err := repository.Open(ctx, one.store)
	if errors.Is(err, repository.ErrNoRepository) {
		return nil
	}
	if err != nil {
		return err
	}
	ids, err := r.Clusters(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		cluster := r.Cluster(id)
		hold, err := cluster.PutHold(ctx, repository.Hold{From: h.since, Until: now.Add(holdTime)}, h.why)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.made = append(h.made, madeHold{cluster, hold})
		h.mu.Unlock()
	}
	return nil
}

// end deletes the holds as far as it may. Those that stay end by themselves.
func (h *holder) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, holdPatience)
	defer cancel()
	for _, one := range h.made {
		_ = one.cluster.EndHold(ctx, one.hold)
	}
}
