package restore

import (
	"math"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Inventory is what is known of one cluster's archive at plan time. All that
// a plan depends on is in here and in the target.
type Inventory struct {
	SystemID    wal.SystemID
	SegmentSize wal.SegmentSize
	Backups     []repository.Backup            // in any order
	Coverage    map[wal.TimelineID][]wal.Range // per timeline, contiguous spans of archived WAL in LSN order
	Histories   map[wal.TimelineID]wal.History // of the timelines above 1
	Gaps        []repository.Gap               // holes in Coverage that are explained, in any order
	Beat        *repository.Beat               // the newest coverage beat; nil if there is none
	Facts       map[Question]Fact              // what was read from the WAL itself
	Free        uint64                         // bytes free where the cluster is to lie; 0 is unknown
	Notes       []string                       // what a person should know of the archive
}

// Ask says what a Question wants found.
type Ask uint8

// What can be asked of the WAL of a branch.
const (
	// AskPast is for the first transaction end whose time is past
	// Question.Time (at or past it, if Exclusive).
	AskPast Ask = iota + 1
	// AskXID is for the end of the transaction Question.XID.
	AskXID
	// AskName is for the first restore point called Question.Name.
	AskName
	// AskRecord is for the first record that starts at or past Range.Start.
	AskRecord
)

// Question asks for the first record on a branch that starts in Range, ends
// at or before Range.End, and is what Ask says.
type Question struct {
	Ask       Ask
	Branch    wal.TimelineID // the timeline whose history is followed
	Range     wal.Range
	Time      wal.Time // AskPast
	Exclusive bool     // AskPast
	XID       wal.XID  // AskXID
	Name      string   // AskName
}

// Fact answers a Question from the WAL.
type Fact struct {
	// Record is the range of the record that was asked for; empty if no
	// record in the question's range is it.
	Record wal.Range
	Event  any // what the record says: see wal.Record

	// Of the records asked about, up to Record:
	Ends   int      // transaction ends
	Newest wal.Time // latest time of a transaction end, if there are any

	// Last is the last whole record in the question's range. It is set for
	// AskPast and AskRecord where Record is empty.
	Last wal.Range

	More   int     // AskName: further restore points of this name in the range
	Parent wal.XID // AskXID: not found, but it is a subtransaction of this transaction
}

// found reports whether the WAL holds what was asked for.
func (f Fact) found() bool { return !f.Record.Empty() }

// UnresolvedError is what PlanRestore returns where it needs a fact that the
// inventory does not have. Once it is there, ask for the plan again.
type UnresolvedError struct {
	Question Question
}

// Error says that the plan lacks a fact.
func (e *UnresolvedError) Error() string {
	return "plan restore: a record has to be looked up in WAL " + e.Question.Range.String()
}

// fact returns the answer to q, or an *UnresolvedError.
func (inv *Inventory) fact(q Question) (Fact, error) {
	if f, ok := inv.Facts[q]; ok {
		return f, nil
	}
	return Fact{}, &UnresolvedError{Question: q}
}

// timelines returns every timeline that is known in any way, oldest first.
func (inv *Inventory) timelines() []wal.TimelineID {
	known := map[wal.TimelineID]bool{}
	for tli := range inv.Coverage {
		known[tli] = true
	}
	for tli := range inv.Histories {
		known[tli] = true
	}
	for _, b := range inv.Backups {
		known[b.Timeline] = true
	}
	list := make([]wal.TimelineID, 0, len(known))
	for tli := range known {
		list = append(list, tli)
	}
	slices.Sort(list)
	return list
}

// branch is a timeline with its ancestry and the archived WAL along it.
type branch struct {
	history wal.History
	spans   []wal.Range // contiguous, in LSN order
}

// branch returns the branch that ends in tli; false if its history is not known.
func (inv *Inventory) branch(tli wal.TimelineID) (branch, bool) {
	h, ok := inv.Histories[tli]
	if !ok {
		if tli != 1 {
			return branch{}, false
		}
		h = wal.History{Timeline: 1}
	}
	return branch{history: h, spans: repository.AlongHistory(h, inv.SegmentSize, inv.Coverage).Spans}, true
}

// lost returns the recorded gap that the byte at lsn of the branch lies in.
func (inv *Inventory) lost(b branch, lsn wal.LSN) (repository.Gap, bool) {
	for _, g := range inv.Gaps {
		if own, ok := b.history.RangeOf(g.Timeline); ok && own.Contains(lsn) && g.Range.Contains(lsn) {
			return g, true
		}
	}
	return repository.Gap{}, false
}

// parents returns the ancestors of a timeline, oldest first.
func parents(h wal.History) []wal.TimelineID {
	list := make([]wal.TimelineID, 0, len(h.Parents)+1)
	for _, p := range h.Parents {
		list = append(list, p.Timeline)
	}
	return list
}

// contiguous returns the end of the archived WAL that goes on from lsn
// without a hole, or lsn if the archive does not have that byte.
func (b branch) contiguous(lsn wal.LSN) wal.LSN {
	for _, s := range b.spans {
		if s.Contains(lsn) || s.End == lsn {
			return s.End
		}
	}
	return lsn
}

// end returns the end of the last archived byte on the branch.
func (b branch) end() wal.LSN {
	if len(b.spans) == 0 {
		return 0
	}
	return b.spans[len(b.spans)-1].End
}

// fork returns the LSN of the first byte that the two branches take from
// different timelines, the greatest there is if none.
func (b branch) fork(other branch) wal.LSN {
	points := []wal.LSN{0}
	for _, h := range []wal.History{b.history, other.history} {
		for _, p := range h.Parents {
			points = append(points, p.At)
		}
	}
	slices.Sort(points)
	for _, p := range points {
		if b.history.TimelineAt(p) != other.history.TimelineAt(p) {
			return p
		}
	}
	return math.MaxUint64
}
