package archiver

import (
	"errors"
	"fmt"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// ErrStopped says that Run has ended and what was waited for will not come.
var ErrStopped = errors.New("archiver has stopped")

var (
	errSilent    = errors.New("server sends nothing, not even the replies asked for")
	errAbandoned = errors.New("uploads were abandoned: the server sends these bytes again")
)

// ForeignError says that the server is not the cluster that is archived under
// this root. Nothing was written.
type ForeignError struct {
	Server   wal.SystemID
	Archived []wal.SystemID
}

// Error names both system identifiers.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("server has system identifier %s, this repository archives %v", e.Server, e.Archived)
}

// SegmentSizeError says that the server's WAL has another segment size than
// the WAL archived before.
type SegmentSizeError struct {
	Server, Archive wal.SegmentSize
}

// Error names both sizes in bytes.
func (e *SegmentSizeError) Error() string {
	return fmt.Sprintf("server has WAL segments of %d bytes, the archive of %d bytes", e.Server, e.Archive)
}

// TimelineError says that the archive holds a younger timeline than the one
// the server is on: another server was promoted, and this one goes on beside it.
type TimelineError struct {
	Server, Archive wal.TimelineID
}

// Error names both timelines.
func (e *TimelineError) Error() string {
	return fmt.Sprintf("server is on timeline %d, the archive is on timeline %d already: two servers share one history",
		e.Server, e.Archive)
}

// AheadError says that the archive holds more of a timeline than the server
// has: the server was set back, and what it writes next would be another
// history under the same names.
type AheadError struct {
	Timeline        wal.TimelineID
	Archive, Server wal.LSN
}

// Error names both positions.
func (e *AheadError) Error() string {
	return fmt.Sprintf("server has timeline %d up to %s only, the archive up to %s: the server was set back",
		e.Timeline, e.Server, e.Archive)
}

// ConflictError says that the server now sends other bytes than those that
// are durable in the repository.
type ConflictError struct {
	Timeline wal.TimelineID
	At       wal.LSN // the first byte that differs
}

// Error names the place.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("server sends other WAL on timeline %d at %s than the repository holds: two servers share one history",
		e.Timeline, e.At)
}

// GapError says that the server no longer has WAL that the archive lacks.
type GapError struct {
	Timeline wal.TimelineID
	From, To wal.LSN // missing bytes [From, To); From is 0 if the archive holds nothing of the server's history
}

// Error names the missing bytes.
func (e *GapError) Error() string {
	return fmt.Sprintf("WAL from %s to %s on timeline %d is neither in the archive nor on the server any more",
		e.From, e.To, e.Timeline)
}

// fence reports whether err must stop the archiver for good: to go on would
// mix two histories, or hide a hole.
func fence(err error) bool {
	var (
		foreign  *ForeignError
		size     *SegmentSizeError
		timeline *TimelineError
		ahead    *AheadError
		conflict *ConflictError
		stored   *repository.ConflictError
		gap      *GapError
		format   *repository.FormatError
	)
	return errors.As(err, &foreign) || errors.As(err, &size) || errors.As(err, &timeline) || errors.As(err, &ahead) ||
		errors.As(err, &conflict) || errors.As(err, &stored) || errors.As(err, &gap) || errors.As(err, &format) ||
		errors.Is(err, postgres.ErrAheadOfServer)
}
