package verify

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

const (
	// recordTime bounds the recording of what was read, also when the run was broken off.
	recordTime = 30 * time.Second
	// tail is how many objects before an LSN are looked at for the last transaction. A second of an idle server makes none.
	tail = 64
)

// record puts what was read into each place.
func (v *verification) record(ctx context.Context) {
	if v.Forget {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	var group errgroup.Group
	for _, p := range v.alive() {
		group.Go(func() error {
			if err := v.recordIn(ctx, p); err != nil {
				p.unrecorded = err.Error()
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in the report
}

func (v *verification) recordIn(ctx context.Context, p *place) error {
	r := repository.Reading{
		Place: p.ID, Began: v.began, Ended: v.Now(), Deep: v.Deep, Objects: p.objects, Bytes: p.bytes, Marker: p.marker, Timelines: v.seen(p), Wrong: p.wrong,
	}
	for _, d := range v.damage {
		if d.Repository == p.Name {
			r.Damaged++
		}
	}
	if p.baseline != nil && p.marker == (repository.Sum{}) {
		r.Marker = p.baseline.Marker
	}
	rest := p.read
	for {
		n := min(len(rest), repository.MostFingerprints)
		r.Read, rest = rest[:n], rest[n:]
		if err := p.cluster.PutReading(ctx, r); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

// seen is what a place holds of each timeline. What an earlier verification saw and is gone stays: it is told until it is back.
func (v *verification) seen(p *place) []repository.Seen {
	all := map[wal.TimelineID]repository.Seen{}
	if p.baseline != nil {
		for _, s := range p.baseline.Timelines {
			all[s.Timeline] = s
		}
	}
	at := func(tli wal.TimelineID) repository.Seen { return cmp.Or(all[tli], repository.Seen{Timeline: tli}) }
	for tli, c := range p.sound {
		if n := len(c.Spans); n > 0 {
			s := at(tli)
			s.End = max(s.End, c.Spans[n-1].End)
			all[tli] = s
		}
	}
	for tli, sum := range p.sums {
		s := at(tli)
		s.History = sum
		all[tli] = s
	}
	list := make([]repository.Seen, 0, len(all))
	for _, s := range all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b repository.Seen) int { return cmp.Compare(a.Timeline, b.Timeline) })
	return list
}

// report says what was found.
func (v *verification) report(ctx context.Context) Report {
	r := Report{
		SystemID: v.SystemID, Began: v.began.UTC().Truncate(time.Second), Deep: v.Deep, Since: v.Since.Seconds(),
		Damage: []Damage{}, Unusable: []Unusable{}, Risks: []Risk{}, Notes: []string{},
	}
	for _, p := range v.places {
		done := Verified{Name: p.Name, Repository: p.URL, Listed: p.listed, Read: p.objects, ReadBytes: p.bytes, Unrecorded: p.unrecorded, Err: p.err}
		if p.err != nil {
			done.Error = p.err.Error()
		}
		r.Repositories = append(r.Repositories, done)
	}
	if v.steadied > 0 {
		v.note("of %d objects one reading was damaged and the next was not: the way from the store to this host is not sound", v.steadied)
	}
	if v.archived > 0 {
		v.note("%d objects lie in an archive class and were not read: thawing them takes hours, and is billed", v.archived)
	}
	if v.locked > 0 {
		v.note("%d encrypted objects of WAL are there, as long as they must be and with the right header; what is in them was not read: "+
			"that takes a private key (repo.encryption.identity_file)", v.locked)
	}
	r.Notes = append(r.Notes, v.notes...)
	for _, d := range v.damage {
		d.Harmless = v.harmless(d)
		r.Damage = append(r.Damage, d)
	}
	v.judgeBackups(&r)
	v.judgeRisks(ctx, &r)
	r.judge()
	r.Ended = v.Now().UTC().Truncate(time.Second)
	return r
}

// harmless reports whether nothing needs what is wrong.
func (v *verification) harmless(d Damage) bool {
	if slices.Contains([]repository.Class{repository.ClassSync, repository.ClassBeat, repository.ClassDrill, repository.ClassNames}, d.Class) {
		return true // facts for people, and proofs of idleness; no restore needs them
	}
	isWAL := d.Class == repository.ClassSegment || d.Class == repository.ClassPiece
	sound := v.placeOf(d.Repository).sound[d.Timeline]
	return isWAL && d.Kind != Different && sound != nil && sound.Covers(d.object.Range)
}

// usable returns why a place alone cannot restore a backup; nothing if it can.
func (v *verification) reasons(p *place, b *copied) []string {
	reasons := slices.Clone(p.usable[b.record.ID])
	if p.expiry.HasBackup(b.record.ID) {
		reasons = append(reasons, "it was let go")
	}
	for _, d := range v.damage {
		if d.Backup == b.record.ID && d.Repository == p.Name && !d.Healed && d.Class != repository.ClassManifest {
			reasons = append(reasons, string(d.Key)+": "+d.Reason)
		}
	}
	held := holdings{covered: p.covered()}
	if !held.consistent(b.record) && !b.late[p.index] {
		reasons = append(reasons, "the WAL that makes it consistent is not all there")
	}
	return reasons
}

func (v *verification) judgeBackups(r *Report) {
	for _, b := range v.backups {
		var sound []string
		bad := map[*place][]string{}
		for _, p := range v.alive() {
			switch reasons := v.reasons(p, b); {
			case p.expiry.HasBackup(b.record.ID): // nobody misses it there
			case len(reasons) > 0:
				bad[p] = reasons
			case !b.late[p.index]:
				sound = append(sound, p.Name)
			}
		}
		for _, p := range v.alive() {
			if bad[p] != nil {
				r.Unusable = append(r.Unusable, Unusable{p.Name, b.record.ID, bad[p], append([]string{}, sound...)})
			}
		}
	}
}

// judgeRisks says which instants a place cannot bring back that the archive should.
func (v *verification) judgeRisks(ctx context.Context, r *Report) {
	ideal := holdings{size: v.size, covered: map[wal.TimelineID][]wal.Range{}, histories: v.histories}
	union := map[wal.TimelineID]*repository.Coverage{}
	add := func(tli wal.TimelineID, spans ...wal.Range) {
		if union[tli] == nil {
			union[tli] = &repository.Coverage{Timeline: tli}
		}
		for _, s := range spans {
			union[tli].Add(s)
		}
	}
	for _, p := range v.alive() {
		for tli, c := range p.there {
			add(tli, c.Spans...)
		}
	}
	for _, h := range v.holes {
		add(h.timeline, h.Range)
	}
	ideal.covered = spansOf(union)
	for _, b := range v.backups {
		ideal.backups = append(ideal.backups, b.record)
	}
	reached := map[*place]map[wal.TimelineID]*repository.Coverage{}
	for _, p := range v.alive() {
		reached[p] = v.holdingsOf(p).reachable()
	}
	for _, p := range v.alive() {
		for _, s := range without(p.should(ideal).reachable(), reached[p]) {
			risk := Risk{Repository: p.Name, Timeline: s.timeline, Start: s.Start, End: s.End, Elsewhere: []string{}}
			for _, q := range v.alive() {
				if c := reached[q][s.timeline]; c != nil && c.Covers(s.Range) {
					risk.Elsewhere = append(risk.Elsewhere, q.Name)
				}
			}
			risk.From, risk.Until = v.instantOf(ctx, s.timeline, s.Start), v.instantOf(ctx, s.timeline, s.End)
			r.Risks = append(r.Risks, risk)
		}
	}
}

// holdingsOf is what a place alone could be restored from, or could be once it has what is on its way.
func (v *verification) holdingsOf(p *place) holdings {
	h := holdings{size: v.size, covered: p.covered(), histories: p.histories}
	for _, b := range v.backups {
		if len(v.reasons(p, b)) == 0 {
			h.backups = append(h.backups, b.record)
		}
	}
	return h
}

// covered is the WAL of a place that is right, or on its way.
func (p *place) covered() map[wal.TimelineID][]wal.Range {
	covered := map[wal.TimelineID]*repository.Coverage{}
	for _, from := range []map[wal.TimelineID]*repository.Coverage{p.sound, p.late} {
		for tli, c := range from {
			if covered[tli] == nil {
				covered[tli] = &repository.Coverage{Timeline: tli}
			}
			for _, s := range c.Spans {
				covered[tli].Add(s)
			}
		}
	}
	return spansOf(covered)
}

// instantOf returns when the server had come to an LSN: the end of the base backup that ends there, or else the time of the last transaction
// before it. Nil if nothing tells.
func (v *verification) instantOf(ctx context.Context, tli wal.TimelineID, at wal.LSN) *time.Time {
	for _, b := range v.backups {
		if b.record.Timeline == tli && b.record.StopLSN == at {
			stopped := b.record.Stopped.UTC()
			return &stopped
		}
	}
	for _, p := range v.alive() {
		if t := v.lastCommit(ctx, p, tli, at); t != nil {
			return t
		}
	}
	if h, ok := v.histories[tli]; ok && len(h.Parents) > 0 { // the timeline began there
		parent := h.Parents[len(h.Parents)-1]
		return v.instantOf(ctx, parent.Timeline, min(at, parent.At))
	}
	return nil
}

func (v *verification) lastCommit(ctx context.Context, p *place, tli wal.TimelineID, at wal.LSN) *time.Time {
	var last []repository.Entry
	from := at - min(at, wal.LSN(tail*uint64(v.size)))
	for e, err := range p.cluster.ListWAL(ctx, tli, from) {
		if err != nil || e.Range.Start >= at {
			break
		}
		if e.Range.End <= at {
			last = append(last, e)
		}
	}
	for _, e := range slices.Backward(last[max(0, len(last)-tail):]) {
		h, err := p.cluster.ReadHeader(ctx, e)
		if err == nil && h.Summary.Ends > 0 {
			t := h.Summary.LastTime.Go().UTC()
			return &t
		}
		if err != nil && ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable) {
			return nil
		}
	}
	return nil
}
