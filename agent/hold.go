package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

const (
	// holdTime is how long a hold lasts that nobody ends: as long as a reader that was killed keeps what it needed.
	holdTime = 3 * 24 * time.Hour
	// holdAgain is how often it is renewed, by one more.
	holdAgain = 24 * time.Hour
	// holdPatience is how long a repository may take for one: nobody waits longer for a restore to begin. When it has ended there is more time.
	holdPatience = 3 * time.Second
	holdGoodbye  = 15 * time.Second
	// holdRetry is how often one that a repository did not take is tried again, and how long that may take, while others read already.
	holdRetry = 30 * time.Second
)

// Holding tells the repositories of a cluster that somebody reads there. The zero value tells none.
type Holding struct {
	stores  *places
	why     string
	options StoreOptions
	since   time.Time // of the first

	turn  sync.Mutex // one puts at a time
	of    wal.SystemID
	reads repository.Reads // what is read of that cluster, once that is known

	mu     sync.Mutex
	made   map[string][]madeHold // by the name of the repository; those among them that may be there
	goes   []string              // repositories that had begun to let go of what is read
	unheld map[string]error      // why a repository has not taken the last one, by its name
	left   bool
}

// Held is what the repositories make of it that somebody reads there.
type Held struct {
	// Goes are those that had begun to let go of what is read: there it may vanish while it is read.
	Goes []string
	// Unheld are those that could not be told. What no rule of the retention keeps there may be let go after its grace.
	Unheld []Unheld
}

// Unheld is a repository that could not be told that somebody reads there, and why. It is tried again for as long as reading lasts, unless it is denied.
type Unheld struct {
	Repository string // primary, or a copy's name
	Err        error
}

type madeHold struct {
	cluster *repository.Cluster
	hold    repository.Hold
}

// Hold calls f while the repositories of a cluster are told that somebody reads there: what is kept now, of every PostgreSQL cluster in them, and once f has called
// Holding.Name what that names, is not let go before f returns. Where the credential may not write, or the store does not answer, the grace of the
// retention must do (docs/FORMAT.md, section 15); Name says so.
func Hold(ctx context.Context, c config.Cluster, why string, so StoreOptions, f func(*Holding) error) error {
	h := &Holding{why: why, options: so, made: map[string][]madeHold{}, unheld: map[string]error{}}
	if !so.AsOf.IsZero() {
		return f(h) // nothing can be written to what was, and what is may be in the hands of others
	}
	stores, err := openPlaces(ctx, c, so)
	if err != nil {
		h.unheld[config.Primary] = err
		return f(h) // whoever reads says why it cannot be opened
	}
	defer func() { _ = stores.Close() }() // the holds are durable, or are not
	h.stores = stores
	h.put(ctx, holdPatience, everywhere)
	renewing, stop := context.WithCancel(ctx)
	var renewed sync.WaitGroup
	renewed.Go(func() {
		again := time.NewTicker(holdAgain)
		defer again.Stop()
		missed := time.NewTicker(holdRetry)
		defer missed.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-again.C:
				h.put(renewing, holdRetry, everywhere)
			case <-missed.C:
				h.put(renewing, holdRetry, h.missing)
			}
		}
	})
	defer func() {
		stop()
		renewed.Wait()
		if !h.left {
			h.end(context.WithoutCancel(ctx))
		}
	}()
	return f(h)
}

// Name says what is read, of which cluster. From then on that is held, and no more. It returns where it is not, by name.
func (h *Holding) Name(ctx context.Context, id wal.SystemID, reads repository.Reads) Held {
	if h.stores != nil {
		h.turn.Lock()
		h.of, h.reads = id, reads
		h.turn.Unlock()
		h.put(ctx, holdPatience, everywhere)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.goes)
	held := Held{Goes: slices.Clone(h.goes)}
	for _, name := range slices.Sorted(maps.Keys(h.unheld)) {
		held.Unheld = append(held.Unheld, Unheld{name, h.unheld[name]})
	}
	return held
}

func everywhere(place) bool { return true }

// missing reports whether a repository has not taken the hold that names what is read, and may yet.
func (h *Holding) missing(one place) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.unheld[one.name]
	return h.reads != (repository.Reads{}) && err != nil && !errors.Is(err, storage.ErrDenied)
}

// Leave leaves the holds, whatever becomes of f, to end by themselves, at least two days later: others go on reading, such as the recovery of a server that a person starts,
// or begin again. With false it takes that back.
func (h *Holding) Leave(left bool) { h.left = left }

// put puts a hold in each of these repositories that takes one, in the place of the one before. The later ones say when reading began, too.
func (h *Holding) put(ctx context.Context, patience time.Duration, in func(place) bool) {
	h.turn.Lock()
	defer h.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now()
	if h.since.IsZero() {
		h.since = now
	}
	var all sync.WaitGroup
	for _, one := range h.stores.all {
		if one.byBucket || !in(one) {
			continue
		}
		all.Go(func() {
			err := h.putIn(ctx, one, now)
			if err != nil && h.options.Logger != nil {
				h.options.Logger.DebugContext(ctx, "the repository is not told that it is read: the grace of its retention must do", "repo", one.name, "err", err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if delete(h.unheld, one.name); err != nil {
				h.unheld[one.name] = err
			}
		})
	}
	all.Wait()
}

func (h *Holding) putIn(ctx context.Context, one place, now time.Time) error {
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
	h.mu.Lock()
	before := len(h.made[one.name])
	h.mu.Unlock()
	for _, id := range ids {
		if h.reads != (repository.Reads{}) && id != h.of {
			continue
		}
		cluster := r.Cluster(id)
		hold, err := cluster.PutHold(ctx, repository.Hold{From: h.since, Until: now.Add(holdTime), Reads: h.reads, Why: h.why})
		if !errors.Is(err, storage.ErrDenied) {
			h.mu.Lock()
			h.made[one.name] = append(h.made[one.name], madeHold{cluster, hold})
			h.mu.Unlock()
		}
		if err != nil {
			return err
		}
		if err := h.look(ctx, one, cluster); err != nil {
			return err
		}
	}
	h.mu.Lock()
	old := h.made[one.name][:before]
	h.made[one.name] = slices.Clone(h.made[one.name][before:])
	h.mu.Unlock()
	stay := end(ctx, old)
	h.mu.Lock()
	h.made[one.name] = append(h.made[one.name], stay...)
	h.mu.Unlock()
	return nil
}

// look looks whether the repository had begun to let go of what is read.
func (h *Holding) look(ctx context.Context, one place, cluster *repository.Cluster) error {
	if h.reads == (repository.Reads{}) {
		return nil
	}
	expiry, err := cluster.Expiry(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return err
	}
	history, err := historyOf(ctx, cluster, h.reads.Timeline)
	if err != nil {
		return err
	}
	if h.mu.Lock(); expiry.Touches(h.reads, history) && !slices.Contains(h.goes, one.name) {
		h.goes = append(h.goes, one.name)
	}
	h.mu.Unlock()
	return nil
}

// historyOf returns the history of a timeline, or none if the repository has none that can be read: then nothing tells of which timelines it reads.
func historyOf(ctx context.Context, cluster *repository.Cluster, tli wal.TimelineID) (wal.History, error) {
	if tli == 1 {
		return wal.History{Timeline: tli}, nil
	}
	history, _, err := cluster.History(ctx, tli)
	if errors.Is(err, storage.ErrNotFound) || repository.OnlyUnreadable(err) {
		return wal.History{}, nil
	}
	return history, err
}

// end deletes the holds as far as it may. Those that stay end by themselves.
func (h *Holding) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, holdGoodbye)
	defer cancel()
	var all sync.WaitGroup
	for _, made := range h.made {
		all.Go(func() { end(ctx, made) })
	}
	all.Wait()
}

// end deletes holds, and returns those that may be there still.
func end(ctx context.Context, made []madeHold) (stay []madeHold) {
	for _, one := range made {
		if err := one.cluster.EndHold(ctx, one.hold); err != nil && !errors.Is(err, storage.ErrDenied) {
			stay = append(stay, one)
		}
	}
	return stay
}
