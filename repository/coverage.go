package repository

import (
	"context"
	"slices"

	"github.com/pgark/pgark/wal"
)

// Coverage is the WAL of one timeline that a set of objects holds, as contiguous spans that rise and do not touch. The zero
// value with a Timeline holds nothing. It is pure.
type Coverage struct {
	Timeline wal.TimelineID
	Spans    []wal.Range
}

// Add adds the bytes of r. Adding in about ascending order, as ListWAL yields, is cheapest.
func (v *Coverage) Add(r wal.Range) {
	if r.Empty() {
		return
	}
	// The spans [i, j) touch r.
	i := len(v.Spans)
	for i > 0 && v.Spans[i-1].End >= r.Start {
		i--
	}
	j := i
	for j < len(v.Spans) && v.Spans[j].Start <= r.End {
		r.Start, r.End = min(r.Start, v.Spans[j].Start), max(r.End, v.Spans[j].End)
		j++
	}
	v.Spans = slices.Replace(v.Spans, i, j, r)
}

// Covers reports whether every byte of r is there. An empty range always is.
func (v *Coverage) Covers(r wal.Range) bool {
	if r.Empty() {
		return true
	}
	end, ok := v.EndFrom(r.Start)
	return ok && end >= r.End
}

// EndFrom returns the end of the span that holds the byte at from: how far WAL goes on from there without a hole. It
// returns false if that byte is not there.
func (v *Coverage) EndFrom(from wal.LSN) (wal.LSN, bool) {
	for _, s := range v.Spans {
		if s.Contains(from) {
			return s.End, true
		}
	}
	return 0, false
}

// Gaps returns the parts of r that are not there, ascending.
func (v *Coverage) Gaps(r wal.Range) []wal.Range {
	var gaps []wal.Range
	at := r.Start
	for _, s := range v.Spans {
		if s.End <= at {
			continue
		}
		if s.Start >= r.End {
			break
		}
		if s.Start > at {
			gaps = append(gaps, wal.Range{Start: at, End: s.Start})
		}
		at = s.End
	}
	if at < r.End {
		gaps = append(gaps, wal.Range{Start: at, End: r.End})
	}
	return gaps
}

// AlongHistory returns the WAL that a server on history h finds where covered, by timeline, is all there is. The first segment of a timeline
// begins with a copy of its parent's bytes (XLogFileCopy in src/backend/access/transam/xlog.c), which counts as theirs. It is pure.
func AlongHistory(h wal.History, size wal.SegmentSize, covered map[wal.TimelineID][]wal.Range) Coverage {
	along := Coverage{Timeline: h.Timeline}
	add := func(tli wal.TimelineID) {
		own, _ := h.RangeOf(tli)
		if own.Empty() {
			return
		}
		own.Start = size.Floor(own.Start)
		for _, s := range covered[tli] {
			along.Add(wal.Range{Start: max(s.Start, own.Start), End: min(s.End, own.End)})
		}
	}
	for _, p := range h.Parents {
		add(p.Timeline)
	}
	add(h.Timeline)
	return along
}

// Coverage lists which WAL of timeline tli the repository holds from the segment of from on. It trusts the keys: it
// reads no object.
func (c *Cluster) Coverage(ctx context.Context, tli wal.TimelineID, from wal.LSN) (Coverage, error) {
	v := Coverage{Timeline: tli}
	for e, err := range c.ListWAL(ctx, tli, from) {
		if err != nil {
			return Coverage{}, err
		}
		v.Add(e.Range)
	}
	return v, nil
}
