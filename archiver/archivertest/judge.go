package archivertest

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Verdict says how much was judged, so that a test can tell a good recording from an empty one.
type Verdict struct {
	Streams  int           // START_REPLICATION
	Told     int           // status updates
	Advances int           // of them, those that told more than any before on their timeline
	Held     int           // objects of WAL, over all repositories
	Silence  time.Duration // the longest time between two advances
}

// BrokenError is a promise that a recording breaks.
type BrokenError struct {
	Event  int // its number in Events, from 0
	Broken string
}

// Error implements error.
func (e *BrokenError) Error() string { return fmt.Sprintf("event %d: %s", e.Event, e.Broken) }

// Judge replays a recording. A *BrokenError says what it breaks first:
//
//   - I1: no status update may say that WAL was written, flushed or applied past the end of the bytes that each required repository
//     holds without a hole, from where archiving of the timeline began. What it records as lost counts as held.
//   - I2: no stream may begin behind that end.
//   - I8: no WAL of a timeline may come before its history file.
//   - Pieces may be deleted only where the repository holds their whole segment.
func Judge(r *Recording) (Verdict, error) { return JudgeEach(r, func(Position) {}) }

// Position is how far a repository held WAL without a hole from some time on.
type Position struct {
	At         time.Duration
	Repository string
	Timeline   wal.TimelineID
	End        wal.LSN
}

// JudgeEach is Judge, and calls see for each advance of a repository.
func JudgeEach(r *Recording, see func(Position)) (Verdict, error) {
	j := judge{
		recording: r, see: see, conns: map[int]wal.TimelineID{}, anchors: map[wal.TimelineID]wal.LSN{},
		told: map[wal.TimelineID]wal.LSN{}, holdings: map[string]*holding{},
	}
	for _, name := range r.Required {
		j.of(name)
	}
	for i, e := range r.Events() {
		if broken := j.event(e); broken != "" {
			return j.verdict, &BrokenError{Event: i, Broken: broken}
		}
	}
	return j.verdict, nil
}

// judge is one replay.
type judge struct {
	recording *Recording
	see       func(Position)
	verdict   Verdict

	conns    map[int]wal.TimelineID
	anchors  map[wal.TimelineID]wal.LSN // where archiving of a timeline began
	told     map[wal.TimelineID]wal.LSN
	advanced time.Duration
	holdings map[string]*holding
}

// holding is what one repository holds.
type holding struct {
	covered   map[wal.TimelineID]*repository.Coverage
	histories map[wal.TimelineID]bool
	archived  map[wal.TimelineID]bool // those it holds WAL of
	segments  map[string]bool         // whole ones, by the key without its ending
}

func (j *judge) of(name string) *holding {
	if j.holdings[name] == nil {
		j.holdings[name] = &holding{
			covered: map[wal.TimelineID]*repository.Coverage{}, histories: map[wal.TimelineID]bool{1: true}, archived: map[wal.TimelineID]bool{},
			segments: map[string]bool{},
		}
	}
	return j.holdings[name]
}

// event returns what an event breaks, "" if nothing.
func (j *judge) event(e Event) string {
	e.Key = strings.TrimSuffix(e.Key, ".age") // an encrypted object holds what it is named for
	switch e.Kind {
	case Stream:
		return j.stream(e)
	case Told:
		return j.status(e)
	case Held:
		return j.held(e)
	case Deleted:
		segment, _, piece := strings.Cut(e.Key, ".part/")
		if piece && !j.of(e.Repository).segments[segment] {
			return fmt.Sprintf("%s deletes %s and does not hold its segment", e.Repository, e.Key)
		}
		return ""
	}
	return fmt.Sprintf("unknown kind %q", e.Kind)
}

func (j *judge) stream(e Event) string {
	j.verdict.Streams++
	j.conns[e.Conn] = e.Timeline
	if _, ok := j.anchors[e.Timeline]; !ok || !j.any(e.Timeline) {
		j.anchors[e.Timeline] = e.LSN // nothing was archived of it: it begins here
		return ""
	}
	if durable, name := j.durable(e.Timeline); e.LSN > durable {
		return fmt.Sprintf("timeline %d is streamed from %s, %s holds it to %s only", e.Timeline, e.LSN, name, durable)
	}
	return ""
}

func (j *judge) status(e Event) string {
	j.verdict.Told++
	tli, ok := j.conns[e.Conn]
	if !ok {
		return "a status update on a connection that streams nothing"
	}
	durable, name := j.durable(tli)
	// PostgreSQL takes the write position for a flush of 0 when it shuts down (WalSndDone, src/backend/replication/walsender.c).
	said := max(e.Write, e.Flush, e.Apply)
	if said > durable {
		return fmt.Sprintf("server is told write %s, flush %s, apply %s on timeline %d, of which %s holds what is before %s",
			e.Write, e.Flush, e.Apply, tli, name, durable)
	}
	if said > j.told[tli] {
		if j.advanced != 0 {
			j.verdict.Silence = max(j.verdict.Silence, e.At-j.advanced)
		}
		j.verdict.Advances++
		j.told[tli], j.advanced = said, e.At
	}
	return ""
}

func (j *judge) held(e Event) string {
	tli, bytes, kind := j.parse(e.Key)
	h := j.of(e.Repository)
	switch {
	case kind == keyHistory:
		h.histories[tli] = true
		return ""
	case kind == keyOther:
		return ""
	case kind != keyGap && !h.histories[tli]:
		return fmt.Sprintf("%s gets %s before the history of its timeline", e.Repository, e.Key)
	case kind == keySegment:
		h.segments[strings.TrimSuffix(e.Key, ".zst")] = true
	}
	h.archived[tli] = h.archived[tli] || kind != keyGap
	j.verdict.Held++
	if h.covered[tli] == nil {
		h.covered[tli] = &repository.Coverage{Timeline: tli}
	}
	before := j.end(h, tli)
	h.covered[tli].Add(bytes)
	if after := j.end(h, tli); after > before {
		j.see(Position{At: e.At, Repository: e.Repository, Timeline: tli, End: after})
	}
	return ""
}

// any reports whether a repository holds WAL of a timeline.
func (j *judge) any(tli wal.TimelineID) bool {
	for _, h := range j.holdings {
		if h.archived[tli] {
			return true
		}
	}
	return false
}

// durable returns the end of what each required repository holds of a timeline, and which of them holds least.
func (j *judge) durable(tli wal.TimelineID) (end wal.LSN, least string) {
	end = ^wal.LSN(0)
	for _, name := range j.recording.Required {
		if at := j.end(j.of(name), tli); at < end {
			end, least = at, name
		}
	}
	return end, least
}

// end is how far a repository holds a timeline from its anchor on.
func (j *judge) end(h *holding, tli wal.TimelineID) wal.LSN {
	anchor := j.anchors[tli]
	if h.covered[tli] == nil {
		return anchor
	}
	end, _ := h.covered[tli].EndFrom(anchor)
	return max(anchor, end)
}

type keyKind uint8

const (
	keyOther keyKind = iota
	keyHistory
	keySegment
	keyPiece
	keyGap
)

// parse reads a key of docs/FORMAT.md section 1.
func (j *judge) parse(key string) (tli wal.TimelineID, bytes wal.Range, kind keyKind) {
	parts := strings.Split(key, "/")
	var from, to uint64
	if len(parts) == 3 && parts[1] == "gaps" {
		if _, err := fmt.Sscanf(parts[2], "%08X-%016X-%016X.json", &tli, &from, &to); err != nil {
			return 0, wal.Range{}, keyOther
		}
		return tli, wal.Range{Start: wal.LSN(from), End: wal.LSN(to)}, keyGap
	}
	if len(parts) < 3 || parts[1] != "wal" {
		return 0, wal.Range{}, keyOther
	}
	if len(parts) == 3 {
		if _, err := fmt.Sscanf(parts[2], "%08X.history", &tli); err != nil {
			return 0, wal.Range{}, keyOther
		}
		return tli, wal.Range{}, keyHistory
	}
	var number [3]uint32
	if _, err := fmt.Sscanf(parts[3], "%08X%08X%08X", &number[0], &number[1], &number[2]); err != nil {
		return 0, wal.Range{}, keyOther
	}
	size := wal.LSN(j.recording.SegmentSize)
	tli = wal.TimelineID(number[0])
	if len(parts) == 4 {
		start := wal.LSN(number[1])<<32 | wal.LSN(number[2])*size
		return tli, wal.Range{Start: start, End: start + size}, keySegment
	}
	if _, err := fmt.Sscanf(parts[4], "%016X-%016X.zst", &from, &to); err != nil {
		return 0, wal.Range{}, keyOther
	}
	return tli, wal.Range{Start: wal.LSN(from), End: wal.LSN(to)}, keyPiece
}
