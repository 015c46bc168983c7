package restore

import (
	"fmt"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// way is the search for a target's stop along one branch.
type way struct {
	*planner
	branch  branch
	backups []repository.Backup // on the branch, newest first, at least one
	notes   []string
}

// stop returns the backup to start from, where to stop, and the end of the
// last byte of WAL that takes.
func (w *way) stop() (repository.Backup, Stop, wal.LSN, error) {
	switch w.target.Kind {
	case TargetTime:
		return w.atTime()
	case TargetLSN:
		return w.atLSN()
	case TargetXID:
		return w.atRecord(Question{Ask: AskXID, XID: w.target.XID})
	case TargetName:
		return w.atRecord(Question{Ask: AskName, Name: w.target.Name})
	case TargetImmediate:
		return w.atBackup()
	case TargetLatest:
	}
	return w.atEnd()
}

// reach returns how far the archived WAL goes on from the backup without a
// hole. Recovery needs the first segment from its start: the header of its
// first page says whose WAL it is.
func (w *way) reach(b repository.Backup) wal.LSN {
	return w.branch.contiguous(w.inv.SegmentSize.Floor(b.StartLSN))
}

// whole reports whether the WAL that makes the backup consistent is archived.
func (w *way) whole(b repository.Backup) bool { return w.reach(b) >= b.StopLSN }

// ask returns the answer to q, asked of the branch.
func (w *way) ask(q Question) (Fact, error) {
	q.Branch = w.branch.history.Timeline
	return w.inv.fact(q)
}

// atTime finds the newest backup that holds no transaction past the time, and
// the first transaction end past it.
//
// Backup.Stopped is asked too: nothing proves that a backup of an idle server
// was complete before it.
func (w *way) atTime() (b repository.Backup, stop Stop, until wal.LSN, err error) {
	t := w.target.Time
	for _, b = range w.backups {
		if !w.whole(b) || t < wal.FromGo(b.Stopped) {
			continue
		}
		known := wal.Range{Start: b.StartLSN, End: w.reach(b)}
		f, err := w.ask(Question{Ask: AskPast, Range: known, Time: t, Exclusive: w.target.Exclusive})
		switch {
		case err != nil:
			return b, stop, 0, err
		case f.found() && f.Record.Start < b.StopLSN:
			continue
		case f.found():
			return b, Stop{Rule: StopBefore, LSN: f.Record.Start, Event: f.Event}, f.Record.End, nil
		case f.covers(t) || w.beatCovers(t, known.End):
			return b, Stop{Rule: StopAfter, LSN: f.Last.Start}, f.Last.End, nil
		}
		return b, stop, 0, w.pastEnd(known.End, w.coveredTo(b, f, known.End))
	}
	return b, stop, 0, w.tooEarly()
}

// covers reports whether a transaction end at or past t was among the records.
func (f Fact) covers(t wal.Time) bool { return f.Ends > 0 && f.Newest >= t }

// beatCovers reports whether the newest beat says that all until t is in the
// archived WAL before end.
func (w *way) beatCovers(t wal.Time, end wal.LSN) bool {
	beat := w.inv.Beat
	if beat == nil || wal.FromGo(beat.Time) < t || beat.LSN > end {
		return false
	}
	own, ok := w.branch.history.RangeOf(beat.Timeline)
	return ok && own.Start <= beat.LSN && beat.LSN <= own.End
}

// coveredTo returns the latest time that is proved for WAL that ends at end.
func (w *way) coveredTo(b repository.Backup, f Fact, end wal.LSN) wal.Time {
	t := wal.FromGo(b.Stopped)
	if f.Ends > 0 {
		t = max(t, f.Newest)
	}
	if beat := w.inv.Beat; beat != nil && w.beatCovers(wal.FromGo(beat.Time), end) {
		t = max(t, wal.FromGo(beat.Time))
	}
	return t
}

// atLSN finds the newest backup whose end is at or before the LSN, and the
// first record at or past it. At the very end of the archive there is none:
// then all before it is kept.
func (w *way) atLSN() (b repository.Backup, stop Stop, until wal.LSN, err error) {
	lsn := w.target.LSN
	for _, b = range w.backups {
		if !w.whole(b) || lsn < b.StopLSN {
			continue
		}
		end := w.reach(b)
		if lsn > end {
			return b, stop, 0, w.pastEnd(end, 0)
		}
		f, err := w.ask(Question{Ask: AskRecord, Range: wal.Range{Start: lsn, End: end}})
		switch {
		case err != nil:
			return b, stop, 0, err
		case !f.found():
			return b, Stop{Rule: StopAfter, LSN: f.Last.Start}, f.Last.End, nil
		case w.target.Exclusive:
			return b, Stop{Rule: StopBefore, LSN: f.Record.Start}, f.Record.End, nil
		}
		return b, Stop{Rule: StopAfter, LSN: f.Record.Start}, f.Record.End, nil
	}
	return b, stop, 0, w.tooEarly()
}

// atRecord finds the newest backup after whose end the record is. Behind that
// backup the first such record counts, as it would for PostgreSQL.
func (w *way) atRecord(q Question) (b repository.Backup, stop Stop, until wal.LSN, err error) {
	searched := ^wal.LSN(0) // WAL from here on was looked through for a newer backup
	var parent wal.XID
	for _, b = range w.backups {
		if !w.whole(b) {
			continue
		}
		q.Range = wal.Range{Start: b.StopLSN, End: min(w.reach(b), searched)}
		if q.Range.Empty() {
			continue
		}
		f, err := w.ask(q)
		if err != nil {
			return b, stop, 0, err
		}
		if f.found() {
			w.noteRecord(f)
			stop = Stop{Rule: StopAfter, LSN: f.Record.Start, Event: f.Event}
			if w.target.Exclusive {
				stop.Rule = StopBefore
			}
			return b, stop, f.Record.End, nil
		}
		searched, parent = b.StopLSN, max(parent, f.Parent)
	}
	return b, stop, 0, w.notFound(q, parent)
}

// noteRecord notes what a person may not expect of the record that was found.
func (w *way) noteRecord(f Fact) {
	if f.More > 0 {
		w.notes = append(w.notes, fmt.Sprintf("restore point %q comes %d times after this backup: the first one counts", w.target.Name, f.More+1))
	}
	if e, ok := f.Event.(*wal.TransactionEnd); ok && (e.Kind == wal.Abort || e.Kind == wal.AbortPrepared) {
		w.notes = append(w.notes, fmt.Sprintf("transaction %d was rolled back", e.XID))
	}
}

// notFound says that the record is nowhere, or within the first backup.
func (w *way) notFound(q Question, parent wal.XID) error {
	first := w.backups[len(w.backups)-1]
	q.Range = wal.Range{Start: first.StartLSN, End: first.StopLSN}
	if w.whole(first) {
		f, err := w.ask(q)
		if err != nil {
			return err
		}
		if f.found() {
			return w.tooEarly()
		}
	}
	detail := ""
	if parent != 0 {
		detail = fmt.Sprintf("it is a subtransaction of %d, which ends recovery", parent)
	}
	return w.refuse(ReasonNotFound, detail)
}

// atBackup finds the named backup, or the newest. It is consistent after the
// record that ends at its stop LSN. (recovery_target = immediate would need one
// more: recoveryStopsAfter asks for it only behind a transaction end.)
func (w *way) atBackup() (b repository.Backup, stop Stop, until wal.LSN, err error) {
	for _, b = range w.backups {
		if w.target.Backup != "" && b.ID != w.target.Backup {
			continue
		}
		if w.whole(b) {
			return w.lastBefore(b, b.StopLSN)
		}
		if w.target.Backup != "" {
			return b, stop, 0, w.refuse(ReasonGap, "the WAL written during the backup is not complete")
		}
	}
	if w.target.Backup != "" {
		return b, stop, 0, w.refuse(ReasonNotFound, "no such backup on this timeline")
	}
	return b, stop, 0, w.refuse(ReasonGap, "no backup has all the WAL written during it")
}

// atEnd finds the end of the archive. Behind a hole there is none to reach.
func (w *way) atEnd() (b repository.Backup, stop Stop, until wal.LSN, err error) {
	for _, b = range w.backups {
		if !w.whole(b) {
			continue
		}
		end := w.reach(b)
		if end < w.branch.end() {
			return b, stop, 0, w.pastEnd(end, 0)
		}
		return w.lastBefore(b, end)
	}
	return b, stop, 0, w.refuse(ReasonGap, "no backup has all the WAL written during it")
}

// lastBefore stops after the last whole record before end.
func (w *way) lastBefore(b repository.Backup, end wal.LSN) (repository.Backup, Stop, wal.LSN, error) {
	f, err := w.ask(Question{Ask: AskRecord, Range: wal.Range{Start: end, End: end}})
	if err != nil {
		return b, Stop{}, 0, err
	}
	return b, Stop{Rule: StopAfter, LSN: f.Last.Start}, f.Last.End, nil
}
