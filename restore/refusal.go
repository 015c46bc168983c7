package restore

import (
	"fmt"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// pastEnd says that the target lies behind the WAL that goes on without a hole
// to end, proved until proved if that is not 0: in a hole if there is
// more WAL behind it.
func (w *way) pastEnd(end wal.LSN, proved wal.Time) error {
	e := w.refuse(ReasonTooLate, "")
	e.NearestBefore = &Instant{Time: proved, LSN: end}
	if w.branch.end() <= end {
		return e
	}
	e.Reason = ReasonGap
	e.Detail = fmt.Sprintf("WAL from %s on is missing, and nothing is recorded of it", end)
	switch g, ok := w.inv.lost(w.branch, end); {
	case !ok:
	case g.Cause == repository.CauseExpired:
		e.Detail = fmt.Sprintf("WAL %s to %s on timeline %d was let go: it is outside of the window of retain:", g.Range.Start, g.Range.End, uint32(g.Timeline))
	default:
		e.Detail = fmt.Sprintf("WAL %s to %s on timeline %d was lost: %s", g.Range.Start, g.Range.End, uint32(g.Timeline), g.Cause.Words())
		if g.Detail != "" {
			e.Detail += ": " + g.Detail
		}
	}
	for _, newer := range slices.Backward(w.backups) {
		if newer.StartLSN >= end && w.whole(newer) {
			e.NearestAfter = &Instant{Time: wal.FromGo(newer.Stopped), LSN: newer.StopLSN}
			break
		}
	}
	return e
}

// tooEarly says that the target lies before the end of each backup that could serve it.
func (w *way) tooEarly() error {
	e := w.refuse(ReasonTooEarly, "")
	for _, b := range slices.Backward(w.backups) {
		if w.whole(b) {
			e.NearestAfter = &Instant{Time: wal.FromGo(b.Stopped), LSN: b.StopLSN}
			return e
		}
	}
	e.Reason, e.Detail = ReasonGap, "no backup has all the WAL written during it"
	return e
}

// unambiguous refuses a target that another branch of history has an answer
// for as well, unless the user chose a timeline: it must not be chance which
// of two truths is restored.
func (w *way) unambiguous(stop Stop, until wal.LSN) error {
	if w.target.Timeline.Rule != TimelineAuto || w.target.Kind == TargetImmediate || w.target.Kind == TargetLatest {
		return nil
	}
	choices := []wal.TimelineID{w.branch.history.Timeline}
	for _, tli := range w.inv.timelines() {
		other, ok := w.inv.branch(tli)
		if !ok || tli == w.branch.history.Timeline {
			continue
		}
		fork := w.branch.fork(other)
		if max(stop.LSN, until-1) < fork || len(w.inv.Coverage[tli]) == 0 {
			continue
		}
		answers, err := w.answers(other, fork)
		if err != nil {
			return err
		}
		if answers {
			choices = append(choices, tli)
		}
	}
	if len(choices) == 1 {
		return nil
	}
	slices.Sort(choices)
	e := w.refuse(ReasonAmbiguous, fmt.Sprintf("choose one of %v", choices))
	e.Timelines = choices
	return e
}

// answers reports whether the other branch, from where it forks off, has an
// answer of its own for the target.
func (w *way) answers(other branch, fork wal.LSN) (bool, error) {
	own := wal.Range{Start: fork, End: other.contiguous(fork)}
	if own.Empty() {
		return false, nil
	}
	q := Question{Branch: other.history.Timeline, Range: own}
	switch w.target.Kind {
	case TargetLSN:
		return w.target.LSN > fork && w.target.LSN <= own.End, nil
	case TargetTime:
		q.Ask, q.Time, q.Exclusive = AskPast, w.target.Time, w.target.Exclusive
	case TargetXID:
		q.Ask, q.XID = AskXID, w.target.XID
	case TargetName:
		q.Ask, q.Name = AskName, w.target.Name
	case TargetLatest, TargetImmediate:
		return false, nil
	}
	f, err := w.inv.fact(q)
	if err != nil {
		return false, err
	}
	if q.Ask == AskPast {
		// Transactions of its own at or before the time, and more at or after it.
		return f.Ends > 0 && (f.found() || f.Newest >= w.target.Time), nil
	}
	return f.found(), nil
}
