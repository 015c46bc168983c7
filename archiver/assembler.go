package archiver

import (
	"slices"
	"time"

	"github.com/pgark/pgark/wal"
)

// assembler decides which object to cut from the received WAL, and when. It
// is pure: bytes, clock and uploads live with its caller, who says what
// happened and asks next for what to do. Not safe for concurrent use.
//
// The rules. A complete segment is cut at once. Of the open segment a piece
// is cut at once when idle turns busy, then at most one per interval, none
// while nothing comes. Pieces follow each other without a hole from the
// segment's start and never leave it. Nothing is cut while all upload slots
// are taken, so nothing waits in a queue that a later cut would make useless:
// what could not be cut yet goes into the next, larger cut.
//
// On demand, when commits wait for what is put, a piece is cut whenever there
// is WAL and a free slot: commits that come while all are taken share the next
// one. The end of a segment goes up as a piece too, for nobody is to wait for
// 16 MiB; the whole segment, which replaces its pieces, follows beside them.
type assembler struct {
	config assemblerConfig
	demand bool

	received wal.LSN // every byte before it has come
	server   wal.LSN // end of the server's own WAL, as far as it said
	next     wal.LSN // every byte before it has been cut
	target   wal.LSN // pieces are due up to here
	durable  wal.LSN // every byte before it is durable

	last   time.Time                      // when an object became due last
	pieces int                            // cut of the segment that holds next
	split  map[wal.SegmentNumber]struct{} // segments that go up in pieces only

	cuts []cut // cut and not confirmed, or confirmed behind a hole, in order
	busy int   // of cuts, those not confirmed that take a slot
	id   uint64

	told      wal.LSN             // what settled said last: the plain bytes before it may be gone
	replace   []wal.SegmentNumber // all in pieces, to go up whole as well, ascending
	replacing bool                // one of them is in flight
}

// assemblerConfig are the assembler's fixed parameters, all above zero.
type assemblerConfig struct {
	size     wal.SegmentSize
	interval time.Duration // between pieces
	maxPiece wal.LSN       // bytes of the largest piece, a multiple of frameSize
	slots    int           // objects that may be in flight, besides one that replaces pieces
	// fresh says that nothing of this timeline is archived yet. The first
	// object goes alone then, so that what is archived begins at the start
	// also when the process dies with later objects put and the first not.
	fresh bool
}

// cutKind says what kind of object a cut becomes.
type cutKind uint8

const (
	cutSegment cutKind = iota + 1 // a whole segment
	cutPiece                      // part of one
)

// cut is one object to make.
type cut struct {
	id        uint64 // from 1, in the order of cutting
	kind      cutKind
	bytes     wal.Range
	replaces  bool // a segment that is in pieces already: it takes no slot
	confirmed bool
}

// newAssembler begins with the bytes before start received long ago and
// those before durable, which is not before start, durable.
func newAssembler(config assemblerConfig, start, durable wal.LSN) *assembler {
	return &assembler{
		config: config, received: start, next: durable, durable: durable,
		split: make(map[wal.SegmentNumber]struct{}),
	}
}

// receive says that every byte before upTo has come, and how far the server's
// own WAL reaches.
func (a *assembler) receive(upTo, server wal.LSN, now time.Time) {
	a.server = max(a.server, server)
	if upTo <= a.received {
		return
	}
	idle := a.received <= a.next
	a.received = upTo
	// A segment that the server has whole already completes by itself: its
	// first bytes are no commit of this moment that waits to be safe.
	if idle && a.due(now) && server >= a.config.size.End(a.number(upTo-1)) {
		a.last = now
	}
}

// onDemand says whether commits wait for what is put. It may change at any time.
func (a *assembler) onDemand(on bool) { a.demand = on }

// flush makes everything received due now.
func (a *assembler) flush(now time.Time) {
	a.target, a.last = a.received, now
}

// piecesOnly says that the open segment is too large to be held until it is
// whole.
func (a *assembler) piecesOnly() {
	a.split[a.number(a.received)] = struct{}{}
}

// isSplit reports whether segment n goes up in pieces only.
func (a *assembler) isSplit(n wal.SegmentNumber) bool {
	_, ok := a.split[n]
	return ok
}

// nextCut returns the object to cut now, if there is one.
func (a *assembler) nextCut(now time.Time) (cut, bool) {
	if len(a.replace) > 0 && !a.replacing {
		return a.addReplacement(), true
	}
	if a.next >= a.received || a.busy >= a.slots() {
		return cut{}, false
	}
	n := a.number(a.next)
	bytes := a.config.size.Range(n)
	if a.received >= bytes.End && a.goesWhole() {
		a.last = now
		return a.add(cutSegment, bytes), true
	}
	limit := min(bytes.End, a.received)
	if !a.pieceDue(limit, now) {
		return cut{}, false
	}
	to := min(a.target, limit)
	if to-a.next > a.config.maxPiece {
		to = a.next + a.config.maxPiece
		to -= to % frameSize
	}
	return a.add(cutPiece, wal.Range{Start: a.next, End: to}), true
}

// goesWhole reports whether the rest of the segment that holds next, once all
// of it has come, goes up with the whole segment and not as a piece.
func (a *assembler) goesWhole() bool {
	begun := a.config.size.Offset(a.next) != 0
	return !a.isSplit(a.number(a.next)) && (!a.demand || !begun || a.told > a.next)
}

// fewPieces is how many pieces a segment may have in the repository for good.
const fewPieces = 8

// pieceDue makes what was received the target of the next pieces if one is
// due, and reports whether there is something to cut before limit, the end
// of what has come of its segment.
func (a *assembler) pieceDue(limit wal.LSN, now time.Time) bool {
	n := a.number(a.next)
	switch {
	case limit == a.config.size.End(n): // all of it has come, and it goes up in pieces
		a.target = max(a.target, limit)
	case a.demand && a.server < a.config.size.End(n):
		a.target, a.last = a.received, now
	case a.target > a.next: // due already
	case limit-a.next >= a.config.maxPiece:
		// More than is to be held. Where these are the segment's first pieces
		// they stay for good: sending all again as a segment gains little.
		if a.pieces < fewPieces {
			a.split[n] = struct{}{}
		}
		a.target, a.last = a.received, now
	case a.due(now):
		a.target, a.last = a.received, now
	default:
		return false
	}
	return true
}

func (a *assembler) add(kind cutKind, bytes wal.Range) cut {
	a.id++
	c := cut{id: a.id, kind: kind, bytes: bytes}
	a.cuts = append(a.cuts, c)
	a.busy++
	a.next = bytes.End
	a.pieces++
	if n := a.number(bytes.Start); bytes.End == a.config.size.End(n) {
		if kind == cutPiece && !a.isSplit(n) {
			a.replace = append(a.replace, n)
		}
		a.pieces = 0
		delete(a.split, n)
	}
	return c
}

// addReplacement cuts the first segment that is to replace its pieces. One at
// a time goes up, beside what commits may wait for.
func (a *assembler) addReplacement() cut {
	a.id++
	c := cut{id: a.id, kind: cutSegment, bytes: a.config.size.Range(a.replace[0]), replaces: true}
	a.cuts = append(a.cuts, c)
	a.replace, a.replacing = a.replace[1:], true
	return c
}

// slots returns how many objects may be in flight now.
func (a *assembler) slots() int {
	if a.config.fresh {
		return 1
	}
	return a.config.slots
}

// wake returns when the next piece becomes due if nothing else happens
// before; false if only an event can make one due.
func (a *assembler) wake() (time.Time, bool) {
	if a.next >= a.received || a.busy >= a.slots() {
		return time.Time{}, false
	}
	return a.last.Add(a.config.interval), true
}

// confirm says that the object of a cut is durable. The durable position is
// the end of the bytes that confirmed objects hold without a hole, so it
// passes an object only when all before it are confirmed.
func (a *assembler) confirm(id uint64) {
	for i := range a.cuts {
		if a.cuts[i].id == id && !a.cuts[i].confirmed {
			a.cuts[i].confirmed = true
			a.config.fresh = false
			if a.cuts[i].replaces {
				a.replacing = false
			} else {
				a.busy--
			}
		}
	}
	for a.advance() {
	}
}

// advance moves the durable position over one confirmed object and forgets
// the objects before it. A segment may pass the pieces of it that are still
// in flight: they stay until they are confirmed.
func (a *assembler) advance() bool {
	moved := false
	kept := a.cuts[:0]
	for _, c := range a.cuts {
		if c.confirmed && c.bytes.Start <= a.durable {
			moved = moved || c.bytes.End > a.durable
			a.durable = max(a.durable, c.bytes.End)
			continue
		}
		kept = append(kept, c)
	}
	a.cuts = kept
	return moved
}

// settled returns the end of the bytes that are cut, or certain to go up with
// their whole segment: no piece will be made of them any more.
func (a *assembler) settled() wal.LSN {
	at := a.next
	for {
		n := a.number(at)
		if a.config.size.End(n) > a.received || a.isSplit(n) || at == a.next && !a.goesWhole() {
			a.told = max(a.told, at)
			return at
		}
		at = a.config.size.End(n)
	}
}

// floor returns the start of the first bytes that an object still to be
// confirmed, or still to be cut, holds.
func (a *assembler) floor() wal.LSN {
	at := a.next
	for _, c := range a.cuts {
		if !c.confirmed {
			at = min(at, c.bytes.Start)
		}
	}
	if len(a.replace) > 0 {
		at = min(at, a.config.size.Range(a.replace[0]).Start)
	}
	return at
}

// replaces reports whether segment n is still to go up whole although all of
// it is in pieces.
func (a *assembler) replaces(n wal.SegmentNumber) bool { return slices.Contains(a.replace, n) }

// inFlight reports whether an object of segment n is cut and not confirmed, or
// still to be made.
func (a *assembler) inFlight(n wal.SegmentNumber) bool {
	if a.replaces(n) {
		return true
	}
	for _, c := range a.cuts {
		if !c.confirmed && a.number(c.bytes.Start) == n {
			return true
		}
	}
	return false
}

// drained reports whether all that came is durable, and nothing is in flight or
// still to be made.
func (a *assembler) drained() bool {
	return a.busy == 0 && !a.replacing && len(a.replace) == 0 && a.durable >= a.received
}

func (a *assembler) due(now time.Time) bool {
	return !now.Before(a.last.Add(a.config.interval))
}

func (a *assembler) number(lsn wal.LSN) wal.SegmentNumber {
	return a.config.size.Number(lsn)
}
