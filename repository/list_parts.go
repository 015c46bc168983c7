package repository

import (
	"context"
	"iter"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/wal"
)

const (
	// listsAtOnce is how many parts of a timeline are listed at a time.
	listsAtOnce = 16
	// partLeast is how many segments a part has at least: a few pages.
	partLeast = 4 * BlockSegments
)

// Cuts are where the WAL of each timeline is cut so that its parts can be listed at the same time: any positions in it, such as where base backups begin. Pages of one listing
// come one after the other, since each begins where the last one ended. Without any it is listed in one go.
type Cuts map[wal.TimelineID][]wal.LSN

// CutsAt returns cuts where base backups begin, as far as enough WAL lies between them. It is pure.
func CutsAt(backups []Backup) Cuts {
	cuts := Cuts{}
	for _, b := range backups {
		cuts[b.Timeline] = append(cuts[b.Timeline], b.SegmentSize.Floor(b.StartLSN))
	}
	for tli, all := range cuts {
		least := wal.LSN(partLeast) * wal.LSN(sizeOf(backups, tli))
		slices.Sort(all)
		var kept []wal.LSN
		last := wal.LSN(0)
		for _, at := range all {
			if at-last >= least {
				kept, last = append(kept, at), at
			}
		}
		if cuts[tli] = kept; len(kept) == 0 {
			delete(cuts, tli)
		}
	}
	return cuts
}

func sizeOf(backups []Backup, tli wal.TimelineID) wal.SegmentSize {
	i := slices.IndexFunc(backups, func(b Backup) bool { return b.Timeline == tli })
	return backups[i].SegmentSize
}

// parts returns the ranges between the cuts of a timeline, ascending: together all of it.
func (c Cuts) parts(tli wal.TimelineID) []wal.Range {
	var parts []wal.Range
	start := wal.LSN(0)
	for _, at := range c[tli] {
		parts, start = append(parts, wal.Range{Start: start, End: at}), at
	}
	return append(parts, wal.Range{Start: start, End: math.MaxUint64})
}

// inParts lists a timeline in parts, some at the same time, and calls take once for each with its number and its objects in the order of ListWAL; for several parts at once.
func (c *Cluster) inParts(ctx context.Context, tli wal.TimelineID, parts []wal.Range, take func(i int, objects iter.Seq[Entry])) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for i, part := range parts {
		group.Go(func() error {
			var failed error
			take(i, func(yield func(Entry) bool) {
				for e, err := range c.ListWAL(ctx, tli, part.Start) {
					if failed = err; err != nil || e.Range.Start >= part.End || !yield(e) {
						return
					}
				}
			})
			return failed
		})
	}
	return group.Wait()
}

// CoverageInParts is Coverage of all of a timeline, listed in parts.
func (c *Cluster) CoverageInParts(ctx context.Context, tli wal.TimelineID, cuts Cuts) (Coverage, error) {
	parts := cuts.parts(tli)
	found := make([]Coverage, len(parts))
	err := c.inParts(ctx, tli, parts, func(i int, objects iter.Seq[Entry]) {
		for e := range objects {
			found[i].Add(e.Range)
		}
	})
	if err != nil {
		return Coverage{}, err
	}
	v := Coverage{Timeline: tli}
	for _, f := range found {
		for _, r := range f.Spans {
			v.Add(r)
		}
	}
	return v, nil
}
