// Package health answers traffic managers: is this the primary, how much would be lost with it now, does its archiving work. It judges what an
// agent knows of its cluster by how old that is, and asks nobody: neither a server nor a store that hangs keeps an answer from
// coming, and a fact that is too old is none.
//
// facts.go and judge.go are pure; handler.go is the answers in HTTP. docs/HEALTH.md describes them to their users.
package health

import (
	"time"

	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// Facts are what an agent knows of one cluster at one time. Times are of this host's clock. What is not known is zero, and is never taken for good.
type Facts struct {
	Server  Server
	Archive Archive
	Standby Standby
	// Target is the RPO that is good enough where nobody says another; 0 means status.RPOTarget.
	Target time.Duration
}

// Server is what the last looks at the server found.
type Server struct {
	// Seen is when the last look began that succeeded, and Failed whether one after it did not.
	Seen   time.Time
	Failed bool
	// Recovery says that it is a standby, or recovers.
	Recovery bool
	SystemID wal.SystemID
	Timeline wal.TimelineID
}

// Standby is how the server stands to the archive that it follows; zero if it follows none.
type Standby struct {
	State standby.State
	// Until is an instant by which all that the primary had committed is here; zero if none is known.
	Until time.Time
}

// Archive is how far the archiver is.
type Archive struct {
	// SystemID is the cluster that it archives; 0 until a server was reached.
	SystemID wal.SystemID
	// Compared says that what the server has was compared with what is archived since the agent began: neither was this server replaced by
	// then, nor set back.
	Compared bool
	// Fenced says that the archiver stopped for good: another server took over, or this one's history is not the archived one.
	Fenced bool
	// Streaming says that WAL comes from the server, and Stopping that the agent ends.
	Streaming, Stopping bool
	// Turned is when the archiver's loop last turned, which it does four times a second while it streams.
	Turned time.Time

	// BackedUp says that there is a base backup, and Lost that WAL was lost and no base backup was taken since.
	BackedUp, Lost bool
	// Exposure is what can be restored, where there is a base backup and nothing was lost.
	Exposure status.Exposure

	// Stored is when the repository last took an object, and Refused that it refused one since. Every is the longest that it is left
	// alone while there is WAL for it.
	Stored  time.Time
	Refused bool
	Every   time.Duration
}
