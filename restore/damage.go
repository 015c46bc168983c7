package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// DamageError says that WAL cannot be read because an object is not what was written, in no repository that was asked. Nothing behind it
// can be restored before it is healed, but by a newer base backup.
type DamageError struct {
	Timeline wal.TimelineID
	Range    wal.Range // of the segment
	// From and Until enclose the transaction ends at risk, as far as the object or those beside it tell; 0 is unknown.
	From, Until wal.Time
	Err         error // names the object, and what each repository says
}

// Error names the object, the LSNs and the times.
func (e *DamageError) Error() string {
	s := fmt.Sprintf("WAL %s of timeline %d", e.Range, uint32(e.Timeline))
	switch {
	case e.From != 0 && e.Until != 0:
		s += fmt.Sprintf(", transactions of %s to %s,", e.From, e.Until)
	case e.From != 0:
		s += fmt.Sprintf(", transactions from %s on,", e.From)
	}
	return s + " is damaged: " + e.Err.Error()
}

// Unwrap returns what says which object.
func (e *DamageError) Unwrap() error { return e.Err }

// damage makes a *DamageError of the error of reading a segment, if it is one.
func (r reader) damage(ctx context.Context, id wal.SegmentID, err error) error {
	var corrupt *repository.CorruptError
	if !errors.As(err, &corrupt) {
		return err
	}
	e := &DamageError{Timeline: id.Timeline, Range: r.size.Range(id.Number), Err: err}
	e.From, e.Until = r.times(ctx, id)
	return e
}

// times asks the headers of a segment for the times of its transaction ends, and where they do not tell those of the segments beside it.
func (r reader) times(ctx context.Context, id wal.SegmentID) (from, until wal.Time) {
	own := r.summary(ctx, id)
	if own.Ends > 0 {
		return own.MinTime, own.MaxTime
	}
	if id.Number > 0 {
		from = r.summary(ctx, wal.SegmentID{Timeline: id.Timeline, Number: id.Number - 1}).MaxTime
	}
	return from, r.summary(ctx, wal.SegmentID{Timeline: id.Timeline, Number: id.Number + 1}).MinTime
}

// summary adds up what the headers of a segment say; it is zero if one of them cannot be read.
func (r reader) summary(ctx context.Context, id wal.SegmentID) repository.Summary {
	var group []repository.Entry
	for e, err := range r.cluster.ListWAL(ctx, id.Timeline, r.size.Start(id.Number)) {
		if err != nil {
			return repository.Summary{}
		}
		if r.size.Number(e.Range.Start) != id.Number {
			break
		}
		group = append(group, e)
	}
	var all repository.Summary
	for _, e := range repository.Assemble(r.size.Start(id.Number), group) {
		h, err := r.cluster.ReadHeader(ctx, e)
		if err != nil {
			return repository.Summary{}
		}
		all = all.Then(h.Summary)
	}
	return all
}
