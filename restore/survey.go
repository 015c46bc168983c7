package restore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// surveys is how many timelines are listed at once.
const surveys = 4

// Survey reads what a plan needs to know of a cluster's archive: backup and
// gap records, history files, the newest beat, and, from listings alone, which
// WAL there is. It reads no WAL.
func Survey(ctx context.Context, cluster *repository.Cluster) (*Inventory, error) {
	inv := &Inventory{
		SystemID: cluster.SystemID(),
		Coverage: map[wal.TimelineID][]wal.Range{},
		Facts:    map[Question]Fact{},
	}
	var err error
	if inv.SegmentSize, err = cluster.SegmentSize(ctx); err != nil {
		return nil, fmt.Errorf("survey archive: %w", err)
	}
	// Records before the data they name: what is listed later may only be more.
	if inv.Backups, err = cluster.Backups(ctx); err != nil {
		if !repository.OnlyUnreadable(err) {
			return nil, fmt.Errorf("survey archive: %w", err)
		}
		inv.Notes = append(inv.Notes, fmt.Sprintf("a backup cannot be used: %v", err))
	}
	if inv.Gaps, err = cluster.Explained(ctx); err != nil {
		if !repository.OnlyUnreadable(err) {
			return nil, fmt.Errorf("survey archive: %w", err)
		}
		inv.Notes = append(inv.Notes, fmt.Sprintf("a gap record cannot be read: %v", err))
	}
	beat, found, err := cluster.NewestBeat(ctx)
	if err != nil {
		if !repository.OnlyUnreadable(err) {
			return nil, fmt.Errorf("survey archive: %w", err)
		}
		inv.Notes = append(inv.Notes, fmt.Sprintf("the newest beat cannot be read: %v", err))
	}
	if found {
		inv.Beat = &beat
	}
	if inv.Histories, err = cluster.Histories(ctx); err != nil {
		return nil, fmt.Errorf("survey archive: %w", err)
	}
	if err := inv.learnHistories(); err != nil {
		return nil, fmt.Errorf("survey archive: %w", err)
	}
	if err := inv.cover(ctx, cluster); err != nil {
		return nil, fmt.Errorf("survey archive: %w", err)
	}
	return inv, nil
}

// learnHistories adds the ancestry that backup records hold.
func (inv *Inventory) learnHistories() error {
	for _, b := range inv.Backups {
		if _, ok := inv.Histories[b.Timeline]; ok || len(b.History) == 0 {
			continue
		}
		h, err := wal.ParseHistory(b.Timeline, b.History)
		if err != nil {
			return fmt.Errorf("backup %s: %w", b.ID, err)
		}
		inv.Histories[b.Timeline] = h
	}
	return nil
}

// cover lists all WAL of each timeline: a plan goes by nothing that was counted before.
func (inv *Inventory) cover(ctx context.Context, cluster *repository.Cluster) error {
	timelines, err := cluster.Timelines(ctx)
	if err != nil {
		return err
	}
	cuts := repository.CutsAt(inv.Backups)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(surveys)
	for _, tli := range timelines {
		g.Go(func() error {
			v, err := cluster.CoverageInParts(ctx, tli, cuts)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if len(v.Spans) > 0 {
				inv.Coverage[tli] = v.Spans
			}
			return nil
		})
	}
	return g.Wait()
}

// Resolve plans how target is restored, and reads from the WAL what the plan
// asks for. The facts it finds stay in inv. The errors are those of
// PlanRestore but *UnresolvedError, and those of reading the archive.
func Resolve(ctx context.Context, cluster *repository.Cluster, inv *Inventory, target Target) (*Plan, error) {
	for {
		plan, err := PlanRestore(inv, target)
		var q *UnresolvedError
		switch {
		case errors.As(err, &q):
			fact, err := answer(ctx, cluster, inv, q.Question)
			if err != nil {
				return nil, fmt.Errorf("resolve target %s: %w", target, err)
			}
			inv.Facts[q.Question] = fact
		case err != nil:
			return nil, err
		default:
			if err := describe(ctx, cluster, inv, plan); err != nil {
				return nil, fmt.Errorf("resolve target %s: %w", target, err)
			}
			return plan, nil
		}
	}
}
