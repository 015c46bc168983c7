package status

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// tailLength is how many objects before the end of a span are looked at for the last transaction.
// A second of an idle server makes none, so a handful would do.
const tailLength = 64

// Survey reads what Make needs: the records of the backups and gaps, a listing of the WAL, and of each span
// the headers at its end until one tells of a transaction. It reads no WAL.
func Survey(ctx context.Context, c *repository.Cluster) (Facts, error) {
	var f Facts
	var err error
	// One damaged record must not hide the rest from an operator.
	unreadable := func(err error) bool {
		if !repository.OnlyUnreadable(err) {
			return false
		}
		f.Unreadable = append(f.Unreadable, err.Error())
		return true
	}
	// Records are listed before data, FORMAT.md section 8: then what they need is in the listing.
	if f.Backups, err = c.Backups(ctx); err != nil && !unreadable(err) {
		return f, fmt.Errorf("list backups: %w", err)
	}
	if f.Histories, err = c.Histories(ctx); err != nil {
		return f, fmt.Errorf("read timeline histories: %w", err)
	}
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return f, fmt.Errorf("list timelines: %w", err)
	}
	for _, tli := range timelines {
		spans, err := surveyTimeline(ctx, c, tli, &f.Sealed)
		if err != nil {
			return f, fmt.Errorf("list WAL of timeline %s: %w", tli, err)
		}
		f.Spans = append(f.Spans, spans...)
	}
	// A hole whose record cannot be read is one that nothing is recorded of.
	if f.Lost, err = c.Explained(ctx); err != nil && !unreadable(err) {
		return f, fmt.Errorf("list gap records: %w", err)
	}
	pins, err := c.Pins(ctx)
	if err != nil && !unreadable(err) {
		return f, fmt.Errorf("list pins: %w", err)
	}
	f.Pins = pins
	beat, ok, err := c.NewestBeat(ctx)
	if err != nil && !unreadable(err) {
		return f, fmt.Errorf("read the newest beat: %w", err)
	}
	if ok {
		f.Beat = &beat
	}
	event, ok, err := c.NewestSyncEvent(ctx)
	if err != nil && !unreadable(err) { // without it only since when, and why, is not known
		return f, fmt.Errorf("read the newest record of synchronous mode: %w", err)
	}
	if ok {
		f.Sync = &event
	}
	if f.Drills, err = c.Drills(ctx, drillsRead); err != nil && !unreadable(err) {
		return f, fmt.Errorf("read the newest drills: %w", err)
	}
	if err = f.Sealed.count(ctx, c, f.Backups); err != nil {
		return f, fmt.Errorf("read to how many keys contents are encrypted: %w", err)
	}
	f.Orphans, err = surveyOrphans(ctx, c, f)
	return f, err
}

// openSpan is a span whose end was not seen yet, with the last objects in it.
type openSpan struct {
	Span
	tail []repository.Entry
}

func surveyTimeline(ctx context.Context, c *repository.Cluster, tli wal.TimelineID, sealed *Sealed) ([]Span, error) {
	var spans []openSpan
	for e, err := range c.ListWAL(ctx, tli, 0) {
		if err != nil {
			return nil, err
		}
		sealed.add(e)
		n := len(spans) - 1
		if n < 0 || e.Range.Start > spans[n].End {
			spans = append(spans, openSpan{Span: Span{Timeline: tli, Start: e.Range.Start, End: e.Range.End}})
			n++
		}
		spans[n].add(e)
	}
	done := make([]Span, 0, len(spans))
	for _, s := range spans {
		if err := s.findLast(ctx, c); err != nil {
			return nil, err
		}
		done = append(done, s.Span)
	}
	return done, nil
}

func (s *openSpan) add(e repository.Entry) {
	s.End = max(s.End, e.Range.End)
	s.Stored += e.Stored
	if len(s.tail) == tailLength {
		copy(s.tail, s.tail[1:])
		s.tail = s.tail[:tailLength-1]
	}
	s.tail = append(s.tail, e)
}

// findLast reads headers from the end of the span backwards until one tells of a transaction.
func (s *openSpan) findLast(ctx context.Context, c *repository.Cluster) error {
	for i := len(s.tail) - 1; i >= 0; i-- {
		h, err := c.ReadHeader(ctx, s.tail[i])
		if errors.Is(err, repository.ErrNoWAL) {
			continue // a piece whose segment was completed since the listing
		}
		if err != nil {
			return err
		}
		if h.Summary.Ends > 0 {
			last := h.Summary.LastTime.Go()
			s.Last = &last
			return nil
		}
	}
	return nil
}
