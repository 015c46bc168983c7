package commitlog

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Query says what to look for. The zero value is the last transactions of the
// archive.
type Query struct {
	// Around is the instant to look at; 0 is the end of the archive, or with XID
	// the end of that transaction, wherever it is.
	Around wal.Time
	// Within is how far around it to look, on both sides; 0 is DefaultWithin.
	Within time.Duration
	// Drops leaves out transactions that removed nothing. Restore points are
	// left out then too.
	Drops bool
	// XID leaves out all transactions but this one, or the one that it is a
	// subtransaction of. 0 is none.
	XID wal.XID
	// Limit is how many entries are kept on each side of the instant; 0 is all.
	Limit int
	// Timeline is the one whose history is followed; 0 is the newest.
	Timeline wal.TimelineID
	// Progress, if set, is called with the bytes of WAL read and to be read.
	Progress func(done, total int64)
}

// DefaultWithin is how far around an instant a Query looks by itself.
const DefaultWithin = 15 * time.Minute

// Log is the answer to a Query.
type Log struct {
	SystemID wal.SystemID
	Timeline wal.TimelineID   // whose history was followed
	Known    []wal.TimelineID // all that the archive has WAL or a history file of
	// Around is the instant that was looked at: that of the query, or of the
	// newest transaction end. 0 if the archive holds none.
	Around      wal.Time
	From, Until wal.Time // what was looked through; 0 where that was all

	// Entries are in the order of LSNs: recovery is a prefix of it, not of
	// times. Of a recovery to Around the first Applied of them are part.
	Entries []Entry
	Applied int
	// MoreBefore and MoreAfter say that Limit left entries out on that side.
	MoreBefore, MoreAfter bool
	// Previous and Next are the times of the nearest transaction ends that are
	// known before From and behind Until; 0 if there are none.
	Previous, Next wal.Time

	Segments int // whose WAL was read
	// NamesOf are the ids of the drills whose names were used, oldest first.
	NamesOf []string
	Notes   []string
}

// Read answers q from the WAL of a cluster. Gaps in the WAL and what is damaged
// are entries and no errors. It returns an error that wraps
// repository.ErrNoWAL if nothing of the timeline is archived.
func Read(ctx context.Context, cluster *repository.Cluster, q Query) (*Log, error) {
	log, err := read(ctx, cluster, q)
	if err != nil {
		return nil, fmt.Errorf("read the log of cluster %s: %w", cluster.SystemID(), err)
	}
	return log, nil
}

func read(ctx context.Context, cluster *repository.Cluster, q Query) (*Log, error) {
	known, err := cluster.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return nil, repository.ErrNoWAL
	}
	if q.Timeline != 0 && !slices.Contains(known, q.Timeline) {
		return nil, fmt.Errorf("timeline %d, the archive knows %v: %w", uint32(q.Timeline), known, repository.ErrNoWAL)
	}
	log := &Log{SystemID: cluster.SystemID(), Timeline: q.Timeline, Known: known, Around: q.Around}
	if log.Timeline == 0 {
		log.Timeline = known[len(known)-1]
	}
	b, err := openBranch(ctx, cluster, log.Timeline)
	if err != nil {
		return nil, err
	}
	if q.Within == 0 {
		q.Within = DefaultWithin
	}
	r := reading{branch: b, log: log, query: q}
	if q.XID != 0 && q.Around == 0 {
		err = r.transaction(ctx)
	} else {
		err = r.near(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := r.explain(ctx); err != nil {
		return nil, err
	}
	return log, r.name(ctx)
}

// reading is one query on its way.
type reading struct {
	*branch

	log    *Log
	query  Query
	window window

	before, after []Entry
	passed        bool // an end past the instant was seen
}

// near reads what lies around the instant.
func (r *reading) near(ctx context.Context) error {
	within := wal.Time(r.query.Within.Microseconds())
	r.window = window{r.query.Around - within, r.query.Around + within}
	if r.query.Around == 0 {
		newest, ok, err := r.newest(ctx)
		if err != nil || !ok {
			return err
		}
		r.log.Around = newest
		r.window = window{newest - within, math.MaxInt64 - slack}
	}
	r.log.From, r.log.Until = r.window.from, r.window.until
	if r.query.Around == 0 {
		r.log.Until = r.log.Around
	}
	runs, notes, err := r.find(ctx, r.window)
	if err != nil {
		return err
	}
	r.log.Notes = append(r.log.Notes, notes...)
	holes := r.holes(runs)
	var parts []run
	for _, one := range runs {
		parts = append(parts, one.trim(r.window)...)
	}
	if r.query.Limit > 0 && !r.query.Drops && r.query.XID == 0 {
		parts = r.narrow(parts)
		holes = between(holes, parts, r.size)
	}
	if err := r.read(ctx, parts, holes, r.visit); err != nil {
		return err
	}
	r.log.Entries, r.log.Applied = append(r.before, r.after...), len(r.before)
	r.nearest()
	return nil
}

// read passes over parts.
func (r *reading) read(ctx context.Context, parts []run, holes []wal.Range, visit func(Entry) bool) error {
	p := pass{branch: r.branch, holes: holes, visit: visit, progress: r.query.Progress, tracker: tracker{asked: r.query.XID}}
	err := p.through(ctx, parts)
	r.log.Segments += p.count
	return err
}

// visit sorts an entry to its side of the instant. It returns false when all
// that is wanted was seen.
func (r *reading) visit(e Entry) bool {
	if e.isEnd() && e.Time > r.log.Around {
		r.passed = true
	}
	if !r.query.wants(&e) || e.Time != 0 && !r.window.holds(e.Time) {
		return true
	}
	limit := r.query.Limit
	switch {
	case !r.passed:
		r.before = append(r.before, e)
		if limit > 0 && len(r.before) > limit {
			r.before = r.before[1:]
			r.log.MoreBefore = true
		}
	case limit > 0 && len(r.after) == limit:
		r.log.MoreAfter = true
		return false
	default:
		r.after = append(r.after, e)
	}
	return true
}

// isEnd reports whether e is the end of a transaction.
func (e *Entry) isEnd() bool {
	switch e.Kind {
	case KindCommit, KindAbort, KindCommitPrepared, KindAbortPrepared:
		return true
	case KindRestorePoint, KindTimeline, KindDatabaseDrop, KindGap, KindDamaged:
	}
	return false
}

// wants reports whether e is to be in the log. What keeps from seeing others
// always is, and so are switches of the timeline.
func (q *Query) wants(e *Entry) bool {
	switch {
	case e.Kind == KindGap || e.Kind == KindDamaged || e.Kind == KindTimeline && q.XID == 0:
		return true
	case q.XID != 0 && e.XID != q.XID && e.Part != q.XID:
		return false
	}
	return !q.Drops || e.Removal != nil
}

// newest returns the time of the newest transaction end.
func (r *reading) newest(ctx context.Context) (wal.Time, bool, error) {
	for _, l := range slices.Backward(r.legs) {
		for end := l.end; end > l.first; {
			from := max(l.first, end-min(end, headersAtOnce/4))
			looks, err := r.all(ctx, l, from, end)
			if err != nil {
				return 0, false, err
			}
			for _, f := range slices.Backward(looks) {
				if f.times() {
					return f.summary.MaxTime, true, nil
				}
			}
			end = from
		}
	}
	return 0, false, nil
}

// holes returns the WAL that the archive lacks between what it holds, as far
// as that may be of the window.
func (r *reading) holes(runs []run) []wal.Range {
	var holes []wal.Range
	var last *look
	for i, one := range runs {
		if i > 0 && (runs[i-1].end != runs[i-1].leg.end || one.from != one.leg.first) {
			last = nil // what lies between them was not asked for
		}
		for i := range one.looks {
			f := &one.looks[i]
			if last != nil && last.end < r.size.Start(f.number) && r.mayTouch(*last, *f) {
				holes = append(holes, wal.Range{Start: last.end, End: r.size.Start(f.number)})
			}
			last = f
		}
	}
	return holes
}

// mayTouch reports whether what happened between two segments may be of the window.
func (r *reading) mayTouch(a, b look) bool {
	behind := a.times() && a.summary.MinTime > r.window.until
	before := b.times() && b.summary.MaxTime < r.window.from
	return !behind && !before
}

// between returns the holes that lie between the first and the last of parts.
func between(holes []wal.Range, parts []run, size wal.SegmentSize) []wal.Range {
	if len(parts) == 0 {
		return holes
	}
	start, end := size.Start(parts[0].from), size.Start(parts[len(parts)-1].end)
	return slices.DeleteFunc(holes, func(h wal.Range) bool { return h.End <= start || h.Start >= end })
}

// narrow leaves those segments that, as their headers count, hold more than
// enough ends on each side of the instant.
func (r *reading) narrow(parts []run) []run {
	var all []look
	for _, part := range parts {
		all = append(all, part.looks...)
	}
	pivot := slices.IndexFunc(all, func(f look) bool { return f.times() && f.summary.MaxTime > r.log.Around })
	if pivot < 0 {
		pivot = len(all)
	}
	first, end := pivot, min(pivot+1, len(all))
	for sum := 0; first > 0 && sum <= r.query.Limit; first-- {
		sum += int(all[first-1].summary.Ends)
	}
	for sum := 0; end < len(all) && sum <= r.query.Limit; end++ {
		sum += int(all[end].summary.Ends)
	}
	r.log.MoreBefore, r.log.MoreAfter = first > 0, end < len(all)
	var kept []run
	for _, part := range parts {
		n := len(part.looks)
		looks := part.looks[min(first, n):min(end, n)]
		first, end = first-min(first, n), end-min(end, n)
		if len(looks) > 0 {
			kept = append(kept, run{leg: part.leg, from: looks[0].number, end: looks[len(looks)-1].number + 1, looks: looks})
		}
	}
	return kept
}

// nearest tells of ends outside of the window, as far as headers were seen.
func (r *reading) nearest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.known {
		if !f.times() {
			continue
		}
		if t := f.summary.MaxTime; t < r.window.from && (r.log.Previous == 0 || t > r.log.Previous) {
			r.log.Previous = t
		}
		if t := f.summary.MinTime; t > r.window.until && (r.log.Next == 0 || t < r.log.Next) {
			r.log.Next = t
		}
	}
}

// explain adds to gaps what is recorded of them.
func (r *reading) explain(ctx context.Context) error {
	if !slices.ContainsFunc(r.log.Entries, func(e Entry) bool { return e.Kind == KindGap }) {
		return nil
	}
	recorded, err := r.cluster.Explained(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return err
	}
	if err != nil {
		r.log.Notes = append(r.log.Notes, fmt.Sprintf("a gap record cannot be read: %v", err))
	}
	for i := range r.log.Entries {
		e := &r.log.Entries[i]
		for _, g := range recorded {
			own, ok := r.history.RangeOf(g.Timeline)
			if e.Kind == KindGap && ok && own.Contains(max(g.Range.Start, e.Range.Start)) && g.Range.Start < e.Range.End && e.Range.Start < g.Range.End {
				e.Reason = string(g.Cause)
			}
		}
	}
	return nil
}
