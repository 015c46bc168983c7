package verify

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// holdings is what a restore could use: that of one repository, or of all together.
type holdings struct {
	size      wal.SegmentSize
	backups   []repository.Backup // whose data are all there
	covered   map[wal.TimelineID][]wal.Range
	histories map[wal.TimelineID]wal.History // of timelines above 1
}

// branches returns every timeline that is known, with its history, oldest first.
func (h holdings) branches() []wal.History {
	all := []wal.History{{Timeline: 1}}
	for _, tli := range slices.Sorted(maps.Keys(h.histories)) {
		all = append(all, h.histories[tli])
	}
	return all
}

// consistent reports whether the WAL that makes b consistent is there.
func (h holdings) consistent(b repository.Backup) bool {
	own := repository.Coverage{Spans: h.covered[b.Timeline]}
	return own.Covers(wal.Range{Start: b.StartLSN, End: b.StopLSN})
}

// reachable returns the positions that can be restored to, by the timeline whose WAL they lie in.
func (h holdings) reachable() map[wal.TimelineID]*repository.Coverage {
	reached := map[wal.TimelineID]*repository.Coverage{}
	for _, branch := range h.branches() {
		along := repository.AlongHistory(branch, h.size, h.covered)
		for _, b := range h.backups {
			own, ok := branch.RangeOf(b.Timeline)
			if !ok || !own.Contains(b.StartLSN) || own.End < b.StopLSN {
				continue
			}
			end, ok := along.EndFrom(b.StartLSN)
			if !ok || end < b.StopLSN {
				continue
			}
			reach(reached, branch, wal.Range{Start: b.StopLSN, End: max(end, b.StopLSN+1)}) // the instant of the backup itself at least
		}
	}
	return reached
}

// reach adds a range on a branch, each part of it to its timeline.
func reach(reached map[wal.TimelineID]*repository.Coverage, branch wal.History, r wal.Range) {
	timelines := []wal.TimelineID{branch.Timeline}
	for _, p := range branch.Parents {
		timelines = append(timelines, p.Timeline)
	}
	for _, tli := range timelines {
		own, _ := branch.RangeOf(tli)
		if reached[tli] == nil {
			reached[tli] = &repository.Coverage{Timeline: tli}
		}
		reached[tli].Add(wal.Range{Start: max(r.Start, own.Start), End: min(r.End, own.End)})
	}
}

// stretch is WAL of one timeline.
type stretch struct {
	timeline wal.TimelineID
	wal.Range
}

// without returns what lies in want and not in have, by timeline and LSN.
func without(want, have map[wal.TimelineID]*repository.Coverage) []stretch {
	var rest []stretch
	for _, tli := range slices.Sorted(maps.Keys(want)) {
		held := have[tli]
		if held == nil {
			held = &repository.Coverage{}
		}
		for _, span := range want[tli].Spans {
			for _, gap := range held.Gaps(span) {
				rest = append(rest, stretch{tli, gap})
			}
		}
	}
	return rest
}

// unexplained returns the holes of an archive that no gap record explains: between two runs of WAL of one timeline, before a switch to another, and
// behind it. The WAL of a timeline whose history is not known is judged by itself. Expected says of a timeline how far its WAL is known to have gone.
func unexplained(h holdings, gaps []repository.Gap, expected map[wal.TimelineID]wal.LSN) []stretch {
	var holes []stretch
	for _, tli := range slices.Sorted(maps.Keys(h.covered)) {
		spans := h.covered[tli]
		if len(spans) == 0 {
			continue
		}
		whole := wal.Range{Start: spans[0].Start, End: max(spans[len(spans)-1].End, expected[tli])}
		for _, branch := range h.branches() {
			own, ok := branch.RangeOf(tli)
			switch {
			case !ok:
			case branch.Timeline == tli:
				if at := own.Start; at > 0 && at < whole.Start && h.holdsBefore(branch, at) {
					whole.Start = at // its first segment begins with its parent's bytes, which are not missed
				}
			case own.End > whole.Start && h.holdsFrom(branch, own.End):
				whole.End = max(whole.End, own.End)
			}
		}
		held := repository.Coverage{Spans: slices.Clone(spans)}
		for _, g := range gaps {
			if g.Timeline == tli {
				held.Add(g.Range)
			}
		}
		for _, gap := range held.Gaps(whole) {
			holes = append(holes, stretch{tli, gap})
		}
	}
	return holes
}

// holdsBefore reports whether any WAL before at on the branch is there.
func (h holdings) holdsBefore(branch wal.History, at wal.LSN) bool {
	along := repository.AlongHistory(branch, h.size, h.covered)
	return len(along.Spans) > 0 && along.Spans[0].Start < at
}

// holdsFrom reports whether any WAL at or behind at on the branch is there.
func (h holdings) holdsFrom(branch wal.History, at wal.LSN) bool {
	along := repository.AlongHistory(branch, h.size, h.covered)
	return len(along.Spans) > 0 && along.Spans[len(along.Spans)-1].End > at
}

// rank is the order in which objects are put right: what is needed to use another before that.
func rank(class repository.Class) int {
	order := []repository.Class{
		repository.ClassMarker, repository.ClassFence, repository.ClassPin, repository.ClassGap, repository.ClassHistory, repository.ClassSegment, repository.ClassPiece,
		repository.ClassPack, repository.ClassIndex, repository.ClassManifest, repository.ClassRecord, repository.ClassDrill, repository.ClassNames,
	}
	if i := slices.Index(order, class); i >= 0 {
		return i
	}
	return len(order)
}

// inOrder sorts damage as it is put right.
func inOrder(all []Damage) {
	slices.SortStableFunc(all, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(rank(a.Class), rank(b.Class)), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Repository, b.Repository))
	})
}
