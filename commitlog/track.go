package commitlog

import (
	"cmp"
	"slices"

	"github.com/pgark/pgark/wal"
)

// markReach is how far before a transaction's first record the mark of the
// database that it drops may lie, in bytes. Between them the server waits for
// one fsync (dropdb in src/backend/commands/dbcommands.c).
const markReach = 32 << 20

// Forks of a relation (src/include/common/relpath.h).
const (
	mainFork = 0
	initFork = 3
)

// tracker makes entries of records. It remembers what transactions in progress
// have done so far.
type tracker struct {
	asked wal.XID // a transaction that may be a subtransaction
	open  map[wal.XID]*openXact
	mark  wal.LSN // start of the last in-place update of a shared catalog
	since wal.XID // transactions from here on are seen whole
	whole bool    // since is known
}

// openXact is a transaction, or a subtransaction, in progress.
type openXact struct {
	first     wal.LSN // start of its first record that was seen, or of the mark before it
	created   []wal.RelFile
	truncated []Relation
	databases []Database
	drop      Entry // of the last of databases
}

// forget starts anew: records between the last one and the next were not seen.
func (t *tracker) forget() { *t = tracker{asked: t.asked, open: map[wal.XID]*openXact{}} }

// record returns the entry that a record makes, if any.
func (t *tracker) record(r wal.Record) (Entry, bool) {
	x := t.xact(r)
	e := Entry{Range: wal.Range{Start: r.Start, End: r.End}}
	switch event := r.Event.(type) {
	case *wal.TransactionEnd:
		return t.end(e, event), true
	case *wal.RestorePoint:
		e.Kind, e.Time, e.Name = KindRestorePoint, event.Time, event.Name
		return e, true
	case *wal.EndOfRecovery:
		e.Kind, e.Time, e.Previous = KindTimeline, event.Time, event.Previous
		return e, true
	case *wal.Checkpoint:
		e.Kind, e.Time, e.Previous = KindTimeline, event.Time, event.Previous
		return e, event.Shutdown && event.Previous != event.Timeline
	case *wal.RunningXacts:
		if !t.whole {
			t.since, t.whole = event.NextXID, true
		}
	case *wal.InPlaceUpdate:
		if event.File.Tablespace == wal.GlobalTablespace {
			t.mark = r.Start
		}
	case *wal.RelFileCreate:
		// An unlogged relation tells of the fork that stays empty alone.
		if x != nil && (event.Fork == mainFork || event.Fork == initFork) {
			x.created = append(x.created, event.File)
		}
	case *wal.Truncate:
		if x != nil {
			for _, oid := range event.Relations {
				x.truncated = append(x.truncated, Relation{File: wal.RelFile{Database: event.Database}, OID: oid})
			}
		}
	case *wal.DatabaseDrop:
		if x != nil {
			x.databases = append(x.databases, Database{OID: event.Database})
			e.Kind, e.XID = KindDatabaseDrop, r.XID
			e.Removal = &Removal{Means: MeansDatabase, Databases: x.databases, Before: t.before(r.XID, x)}
			x.drop = e
		}
	}
	return Entry{}, false
}

// xact returns what is remembered of the record's transaction, nil if it has none.
func (t *tracker) xact(r wal.Record) *openXact {
	if r.XID == 0 {
		return nil
	}
	x, ok := t.open[r.XID]
	if !ok {
		x = &openXact{first: r.Start}
		if t.mark != 0 && r.Start-t.mark <= markReach {
			x.first = t.mark
		}
		t.open[r.XID] = x
	}
	return x
}

// before returns the start of the first record of a transaction, or 0 where
// that was not seen.
func (t *tracker) before(xid wal.XID, x *openXact) wal.LSN {
	if t.wholly(xid) {
		return x.first
	}
	return 0
}

// wholly reports whether all records of a transaction were seen.
func (t *tracker) wholly(xid wal.XID) bool { return t.whole && !precedes(xid, t.since) }

// precedes compares transaction IDs, which wrap around
// (TransactionIdPrecedes, src/backend/access/transam/transam.c).
func precedes(a, b wal.XID) bool { return int32(a-b) < 0 }

// end completes the entry of a transaction's end and forgets the transaction.
func (t *tracker) end(e Entry, event *wal.TransactionEnd) Entry {
	e.Kind = map[wal.EndKind]Kind{
		wal.Commit: KindCommit, wal.Abort: KindAbort, wal.CommitPrepared: KindCommitPrepared, wal.AbortPrepared: KindAbortPrepared,
	}[event.Kind]
	e.Time, e.XID, e.Subxacts = event.Time, event.XID, event.SubxactCount
	if t.asked != 0 && slices.Contains(event.Subxacts, t.asked) {
		e.Part = t.asked
	}
	all := openXact{}
	first := wal.LSN(0)
	for _, xid := range append([]wal.XID{event.XID}, event.Subxacts...) {
		x := t.open[xid]
		if x == nil {
			continue
		}
		all.created = append(all.created, x.created...)
		all.truncated = append(all.truncated, x.truncated...)
		all.databases = append(all.databases, x.databases...)
		if len(x.databases) > 0 {
			first = t.before(event.XID, x)
		}
		delete(t.open, xid)
	}
	if event.Kind == wal.Commit || event.Kind == wal.CommitPrepared {
		e.Removal = removal(event, all, t.wholly(event.XID))
		switch {
		case e.Removal == nil:
		case e.Removal.Means == MeansDatabase:
			e.Removal.Before = first
		case t.wholly(event.XID): // otherwise what it made itself is not all known
			e.Removal.Changed = changed(event, all.created)
		}
	}
	return e
}

// removal returns what a commit removed for good. whole says that all records
// of the transaction were seen.
func removal(event *wal.TransactionEnd, x openXact, whole bool) *Removal {
	if len(x.databases) > 0 {
		return &Removal{Means: MeansDatabase, Databases: x.databases}
	}
	own := map[wal.RelFile]bool{} // made and removed again: nobody misses them
	for _, f := range x.created {
		own[f] = true
	}
	r := &Removal{Count: event.DroppedRelCount, Truncated: x.truncated, Before: event.Start}
	for _, f := range event.DroppedRels {
		if own[f] {
			delete(own, f)
			r.Count--
			continue
		}
		r.Relations = append(r.Relations, Relation{File: f})
	}
	r.Created = len(own)
	switch {
	case r.Count == 0:
		return nil
	case r.Created > 0:
		r.Means = MeansReplace
	case whole:
		r.Means = MeansDrop
	default:
		r.Means = MeansUnknown
	}
	return r
}

// changed returns the relations whose rows in the catalogs a commit changed, but for those that it made: such a one has the number of its first file
// (GetNewRelFileNumber, src/backend/catalog/catalog.c), and so has the helper with which VACUUM FULL and its like build a table anew (make_new_heap,
// src/backend/commands/cluster.c).
func changed(event *wal.TransactionEnd, created []wal.RelFile) []Relation {
	if event.ChangedCount > len(event.Changed) {
		return nil
	}
	made := map[wal.RelationID]bool{}
	for _, f := range created {
		made[wal.RelationID{Database: f.Database, OID: f.Number}] = true
	}
	var list []Relation
	for _, id := range event.Changed {
		if id.OID == 0 { // all of them: it does not tell which
			return nil
		}
		if !made[id] {
			list = append(list, Relation{File: wal.RelFile{Database: id.Database}, OID: id.OID})
			made[id] = true
		}
	}
	return list
}

// unended returns the databases that are gone although no end of the
// transaction was seen, in the order of the WAL.
func (t *tracker) unended() []Entry {
	var list []Entry
	for _, x := range t.open {
		if len(x.databases) > 0 {
			list = append(list, x.drop)
		}
	}
	slices.SortFunc(list, compareStart)
	return list
}

func compareStart(a, b Entry) int { return cmp.Compare(a.Range.Start, b.Range.Start) }
