package retention

import (
	"math"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// need is what must stay of a cluster.
type need struct {
	wal     map[wal.TimelineID]*repository.Coverage
	reasons map[string][]Reason
}

func newNeed() *need {
	return &need{wal: map[wal.TimelineID]*repository.Coverage{}, reasons: map[string][]Reason{}}
}

// consistent adds the WAL that makes the backups consistent that stay.
func (n *need) consistent(l *lineage) {
	for _, b := range l.backups {
		if len(n.reasons[b.ID]) > 0 {
			n.keepWAL(b.Timeline, wal.Range{Start: l.SegmentSize.Floor(b.StartLSN), End: segmentEnd(l.SegmentSize, b.StopLSN)})
		}
	}
}

func (n *need) keepWAL(tli wal.TimelineID, r wal.Range) {
	if n.wal[tli] == nil {
		n.wal[tli] = &repository.Coverage{Timeline: tli}
	}
	n.wal[tli].Add(r)
}

func (n *need) keep(b *Backup, why Reason) {
	if !slices.Contains(n.reasons[b.ID], why) {
		n.reasons[b.ID] = append(n.reasons[b.ID], why)
	}
}

// keepElse keeps a backup for a reason that counts where there is no other, or the grace alone.
func (n *need) keepElse(b *Backup, why Reason) {
	if len(n.reasons[b.ID]) == 0 || slices.Equal(n.reasons[b.ID], []Reason{KeptGrace}) {
		n.reasons[b.ID] = []Reason{why}
	}
}

// needs returns what must stay, and the start of the earliest window that counts: that of now, that of a grace ago, and those of readers.
func (k *keeper) needs(l *lineage) (*need, time.Time) {
	kept := newNeed()
	k.needsAt(l, k.now, kept, kept.keep)
	oldest := k.stored.start(k.now, k.policy.Window)
	also := func(at time.Time, why Reason) {
		k.needsAt(l, at, kept, func(b *Backup, _ Reason) { kept.keepElse(b, why) })
		if start := k.stored.start(at, k.policy.Window); start.Before(oldest) {
			oldest = start
		}
	}
	if k.policy.Grace > 0 {
		also(k.now.Add(-k.policy.Grace), KeptGrace)
	}
	for i := range l.Holds {
		h := &l.Holds[i]
		since := h.Since()
		switch {
		case h.Ends().Before(k.now):
		case h.Unread:
			k.allOf(l, kept)
		case h.Reads != (repository.Reads{}):
			k.read(l, h.Reads, kept)
		case since.Before(k.now):
			also(since, KeptReader)
		}
	}
	kept.consistent(l)
	return kept, oldest
}

// read adds what somebody reads, whatever the policy says of it.
func (k *keeper) read(l *lineage, r repository.Reads, n *need) {
	for _, b := range l.backups {
		if b.ID == r.Backup {
			n.keepElse(b, KeptReader)
		}
	}
	if l.SegmentSize == 0 {
		return
	}
	span := wal.Range{Start: l.SegmentSize.Floor(r.WAL.Start), End: segmentEnd(l.SegmentSize, r.WAL.End)}
	h, known := l.branches[r.Timeline]
	for _, tli := range l.timelines {
		own, on := h.RangeOf(tli)
		if !known { // nothing of it is here, but perhaps of those that it came from
			own, on = wal.Range{End: math.MaxUint64}, true
		}
		if part := (wal.Range{Start: max(span.Start, l.SegmentSize.Floor(own.Start)), End: min(span.End, wholeEnd(l.SegmentSize, own.End))}); on && !part.Empty() {
			n.keepWAL(tli, part)
		}
	}
}

// allOf adds all that there is: nothing tells what is read of it.
func (k *keeper) allOf(l *lineage, n *need) {
	for _, b := range l.backups {
		n.keepElse(b, KeptReader)
	}
	for _, tli := range l.timelines {
		n.keepWAL(tli, wal.Range{End: math.MaxUint64})
	}
}

// wholeEnd is segmentEnd of where a timeline ends, which one that goes on has not.
func wholeEnd(size wal.SegmentSize, end wal.LSN) wal.LSN {
	if end == math.MaxUint64 {
		return end
	}
	return segmentEnd(size, end)
}

// segmentEnd returns the end of the segment that holds the byte before lsn: recovery reads segments as wholes.
func segmentEnd(size wal.SegmentSize, lsn wal.LSN) wal.LSN {
	if lsn == 0 {
		return 0
	}
	return size.Range(size.Number(lsn - 1)).End
}

// needsAt adds what was needed at an instant.
func (k *keeper) needsAt(l *lineage, at time.Time, n *need, keep func(*Backup, Reason)) {
	since := k.stored.start(at, k.policy.Window)
	retired := k.retired(l, since)
	if !retired {
		for _, tli := range l.timelines {
			if l.live(tli, since) {
				k.branch(l, l.branches[tli], since, n, keep)
			}
		}
	}
	var sound, right []*Backup // right: what it lacks, if anything, a copy may have
	for _, b := range l.backups {
		if l.settled[b.ID].After(since) {
			keep(b, KeptWindow)
		}
		if pin := l.Pins[b.ID]; pin.Holds(at) || at.Before(b.KeptUntil) || at.Before(k.now) && pin.Number > 1 && pin.Time.After(at) {
			keep(b, KeptPin) // of one that was unpinned since, too
		}
		if l.sound[b.ID] && !b.Made.After(at) {
			sound = append(sound, b)
		}
		if b.Good() && !b.Made.After(at) {
			right = append(right, b)
		}
	}
	k.policy.calendar(sound, at, keep)
	k.policy.calendar(right, at, keep)
	if retired {
		return
	}
	for _, b := range sound[max(0, len(sound)-max(1, k.policy.MinBackups)):] {
		if len(n.reasons[b.ID]) == 0 {
			keep(b, KeptLeast)
		}
	}
	for _, b := range l.proved() {
		keep(b, KeptProof)
	}
}

// branch adds what it takes to restore every instant since then on a history: the WAL from the anchor on, or all there is if there is no anchor.
func (k *keeper) branch(l *lineage, h wal.History, since time.Time, n *need, keep func(*Backup, Reason)) {
	if l.SegmentSize == 0 {
		return // there is nothing but histories
	}
	from := wal.LSN(0)
	if anchor := l.anchor(h, since); anchor != nil {
		keep(anchor, KeptWindow)
		from = l.SegmentSize.Floor(anchor.StartLSN)
		if spare := l.spare(h, anchor, since, k.proofs()); spare != nil {
			keep(spare, KeptSpare)
			from = l.SegmentSize.Floor(spare.StartLSN)
		}
	} else {
		for _, b := range l.backups {
			if onPath(h, b) {
				keep(b, KeptWindow)
			}
		}
	}
	for _, tli := range append(parents(h), h.Timeline) {
		own, _ := h.RangeOf(tli)
		if own.Empty() {
			continue
		}
		// The first segment of a timeline begins with a copy of its parent's bytes, and is read as a whole.
		own.Start = max(l.SegmentSize.Floor(own.Start), from)
		own.End = wholeEnd(l.SegmentSize, own.End)
		if !own.Empty() {
			n.keepWAL(tli, own)
		}
	}
}

// proofs returns since when a backup must have been proved or verified: records of that are kept for as long.
func (k *keeper) proofs() time.Time {
	at := k.stored.start(k.now, k.policy.Window)
	for _, least := range []time.Duration{readingsKept, k.policy.Reread} {
		if t := k.now.Add(-least); t.Before(at) {
			at = t
		}
	}
	return at
}

func parents(h wal.History) []wal.TimelineID {
	all := make([]wal.TimelineID, 0, len(h.Parents)+1)
	for _, p := range h.Parents {
		all = append(all, p.Timeline)
	}
	return all
}

// retired reports whether another cluster took over: nothing was stored of this one since then, and the other's every instant since can be restored.
// So it is after pg_upgrade, which makes a new system identifier.
func (k *keeper) retired(l *lineage, since time.Time) bool {
	if !l.last.Before(since) {
		return false
	}
	return slices.ContainsFunc(k.clusters, func(other *lineage) bool {
		h, known := other.branches[other.present()]
		return other != l && other.last.After(l.last) && known && other.anchor(h, since) != nil
	})
}
