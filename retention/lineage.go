package retention

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// lineage is a cluster with its ancestry worked out.
type lineage struct {
	*Cluster

	timelines []wal.TimelineID               // that have WAL, a history or a backup; ascending
	branches  map[wal.TimelineID]wal.History // those whose ancestry is known
	newest    map[wal.TimelineID]time.Time   // when the last object of each was stored
	ended     map[wal.TimelineID]time.Time   // when something of another was stored after that; absent if nothing was
	covered   map[wal.TimelineID]*repository.Coverage
	last      time.Time            // when the last object of all was stored but for what is said of the cluster: readings, holds, pins, drills
	settled   map[string]time.Time // by the id of a backup: it was taken at that time at the latest
	sound     map[string]bool      // it can be restored, by all that the catalog tells
	backups   []*Backup            // by settled time, timeline and start
}

func newLineage(c *Cluster, now time.Time) *lineage {
	l := &lineage{
		Cluster: c, branches: map[wal.TimelineID]wal.History{}, newest: map[wal.TimelineID]time.Time{}, ended: map[wal.TimelineID]time.Time{},
		covered: map[wal.TimelineID]*repository.Coverage{}, settled: map[string]time.Time{}, sound: map[string]bool{},
	}
	l.learn()
	l.end()
	for i := range c.Backups {
		b := &c.Backups[i]
		l.backups = append(l.backups, b)
		span := wal.Range{Start: b.StartLSN, End: b.StopLSN}
		covered := l.covered[b.Timeline]
		l.sound[b.ID] = b.Whole && b.Good() && !b.Wrong && (covered != nil && covered.Covers(span) || span.Empty())
	}
	l.settle(now)
	slices.SortFunc(l.backups, func(a, b *Backup) int {
		return cmp.Or(l.settled[a.ID].Compare(l.settled[b.ID]), cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.StartLSN, b.StartLSN), cmp.Compare(a.ID, b.ID))
	})
	return l
}

// learn collects the timelines, their ancestry, and what WAL there is of them.
func (l *lineage) learn() {
	saw := func(tli wal.TimelineID, at time.Time) {
		if at.After(l.newest[tli]) {
			l.newest[tli] = at
		}
		if at.After(l.last) {
			l.last = at
		}
		l.timelines = append(l.timelines, tli)
	}
	for _, e := range l.WAL {
		if n := len(l.timelines); n == 0 || l.timelines[n-1] != e.Timeline || e.Modified.After(l.newest[e.Timeline]) {
			saw(e.Timeline, e.Modified)
		}
		if l.covered[e.Timeline] == nil {
			l.covered[e.Timeline] = &repository.Coverage{Timeline: e.Timeline}
		}
		l.covered[e.Timeline].Add(e.Range)
	}
	for _, o := range slices.Concat(l.Beats, l.Others) { // one that begins has a history before it has WAL
		if o.Class != repository.ClassPin && o.Modified.After(l.last) {
			l.last = o.Modified
		}
	}
	for i := range l.Backups {
		b := &l.Backups[i]
		saw(b.Timeline, b.Made)
		if h, err := wal.ParseHistory(b.Timeline, b.History); err == nil {
			l.branches[b.Timeline] = h
		}
	}
	for tli, h := range l.Histories {
		saw(tli, time.Time{})
		l.branches[tli] = h
	}
	l.branches[1] = wal.History{Timeline: 1}
	slices.Sort(l.timelines)
	l.timelines = slices.Compact(l.timelines)
}

// end finds when the server left each timeline for another: not for one that it came from, whose WAL may only have come late.
func (l *lineage) end() {
	for _, e := range l.WAL {
		for tli, newest := range l.newest {
			if at, known := l.ended[tli]; e.Modified.After(newest) && (!known || e.Modified.Before(at)) && tli != e.Timeline && !l.descends(tli, e.Timeline) {
				l.ended[tli] = e.Modified
			}
		}
	}
}

// descends reports whether a timeline came from another.
func (l *lineage) descends(tli, from wal.TimelineID) bool {
	h, known := l.branches[tli]
	return known && h.Contains(from)
}

// live reports whether the server was on the end of a timeline at that time or later.
func (l *lineage) live(tli wal.TimelineID, since time.Time) bool {
	ended, known := l.ended[tli]
	return !known || !ended.Before(since)
}

// unknown returns the timelines that have WAL or backups and whose ancestry is not known.
func (l *lineage) unknown() []wal.TimelineID {
	var all []wal.TimelineID
	for _, tli := range l.timelines {
		if _, known := l.branches[tli]; !known || l.contradicted(tli) {
			all = append(all, tli)
		}
	}
	return all
}

// contradicted reports whether anything tells of other switch points than what is taken for the history of a timeline: nothing in a history file proves its
// bytes. The record of a backup has the file too, and each file begins with that of the timeline before (writeTimeLineHistory in
// src/backend/access/transam/timeline.c).
func (l *lineage) contradicted(tli wal.TimelineID) bool {
	own := l.branches[tli].Parents
	differs := func(parents []wal.Switch) bool {
		return !slices.EqualFunc(own, parents, func(a, b wal.Switch) bool { return a.Timeline == b.Timeline && a.At == b.At })
	}
	for i := range l.Backups {
		b := &l.Backups[i]
		if h, err := wal.ParseHistory(tli, b.History); b.Timeline == tli && len(b.History) > 0 && err == nil && differs(h.Parents) {
			return true
		}
	}
	for _, h := range l.branches {
		if i := slices.IndexFunc(h.Parents, func(p wal.Switch) bool { return p.Timeline == tli }); i >= 0 && differs(h.Parents[:i]) {
			return true
		}
	}
	return false
}

// onPath reports whether a server on h went through the backup: it can be restored to what comes later on h.
func onPath(h wal.History, b *Backup) bool {
	own, ok := h.RangeOf(b.Timeline)
	return ok && own.Contains(b.StartLSN) && b.StopLSN <= own.End
}

// before reports whether a was taken before b in one history.
func (l *lineage) before(a, b *Backup) bool {
	h, known := l.branches[b.Timeline]
	return known && a.StartLSN < b.StartLSN && onPath(h, a)
}

// settle finds of each backup a time at which it had been taken for certain. It is the latest that its record and the store say, which whoever dates a backup
// back cannot make earlier. Clocks may have jumped, so it is not earlier than that of any backup before it in its history; and one that lies in
// the future was wrong: what came after it tells then.
func (l *lineage) settle(now time.Time) {
	never := time.Unix(1<<40, 0) // of a backup of which no clock can be believed
	said := map[string]time.Time{}
	for _, b := range l.backups {
		at := b.Made
		for _, t := range []time.Time{b.Started, b.Stopped} {
			if t.After(at) {
				at = t
			}
		}
		said[b.ID] = at
	}
	believed := map[string]time.Time{}
	for _, b := range l.backups {
		at := said[b.ID]
		if at.After(now) {
			at = never
			for _, later := range l.backups {
				if t := said[later.ID]; !t.After(now) && t.Before(at) && l.before(b, later) {
					at = t
				}
			}
		}
		believed[b.ID] = at
	}
	for _, b := range l.backups {
		at := believed[b.ID]
		for _, earlier := range l.backups {
			if t := believed[earlier.ID]; t != never && t.After(at) && l.before(earlier, b) {
				at = t
			}
		}
		l.settled[b.ID] = at
	}
}

// anchor returns the newest backup of a history from which every instant since the window's start can be restored; nil if there is none.
func (l *lineage) anchor(h wal.History, since time.Time) *Backup {
	var best *Backup
	for _, b := range l.backups {
		if l.sound[b.ID] && !l.settled[b.ID].After(since) && onPath(h, b) && (best == nil || best.StartLSN < b.StartLSN) {
			best = b
		}
	}
	return best
}

// spare returns where the window begins too, because the anchor may be worse than it looks: the newest backup before it that was proved or verified since then; where there is
// none, the one before it. It is nil for an anchor that was proved or verified itself, and where no WAL leads from an earlier backup to it.
func (l *lineage) spare(h wal.History, anchor *Backup, since, proofs time.Time) *Backup {
	proved := func(b *Backup) bool { return b.Proved.After(proofs) || b.Verified.After(proofs) }
	if proved(anchor) {
		return nil
	}
	spans := map[wal.TimelineID][]wal.Range{}
	for tli, covered := range l.covered {
		spans[tli] = covered.Spans
	}
	along := repository.AlongHistory(h, l.SegmentSize, spans)
	var before, best *Backup
	for _, b := range l.backups {
		leads := along.Covers(wal.Range{Start: b.StartLSN, End: anchor.StartLSN})
		if !l.sound[b.ID] || l.settled[b.ID].After(since) || !onPath(h, b) || b.StartLSN >= anchor.StartLSN || !leads {
			continue
		}
		if before == nil || before.StartLSN < b.StartLSN {
			before = b
		}
		if proved(b) && (best == nil || best.StartLSN < b.StartLSN) {
			best = b
		}
	}
	if best == nil {
		return before
	}
	return best
}

// proved returns the backups that drills proved last: of this repository, or where none did that of whichever, since copies of one backup are alike; the last one, and the
// last one that is sound.
func (l *lineage) proved() []*Backup {
	for _, at := range []func(*Backup) time.Time{func(b *Backup) time.Time { return b.Proved }, func(b *Backup) time.Time { return b.Restored }} {
		var last, sound *Backup
		for _, b := range l.backups {
			if at(b).IsZero() {
				continue
			}
			if last == nil || at(b).After(at(last)) {
				last = b
			}
			if l.sound[b.ID] && (sound == nil || at(b).After(at(sound))) {
				sound = b
			}
		}
		if last != nil {
			return slices.DeleteFunc([]*Backup{last, sound}, func(b *Backup) bool { return b == nil })
		}
	}
	return nil
}

// present is the timeline that the server is on, as far as the repository tells: that of which something was stored last.
func (l *lineage) present() wal.TimelineID {
	present := wal.TimelineID(1)
	for _, tli := range l.timelines {
		if !l.newest[tli].Before(l.newest[present]) {
			present = tli
		}
	}
	return present
}
