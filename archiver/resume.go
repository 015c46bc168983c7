package archiver

import (
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
}

// resume decides where the stream goes on. It is pure. Errors are
// *TimelineError and *AheadError, both fences, and *GapError.
//
// Streaming begins at the start of the first segment that is not complete,
// because the slot keeps whole segments; where little or nothing of it is
// durable, one segment before, so that there is something to compare with the server's.
func resume(server postgres.System, history wal.History, have archived) (resumption, error) {
	tli, size := server.Timeline, server.SegmentSize
	if newest := max(have.newest, have.known); newest > tli {
		return resumption{}, &TimelineError{Server: tli, Archive: newest, Flush: server.Flush}
	}
	floor := size.Floor(server.Flush)
	if have.newest == 0 {
		return resumption{timeline: tli, start: floor, durable: floor, fallback: floor, fresh: true}, nil
	}
	v := have.coverage
	if v.Timeline == 0 || len(v.Spans) == 0 {
		return resumption{}, &GapError{Timeline: tli, To: floor}
	}
	last := frontier(size, v.Spans)
	if v.Timeline != tli {
		end, _ := history.SwitchOf(v.Timeline)
		if last.End >= end {
			// The ancestor is complete, or more than complete: what lies past
			// the switch belongs to a branch that the server left.
			start := size.Floor(end)
			return resumption{timeline: history.TimelineAt(end), start: start, durable: start, fallback: start, fresh: true}, nil
		}
	} else if end := v.Spans[len(v.Spans)-1].End; end > server.Flush {
		return resumption{}, &AheadError{Timeline: tli, Archive: end, Server: server.Flush}
	}
	return goOn(size, v.Timeline, last), nil
}

// mostUploads is the most objects that are ever in flight: so many may lie
// past a hole when a process died, each at most a segment. Never made smaller.
const mostUploads = 64

// frontier returns the span at whose end archiving goes on. Uploads end in any
// order, so when a process died the last spans may lie past a hole; that is
// filled first. A hole further back is none that was left so.
func frontier(size wal.SegmentSize, spans []wal.Range) wal.Range {
	i := len(spans) - 1
	end := spans[i].End
	for i > 0 && end-spans[i].Start <= mostUploads*wal.LSN(size) {
		i--
	}
	return spans[i]
}

// goOn resumes at the end of a span of a timeline.
func goOn(size wal.SegmentSize, tli wal.TimelineID, last wal.Range) resumption {
	r := resumption{timeline: tli, durable: last.End, fallback: size.Floor(last.End)}
	r.start = r.fallback
	if last.End-r.start < leastCompared && last.Start+wal.LSN(size) <= r.start {
		r.start -= wal.LSN(size)
	}
	if r.start < last.Start {
		// The span begins within the segment: not what this archiver writes.
		// Send the whole segment again.
		r.durable = r.start
	}
	return r
}
