package retention

import (
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Policy says what is kept. With a Window of 0 everything is.
type Policy struct {
	// Window is how far back every instant stays restorable.
	Window time.Duration
	// Daily, Weekly, Monthly and Yearly are how many days, weeks, months and years back, the present one among them, the first backup of each is kept.
	Daily, Weekly, Monthly, Yearly int
	// MinBackups is how many backups are kept at least; 0 is 1.
	MinBackups int
	// Grace is how long something stays after nothing needs it: who began to read it before may go on for so long without a hold.
	Grace time.Duration
	// Reread is how long a verification does not read again what the one before found right.
	Reread time.Duration
	// Zone is where days, weeks, months and years begin; nil is UTC.
	Zone *time.Location
}

// Catalog is what one repository holds, as far as retention decides by it. All times are the store's, unless they say otherwise.
type Catalog struct {
	Clusters []Cluster
}

// Cluster is one PostgreSQL cluster in the repository.
type Cluster struct {
	SystemID    wal.SystemID
	SegmentSize wal.SegmentSize // 0 if there is neither WAL nor a backup
	Histories   map[wal.TimelineID]wal.History
	Backups     []Backup           // that have a record
	Unfinished  []Unfinished       // that have none
	WAL         []repository.Entry // by timeline and segment
	Pins        map[string]repository.Pin
	Holds       []Hold
	Drills      []Drill
	Beats       []repository.Object // ascending by what their names say
	Readings    []Reading           // records of verifications, likewise
	Censuses    []repository.Object // ascending by what their names say
	Others      []repository.Object // histories, gap records, records of synchronous mode, pins
	Expiry      repository.Expiry   // what was let go before
}

// Backup is a base backup with a record.
type Backup struct {
	repository.Backup

	Made    time.Time // of its record
	Objects []repository.Object
	// Whole says that all its objects are there, as long as they should be.
	Whole bool
	// Proved is when a drill that passed restored it last from this repository alone, Restored from whichever; zero if none did.
	Proved, Restored time.Time
	// Verified is since when every object of it is known to be right here: the earliest of the last verifications of each; zero if any was not read.
	Verified time.Time
	// Wrong says that the last verification of an object of it found that damaged.
	Wrong bool
}

// Unfinished is what lies under the id of a backup without a record: one that is being taken or copied, one that failed, or one that was let go
// halfway.
type Unfinished struct {
	ID      string
	Newest  time.Time // of its objects
	Objects []repository.Object
}

// Reading is the record of a verification.
type Reading struct {
	Object repository.Object
	Place  string // that was read; "" if the record cannot be read
	// Newest says that it is of the last verification of its place.
	Newest bool
}

// Hold is that of somebody who reads.
type Hold struct {
	repository.Hold

	Object repository.Object
	// Unread says that nothing tells what is read: its content is damaged, or of a newer format.
	Unread bool
}

// Drill is the report of a drill with its names.
type Drill struct {
	ID      string
	Backup  string
	Passed  bool
	Here    bool // it restored from this repository alone
	Made    time.Time
	Objects []repository.Object // the report first
}

// bytes adds up what objects take.
func bytes(objects []repository.Object) int64 {
	var sum int64
	for _, o := range objects {
		sum += o.Size
	}
	return sum
}
