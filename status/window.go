package status

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Make computes the report of a cluster from what its repository holds. It is pure: the same facts
// and time give the same report.
func Make(f Facts, now time.Time) Report {
	r := Report{
		Now: now.UTC(), Backups: []Backup{}, WAL: slices.Clone(f.Spans), Window: []Interval{}, Gaps: []Gap{},
		lastSync: f.Sync, Unreadable: f.Unreadable, Listed: f.Listed,
	}
	if r.WAL == nil {
		r.WAL = []Span{}
	}
	if r.Orphans = f.Orphans; r.Orphans == nil {
		r.Orphans = []Orphan{}
	}
	for _, s := range f.Spans {
		r.Stored.WAL += s.Stored
	}
	var reaches []reach
	for _, b := range f.Backups {
		reached, restorable := f.follow(b)
		described := describe(b, restorable)
		described.Encrypted, described.Recipients = b.Sealed(), f.Sealed.Recipients[b.ID]
		if pin, pinned := f.Pins[b.ID]; pinned && pin.Holds(now) {
			described.pin(pin)
		} else if now.Before(b.KeptUntil) {
			described.Pinned = true
		}
		r.Backups = append(r.Backups, described)
		r.Stored.Backups += b.Stored
		if restorable {
			reaches = append(reaches, reached)
		}
	}
	r.window(f, reaches)
	r.Durable, r.DurableUntil = f.durable()
	r.OpenGap = r.openGap(f)
	r.setDrills(f.Drills)
	r.Encryption = f.encryption()
	return r
}

// reach is how far one backup can be brought forward.
type reach struct {
	interval Interval
	end      Position
	start    wal.LSN
}

// follow walks the WAL from a backup's start as far as there is no hole, through the switches to
// the newest timeline that descends from it. restorable is false when the WAL that makes the
// backup consistent is not all there.
func (f Facts) follow(b repository.Backup) (r reach, restorable bool) {
	at := Position{b.Timeline, b.StartLSN}
	until := b.Stopped
	for {
		span, ok := f.spanAt(at)
		if !ok {
			break
		}
		next, switched := f.child(at.Timeline, max(at.LSN, b.StopLSN), span.End)
		if switched {
			// Transactions of this span may lie past the switch, so its last time says nothing.
			at = next
			continue
		}
		at.LSN = span.End
		if span.Last != nil && span.Last.After(until) {
			until = *span.Last
		}
		break
	}
	if at.Timeline == b.Timeline && at.LSN < b.StopLSN {
		return reach{}, false
	}
	if f.Beat != nil && f.Beat.Timeline == at.Timeline && f.Beat.LSN <= at.LSN && f.Beat.Time.After(until) {
		until = f.Beat.Time
	}
	return reach{Interval{b.Stopped.UTC(), until.UTC()}, at, b.StartLSN}, true
}

// spanAt returns the span that holds the byte at p, or that ends there.
func (f Facts) spanAt(p Position) (Span, bool) {
	for _, s := range f.Spans {
		if s.Timeline == p.Timeline && s.Start <= p.LSN && p.LSN <= s.End {
			return s, true
		}
	}
	return Span{}, false
}

// child returns where the archive goes on after timeline tli, if it was left for another between
// from and end: on the way to the newest timeline that descends from it.
func (f Facts) child(tli wal.TimelineID, from, end wal.LSN) (Position, bool) {
	for _, newest := range slices.Backward(f.timelines()) {
		h, ok := f.Histories[newest]
		if !ok || newest == tli || !h.Contains(tli) {
			continue
		}
		at, ok := h.SwitchOf(tli)
		if !ok || at < from || at > end {
			continue
		}
		p := Position{h.TimelineAt(at), at}
		if _, ok := f.spanAt(p); ok && p.Timeline != tli {
			return p, true
		}
	}
	return Position{}, false
}

func (f Facts) timelines() []wal.TimelineID {
	var all []wal.TimelineID
	for tli := range f.Histories {
		all = append(all, tli)
	}
	for _, s := range f.Spans {
		all = append(all, s.Timeline)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// durable is the end of the newest WAL, and the last instant up to which all that the server had is known to be in it: that of its last
// transaction, or of a beat.
func (f Facts) durable() (*Position, *time.Time) {
	var last *Position
	var until *time.Time
	for _, s := range f.Spans {
		if last == nil || cmp.Or(cmp.Compare(s.Timeline, last.Timeline), cmp.Compare(s.End, last.LSN)) > 0 {
			last, until = &Position{s.Timeline, s.End}, s.Last
		}
	}
	if b := f.Beat; last != nil && b != nil && b.Timeline == last.Timeline && b.LSN <= last.LSN && (until == nil || b.Time.After(*until)) {
		until = &b.Time
	}
	return last, until
}

// window joins the intervals of the backups and names the gaps between them. Two backups with the
// same end lie on one run of WAL, so that all between them is there. Two with different ends that
// overlap in time are two histories: there, any instant has at least one answer.
func (r *Report) window(f Facts, reaches []reach) {
	slices.SortFunc(reaches, func(a, b reach) int {
		return cmp.Or(a.interval.From.Compare(b.interval.From), a.interval.Until.Compare(b.interval.Until))
	})
	var last reach
	for _, next := range reaches {
		n := len(r.Window) - 1
		if n >= 0 && (next.end == last.end || !next.interval.From.After(r.Window[n].Until)) {
			if next.interval.Until.After(r.Window[n].Until) {
				r.Window[n].Until, last = next.interval.Until, next
			}
			continue
		}
		if n >= 0 {
			gap := Gap{From: r.Window[n].Until, Until: next.interval.From, Timeline: last.end.Timeline, Start: last.end.LSN, End: next.start}
			if gap.End < gap.Start {
				gap.End = gap.Start
			}
			f.explain(&gap)
			r.Gaps = append(r.Gaps, gap)
		}
		r.Window = append(r.Window, next.interval)
		last = next
	}
	if len(r.Window) > 0 {
		r.RecoverableFrom, r.RecoverableUntil = &r.Window[0].From, &r.Window[len(r.Window)-1].Until
		newest := slices.MaxFunc(reaches, func(a, b reach) int {
			return cmp.Or(a.interval.Until.Compare(b.interval.Until), cmp.Compare(a.end.Timeline, b.end.Timeline), cmp.Compare(a.end.LSN, b.end.LSN))
		})
		r.RecoverableEnd = &newest.end
	}
}

func describe(b repository.Backup, restorable bool) Backup {
	d := Backup{
		ID: b.ID, Type: b.Type, Started: b.Started.UTC(), Stopped: b.Stopped.UTC(), Version: b.PGVersionNum,
		Timeline: b.Timeline, StartLSN: b.StartLSN, StopLSN: b.StopLSN, Plain: b.Plain, Stored: b.Stored,
		Checksums: string(b.Checksums), Restorable: restorable, Labels: b.Labels,
	}
	if !b.KeptUntil.IsZero() {
		kept := b.KeptUntil.UTC()
		d.KeptUntil = &kept
	}
	return d
}

// pin adds what a pin says. Without an end it is stronger than the one in the record.
func (b *Backup) pin(p repository.Pin) {
	b.Pinned = true
	until := p.Until.UTC()
	switch {
	case p.Until.IsZero():
		b.KeptUntil = nil
	case b.KeptUntil == nil || b.KeptUntil.Before(until):
		b.KeptUntil = &until
	}
}

// openGap returns the gap behind the newest instant that can be restored, if WAL was archived behind it or its loss is
// recorded; nil if there is none.
func (r Report) openGap(f Facts) *Gap {
	end := r.RecoverableEnd
	if end == nil {
		return nil
	}
	gap := Gap{From: *r.RecoverableUntil, Until: r.Now, Timeline: end.Timeline, Start: end.LSN}
	for _, s := range f.Spans {
		if s.Timeline == end.Timeline && s.Start > end.LSN {
			gap.End = s.Start
			break
		}
	}
	if f.explain(&gap); gap.End == 0 {
		return nil
	}
	return &gap
}

// explain adds to a gap what is recorded of it: the first record that its WAL begins in says why, and all that follow it without a
// hole how far it goes.
func (f Facts) explain(g *Gap) {
	end := g.Start
	for moved := true; moved; {
		moved = false
		for _, l := range f.Lost {
			if l.Timeline != g.Timeline || !l.Range.Contains(end) {
				continue
			}
			if g.Cause == "" {
				seen := l.FirstSeen.UTC()
				g.Cause, g.Detail, g.FirstSeen = l.Cause, l.Detail, &seen
			}
			end, moved = l.Range.End, true
		}
	}
	if end > g.Start {
		g.End = end
	}
}
