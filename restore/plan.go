package restore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// StopRule says how PostgreSQL is told where to stop.
type StopRule uint8

// The rules. Both are an exact LSN whatever the target was, so that a recovery
// that ends anywhere else is FATAL in the server ("recovery ended before
// configured recovery target was reached") and never opens.
const (
	// StopBefore the record at Stop.LSN: recovery_target_lsn with
	// recovery_target_inclusive = off.
	StopBefore StopRule = iota + 1
	// StopAfter the record at Stop.LSN: recovery_target_lsn, inclusive.
	StopAfter
)

// Stop is where recovery stops.
type Stop struct {
	Rule StopRule
	LSN  wal.LSN // start of a record
	// Event is what the record at LSN says, where that is what the target
	// named: a *wal.TransactionEnd or *wal.RestorePoint; otherwise nil.
	Event any
}

// Leg is the part of the WAL that is taken from one timeline.
type Leg struct {
	Timeline wal.TimelineID
	Range    wal.Range
	Segments int // segment files that recovery asks for under this timeline's name
}

// Plan is all that a restore does, decided before a byte is written. The same
// inventory and target give the same plan.
type Plan struct {
	Target   Target
	SystemID wal.SystemID
	Backup   repository.Backup
	Timeline wal.TimelineID // recovery_target_timeline
	Legs     []Leg          // WAL from the backup's start to Until, oldest first
	Stop     Stop
	// Until is the end of the last byte of WAL that may be served. What the
	// archive gains after the plan was made plays no part.
	Until    wal.LSN
	Segments int    // WAL segment files, of all legs
	WAL      uint64 // bytes of WAL
	Needed   uint64 // bytes the restored cluster and its WAL may take
	Free     uint64 // bytes free where it is to lie; 0 is unknown

	// For the proof after recovery; Resolve fills these. LastCommit is the last
	// commit that is replayed, LastEnd the last transaction end of any kind
	// before the record at the stop; nil if there is none. Later are
	// transactions whose commit lies behind the stop although they were at work
	// before it.
	LastCommit, LastEnd *wal.TransactionEnd
	Later               []wal.XID

	// Archived are the objects of the base backup and the WAL that lie in an archive, thawed or not, as Choose found them.
	Archived []storage.Info

	Notes []string // what a person should know before saying yes
}

// walKept is about how much WAL lies in pg_wal at once during recovery, in
// bytes: restartpoints remove what is older (max_wal_size, 1 GB by default).
const walKept = 3 << 30

// SpaceError says that a file system cannot hold what is to be restored.
type SpaceError struct {
	Dir          string // empty: where the cluster is to lie
	Needed, Free uint64 // bytes
}

// Error names both sizes.
func (e *SpaceError) Error() string {
	where := "where it is to lie"
	if e.Dir != "" {
		where = "in " + e.Dir
	}
	return fmt.Sprintf("restore needs %d bytes %s, %d are free", e.Needed, where, e.Free)
}

// PlanRestore decides how target is restored from what inv holds. It returns
// a *TargetError if it cannot be, an *UnresolvedError if the inventory lacks
// a fact from the WAL, and another error if the target itself is not valid.
// Free space is in the plan and not judged: SpaceNeeded does that.
func PlanRestore(inv *Inventory, target Target) (*Plan, error) {
	if err := errors.Join(target.Validate(), inv.SegmentSize.Validate()); err != nil {
		return nil, fmt.Errorf("plan restore: %w", err)
	}
	p := planner{inv: inv, target: target}
	plan, err := p.plan()
	var refused *TargetError
	if errors.As(err, &refused) {
		refused.Notes = inv.Notes
	}
	return plan, err
}

// plan tries the timelines one after the other.
func (p *planner) plan() (*Plan, error) {
	tips, err := p.tips()
	if err != nil {
		return nil, err
	}
	var refused *TargetError
	for _, tip := range tips {
		plan, err := p.along(tip)
		if err == nil {
			return plan, nil
		}
		var e *TargetError
		if !errors.As(err, &e) {
			return nil, err
		}
		if refused == nil {
			refused = e
		}
	}
	return nil, refused
}

// Reads is what the restore reads of the archive.
func (p *Plan) Reads() repository.Reads {
	return repository.Reads{Backup: p.Backup.ID, Timeline: p.Timeline, WAL: wal.Range{Start: p.Backup.StartLSN, End: max(p.Until, p.Backup.StopLSN)}}
}

// SpaceNeeded returns a *SpaceError if less is free than the plan needs.
func (p *Plan) SpaceNeeded() error {
	if p.Free > 0 && p.Free < p.Needed {
		return &SpaceError{Needed: p.Needed, Free: p.Free}
	}
	return nil
}

// planner holds what all steps of one decision need.
type planner struct {
	inv    *Inventory
	target Target
	own    bool // only backups taken on the branch's last timeline count
}

// tips returns the timelines to try, best first: one, but for TimelineCurrent
// each that has a backup, that of the newest backup first.
func (p *planner) tips() ([]wal.TimelineID, error) {
	known := p.inv.timelines()
	if len(known) == 0 || len(p.inv.Backups) == 0 {
		return nil, p.refuse(ReasonNoBackup, "the archive holds no base backup")
	}
	rule, tli := p.target.Timeline.Rule, p.target.Timeline.ID
	if p.target.Kind == TargetImmediate && rule == TimelineAuto && p.target.Backup != "" {
		rule = TimelineCurrent
	}
	switch rule {
	case TimelineCurrent:
		p.own = true
		return p.backupTimelines(), nil
	case TimelineExact:
		if !slices.Contains(known, tli) {
			return nil, p.refuse(ReasonTimeline, fmt.Sprintf("the archive knows %v", known))
		}
	case TimelineAuto, TimelineLatest:
		tli = known[len(known)-1]
	}
	return []wal.TimelineID{tli}, nil
}

// backupTimelines returns the timelines that backups were taken on, that of
// the newest backup first.
func (p *planner) backupTimelines() []wal.TimelineID {
	backups := slices.Clone(p.inv.Backups)
	slices.SortFunc(backups, func(a, b repository.Backup) int { return b.Stopped.Compare(a.Stopped) })
	var list []wal.TimelineID
	for _, b := range backups {
		if !slices.Contains(list, b.Timeline) {
			list = append(list, b.Timeline)
		}
	}
	return list
}

// along plans on the branch that ends in timeline tip.
func (p *planner) along(tip wal.TimelineID) (*Plan, error) {
	b, ok := p.inv.branch(tip)
	if !ok {
		return nil, p.refuse(ReasonTimeline, fmt.Sprintf("the history file of timeline %d is missing", tip))
	}
	backups := p.candidates(b)
	if len(backups) == 0 {
		return nil, p.refuse(ReasonNoBackup, fmt.Sprintf("timeline %d", tip))
	}
	w := way{planner: p, branch: b, backups: backups}
	chosen, stop, until, err := w.stop()
	if err != nil {
		return nil, err
	}
	if err := w.unambiguous(stop, until); err != nil {
		return nil, err
	}
	return w.plan(chosen, stop, until), nil
}

// candidates returns the backups that lie on b, newest first.
func (p *planner) candidates(b branch) []repository.Backup {
	var list []repository.Backup
	for _, backup := range p.inv.Backups {
		own, ok := b.history.RangeOf(backup.Timeline)
		if ok && own.Contains(backup.StartLSN) && backup.StopLSN <= own.End && (!p.own || backup.Timeline == b.history.Timeline) {
			list = append(list, backup)
		}
	}
	slices.SortFunc(list, func(a, b repository.Backup) int { return cmp.Compare(b.StopLSN, a.StopLSN) })
	return list
}

// refuse returns the error that says why the target cannot be restored.
func (p *planner) refuse(why Reason, detail string) *TargetError {
	return &TargetError{Target: p.target, Reason: why, Detail: detail}
}

// plan writes down what was decided.
func (w *way) plan(backup repository.Backup, stop Stop, until wal.LSN) *Plan {
	h := w.shortest(stop, until)
	plan := &Plan{
		Target:   w.target,
		SystemID: w.inv.SystemID,
		Backup:   backup,
		Timeline: h.Timeline,
		Stop:     stop,
		Until:    until,
		Free:     w.inv.Free,
		Notes:    slices.Concat(w.inv.Notes, w.notes),
	}
	plan.Legs = w.legs(h, wal.Range{Start: w.inv.SegmentSize.Floor(backup.StartLSN), End: until})
	for _, leg := range plan.Legs {
		plan.Segments += leg.Segments
		plan.WAL += leg.Range.Len()
	}
	plan.Needed = uint64(max(backup.Plain, 0)) + min(uint64(plan.Segments)*uint64(w.inv.SegmentSize), walKept)
	return plan
}

// shortest returns the history of the oldest timeline that suffices: where the
// stop lies before a switch and its own WAL reaches there, the switch and all
// after it need not be known to the server. A server that is told a younger
// timeline would name it as the parent of the one it opens.
func (w *way) shortest(stop Stop, until wal.LSN) wal.History {
	if tli := w.branch.history.TimelineAt(max(stop.LSN, until-1)); tli != w.branch.history.Timeline {
		if b, ok := w.inv.branch(tli); ok && b.contiguous(w.inv.SegmentSize.Floor(until-1)) >= until {
			return b.history
		}
	}
	return w.branch.history
}

// legs cuts r, which begins on a segment border, at the switches of h. A
// segment file counts for the youngest timeline in it, which recovery asks
// for first (XLogFileReadAnyTLI in src/backend/access/transam/xlogrecovery.c).
func (w *way) legs(h wal.History, r wal.Range) []Leg {
	size := w.inv.SegmentSize
	var legs []Leg
	for _, tli := range append(parents(h), h.Timeline) {
		own, _ := h.RangeOf(tli)
		part := wal.Range{Start: max(own.Start, r.Start), End: min(own.End, r.End)}
		if part.Empty() {
			continue
		}
		first, last := size.Number(part.Start), size.Number(part.End-1)
		if part.End < r.End && size.Offset(part.End) != 0 {
			last-- // the next timeline's file has this segment
		}
		leg := Leg{Timeline: tli, Range: part}
		if last+1 > first && last != math.MaxUint64 {
			leg.Segments = int(last + 1 - first)
		}
		legs = append(legs, leg)
	}
	return legs
}
