package archiver

import (
	"fmt"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// archived is what the repository holds of the server's history, as far as it
// decides where to go on.
type archived struct {
	newest wal.TimelineID // of all timelines with WAL, 0 if there are none
	known  wal.TimelineID // of those with a history file or WAL: a promotion may have written nothing yet
	// coverage is of the newest timeline with WAL that belongs to the server's
	// history; its Timeline is 0 if there is none.
	coverage repository.Coverage
	recorded []repository.Gap // as lost, of all timelines
	gaps     []repository.Gap // these, and what retention let go: nothing of it is archived again
	kept     wal.LSN          // the slot, as it was found, keeps the server's WAL from here on; 0 if it keeps none
}

// resumption says where to stream from and what is durable already.
type resumption struct {
	timeline wal.TimelineID
	start    wal.LSN // a segment's start; stream from here
	durable  wal.LSN // every byte from start to here is in the repository: compare
	// fallback is where to stream from if the server no longer has the segment
	// at start: that is durable as a whole and was to be compared only.
	fallback wal.LSN
	fresh    bool // nothing of the timeline is in the repository

	// held is where a hole begins if the server no longer has the WAL from
	// fallback on: every byte before it is in the repository or recorded as
	// lost. 0 if nothing was archived before, so that nothing can be missing.
	held wal.LSN
	// limit is where the archive goes on behind that hole, or the timeline
	// ends; 0 if neither is.
	limit wal.LSN
	anew  bool // nothing of the server's history is in the repository
}

// resume decides where the stream goes on. It is pure. Errors are
// *TimelineError and *AheadError, both fences.
//
// Streaming begins at the start of the first segment that is not complete,
// because the slot keeps whole segments; where little or nothing of it is
// durable, one segment before, so that there is something to compare with the server's.
// What is recorded as lost counts as complete. It is asked anew after each
// gap that was recorded, and comes to the same decision after a restart.
func resume(server postgres.System, history wal.History, have archived) (resumption, error) {
	tli, size := server.Timeline, server.SegmentSize
	if newest := max(have.newest, have.known); newest > tli {
		return resumption{}, &TimelineError{Server: tli, Archive: newest, Flush: server.Flush}
	}
	if have.newest == 0 {
		// A slot that was there before kept its WAL for this archive: what is not seen here, because a list lags or the bucket was
		// emptied, is archived again, and not told to be durable.
		floor := size.Floor(server.Flush)
		if own, _ := history.RangeOf(tli); have.kept != 0 {
			floor = min(floor, size.Floor(max(have.kept, own.Start)))
		}
		return resumption{timeline: tli, start: floor, durable: floor, fallback: floor, fresh: true}, nil
	}
	v := have.coverage
	if v.Timeline == 0 || len(v.Spans) == 0 {
		// The archive is of another branch: this one begins with the timeline.
		own, _ := history.RangeOf(tli)
		r := begin(size, tli, own.Start, have.gaps)
		r.anew = true
		return r, nil
	}
	if end := v.Spans[len(v.Spans)-1].End; v.Timeline == tli && end > server.Flush {
		return resumption{}, &AheadError{Timeline: tli, Archive: end, Server: server.Flush}
	}
	r := goOn(size, v.Timeline, frontier(size, v.Spans, gapsOf(have.gaps, v.Timeline)))
	for r.timeline != tli {
		end, _ := history.SwitchOf(r.timeline)
		if r.held < end {
			r.limit = minimum(r.limit, end)
			return r, nil
		}
		// The ancestor is complete, or more than complete: what lies past the
		// switch belongs to a branch that the server left.
		r = begin(size, history.TimelineAt(end), end, have.gaps)
	}
	return r, nil
}

// mostUploads is the most objects that are ever in flight: so many may lie
// past a hole when a process died, each at most a segment. Never made smaller.
const mostUploads = 64

// stretch is WAL without a hole but for what is recorded as lost.
type stretch struct {
	wal.Range

	tail wal.Range // the archived bytes that it ends with; empty, at its end, if it ends with a gap
	next wal.LSN   // where the next stretch or recorded gap begins; 0 if there is none
}

// frontier returns the stretch at whose end archiving goes on. Uploads end in
// any order, so when a process died the last spans may lie past a hole; that
// is filled first. A hole further back is none that was left so.
func frontier(size wal.SegmentSize, spans, gaps []wal.Range) stretch {
	all := stretches(spans, gaps)
	i := len(all) - 1
	end := all[i].End
	for i > 0 && end-all[i].Start <= mostUploads*wal.LSN(size) {
		i--
	}
	s := all[i]
	if i+1 < len(all) {
		s.next = all[i+1].Start
	}
	for _, g := range gaps {
		if g.Start > s.End {
			s.next = minimum(s.next, g.Start)
		}
	}
	return s
}

// stretches joins spans, which rise and are at least one, over the gaps that
// begin in them. A gap that no span leads up to joins nothing: a copy that is
// not up to date may hold its record before the WAL.
func stretches(spans, gaps []wal.Range) []stretch {
	var all []stretch
	for _, span := range spans {
		n := len(all) - 1
		switch {
		case n < 0 || span.Start > all[n].End:
			all = append(all, stretch{Range: span, tail: span})
			n++
		case span.End > all[n].End:
			all[n].End, all[n].tail = span.End, span
		}
		if end := past(all[n].End, gaps); end > all[n].End {
			all[n].End, all[n].tail = end, wal.Range{Start: end, End: end}
		}
	}
	return all
}

// past returns the end of the recorded gaps that lead on from lsn, lsn itself
// if none does.
func past(lsn wal.LSN, gaps []wal.Range) wal.LSN {
	for moved := true; moved; {
		moved = false
		for _, g := range gaps {
			if g.Start <= lsn && g.End > lsn {
				lsn, moved = g.End, true
			}
		}
	}
	return lsn
}

// gapsOf returns the gaps of one timeline.
func gapsOf(gaps []repository.Gap, tli wal.TimelineID) []wal.Range {
	var own []wal.Range
	for _, g := range gaps {
		if g.Timeline == tli {
			own = append(own, g.Range)
		}
	}
	return own
}

// minimum returns the lesser of two positions of which 0 is none.
func minimum(a, b wal.LSN) wal.LSN {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// begin starts a timeline of which the repository holds nothing, at, the LSN of
// its first byte, or behind the gap recorded there. Its first segment holds its
// parent's bytes too.
func begin(size wal.SegmentSize, tli wal.TimelineID, at wal.LSN, gaps []repository.Gap) resumption {
	if held := past(at, gapsOf(gaps, tli)); held > at {
		return goOn(size, tli, stretch{Range: wal.Range{Start: at, End: held}, tail: wal.Range{Start: held, End: held}})
	}
	start := size.Floor(at)
	return resumption{timeline: tli, start: start, durable: start, fallback: start, fresh: true, held: at}
}

// goOn resumes at the end of a stretch of a timeline.
func goOn(size wal.SegmentSize, tli wal.TimelineID, s stretch) resumption {
	r := resumption{timeline: tli, durable: s.End, fallback: size.Floor(s.End), held: s.End, limit: s.next}
	r.start = r.fallback
	if s.End-r.start < leastCompared && s.tail.Start+wal.LSN(size) <= r.start {
		r.start -= wal.LSN(size)
	}
	if r.start < s.tail.Start {
		// The archived bytes begin within the segment: not what this archiver
		// writes. Send the whole segment again.
		r.durable = r.start
	}
	return r
}

// causeOf says why the WAL that r begins with is lost. found is what became
// of the slot, "" if it was there and kept WAL. It is pure.
func causeOf(server postgres.System, r resumption, slot postgres.Slot, name string, found repository.Cause) (repository.Cause, string) {
	switch {
	case r.anew:
		return repository.CauseNotArchived, fmt.Sprintf("nothing of timeline %d was in the archive, nor of the timelines it comes from", r.timeline)
	case r.timeline != server.Timeline || r.fresh:
		return repository.CauseFailover, fmt.Sprintf("the server that was promoted to timeline %d does not have this WAL", server.Timeline)
	case found == repository.CauseSlotLost:
		return found, fmt.Sprintf("the server invalidated slot %s", name)
	case found == repository.CauseSlotDropped:
		return found, fmt.Sprintf("slot %s did not exist any more", name)
	case slot.RestartLSN > r.held:
		return repository.CauseSlotAhead, fmt.Sprintf("slot %s kept WAL from %s on only", name, slot.RestartLSN)
	}
	return repository.CauseWALRemoved, ""
}
