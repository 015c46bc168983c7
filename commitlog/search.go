package commitlog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/wal"
)

// slack is how far times are taken to run backwards along one timeline, from
// one object to a later one: transactions that end at the same time write
// their records in another order than they took their times (2.9 ms were
// seen), and clocks are corrected. A switch of the timeline, where the clock
// is another host's, is no limit. In microseconds.
const slack = wal.Time(60 * 1_000_000)

// window is a range of times, both ends included.
type window struct{ from, until wal.Time }

func (w window) holds(t wal.Time) bool { return w.from <= t && t <= w.until }

// run is a row of segments [from, end) of one leg.
type run struct {
	leg       leg
	from, end wal.SegmentNumber
	looks     []look // those that the archive holds
}

// find returns the segments that can hold a transaction end, or a restore
// point, of the window, oldest first. notes say what a person should know.
func (b *branch) find(ctx context.Context, w window) (runs []run, notes []string, err error) {
	for _, l := range b.legs {
		r, err := b.findIn(ctx, l, w)
		if err != nil {
			return nil, nil, err
		}
		if back, at := b.setBack(l); back > slack {
			// The search relied on what is not so: nothing but all headers will do.
			notes = append(notes, fmt.Sprintf("the server's clock was set back by %s near %s: the headers of all WAL of timeline %d were read",
				time.Duration(back)*time.Microsecond, at, uint32(l.timeline)))
			r = run{leg: l, from: l.first, end: l.end}
			if r.looks, err = b.all(ctx, l, r.from, r.end); err != nil {
				return nil, nil, err
			}
		}
		runs = append(runs, r.trim(w)...)
	}
	return runs, notes, nil
}

// findIn searches one leg. All that is before the first segment it returns
// ended before the window, and all that is behind the last ended behind it, as
// long as times run backwards by no more than slack.
func (b *branch) findIn(ctx context.Context, l leg, w window) (run, error) {
	start, err := b.search(ctx, l, l.first, func(f look) bool { return f.summary.MaxTime >= w.from-slack })
	if err != nil {
		return run{}, err
	}
	end, err := b.search(ctx, l, start.from(), func(f look) bool { return f.summary.MinTime > w.until+slack })
	if err != nil {
		return run{}, err
	}
	r := run{leg: l, from: start.from(), end: end.above}
	r.looks, err = b.all(ctx, l, r.from, r.end)
	return r, err
}

// search finds the edge of an answer that headers with times give, from a
// segment of the leg on.
func (b *branch) search(ctx context.Context, l leg, first wal.SegmentNumber, yes func(look) bool) (*edge, error) {
	e := newEdge(first, l.end)
	for {
		n, ok := e.next()
		if !ok {
			return e, nil
		}
		found, ok, err := b.at(ctx, l, n)
		switch {
		case err != nil:
			return nil, err
		case !ok || found.number >= e.above:
			e.yes(n) // nothing is there before what is known to be behind the edge
		case !found.times():
			e.silent()
		case yes(found):
			e.yes(n)
		default:
			e.no(found.number)
		}
	}
}

// setBack returns by how much times run backwards at most, among what was
// looked at of a leg, and where.
func (b *branch) setBack(l leg) (most wal.Time, at wal.LSN) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var seen []look
	for n, f := range b.known {
		if n >= l.first && n < l.end && f.times() {
			seen = append(seen, f)
		}
	}
	slices.SortFunc(seen, func(a, b look) int { return int(a.number) - int(b.number) })
	var latest wal.Time
	for i, f := range seen {
		if back := latest - f.summary.MinTime; i > 0 && back > most {
			most, at = back, b.size.Start(f.number)
		}
		if i == 0 || f.summary.MaxTime > latest {
			latest = f.summary.MaxTime
		}
	}
	return most, at
}

// short is how many segments without an answer are read between two that may
// hold one, rather than begin anew behind them.
const short = 8

// trim returns the parts of r that must be read: rows of segments that begin
// and end with one that may hold an answer.
func (r run) trim(w window) []run {
	var parts []run
	begin := 0 // of the last part, in looks
	for i, f := range r.looks {
		if !f.mayHold(w) {
			continue
		}
		n := len(parts) - 1
		if n < 0 || f.number-parts[n].end > short {
			parts, begin, n = append(parts, run{leg: r.leg, from: f.number}), i, n+1
		}
		parts[n].end, parts[n].looks = f.number+1, r.looks[begin:i+1]
	}
	return parts
}

// mayHold reports whether the header does not rule out that the segment holds
// an answer.
func (l look) mayHold(w window) bool {
	s := l.summary
	return l.bad != nil || s.HeadUnknown || s.RestorePoints > 0 || s.Ends > 0 && s.MaxTime >= w.from && s.MinTime <= w.until
}
