package commitlog

import (
	"github.com/pgark/pgark/wal"
)

// Kind says what an Entry is.
type Kind string

// The kinds. They are part of the JSON that users see and never change.
const (
	KindCommit         Kind = "commit"
	KindAbort          Kind = "abort"
	KindCommitPrepared Kind = "commit_prepared"
	KindAbortPrepared  Kind = "abort_prepared"
	KindRestorePoint   Kind = "restore_point"
	// KindTimeline is a switch to another timeline: Entry.Timeline is the new one.
	KindTimeline Kind = "timeline"
	// KindDatabaseDrop is a database whose files are gone although the
	// transaction that dropped it has no end in the WAL that was read.
	KindDatabaseDrop Kind = "database_drop"
	// KindGap is WAL that the archive does not hold.
	KindGap Kind = "gap"
	// KindDamaged is WAL that cannot be read: what happened in it is not told.
	KindDamaged Kind = "damaged"
)

// Entry is one line of the log.
type Entry struct {
	Kind     Kind
	Time     wal.Time // by the server's clock; 0 for a database drop without an end, a gap and damage
	Timeline wal.TimelineID
	Range    wal.Range // of the record; of the WAL that is missing or damaged

	XID      wal.XID // transactions, and database drops
	Subxacts int     // committed or aborted subtransactions
	// Part is the subtransaction that was asked for, if XID is its parent.
	Part wal.XID

	Removal *Removal // what a commit removed; nil if nothing

	Name     string         // restore point
	Previous wal.TimelineID // timeline that was left
	Reason   string         // of a gap, a code or "" where nothing is recorded; of damage, in words
}

// Means says how storage came to be removed.
type Means string

// The means, as far as WAL tells. They are part of the JSON that users see and
// never change.
const (
	// MeansDrop removed relations and made none: DROP.
	MeansDrop Means = "drop"
	// MeansReplace removed relations and made files: TRUNCATE, VACUUM FULL,
	// CLUSTER, REINDEX, REFRESH MATERIALIZED VIEW, an ALTER TABLE that rewrites,
	// or DROP beside CREATE.
	MeansReplace Means = "replace"
	// MeansUnknown is either of them: the transaction began before the WAL that
	// was read, which may have told of files it made.
	MeansUnknown Means = "unknown"
	// MeansDatabase is DROP DATABASE.
	MeansDatabase Means = "database"
)

// Removal is the storage that a transaction removed for good.
type Removal struct {
	Means Means
	// Relations are at most the first 4096 of Count; none for MeansDatabase.
	// Tables, their indexes and TOAST are relations each.
	Relations []Relation
	Count     int
	Created   int // relations whose files it made, and that outlived it
	// Truncated are tables that TRUNCATE emptied: only servers with wal_level =
	// logical tell.
	Truncated []Relation
	// Changed are the relations whose rows in the catalogs the transaction
	// changed, by their OIDs: each that it dropped or gave other files is among
	// them, but for those that it made. Nil where they are too many, and where
	// not all of what it made was seen.
	Changed   []Relation
	Databases []Database
	// Before is where to stop in order to have all of it back: just before the
	// record that starts there. It is the end of the transaction; but for a
	// database the first record of its drop, because files are removed and the
	// database is marked as invalid before the commit. 0 where that record lies
	// before the WAL that was read.
	Before wal.LSN
}

// Relation is a table, index, sequence or the like. WAL knows it by number; a
// drill that was held before may know its name.
type Relation struct {
	File wal.RelFile // what was removed; only the database, for one that is known by its OID alone
	OID  uint32      // 0 if it is not known
	Name string      // with its schema, "public.orders"; "" if it is not known
	Kind string      // pg_class.relkind, such as "r"; "" if it is not known
}

// Database is a database that was dropped.
type Database struct {
	OID  uint32
	Name string // "" if it is not known
}
