package standby

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// tail is the newest WAL of the newest timeline: objects that follow each other without a hole. It is pure.
type tail struct {
	history wal.History // of the newest timeline
	objects []repository.Entry
	end     wal.LSN // of the last of them; where there are none, where the first is awaited
	// beyond is where WAL goes on behind a hole at end, 0 if there is none.
	beyond wal.LSN
}

// keepObjects is how many objects of the tail are remembered. A standby that is further behind reads whole segments.
const keepObjects = 4096

// timeline returns the newest timeline.
func (t *tail) timeline() wal.TimelineID { return t.history.Timeline }

// extend takes what a listing shows of the timeline, in any order, and reports whether the tail grew.
func (t *tail) extend(objects []repository.Entry) bool {
	slices.SortStableFunc(objects, func(a, b repository.Entry) int { // of those that begin alike the furthest first
		return cmp.Or(cmp.Compare(a.Range.Start, b.Range.Start), cmp.Compare(b.Range.End, a.Range.End))
	})
	before := t.end
	t.beyond = 0
	for _, e := range objects {
		switch {
		case e.Range.End <= t.end:
		case e.Range.Start > t.end:
			if t.beyond == 0 {
				t.beyond = e.Range.Start
			}
		default:
			t.objects, t.end = append(t.objects, e), e.Range.End
		}
	}
	if drop := len(t.objects) - keepObjects; drop > 0 {
		t.objects = slices.Delete(t.objects, 0, drop)
	}
	return t.end > before
}

// doubtful returns, ordered by start, the pieces of those that a listing shows, and of those known, if any that is new holds a byte that
// another one holds too; nothing otherwise. A complete segment replaces its pieces.
func (t *tail) doubtful(came []repository.Entry) []repository.Entry {
	var pieces []repository.Entry
	for _, e := range slices.Concat(t.objects, came) {
		if e.Kind == repository.KindPiece {
			pieces = append(pieces, e)
		}
	}
	slices.SortStableFunc(pieces, func(a, b repository.Entry) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	fresh := map[storage.Key]bool{}
	for _, e := range came {
		fresh[e.Key] = true
	}
	doubt := false
	end, last := wal.LSN(0), false // where the pieces before end, and whether the one that does is new
	for _, e := range pieces {
		doubt = doubt || e.Range.Start < end && (fresh[e.Key] || last)
		if e.Range.End > end {
			end, last = e.Range.End, fresh[e.Key]
		}
	}
	if !doubt {
		return nil
	}
	return pieces
}

// holding returns the object of the tail that holds the byte at lsn on the timeline.
func (t *tail) holding(tli wal.TimelineID, lsn wal.LSN) (repository.Entry, bool) {
	if tli != t.timeline() {
		return repository.Entry{}, false
	}
	for _, e := range slices.Backward(t.objects) {
		if e.Range.Contains(lsn) {
			return e, true
		}
		if e.Range.End <= lsn {
			break
		}
	}
	return repository.Entry{}, false
}

// limit returns where a standby at lsn on timeline tli leaves it, and for which timeline; false if it is the newest. The error
// is a *walsender.ForkError if it is past that point already, or on a branch that the newest timeline does not come from.
func (t *tail) limit(tli wal.TimelineID, lsn wal.LSN) (end walsender.EndError, ended bool, err error) {
	if tli == t.timeline() {
		return end, false, nil
	}
	at, ok := t.history.SwitchOf(tli)
	switch {
	case !ok && tli > t.timeline():
		return end, false, fmt.Errorf("timeline %d is not in the archive, whose newest is %d", uint32(tli), uint32(t.timeline()))
	case !ok:
		return end, false, fmt.Errorf("timeline %d is not in the history of timeline %d, the archive's newest", uint32(tli), uint32(t.timeline()))
	case lsn > at:
		return end, false, &walsender.ForkError{Timeline: tli, Start: lsn, At: at}
	}
	return walsender.EndError{Next: t.history.TimelineAt(at), At: at}, true, nil
}
