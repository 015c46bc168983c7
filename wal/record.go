package wal

// EndKind says how a transaction ended.
type EndKind uint8

// The four transaction ends. Recovery compares each of them with its target
// (recoveryStopsBefore in src/backend/access/transam/xlogrecovery.c).
const (
	Commit EndKind = iota + 1
	Abort
	CommitPrepared
	AbortPrepared
)

// String returns PostgreSQL's name of the record, such as "COMMIT_PREPARED".
func (k EndKind) String() string {
	switch k {
	case Commit:
		return "COMMIT"
	case Abort:
		return "ABORT"
	case CommitPrepared:
		return "COMMIT_PREPARED"
	case AbortPrepared:
		return "ABORT_PREPARED"
	default:
		return "UNKNOWN"
	}
}

// Record is one WAL record without its content.
type Record struct {
	Start LSN    // of its first byte
	End   LSN    // past its last byte, rounded up to 8: PostgreSQL's EndRecPtr; for a switch, the end of its segment
	RM    uint8  // resource manager, src/include/access/rmgrlist.h
	Info  uint8  // xl_info
	XID   XID    // xl_xid, 0 if none
	Len   uint32 // bytes without page headers and alignment, xl_tot_len

	// Event is *TransactionEnd, *RestorePoint, *Checkpoint, *EndOfRecovery,
	// *BackupEnd; with StorageEvents also *RelFileCreate, *DatabaseDrop,
	// *Truncate, *InPlaceUpdate, *RunningXacts; with TablespaceEvents
	// *TablespaceCreate, and no *TransactionEnd; or nil for every other record.
	// It belongs to the caller.
	Event any
}

// TransactionEnd is a commit or abort record. A subtransaction that is rolled
// back has an abort record of its own; recovery can stop at it like at any other.
type TransactionEnd struct {
	Kind EndKind
	// XID is that of the transaction that ended. For the prepared kinds it is
	// the one that was prepared (xl_xact_twophase), not that of the session
	// that ended it, which Record.XID holds.
	XID   XID
	Time  Time
	Start LSN
	End   LSN
	// Subxacts are the committed or aborted subtransactions, at most the
	// first 4096 of SubxactCount.
	Subxacts     []XID
	SubxactCount int
	// DroppedRels are the relations whose files it removed, at most the first
	// 4096 of DroppedRelCount. Of a commit they are what was dropped, and what
	// was replaced by new files; of an abort, what it had made itself.
	DroppedRels     []RelFile
	DroppedRelCount int
	// Changed are the relations of which a commit has the caches of all
	// sessions forget what they know, since it changed their rows in the
	// catalogs: those that it made, dropped, or gave other files, and others.
	// They are at most the first 4096 of ChangedCount, and may repeat. With
	// StorageEvents only.
	Changed      []RelationID
	ChangedCount int
}

// RestorePoint is made by pg_create_restore_point. Names may repeat.
type RestorePoint struct {
	Name  string
	Time  Time
	Start LSN
	End   LSN
}

// Checkpoint is a checkpoint record, online or at shutdown.
type Checkpoint struct {
	Shutdown bool
	Redo     LSN // where replay from this checkpoint begins
	Timeline TimelineID
	Previous TimelineID // the timeline before, where this record starts a new one; otherwise Timeline
	Time     Time       // to the second
	NextXID  uint64     // next transaction ID with its epoch in the upper 32 bits
	Start    LSN
	End      LSN
}

// EndOfRecovery is written first on a timeline that a promotion began.
type EndOfRecovery struct {
	Time     Time
	Timeline TimelineID // the new one
	Previous TimelineID // the one it left
	Start    LSN
	End      LSN
}

// BackupEnd marks the point at which the base backup that began at
// BackupStart (its redo LSN) is consistent.
type BackupEnd struct {
	BackupStart LSN
	Start       LSN
	End         LSN
}

// RelFileCreate says that the files of a relation were made. If the
// transaction of Record.XID, a subtransaction perhaps, is rolled back they are
// removed again.
type RelFileCreate struct {
	File  RelFile
	Fork  uint32 // 0 is the main one (ForkNumber, src/include/common/relpath.h)
	Start LSN
	End   LSN
}

// DatabaseDrop says that the files of a database were removed, at once and for
// good: replay removes them whatever becomes of the transaction. DROP DATABASE
// does so before its commit. Without Record.XID the database was moved to
// another tablespace (movedb in src/backend/commands/dbcommands.c).
type DatabaseDrop struct {
	Database    uint32   // OID
	Tablespaces []uint32 // OIDs; at most the first 64
	Start       LSN
	End         LSN
}

// Truncate is TRUNCATE as servers with wal_level = logical tell it, for
// logical decoding alone: the files of the relations are replaced by other
// records.
type Truncate struct {
	Database      uint32   // OID
	Relations     []uint32 // OIDs, not file numbers; at most the first 64 of RelationCount
	RelationCount int
	Start         LSN
	End           LSN
}

// InPlaceUpdate changes a row of a system catalog at once and for good,
// whatever becomes of the transaction. DROP DATABASE marks the database as
// invalid in this way, before anything else.
type InPlaceUpdate struct {
	File  RelFile // of the catalog
	Start LSN
	End   LSN
}

// TablespaceCreate says that a tablespace was made. Replay makes it where it
// lay, and takes over what is there (create_tablespace_directories in
// src/backend/commands/tablespace.c).
type TablespaceCreate struct {
	Tablespace uint32 // OID
	Path       string // as it was given; empty if it lies in the data directory (allow_in_place_tablespaces)
	Start      LSN
	End        LSN
}

// RunningXacts says which transactions are in progress: none before OldestXID,
// and none from NextXID on has begun. A server writes one every 15 seconds in
// which it wrote anything else (LogStandbySnapshot in
// src/backend/storage/ipc/standby.c).
type RunningXacts struct {
	NextXID   XID
	OldestXID XID
	Start     LSN
	End       LSN
}
