package commitlog

import (
	"context"
	"math"
	"slices"

	"github.com/pgark/pgark/wal"
)

const (
	stride   = 64 // the most segments read at once on the search for a transaction
	lookBack = 32 // segments before its end that are read to see what it made
)

// transaction looks for the end of one transaction, wherever it is. They end
// about in the order of their numbers, so it begins where the number would be
// and goes further and further from there, on both sides.
func (r *reading) transaction(ctx context.Context) error {
	at, err := r.place(ctx, r.query.XID)
	if err != nil {
		return err
	}
	first, end := r.legs[0].first, r.legs[len(r.legs)-1].end
	ahead, behind := at, at // [behind, ahead) was read
	for n := wal.SegmentNumber(1); ahead < end || behind > first; n = min(2*n, stride) {
		if next := min(end, ahead+n); next > ahead {
			if found, err := r.among(ctx, ahead, next); found || err != nil {
				return err
			}
			ahead = next
		}
		if next := max(first, behind-min(behind, n)); next < behind {
			if found, err := r.among(ctx, next, behind); found || err != nil {
				return err
			}
			behind = next
		}
	}
	slices.SortFunc(r.log.Entries, compareStart) // what is damaged or missing
	return nil
}

// place returns the first segment whose last transaction end has a number that
// is not before xid.
func (r *reading) place(ctx context.Context, xid wal.XID) (wal.SegmentNumber, error) {
	e := newEdge(r.legs[0].first, r.legs[len(r.legs)-1].end)
	for {
		n, ok := e.next()
		if !ok {
			return e.above, nil
		}
		found, ok, err := r.anywhere(ctx, n)
		switch {
		case err != nil:
			return 0, err
		case !ok || found.number >= e.above:
			e.yes(n)
		case !found.times():
			e.silent()
		case !precedes(found.summary.LastXID, xid):
			e.yes(n)
		default:
			e.no(found.number)
		}
	}
}

// anywhere is at for a segment of any leg.
func (b *branch) anywhere(ctx context.Context, n wal.SegmentNumber) (look, bool, error) {
	for _, l := range b.legs {
		if n >= l.end {
			continue
		}
		if found, ok, err := b.at(ctx, l, max(n, l.first)); ok || err != nil {
			return found, ok, err
		}
	}
	return look{}, false, nil
}

// among looks for the transaction in the segments [from, end). What keeps it
// from seeing them all goes into the log.
func (r *reading) among(ctx context.Context, from, end wal.SegmentNumber) (bool, error) {
	all := window{math.MinInt64 + slack, math.MaxInt64 - slack}
	var runs, parts []run
	for _, l := range r.legs {
		one := run{leg: l, from: max(from, l.first), end: min(end, l.end)}
		if one.from >= one.end {
			continue
		}
		var err error
		if one.looks, err = r.all(ctx, l, one.from, one.end); err != nil {
			return false, err
		}
		runs = append(runs, one)
		parts = append(parts, one.trim(all)...)
	}
	r.window = all
	var match Entry
	err := r.read(ctx, parts, r.holes(runs), func(e Entry) bool {
		switch {
		case (e.isEnd() || e.Kind == KindDatabaseDrop) && (e.XID == r.query.XID || e.Part == r.query.XID):
			match = e
		case e.Kind == KindGap || e.Kind == KindDamaged:
			r.log.Entries = append(r.log.Entries, e)
		}
		return match.Kind == ""
	})
	if err != nil || match.Kind == "" {
		return false, err
	}
	match, err = r.whole(ctx, match)
	r.log.Entries, r.log.Applied, r.log.Around = []Entry{match}, 1, match.Time
	return true, err
}

// whole reads back from a transaction's end until it is told what the
// transaction removed, for a while.
func (r *reading) whole(ctx context.Context, e Entry) (Entry, error) {
	n := r.size.Number(e.Range.End - 1)
	for back := wal.SegmentNumber(2); e.Removal.vague() && back <= lookBack; back *= 4 {
		one := run{from: n - min(n, back), end: n + 1}
		for i := one.from; i <= n; i++ {
			one.looks = append(one.looks, look{number: i})
		}
		err := r.read(ctx, []run{one}, nil, func(again Entry) bool {
			if again.Range == e.Range {
				e = again
			}
			return again.Range != e.Range
		})
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// vague reports whether more WAL before would tell more.
func (r *Removal) vague() bool {
	return r != nil && (r.Means == MeansUnknown || r.Before == 0)
}
