package archiver

import (
	"errors"
	"fmt"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
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

// FenceError says which server it is that must not be archived. Run returns it around
// the reason.
type FenceError struct {
	Server string // its address
	Err    error
}

// Error names the server and the reason.
func (e *FenceError) Error() string { return fmt.Sprintf("server %s: %v", e.Server, e.Err) }

// Unwrap returns the reason.
func (e *FenceError) Unwrap() error { return e.Err }

// TimelineError says that the archive holds a younger timeline than the one
// the server is on: another server was promoted, and this one goes on beside it.
type TimelineError struct {
	Server, Archive wal.TimelineID
	// Flush is the end of the server's WAL.
	Flush wal.LSN
	// Switch is where the archived history left the server's timeline; 0 if it
	// never was on it, or if that is not known.
	Switch wal.LSN
}

// Error names both timelines and what the server wrote beside the archived history.
func (e *TimelineError) Error() string {
	at := ""
	if e.Switch != 0 {
		at = fmt.Sprintf(", which left timeline %d at %s", e.Server, e.Switch)
	}
	return fmt.Sprintf("server is on timeline %d, its WAL ends at %s; the archive is on timeline %d already%s: two servers share one history",
		e.Server, e.Flush, e.Archive, at)
}

// HistoryError says that server and archive disagree on where a timeline comes
// from: two servers were promoted to timelines of the same number.
type HistoryError struct {
	Server, Archive wal.History // of one timeline
}

// Error names the timeline and both places where it began.
func (e *HistoryError) Error() string {
	return fmt.Sprintf("timeline %d %s on the server and %s in the archive, or for another reason: two servers share one history",
		e.Server.Timeline, began(e.Server), began(e.Archive))
}

// began says where a timeline comes from.
func began(h wal.History) string {
	if len(h.Parents) == 0 {
		return "has no parent"
	}
	parent := h.Parents[len(h.Parents)-1]
	return fmt.Sprintf("left timeline %d at %s", parent.Timeline, parent.At)
}

// RestoredError says that the server was recovered to a target and opened, as a
// restore or a clone is, and not promoted: what it writes is not to be mixed
// with the archive it was made from unless somebody says so (Options.Adopt).
type RestoredError struct {
	SystemID wal.SystemID
	Timeline wal.TimelineID // that the recovery began
	Switch   wal.Switch     // where, and why in PostgreSQL's words
}

// Error names the timeline and where its recovery stopped.
func (e *RestoredError) Error() string {
	return fmt.Sprintf("server was restored: its timeline %d left timeline %d at %s, recovered to a target (%s)",
		e.Timeline, e.Switch.Timeline, e.Switch.At, e.Switch.Reason)
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

// fence reports whether err must stop the archiver for good: to go on would
// mix two histories.
func fence(err error) bool {
	var (
		foreign  *ForeignError
		size     *SegmentSizeError
		history  *HistoryError
		restored *RestoredError
		timeline *TimelineError
		ahead    *AheadError
		conflict *ConflictError
		stored   *repository.ConflictError
		fenced   *repository.FencedError
		format   *repository.FormatError
		key      *repository.KeyError
	)
	return errors.As(err, &foreign) || errors.As(err, &size) || errors.As(err, &timeline) || errors.As(err, &ahead) || errors.As(err, &fenced) ||
		errors.As(err, &history) || errors.As(err, &restored) ||
		errors.As(err, &conflict) || errors.As(err, &stored) || errors.As(err, &format) || errors.As(err, &key) ||
		errors.Is(err, repository.ErrPlain) || errors.Is(err, storage.ErrNoLock) || errors.Is(err, postgres.ErrAheadOfServer)
}
