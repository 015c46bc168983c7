package commitlog

import "github.com/pgark/pgark/wal"

// giveUp bounds how many segments without any transaction end are looked at in
// a row, one by one. What then lies between the ends is looked at all at once.
const giveUp = 64

// edge finds, among segments that follow each other, where an answer changes
// from no to yes. Some do not answer. It decides which to ask next.
//
// Answers may be wrong near the edge; what it keeps is that below no is known
// of a segment, and above that yes is known of one.
type edge struct {
	below wal.SegmentNumber // the greatest that said no, or the one before the first; see low
	above wal.SegmentNumber // the least that said yes, or the one past the last
	low   bool              // below is a segment
	dumb  int               // asked in a row without an answer

	step, at uint64 // the next to ask is below+at; at rises by step, and step is halved
	asked    map[wal.SegmentNumber]bool
}

// newEdge returns the search over [first, end).
func newEdge(first, end wal.SegmentNumber) *edge {
	return &edge{below: first, above: end, asked: map[wal.SegmentNumber]bool{}}
}

// from returns the first segment that may be at or behind the edge.
func (e *edge) from() wal.SegmentNumber {
	if e.low {
		return e.below + 1
	}
	return e.below
}

// next returns the segment to ask: the middle, then the middles of the halves,
// and so on. It returns false when the edge is found, or when too many said
// nothing.
func (e *edge) next() (wal.SegmentNumber, bool) {
	for e.from() < e.above && e.dumb < giveUp {
		length := uint64(e.above - e.from())
		switch {
		case e.step == 0:
			e.step = (length + 1) / 2
			e.at = e.step - 1
		case e.at+e.step < length:
			e.at += e.step
		case e.step == 1:
			return 0, false // all were asked
		default:
			e.step = (e.step + 1) / 2
			e.at = e.step - 1
		}
		if n := e.from() + wal.SegmentNumber(e.at); !e.asked[n] {
			e.asked[n] = true
			return n, true
		}
	}
	return 0, false
}

// yes takes it that segment n, or all there is from it on, lies behind the edge.
func (e *edge) yes(n wal.SegmentNumber) { e.above, e.dumb, e.step = n, 0, 0 }

// no takes it that segment n lies before the edge.
func (e *edge) no(n wal.SegmentNumber) { e.below, e.low, e.dumb, e.step = n, true, 0, 0 }

// silent takes it that a segment gave no answer.
func (e *edge) silent() { e.dumb++ }
