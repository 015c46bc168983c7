package verify

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// readWAL reads the WAL of all timelines in all places, side by side in LSN order. It holds no listing.
func (v *verification) readWAL(ctx context.Context) error {
	known := map[wal.TimelineID]bool{}
	for _, p := range v.alive() {
		timelines, err := p.cluster.Timelines(ctx)
		size := wal.SegmentSize(0)
		if err == nil && v.size == 0 {
			size, err = p.cluster.SegmentSize(ctx)
		}
		var corrupt *repository.CorruptError
		switch {
		case err == nil:
			v.size = max(v.size, size)
		case errors.Is(err, repository.ErrNoWAL), errors.As(err, &corrupt): // another place may tell
		default:
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
		}
		for _, tli := range timelines {
			known[tli] = true
		}
	}
	if v.size == 0 {
		return nil // nothing is archived, or all of it is damaged, which was said
	}
	for _, p := range v.alive() {
		p.cluster.AssumeSegmentSize(v.size)
	}
	for tli := range known {
		if err := v.readTimeline(ctx, tli); err != nil {
			return err
		}
	}
	return nil
}

// stream is the WAL of one timeline in one place.
type stream struct {
	place *place
	next  func() (repository.Entry, error, bool)
	entry repository.Entry
	more  bool
}

// advance takes the next object. A place whose listing fails has no more.
func (v *verification) advance(ctx context.Context, s *stream) error {
	entry, err, more := s.next()
	s.entry, s.more = entry, more && err == nil
	if err != nil {
		return v.fail(ctx, s.place, err)
	}
	return nil
}

// held is one WAL object of one place.
type held struct {
	place *place
	entry repository.Entry
}

func (v *verification) readTimeline(ctx context.Context, tli wal.TimelineID) error {
	var streams []*stream
	for _, p := range v.alive() {
		next, stop := iter.Pull2(p.cluster.ListWAL(ctx, tli, 0))
		defer stop()
		p.there[tli], p.sound[tli] = &repository.Coverage{Timeline: tli}, &repository.Coverage{Timeline: tli}
		s := &stream{place: p, next: next}
		if err := v.advance(ctx, s); err != nil {
			return err
		}
		streams = append(streams, s)
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(v.Jobs)
	var failed error
	for failed == nil && reading.Err() == nil {
		var same []held
		var first *repository.Entry
		for _, s := range streams {
			if s.more && (first == nil || v.order(s.entry, *first) < 0) {
				first = &s.entry
			}
		}
		if first == nil {
			break
		}
		at := *first
		for _, s := range streams {
			if s.more && v.order(s.entry, at) == 0 {
				same = append(same, held{s.place, s.entry})
				s.place.lists()
				s.place.there[tli].Add(s.entry.Range)
				failed = errors.Join(failed, v.advance(ctx, s))
			}
		}
		group.Go(func() error { return v.readObject(reading, same) })
	}
	return errors.Join(failed, group.Wait())
}

// order is that in which ListWAL yields.
func (v *verification) order(a, b repository.Entry) int {
	return cmp.Or(cmp.Compare(v.size.Number(a.Range.Start), v.size.Number(b.Range.Start)), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Range.Start, b.Range.Start), cmp.Compare(a.Range.End, b.Range.End), cmp.Compare(a.Key, b.Key))
}

// readObject judges one WAL object in the places that list it. One that was read within the period is looked at again only as far as it takes
// to compare it with one that was not.
func (v *verification) readObject(ctx context.Context, all []held) error {
	headers := map[int]repository.Header{}
	var wrong []Damage
	var right, unread []held
	for _, h := range all {
		o := h.entry.Object()
		if !v.due(h.place, o) {
			unread = append(unread, h)
			continue
		}
		var header repository.Header
		f, err := v.examine(ctx, h.place, o, func(ctx context.Context) (err error) {
			header, err = h.place.cluster.CheckWAL(ctx, h.entry)
			return err
		})
		switch {
		case err != nil:
			return err
		case f.kind != "":
			wrong = append(wrong, h.place.damageOf(o, f.kind, f.reason))
		case f.gone: // a piece is deleted when its segment is complete
			v.mu.Lock()
			v.vanished = append(v.vanished, h)
			v.mu.Unlock()
		default:
			right = append(right, h)
			headers[h.place.index] = header
		}
	}
	for _, h := range unread {
		right = append(right, h)
		if len(headers) == 0 {
			continue
		}
		if header, err := h.place.cluster.ReadHeader(ctx, h.entry); err == nil {
			headers[h.place.index] = header
		}
	}
	slices.SortFunc(right, func(a, b held) int { return cmp.Compare(a.place.index, b.place.index) })
	right, different := v.agree(right, headers)
	wrong = append(wrong, different...)
	var names []string
	for _, h := range right {
		names = append(names, h.place.Name)
		h.place.holds(h.entry)
	}
	for _, d := range wrong {
		if d.Elsewhere == nil {
			d.Elsewhere = names
		}
		v.damaged(d)
	}
	return nil
}

// holds notes WAL that is right.
func (p *place) holds(e repository.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sound[e.Timeline].Add(e.Range)
}

// agree compares the contents of one WAL object in several places by their headers, which hold a checksum of the plain bytes. It returns those that
// agree, and what is wrong with the others. Where none is trusted all stay, because each may be restored from, and none is known to be right.
func (v *verification) agree(all []held, headers map[int]repository.Header) (right []held, wrong []Damage) {
	var model *held
	for i, h := range all {
		if _, ok := headers[h.place.index]; ok && (model == nil || h.place.index == v.trusted) {
			model = &all[i]
		}
	}
	for _, h := range all {
		header, ok := headers[h.place.index]
		if !ok || sameWAL(header, headers[model.place.index]) {
			right = append(right, h)
			continue
		}
		d := h.place.damageOf(h.entry.Object(), Different, "holds other WAL than "+model.place.Name)
		if model.place.index == v.trusted {
			d.Kind = Damaged
		} else {
			d.Elsewhere = []string{} // which is right is not known
			right = append(right, h)
		}
		wrong = append(wrong, d)
	}
	return right, wrong
}

// sameWAL reports whether two objects hold the same WAL, whatever codec encoded it. What is known of an encrypted one without opening it has no checksums.
func sameWAL(a, b repository.Header) bool {
	locked := a.SHA256 == repository.Sum{} || b.SHA256 == repository.Sum{}
	return a.Plain == b.Plain && (locked || a.CRC32C == b.CRC32C) && a.SegmentSize == b.SegmentSize && a.Range == b.Range
}

// readAgain looks for what replaced the objects that were gone when they were to be read.
func (v *verification) readAgain(ctx context.Context) error {
	vanished := v.vanished
	for _, h := range vanished {
		tli, r, sound := h.entry.Timeline, h.entry.Range, h.place.sound[h.entry.Timeline]
		for e, err := range h.place.cluster.ListWAL(ctx, tli, r.Start) {
			if err != nil {
				if err := v.fail(ctx, h.place, err); err != nil {
					return err
				}
				break
			}
			if e.Range.Start >= r.End {
				break
			}
			if e.Range.End > r.Start && !sound.Covers(e.Range) {
				if err := v.readObject(ctx, []held{{h.place, e}}); err != nil {
					return err
				}
			}
		}
		if !sound.Covers(r) && h.place.failed() == nil {
			d := h.place.damageOf(h.entry.Object(), Missing, "was listed, and is gone")
			d.hole = true
			for _, q := range v.alive() {
				if c := q.sound[tli]; q != h.place && c != nil && c.Covers(r) {
					d.Elsewhere = append(d.Elsewhere, q.Name)
				}
			}
			v.damaged(d)
		}
	}
	return nil
}

// findHoles looks for WAL that a place lacks and another holds, and for WAL that none holds although no gap record explains that.
func (v *verification) findHoles(ctx context.Context) error {
	if err := v.readAgain(ctx); err != nil {
		return err
	}
	union := map[wal.TimelineID]*repository.Coverage{}
	for _, p := range v.alive() {
		for tli, c := range p.there {
			if union[tli] == nil {
				union[tli] = &repository.Coverage{Timeline: tli}
			}
			for _, r := range c.Spans {
				union[tli].Add(r)
			}
		}
	}
	for _, p := range v.alive() {
		for _, lack := range without(union, p.there) {
			for _, rest := range p.unexpired(lack) {
				if err := v.findLack(ctx, p, rest); err != nil {
					return err
				}
			}
		}
	}
	h := holdings{size: v.size, covered: spansOf(union), histories: v.histories}
	holes := map[wal.TimelineID]*repository.Coverage{} // of any place
	for _, p := range v.alive() {
		for _, hole := range unexplained(h, v.explained(p), v.expected()) {
			if holes[hole.timeline] == nil {
				holes[hole.timeline] = &repository.Coverage{Timeline: hole.timeline}
			}
			holes[hole.timeline].Add(hole.Range)
		}
	}
	for _, tli := range slices.Sorted(maps.Keys(holes)) {
		for _, r := range holes[tli].Spans {
			if err := v.findHole(ctx, stretch{tli, r}); err != nil {
				return err
			}
		}
	}
	return v.missingHistories(ctx, union)
}

func spansOf(all map[wal.TimelineID]*repository.Coverage) map[wal.TimelineID][]wal.Range {
	spans := map[wal.TimelineID][]wal.Range{}
	for tli, c := range all {
		if len(c.Spans) > 0 {
			spans[tli] = c.Spans
		}
	}
	return spans
}

// expected returns how far the WAL of each timeline went, by the beats and by earlier verifications.
func (v *verification) expected() map[wal.TimelineID]wal.LSN {
	ends := map[wal.TimelineID]wal.LSN{}
	for _, b := range v.beats {
		ends[b.Timeline] = max(ends[b.Timeline], b.LSN)
	}
	for _, p := range v.alive() {
		if p.baseline == nil {
			continue
		}
		for _, seen := range p.baseline.Timelines {
			ends[seen.Timeline] = max(ends[seen.Timeline], seen.End)
		}
	}
	return ends
}

// findLack looks again for WAL that a place did not list and others did.
func (v *verification) findLack(ctx context.Context, p *place, lack stretch) error {
	now, err := p.cluster.Coverage(ctx, lack.timeline, lack.Start)
	if err != nil {
		return v.fail(ctx, p, err)
	}
	// What came since it was listed is read by the next run.
	came := repository.Coverage{Spans: now.Gaps(lack.Range)}
	for _, r := range came.Gaps(lack.Range) {
		v.pending(p, stretch{lack.timeline, r})
	}
	for _, r := range now.Gaps(lack.Range) {
		var first repository.Object
		var oldest time.Time
		var names []string
		objects := 0
		for _, q := range v.alive() {
			before := objects
			for e, err := range q.cluster.ListWAL(ctx, lack.timeline, r.Start) {
				if err != nil {
					if err := v.fail(ctx, q, err); err != nil {
						return err
					}
					break
				}
				if e.Range.Start >= r.End {
					break
				}
				if q == p || e.Range.End <= r.Start {
					continue
				}
				if objects++; objects == 1 {
					first = e.Object()
				}
				if oldest.IsZero() || e.Modified.Before(oldest) {
					oldest = e.Modified
				}
			}
			if covered := q.sound[lack.timeline]; objects > before && covered != nil && covered.Covers(r) {
				names = append(names, q.Name)
			}
		}
		if objects == 0 || !v.ripe(oldest) {
			v.pending(p, stretch{lack.timeline, r})
			continue
		}
		o := first
		o.Range = r
		d := p.damageOf(o, Missing, "WAL is missing that another repository holds")
		d.hole = true
		d.Elsewhere = names
		v.damaged(d)
	}
	return nil
}

// pending notes WAL that a place may yet get.
func (v *verification) pending(p *place, s stretch) {
	if p.late[s.timeline] == nil {
		p.late[s.timeline] = &repository.Coverage{Timeline: s.timeline}
	}
	p.late[s.timeline].Add(s.Range)
}

// findHole looks again for WAL that no place listed.
func (v *verification) findHole(ctx context.Context, hole stretch) error {
	union := repository.Coverage{Timeline: hole.timeline}
	var behind time.Time // when the first object behind it was made
	for _, p := range v.alive() {
		for e, err := range p.cluster.ListWAL(ctx, hole.timeline, hole.Start) {
			if err != nil {
				if err := v.fail(ctx, p, err); err != nil {
					return err
				}
				break
			}
			union.Add(e.Range)
			if e.Range.Start >= hole.End {
				if behind.IsZero() || e.Modified.Before(behind) {
					behind = e.Modified
				}
				break
			}
		}
	}
	came := repository.Coverage{Spans: union.Gaps(hole.Range)}
	for _, r := range came.Gaps(hole.Range) {
		for _, p := range v.alive() {
			v.pending(p, stretch{hole.timeline, r})
		}
	}
	for _, r := range union.Gaps(hole.Range) {
		if !behind.IsZero() && !v.ripe(behind) {
			v.note("WAL %s of timeline %d is not there yet, WAL behind it is: uploads overtake each other", r, uint32(hole.timeline))
			for _, p := range v.alive() {
				v.pending(p, stretch{hole.timeline, r})
			}
			continue
		}
		v.holes = append(v.holes, stretch{hole.timeline, r})
		for _, p := range v.alive() {
			o := p.cluster.SegmentObject(v.size, hole.timeline, r.Start)
			o.Range = r
			d := p.damageOf(o, Missing, "WAL is missing that no repository holds, and no gap record says why")
			d.hole = true
			v.damaged(d)
		}
	}
	return nil
}

// missingHistories says which timelines have WAL and no history file anywhere: no server goes to them.
func (v *verification) missingHistories(ctx context.Context, union map[wal.TimelineID]*repository.Coverage) error {
	for tli, c := range union {
		if tli == 1 || len(c.Spans) == 0 || v.isSmall(repository.ClassHistory, tli) {
			continue
		}
		for _, p := range v.alive() {
			o := p.cluster.HistoryObject(tli)
			switch _, err := p.Store.Stat(ctx, o.Key); {
			case err == nil: // the timeline began while the run went
			case isGone(err):
				v.damaged(p.damageOf(o, Missing, "is missing, and there is WAL of its timeline"))
			default:
				if err := v.fail(ctx, p, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// isSmall reports whether a small object of a class was listed for a timeline in any place.
func (v *verification) isSmall(class repository.Class, tli wal.TimelineID) bool {
	return slices.ContainsFunc(v.small, func(s *small) bool { return s.object.Class == class && s.object.Timeline == tli })
}
