package commitlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	headersAtOnce = 32 // headers in flight
	gallop        = 16 // by how much steps grow on the way to the end of the archive
)

// leg is the part of a branch that is taken from one timeline.
type leg struct {
	timeline wal.TimelineID
	own      wal.Range
	// first and end are the segments of it that the archive may hold. Where a
	// switch lies inside a segment, it counts for the younger timeline.
	first, end wal.SegmentNumber
}

// look is what is known of a segment without reading its WAL.
type look struct {
	number  wal.SegmentNumber
	end     wal.LSN // of the WAL of it that is there, as far as the branch takes it
	summary repository.Summary
	bad     error // the header is damaged: summary tells nothing
	absent  bool  // the archive does not hold it
}

// times reports whether the times in the summary tell anything.
func (l look) times() bool { return l.bad == nil && !l.absent && l.summary.Ends > 0 }

// branch is the archived WAL along one timeline and its ancestors. It keeps
// what it has learnt of each segment.
type branch struct {
	cluster *repository.Cluster
	size    wal.SegmentSize
	history wal.History
	legs    []leg // oldest first, none empty

	mu    sync.Mutex
	known map[wal.SegmentNumber]look
}

// openBranch finds out what the archive holds along tip, without listing it.
func openBranch(ctx context.Context, cluster *repository.Cluster, tip wal.TimelineID) (*branch, error) {
	size, err := cluster.SegmentSize(ctx)
	if err != nil {
		return nil, err
	}
	b := &branch{cluster: cluster, size: size, history: wal.History{Timeline: tip}, known: map[wal.SegmentNumber]look{}}
	if tip > 1 {
		if b.history, _, err = cluster.History(ctx, tip); err != nil {
			return nil, err
		}
	}
	for _, s := range append(slices.Clone(b.history.Parents), wal.Switch{Timeline: tip}) {
		own, _ := b.history.RangeOf(s.Timeline)
		if own.Empty() {
			continue
		}
		l := leg{timeline: s.Timeline, own: own, first: size.Number(own.Start), end: math.MaxUint64}
		if own.End != math.MaxUint64 {
			l.end = size.Number(own.End)
		}
		b.legs = append(b.legs, l)
	}
	return b, b.bound(ctx)
}

// bound narrows the legs to what the archive may hold, and drops those of
// which it holds nothing.
func (b *branch) bound(ctx context.Context) error {
	var held []leg
	for i, l := range b.legs {
		if i+1 < len(b.legs) && b.size.Offset(l.own.End) != 0 {
			younger := b.legs[i+1]
			first, ok, err := b.following(ctx, younger, younger.first)
			if err != nil {
				return err
			}
			if !ok || first != younger.first {
				l.end++ // its copy of the segment of the switch was not archived
			}
		}
		first, ok, err := b.following(ctx, l, l.first)
		if err != nil {
			return err
		}
		if ok {
			l.first = first
			held = append(held, l)
		}
	}
	if b.legs = held; len(held) == 0 {
		return fmt.Errorf("timeline %d: %w", uint32(b.history.Timeline), repository.ErrNoWAL)
	}
	last := &b.legs[len(b.legs)-1]
	end, err := b.endOf(ctx, *last)
	last.end = end
	return err
}

// following returns the first segment from n on that the archive holds of a
// leg, with one listing.
func (b *branch) following(ctx context.Context, l leg, n wal.SegmentNumber) (wal.SegmentNumber, bool, error) {
	for e, err := range b.cluster.ListWAL(ctx, l.timeline, b.size.Start(n)) {
		if err != nil {
			return 0, false, err
		}
		found := b.size.Number(e.Range.Start)
		return found, found < l.end, nil
	}
	return 0, false, nil
}

// endOf returns the segment past the last that the archive holds of a leg. It
// looks further and further behind the first, and then between.
func (b *branch) endOf(ctx context.Context, l leg) (wal.SegmentNumber, error) {
	there, step, beyond := l.first, wal.SegmentNumber(1), l.end
	for there+1 < beyond {
		n := there + step
		if step == 0 || n >= beyond {
			n = there + (beyond-there)/2
		}
		found, ok, err := b.at(ctx, l, n)
		switch {
		case err != nil:
			return 0, err
		case ok:
			there, step = found.number, step*gallop
		default:
			beyond, step = n, 0
		}
	}
	return beyond, nil
}

// at looks at segment n of a leg, or where the archive does not hold it at the
// next that it holds; false if there is none.
func (b *branch) at(ctx context.Context, l leg, n wal.SegmentNumber) (look, bool, error) {
	found, err := b.look(ctx, l, n)
	if err != nil || !found.absent {
		return found, err == nil, err
	}
	next, ok, err := b.following(ctx, l, n)
	if err != nil || !ok {
		return look{}, false, err
	}
	found, err = b.look(ctx, l, next)
	return found, err == nil && !found.absent, err
}

// look looks at segment n of a leg.
func (b *branch) look(ctx context.Context, l leg, n wal.SegmentNumber) (look, error) {
	b.mu.Lock()
	known, ok := b.known[n]
	b.mu.Unlock()
	if ok {
		return known, nil
	}
	s, end, err := b.cluster.SegmentSummary(ctx, b.size, wal.SegmentID{Timeline: l.timeline, Number: n})
	found := look{number: n, end: min(end, l.own.End), summary: s}
	switch {
	case errors.Is(err, repository.ErrNoWAL):
		found.absent = true
	case unreadable(err):
		found.bad, found.end = err, min(b.size.End(n), l.own.End)
	case err != nil:
		return look{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[n] = found
	return found, nil
}

// unreadable reports whether err says that what the archive holds is damaged.
// Other errors may pass, and end the search.
func unreadable(err error) bool {
	var corrupt *repository.CorruptError
	var conflict *repository.ConflictError
	return errors.As(err, &corrupt) || errors.As(err, &conflict)
}

// all looks at the segments [from, end) of a leg that the archive holds.
func (b *branch) all(ctx context.Context, l leg, from, end wal.SegmentNumber) ([]look, error) {
	var numbers []wal.SegmentNumber
	for e, err := range b.cluster.ListWAL(ctx, l.timeline, b.size.Start(from)) {
		if err != nil {
			return nil, err
		}
		n := b.size.Number(e.Range.Start)
		if n >= end {
			break
		}
		if len(numbers) == 0 || numbers[len(numbers)-1] != n {
			numbers = append(numbers, n)
		}
	}
	looks := make([]look, len(numbers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headersAtOnce)
	for i, n := range numbers {
		g.Go(func() (err error) {
			looks[i], err = b.look(ctx, l, n)
			return err
		})
	}
	return looks, g.Wait()
}

// legOf returns the leg that segment n counts for.
func (b *branch) legOf(n wal.SegmentNumber) (leg, bool) {
	for _, l := range slices.Backward(b.legs) {
		if n >= l.first && n < l.end {
			return l, true
		}
	}
	return leg{}, false
}

// read returns the verified bytes of segment n, cut where the branch leaves
// the timeline they are of.
func (b *branch) read(ctx context.Context, n wal.SegmentNumber) ([]byte, error) {
	l, ok := b.legOf(n)
	if !ok {
		return nil, repository.ErrNoWAL
	}
	plain, err := b.cluster.ReadSegment(ctx, b.size, wal.SegmentID{Timeline: l.timeline, Number: n})
	if err != nil {
		return nil, err
	}
	if start := b.size.Start(n); start+wal.LSN(len(plain)) > l.own.End {
		plain = plain[:l.own.End-start]
	}
	return plain, nil
}
