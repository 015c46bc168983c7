package retention

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// deletions is how many objects are deleted at a time.
const deletions = 8

// ErrChanged says that something that was to go is needed by now: it was pinned, or somebody began to read. The plan must be made again.
var ErrChanged = errors.New("the repository has changed since the plan was made")

// ErrTooMuch says that most of what is there would go, and nobody looks on: a window of hours that was meant in days, or the first run for long.
var ErrTooMuch = errors.New("more than half of the base backups, or of the WAL, would go")

// Removed is how much was deleted.
type Removed struct {
	Objects int64
	Bytes   int64
	// Versions and VersionBytes were removed for good, and Held was to be.
	Versions, VersionBytes int64
	Held                   Held
}

// Options say how a repository is pruned.
type Options struct {
	Policy Policy
	// Place is the repository.
	Place Place
	// Now is the time that the clock shows.
	Now time.Time
	// Remove carries the plan out; without it nothing is written.
	Remove bool
	// Sparing refuses a plan by which more than half of the base backups of a cluster go, and more than two, or more than half of its WAL.
	Sparing bool
	// ForGood, if not nil, is the repository's store: all versions of what goes are removed there, and of what went before. What is under lock stays until a run after the end of that.
	ForGood storage.Store
	// Show, if not nil, is given the plan before anything is deleted.
	Show func(Plan)
	// Progress, if not nil, is called after each deletion.
	Progress func(Removed)
}

// Prune makes a plan and, with Options.Remove, carries it out: exactly that plan, and only if a second reading of the whole repository comes to no less. It returns the
// plan with an error too, and how much was deleted. An error before the first deletion has changed nothing but for the expiry record;
// after any, another run goes on where this one ended. With Options.ForGood the same holds of older versions, which are read for that. The error is ErrChanged, ErrTooMuch or ErrIncomplete, wraps storage.ErrDenied if the credential may not delete, or is
// one of reading.
func Prune(ctx context.Context, r *repository.Repository, o Options) (Plan, Removed, error) {
	first, err := Load(ctx, r, o.Place)
	if err != nil {
		return Plan{}, Removed{}, err
	}
	plan := Make(first, o.Policy, o.Now)
	if err := plan.forGood(ctx, r, o); err != nil {
		return plan, Removed{}, err
	}
	if o.Show != nil {
		o.Show(plan)
	}
	if !o.Remove {
		return plan, Removed{}, nil
	}
	if o.Sparing && plan.tooMuch() {
		return plan, Removed{}, ErrTooMuch
	}
	e := &executor{repository: r, policy: o.Policy, plan: plan, progress: o.Progress}
	if slices.ContainsFunc(plan.Clusters, func(c ClusterPlan) bool { return c.changes() }) {
		if err := e.clusters(ctx, o); err != nil {
			return plan, e.sum, err
		}
	}
	return plan, e.sum, e.forGood(ctx, o)
}

// forGood plans what goes for good, if anything is to.
func (p *Plan) forGood(ctx context.Context, r *repository.Repository, o Options) error {
	if o.ForGood == nil || o.Policy.Window <= 0 {
		return nil
	}
	goes := map[storage.Key]bool{}
	for i := range p.Clusters {
		for _, key := range p.Clusters[i].keys() {
			goes[key] = true
		}
	}
	var err error
	if p.Removal, err = planRemoval(ctx, r, o, p.Now, goes); err != nil || p.Removal == nil || o.Remove && o.Show == nil {
		return err
	}
	return p.Removal.look(ctx, o.ForGood)
}

// forGood removes what the plan lets go for good, as far as that is deleted by now, and a second reading lets it go too.
func (e *executor) forGood(ctx context.Context, o Options) error {
	if e.plan.Removal == nil || len(e.plan.Removal.batches) == 0 {
		return nil
	}
	again, err := planRemoval(ctx, e.repository, o, e.plan.Now, nil)
	if err != nil || again == nil {
		return err
	}
	again.only(e.plan.Removal)
	held, err := again.carryOut(ctx, o.ForGood, func(v storage.Version) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sum.Versions, e.sum.VersionBytes = e.sum.Versions+1, e.sum.VersionBytes+v.Size
		e.tell()
	})
	e.sum.Held, e.plan.Removal.Held = held, held
	return err
}

// clusters deletes what goes by its name.
func (e *executor) clusters(ctx context.Context, o Options) error {
	plan := e.plan
	second, err := Load(ctx, e.repository, o.Place)
	if err != nil {
		return err
	}
	again := Make(second, o.Policy, plan.Now)
	if err := plan.within(again); err != nil {
		return err
	}
	for i := range plan.Clusters {
		c := &plan.Clusters[i]
		if c.Back = again.Clusters[i].Back; !c.changes() {
			continue
		}
		if err := e.cluster(ctx, c, second, i); err != nil {
			return fmt.Errorf("prune cluster %s: %w", c.SystemID, err)
		}
	}
	return nil
}

// within returns an error that wraps ErrChanged unless all that goes by p goes by again too.
func (p *Plan) within(again Plan) error {
	if len(p.Clusters) != len(again.Clusters) {
		return fmt.Errorf("%w: another cluster", ErrChanged)
	}
	for i := range p.Clusters {
		goes := map[storage.Key]bool{}
		for _, key := range again.Clusters[i].keys() {
			goes[key] = true
		}
		for _, key := range p.Clusters[i].keys() {
			if !goes[key] {
				return fmt.Errorf("%w: %s is needed, or gone, by now", ErrChanged, key)
			}
		}
	}
	return nil
}

// executor deletes what a plan lets go.
type executor struct {
	repository *repository.Repository
	policy     Policy
	plan       Plan
	progress   func(Removed)

	mu  sync.Mutex
	sum Removed
}

// cluster deletes the ith cluster in the order of FORMAT.md section 8: the expiry record is put first, then every record goes before what it names.
func (e *executor) cluster(ctx context.Context, c *ClusterPlan, catalog *Catalog, i int) error {
	r, now := e.repository.Cluster(c.SystemID), &catalog.Clusters[i]
	for _, b := range c.Backups {
		if err := e.unpinned(ctx, r, b, now.Pins); err != nil {
			return err
		}
	}
	if err := r.MayRemove(ctx); err != nil {
		return err
	}
	if before := now.Expiry.Without(c.Back); !before.Contains(c.Expiry) || !c.Back.Empty() {
		c.Expiry.Time = e.plan.Now
		if err := r.PutExpiry(ctx, before, c.Expiry); err != nil {
			return err
		}
	}
	if err := e.unread(ctx, r, catalog, i); err != nil {
		return err
	}
	if err := e.records(ctx, r, c, now.Pins); err != nil {
		return err
	}
	if err := e.leftovers(ctx, r, c); err != nil {
		return err
	}
	if err := e.pieces(ctx, r, c.Pieces); err != nil {
		return err
	}
	if err := e.wal(ctx, r, c.WAL); err != nil {
		return err
	}
	done := map[storage.Key]bool{}
	for _, entry := range slices.Concat(c.Pieces, c.WAL) {
		done[entry.Key] = true
	}
	for _, u := range c.Unfinished {
		for _, o := range u.Objects {
			done[o.Key] = true
		}
	}
	var rest, reports []repository.Object
	for _, o := range c.objects() {
		switch {
		case done[o.Key] || o.Class == repository.ClassRecord:
		case o.Class == repository.ClassDrill:
			reports = append(reports, o)
		default:
			rest = append(rest, o)
		}
	}
	if err := e.remove(ctx, r, reports); err != nil {
		return err
	}
	return e.remove(ctx, r, rest)
}

// wal deletes WAL, all of a timeline before any of a later one: that of the later one tells when the server left the earlier. A run that is broken off in
// between would else leave some of a timeline of which nothing tells that it ended before the window.
func (e *executor) wal(ctx context.Context, r *repository.Cluster, entries []repository.Entry) error {
	timelines := map[wal.TimelineID][]repository.Object{}
	for _, entry := range entries {
		timelines[entry.Timeline] = append(timelines[entry.Timeline], entry.Object())
	}
	for _, tli := range slices.Sorted(maps.Keys(timelines)) {
		if err := e.remove(ctx, r, timelines[tli]); err != nil {
			return err
		}
	}
	return nil
}

// unread returns ErrChanged if somebody began to read what goes since the catalog was read. Whoever reads puts a hold, and then looks what the expiry record
// names, which is there by now: of the two, one sees the other.
func (e *executor) unread(ctx context.Context, r *repository.Cluster, catalog *Catalog, i int) error {
	holds, err := listHolds(ctx, r)
	if err != nil {
		return err
	}
	known := catalog.Clusters[i].Holds
	began := slices.DeleteFunc(holds, func(h Hold) bool {
		return slices.ContainsFunc(known, func(k Hold) bool { return k.Object.Key == h.Object.Key })
	})
	if len(began) == 0 {
		return nil
	}
	fresh := Catalog{Clusters: slices.Clone(catalog.Clusters)}
	fresh.Clusters[i].Holds = slices.Concat(known, began)
	return e.plan.within(Make(&fresh, e.policy, e.plan.Now))
}

// unpinned returns ErrChanged if a backup that goes was pinned since the plan was made, which is asked by key: a list may lag.
func (e *executor) unpinned(ctx context.Context, r *repository.Cluster, b BackupPlan, pins map[string]repository.Pin) error {
	if len(b.Keep) > 0 {
		return nil
	}
	pin, err := r.NewestPin(ctx, b.ID, pins[b.ID].Number)
	if err == nil && pin.Holds(e.plan.Now) {
		err = fmt.Errorf("%w: backup %s is pinned by now", ErrChanged, b.ID)
	}
	return err
}

// records deletes the records of the backups that go, each only if it was not pinned meanwhile.
func (e *executor) records(ctx context.Context, r *repository.Cluster, c *ClusterPlan, pins map[string]repository.Pin) error {
	for _, b := range c.Backups {
		if len(b.Keep) > 0 {
			continue
		}
		if err := e.unpinned(ctx, r, b, pins); err != nil {
			return err
		}
		record, ok := recordIn(b.Objects)
		if !ok {
			continue
		}
		if err := e.remove(ctx, r, []repository.Object{record}); err != nil {
			return err
		}
	}
	return nil
}

// leftovers deletes what lies under the ids of backups without a record, and looks right before, by key, that there is none: whoever takes one for weeks looks for its data before the record.
func (e *executor) leftovers(ctx context.Context, r *repository.Cluster, c *ClusterPlan) error {
	for _, u := range c.Unfinished {
		_, err := r.Backup(ctx, u.ID)
		if err == nil {
			return fmt.Errorf("%w: backup %s has a record by now", ErrChanged, u.ID)
		}
		if !errors.Is(err, repository.ErrNoBackup) {
			return err
		}
		if err := e.remove(ctx, r, u.Objects); err != nil {
			return err
		}
	}
	return nil
}

// pieces deletes the pieces of complete segments, which are looked at once more.
func (e *executor) pieces(ctx context.Context, r *repository.Cluster, pieces []repository.Entry) error {
	if len(pieces) == 0 {
		return nil
	}
	size, err := r.SegmentSize(ctx)
	if err != nil {
		return err
	}
	done := map[wal.SegmentID]bool{}
	for _, piece := range pieces {
		segment := size.Segment(piece.Timeline, piece.Range.Start)
		if !done[segment] {
			if err := r.DeletePieces(ctx, size, segment); err != nil {
				return err
			}
			done[segment] = true
		}
		e.removed(piece.Object())
	}
	return nil
}

// remove deletes objects in about their order.
func (e *executor) remove(ctx context.Context, r *repository.Cluster, objects []repository.Object) error {
	group, deleting := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	for _, o := range objects {
		if deleting.Err() != nil {
			break
		}
		group.Go(func() error {
			err := r.Remove(deleting, o)
			if err == nil {
				e.removed(o)
			}
			return err
		})
	}
	return group.Wait()
}

func (e *executor) removed(o repository.Object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sum.Objects++
	e.sum.Bytes += o.Size
	e.tell()
}

// tell is called with e.mu held.
func (e *executor) tell() {
	if e.progress != nil {
		e.progress(e.sum)
	}
}
