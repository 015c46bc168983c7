package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/wal"
)

// Tail is archived WAL beside the present history of a cluster: what lies on a timeline beyond the point at which that history
// left it, or on a timeline that it never took. A failover lost it, the archive did not.
type Tail struct {
	Timeline wal.TimelineID
	// Next is the timeline that the present history goes on with at the fork.
	Next wal.TimelineID
	// Range begins at the first archived byte past the fork and ends with the last one.
	Range wal.Range
	// Missing are holes in Range.
	Missing []wal.Range
}

// Tails returns what lies beside the history of the newest timeline that has a history file or WAL, by timeline. histories need not have timeline
// 1; coverage are the archived spans of each timeline, in LSN order. Without the newest timeline's history nothing can be told,
// and it returns nothing. It is pure.
func Tails(histories map[wal.TimelineID]wal.History, coverage map[wal.TimelineID][]wal.Range) []Tail {
	newest := wal.TimelineID(0)
	for tli := range histories {
		newest = max(newest, tli)
	}
	for tli := range coverage {
		newest = max(newest, tli)
	}
	present, ok := historyIn(histories, newest)
	if !ok {
		return nil
	}
	var tails []Tail
	for _, tli := range slices.Sorted(maps.Keys(coverage)) {
		fork, ok := forkOf(present, histories, tli)
		if !ok {
			continue
		}
		if t := beyond(fork, coverage[tli]); !t.Range.Empty() {
			t.Timeline, t.Next = tli, present.TimelineAt(fork)
			tails = append(tails, t)
		}
	}
	return tails
}

func historyIn(histories map[wal.TimelineID]wal.History, tli wal.TimelineID) (wal.History, bool) {
	if h, ok := histories[tli]; ok || tli != 1 {
		return h, ok
	}
	return wal.History{Timeline: 1}, true
}

// forkOf returns the LSN of the first byte of timeline tli that is not in the present history; false if all of it is, or if that cannot be told.
func forkOf(present wal.History, histories map[wal.TimelineID]wal.History, tli wal.TimelineID) (wal.LSN, bool) {
	if present.Contains(tli) {
		return present.SwitchOf(tli)
	}
	// The present history never took it: all that is its own. Its first segment begins with a copy of its parent's bytes.
	h, ok := historyIn(histories, tli)
	own, _ := h.RangeOf(tli)
	return own.Start, ok
}

// beyond returns the part of spans past the fork.
func beyond(fork wal.LSN, spans []wal.Range) Tail {
	var t Tail
	for _, s := range spans {
		s.Start = max(s.Start, fork)
		switch {
		case s.Empty():
			continue
		case t.Range.Empty():
			t.Range = s
			continue
		case s.Start > t.Range.End:
			t.Missing = append(t.Missing, wal.Range{Start: t.Range.End, End: s.Start})
		}
		t.Range.End = max(t.Range.End, s.End)
	}
	return t
}

// Tally is what a stretch of WAL holds of transactions.
type Tally struct {
	// Commits were counted in the WAL itself, if Exact; otherwise this is what headers tell of transaction ends, aborted ones included.
	Commits int
	Exact   bool
	// Last is the time of the last of them; 0 if there is none.
	Last wal.Time
}

const (
	tallyRead   = 32 << 20 // bytes of WAL that are read for an exact number
	tallyMost   = 2048     // objects whose headers are read otherwise
	tallyAtOnce = 32       // headers in flight
)

// ErrLong says that a stretch of WAL is too long for its transactions to be counted while somebody waits.
var ErrLong = errors.New("too much WAL to count its transactions")

// CountCommits counts the commits in the WAL of tail. Up to 32 MiB are read; of more WAL the headers of its objects are. Of more than 2048
// objects it returns ErrLong.
func (c *Cluster) CountCommits(ctx context.Context, tail Tail) (Tally, error) {
	tally, err := c.countCommits(ctx, tail)
	if err != nil {
		return Tally{}, fmt.Errorf("count commits on timeline %s in %s: %w", tail.Timeline, tail.Range, err)
	}
	return tally, nil
}

func (c *Cluster) countCommits(ctx context.Context, tail Tail) (Tally, error) {
	size, err := c.SegmentSize(ctx)
	if err != nil {
		return Tally{}, err
	}
	if tail.Range.Len() > tallyRead {
		return c.tallyHeaders(ctx, tail)
	}
	t := Tally{Exact: true}
	var d *wal.Decoder
	for n := size.Number(tail.Range.Start); n <= size.Number(tail.Range.End-1); n++ {
		plain, err := c.ReadSegment(ctx, size, wal.SegmentID{Timeline: tail.Timeline, Number: n})
		if errors.Is(err, ErrNoWAL) {
			d = nil
			continue // a hole
		}
		var locked *KeyError
		if errors.As(err, &locked) { // notes tell nearly as much
			return c.tallyHeaders(ctx, tail)
		}
		if err != nil {
			return Tally{}, err
		}
		if d == nil || d.Pos() != size.Start(n) {
			d = wal.NewDecoder(size, size.Start(n), wal.EventsOnly)
		}
		// The end of a tail may be damaged like that of any WAL: what is before it counts.
		damaged := d.Write(plain) != nil
		t.take(d, tail.Range.Start)
		if damaged {
			break
		}
	}
	return t, nil
}

// take counts the commits that d has read from start on.
func (t *Tally) take(d *wal.Decoder, start wal.LSN) {
	for r, ok := d.Next(); ok; r, ok = d.Next() {
		e, ended := r.Event.(*wal.TransactionEnd)
		if ended && r.Start >= start && (e.Kind == wal.Commit || e.Kind == wal.CommitPrepared) {
			t.Commits, t.Last = t.Commits+1, e.Time
		}
	}
}

// tallyHeaders adds up what headers say. The object in which the tail begins counts as a whole.
func (c *Cluster) tallyHeaders(ctx context.Context, tail Tail) (Tally, error) {
	var entries []Entry
	for e, err := range c.ListWAL(ctx, tail.Timeline, tail.Range.Start) {
		if err != nil {
			return Tally{}, err
		}
		if entries = append(entries, e); len(entries) > tallyMost {
			return Tally{}, ErrLong
		}
	}
	entries = Assemble(entries[0].Range.Start, entries)
	headers := make([]Header, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tallyAtOnce)
	for i, e := range entries {
		g.Go(func() (err error) {
			headers[i], err = c.ReadHeader(ctx, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Tally{}, err
	}
	var t Tally
	for _, h := range headers {
		t.Commits += int(h.Summary.Ends)
		t.Last = cmp.Or(h.Summary.LastTime, t.Last)
	}
	return t, nil
}
