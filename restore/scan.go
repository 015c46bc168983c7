package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	headersAtOnce = 32       // ranged GETs of object headers in flight
	headerBatch   = 256      // headers read before the segments they point at
	readAhead     = 64 << 20 // plain bytes of WAL read ahead of the decoder
)

// object is one segment along a branch and the objects its bytes come from.
type object struct {
	id      wal.SegmentID
	entries []repository.Entry
	listed  wal.Range          // of the timeline, where they were looked for
	summary repository.Summary // only after headers
}

// scanner reads WAL along one branch, up to a fixed end.
type scanner struct {
	cluster *repository.Cluster
	size    wal.SegmentSize
	end     wal.LSN // what lies past it is not looked at
	objects []object
}

// newScanner lists the objects that hold the range of the branch. The range
// is widened to the start of its first segment.
func newScanner(ctx context.Context, cluster *repository.Cluster, inv *Inventory, tip wal.TimelineID, r wal.Range) (*scanner, error) {
	b, ok := inv.branch(tip)
	if !ok {
		return nil, fmt.Errorf("history of timeline %d is missing", tip)
	}
	s := &scanner{cluster: cluster, size: inv.SegmentSize, end: r.End}
	bySegment := map[wal.SegmentNumber]object{}
	for _, tli := range append(parents(b.history), tip) {
		own, _ := b.history.RangeOf(tli)
		from := max(s.size.Floor(r.Start), s.size.Floor(own.Start))
		if own.Empty() || from >= min(own.End, r.End) {
			continue
		}
		found, err := s.list(ctx, tli, wal.Range{Start: from, End: min(own.End, r.End)})
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			bySegment[o.id.Number] = o // a younger timeline's file holds its parent's bytes too
		}
	}
	for _, o := range bySegment {
		s.objects = append(s.objects, o)
	}
	slices.SortFunc(s.objects, func(a, b object) int { return int(a.id.Number) - int(b.id.Number) })
	return s, nil
}

// list returns the segments of one timeline that hold bytes of r.
func (s *scanner) list(ctx context.Context, tli wal.TimelineID, r wal.Range) ([]object, error) {
	var found []object
	var group []repository.Entry
	flush := func() {
		if len(group) == 0 {
			return
		}
		id := s.size.Segment(tli, group[0].Range.Start)
		if chosen := repository.Assemble(s.size.Start(id.Number), group); len(chosen) > 0 {
			found = append(found, object{id: id, entries: chosen, listed: r})
		}
		group = nil
	}
	for e, err := range s.cluster.ListWAL(ctx, tli, r.Start) {
		if err != nil {
			return nil, err
		}
		if e.Range.Start >= r.End {
			break
		}
		if len(group) > 0 && s.size.Number(group[0].Range.Start) != s.size.Number(e.Range.Start) {
			flush()
		}
		group = append(group, e)
	}
	flush()
	return found, nil
}

// headers reads the headers of objects [from, to) and adds up their summaries.
func (s *scanner) headers(ctx context.Context, from, to int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headersAtOnce)
	for i := from; i < to; i++ {
		g.Go(func() error { return s.summarize(ctx, &s.objects[i]) })
	}
	return g.Wait()
}

// summarize reads the headers of one object. Pieces give way to their complete segment at any time: it is listed anew where one is gone.
func (s *scanner) summarize(ctx context.Context, o *object) error {
	for try := 0; ; try++ {
		var err error
		if o.summary, err = s.cluster.Summaries(ctx, o.entries); err == nil {
			return nil
		}
		if !errors.Is(err, repository.ErrNoWAL) || try == readAgain {
			return s.reader().damage(ctx, o.id, err)
		}
		found, listing := s.list(ctx, o.id.Timeline, wal.Range{Start: s.size.Start(o.id.Number), End: min(s.size.End(o.id.Number), o.listed.End)})
		if listing != nil {
			return listing
		}
		if len(found) == 0 {
			return err
		}
		o.entries = found[0].entries
	}
}

// reader reads the same WAL for who says what damage means.
func (s *scanner) reader() reader { return reader{cluster: s.cluster, size: s.size} }

// read returns the verified bytes of object i, cut at the scanner's end.
func (s *scanner) read(ctx context.Context, i int) ([]byte, error) {
	id := s.objects[i].id
	plain, err := s.cluster.ReadSegment(ctx, s.size, id)
	if err != nil {
		return nil, s.reader().damage(ctx, id, err)
	}
	if start := s.size.Start(id.Number); start+wal.LSN(len(plain)) > s.end {
		plain = plain[:s.end-start]
	}
	return plain, nil
}

// records calls visit for each record whose last byte lies in one of the
// objects picked, in LSN order, until it returns false. Objects are indexes
// in ascending order. A record that began in an object before is seen whole.
func (s *scanner) records(ctx context.Context, picked []int, visit func(wal.Record) bool) error {
	var d *wal.Decoder
	reader := newAhead(s, picked)
	for _, i := range picked {
		start := s.size.Start(s.objects[i].id.Number)
		if d == nil || d.Pos() != start {
			var err error
			if d, err = s.runUp(ctx, i); err != nil {
				return err
			}
		}
		plain, err := reader.next(ctx)
		if err != nil {
			return err
		}
		if err := d.Write(plain); err != nil {
			return fmt.Errorf("WAL segment %s: %w", s.size.FileName(s.objects[i].id), err)
		}
		for {
			r, ok := d.Next()
			if !ok {
				break
			}
			if r.End <= s.end && !visit(r) {
				return nil
			}
		}
	}
	return nil
}

// runUp returns a decoder that stands at the start of object i, within the
// record that goes on there, if one does.
func (s *scanner) runUp(ctx context.Context, i int) (*wal.Decoder, error) {
	at := s.size.Start(s.objects[i].id.Number)
	for k := i; k > 0; k-- {
		before := s.size.Start(s.objects[k-1].id.Number)
		if s.size.Number(before)+1 != s.objects[k].id.Number {
			break // a hole: nothing goes on across it
		}
		d := wal.NewDecoder(s.size, before)
		for j := k - 1; j < i; j++ {
			plain, err := s.read(ctx, j)
			if err != nil {
				return nil, err
			}
			if err := d.Write(plain); err != nil {
				return nil, fmt.Errorf("WAL segment %s: %w", s.size.FileName(s.objects[j].id), err)
			}
		}
		if d.Pos() != at {
			break // not whole: the records behind it stand for themselves
		}
		for more := true; more; {
			_, more = d.Next()
		}
		if d.Head().End < at {
			return d, nil
		}
	}
	return wal.NewDecoder(s.size, at), nil
}

// last returns the last whole record that ends at or before the scanner's end.
func (s *scanner) last(ctx context.Context) (wal.Range, error) {
	for i := len(s.objects) - 1; i >= 0; i-- {
		var found wal.Range
		rest := make([]int, 0, len(s.objects)-i)
		for j := i; j < len(s.objects); j++ {
			rest = append(rest, j)
		}
		err := s.records(ctx, rest, func(r wal.Record) bool {
			found = wal.Range{Start: r.Start, End: r.End}
			return true
		})
		if err != nil || !found.Empty() {
			return found, err
		}
	}
	return wal.Range{}, fmt.Errorf("no whole record before %s", s.end)
}

// ahead reads objects in order, a few of them at the same time.
type ahead struct {
	scanner *scanner
	picked  []int
	window  int // objects read at the same time: 1 at first, since often the first one answers
	ready   [][]byte
}

func newAhead(s *scanner, picked []int) *ahead {
	return &ahead{scanner: s, picked: picked, window: 1}
}

// next returns the bytes of the next object.
func (a *ahead) next(ctx context.Context) ([]byte, error) {
	if len(a.ready) == 0 {
		n := min(a.window, len(a.picked))
		a.ready = make([][]byte, n)
		g, ctx := errgroup.WithContext(ctx)
		for k := range n {
			g.Go(func() (err error) {
				a.ready[k], err = a.scanner.read(ctx, a.picked[k])
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		a.picked = a.picked[n:]
		a.window = max(1, min(2*a.window, readAhead/int(a.scanner.size)))
	}
	plain := a.ready[0]
	a.ready[0] = nil
	a.ready = a.ready[1:]
	return plain, nil
}
