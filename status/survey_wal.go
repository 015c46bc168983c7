package status

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// tailLength is how many objects before the end of a span are looked at for the last transaction.
// A second of an idle server makes none, so a handful would do.
const tailLength = repository.TailSegments

// surveyWAL finds the spans of all timelines. Where a census is found wrong, nothing of it counts.
func (f *Facts) surveyWAL(ctx context.Context, c *repository.Cluster, census *repository.Census, let *repository.Expiry) error {
	if census != nil {
		err := f.skim(ctx, c, census, let)
		if err == nil {
			began := census.Began.UTC()
			f.Listed = &began
		}
		if !errors.Is(err, repository.ErrCensus) {
			return err
		}
	}
	return f.listWAL(ctx, c)
}

// listWAL lists all WAL: of much, many pages at the same time, by a census that it takes for itself.
func (f *Facts) listWAL(ctx context.Context, c *repository.Cluster) error {
	if cuts := repository.CutsAt(f.Backups); len(cuts) > 0 {
		census, err := c.TakeCensus(ctx, "", cuts)
		if err == nil {
			err = f.skim(ctx, c, census, &repository.Expiry{})
		}
		if !errors.Is(err, repository.ErrCensus) { // what goes while it is counted
			return err
		}
	}
	return f.skim(ctx, c, nil, nil)
}

// readCensus returns the census that counts, nil if there is none, and what was let go before now.
func readCensus(ctx context.Context, c *repository.Cluster, o Options) (*repository.Census, *repository.Expiry, error) {
	if o.Place == "" {
		return nil, nil, nil
	}
	census, err := c.NewestCensus(ctx, o.Place, o.Now)
	if errors.Is(err, storage.ErrDenied) { // by a policy that was made before there were any
		return nil, nil, nil
	}
	if err != nil || census == nil {
		return nil, nil, err
	}
	let, err := c.Expiry(ctx)
	if err != nil && repository.OnlyUnreadable(err) {
		return nil, nil, nil // what was let go is not known
	}
	return census, &let, err
}

func (f *Facts) skim(ctx context.Context, c *repository.Cluster, census *repository.Census, let *repository.Expiry) error {
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return fmt.Errorf("list timelines: %w", err)
	}
	f.Spans, f.Sealed = nil, Sealed{}
	for _, tli := range timelines {
		spans, err := surveyTimeline(ctx, c, tli, c.SkimWAL(ctx, tli, census, let), &f.Sealed)
		if err != nil {
			return fmt.Errorf("list WAL of timeline %s: %w", tli, err)
		}
		f.Spans = append(f.Spans, spans...)
	}
	return nil
}

// openSpan is a span whose end was not seen yet, with the last objects in it.
type openSpan struct {
	Span

	tail []repository.Entry
}

func surveyTimeline(ctx context.Context, c *repository.Cluster, tli wal.TimelineID, all iter.Seq2[repository.Found, error], sealed *Sealed) ([]Span, error) {
	var spans []openSpan
	for found, err := range all {
		if err != nil {
			return nil, err
		}
		r := found.Range()
		n := len(spans) - 1
		if n < 0 || r.Start > spans[n].End {
			spans = append(spans, openSpan{Span: Span{Timeline: tli, Start: r.Start, End: r.End}})
			n++
		}
		spans[n].addObjects(found)
		if found.Block != nil {
			sealed.addBlock(tli, *found.Block)
			spans[n].addBlock(*found.Block)
			continue
		}
		sealed.add(found.Entry)
		spans[n].add(found.Entry)
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

// addBlock takes a block. As many objects as a tail has are listed behind it before the span ends.
func (s *openSpan) addBlock(b repository.Block) {
	s.End = max(s.End, b.Range.End)
	s.Stored += b.Stored
	s.tail = s.tail[:0]
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
