package walsender

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/wal"
)

// System is what IDENTIFY_SYSTEM tells: whose WAL it is, the newest timeline, and how far that goes.
type System struct {
	ID       wal.SystemID
	Timeline wal.TimelineID
	End      wal.LSN
}

// Source has WAL to send. It is safe for concurrent use. Its errors reach the standby's log in their own
// words, those of this package with PostgreSQL's SQLSTATEs.
type Source interface {
	// Identify returns the present state.
	Identify(ctx context.Context) (System, error)
	// History returns the bytes of a history file. The error is ErrRemoved if there is none.
	History(ctx context.Context, tli wal.TimelineID) ([]byte, error)
	// Open begins to read timeline tli at start. It is a *EndError if nothing of the timeline lies past
	// start, ErrRemoved if the WAL at start is gone, a *ForkError if start lies past the timeline's end, and an *AheadError if it lies past
	// all that there is.
	Open(ctx context.Context, tli wal.TimelineID, start wal.LSN) (Stream, error)
}

// Stream reads the WAL of one timeline in order, for one goroutine.
type Stream interface {
	// Next returns the bytes that follow, one or more, as soon as there are some. They are valid until the
	// next call. The error is a *EndError behind the last byte of the timeline, ErrRemoved at a hole, and
	// ctx's.
	Next(ctx context.Context) ([]byte, error)
}

// ErrRemoved says that WAL or a history file is not there, and will not be.
var ErrRemoved = errors.New("requested WAL has been removed or never came")

// EndError says that a timeline ended at At, where Next goes on. It is no fault.
type EndError struct {
	Next wal.TimelineID
	At   wal.LSN
}

// Error names both.
func (e *EndError) Error() string {
	return fmt.Sprintf("timeline ended at %s, where timeline %s begins", e.At, e.Next)
}

// ForkError says that Start does not lie in the history of the newest timeline, which left Timeline at At.
type ForkError struct {
	Timeline  wal.TimelineID
	Start, At wal.LSN
}

// Error has the words of PostgreSQL's walsender, which people search for (StartReplication,
// src/backend/replication/walsender.c).
func (e *ForkError) Error() string {
	return fmt.Sprintf("requested starting point %s on timeline %d is not in this server's history", e.Start, uint32(e.Timeline))
}

// AheadError says that Start lies behind the end of all WAL that there is: the standby has more than the source.
type AheadError struct{ Start, End wal.LSN }

// Error has the words of PostgreSQL's walsender (StartReplication, src/backend/replication/walsender.c).
func (e *AheadError) Error() string {
	return fmt.Sprintf("requested starting point %s is ahead of the WAL flush position of this server %s", e.Start, e.End)
}
