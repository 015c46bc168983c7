package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// small is one small object in all places.
type small struct {
	object   repository.Object // as the first place lists it
	modified time.Time         // the earliest, of all places
	listed   map[int]bool      // places that list it
	contents []content         // of those where it is whole by all that it says
}

func bytesEqual(a, b []byte) bool { return bytes.Equal(a, b) }

func sumOf(body []byte) repository.Sum { return sha256.Sum256(body) }

// findRecords reads the small objects of all places. Every run reads them, but for the names of drills: they are few, and it decides by them.
func (v *verification) findRecords(ctx context.Context) error {
	all := map[storage.Key]*small{}
	for _, p := range v.alive() {
		for o, err := range p.cluster.Records(ctx) {
			if err == nil {
				err = v.readSmall(ctx, p, o, all)
			} else {
				err = v.fail(ctx, p, err)
			}
			if err != nil {
				return err
			}
		}
		o, beat, found, err := p.cluster.NewestBeatObject(ctx)
		switch {
		case err != nil:
			err = v.fail(ctx, p, err)
		case found:
			if err = v.readSmall(ctx, p, o, all); err == nil {
				v.beats = append(v.beats, beat)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, s := range all {
		v.small = append(v.small, s)
	}
	// The history of a child bears witness of its parent's.
	slices.SortFunc(v.small, func(a, b *small) int {
		return cmp.Or(cmp.Compare(b.object.Timeline, a.object.Timeline), cmp.Compare(a.object.Key, b.object.Key))
	})
	return nil
}

// readSmall reads a small object of one place.
func (v *verification) readSmall(ctx context.Context, p *place, o repository.Object, all map[storage.Key]*small) error {
	var body []byte
	var f found
	rested := lasting(o.Class) && !v.due(p, o)
	if !rested {
		var err error
		f, err = v.examine(ctx, p, o, func(ctx context.Context) (err error) { body, err = p.cluster.CheckRecord(ctx, o); return err })
		if err != nil || f.gone && o.Class != repository.ClassNames {
			return err
		}
		// Names whose report is damaged or gone cannot be judged. They are there all the same.
		rested = f.gone
	}
	p.lists()
	s := all[o.Key]
	if s == nil {
		s = &small{object: o, modified: o.Modified, listed: map[int]bool{}}
		all[o.Key] = s
	}
	if o.Modified.Before(s.modified) {
		s.modified = o.Modified
	}
	s.listed[p.index] = true
	if f.kind != "" {
		v.damaged(p.damageOf(o, f.kind, f.reason))
		return nil
	}
	if !rested {
		s.contents = append(s.contents, content{p.index, body})
	}
	return nil
}

// lists counts an object that is there.
func (p *place) lists() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed++
}

// judgeRecords compares the small objects of all places.
func (v *verification) judgeRecords(context.Context) error {
	newest := v.newestBeat()
	for _, s := range v.small {
		same := bytesEqual
		if s.object.Class == repository.ClassGap {
			same = func(a, b []byte) bool { return bytes.Equal(a, b) || repository.SameContent(v.Keys)(s.object.Key, a, b) }
		}
		right := v.settle(s.object, s.contents, v.witnessesOf(s.object), same)
		v.believe(s, right)
		if s.object.Class == repository.ClassBeat && s.object.Key != newest || !v.ripe(s.modified) {
			continue // a newer one replaced it, or it is on its way
		}
		for _, p := range v.alive() {
			if !s.listed[p.index] {
				d := p.damageOf(s.object, Missing, "is missing")
				d.Elsewhere = v.namesOf(right)
				v.damaged(d)
			}
		}
	}
	return nil
}

// newestBeat returns the key of the newest beat of all places.
func (v *verification) newestBeat() (newest storage.Key) {
	for _, s := range v.small {
		if s.object.Class == repository.ClassBeat && strings.Compare(string(s.object.Key), string(newest)) > 0 {
			newest = s.object.Key
		}
	}
	return newest
}

// witnessesOf returns what bears witness of a history: the records of backups, the histories of its children, earlier verifications.
func (v *verification) witnessesOf(o repository.Object) []witness {
	if o.Class != repository.ClassHistory {
		return nil
	}
	var all []witness
	for _, b := range v.backups {
		if b.record.Timeline == o.Timeline {
			all = append(all, recordedHistory(b.record))
		}
	}
	for _, s := range v.small { // sorted: those of later timelines were judged before
		h, ok := v.histories[s.object.Timeline]
		if ok && s.object.Class == repository.ClassHistory && len(h.Parents) > 0 && h.Parents[len(h.Parents)-1].Timeline == o.Timeline {
			all = append(all, childHistory(h.Timeline, v.believed[h.Timeline]))
		}
	}
	for _, p := range v.places {
		if p.baseline == nil {
			continue
		}
		for _, seen := range p.baseline.Timelines {
			if seen.Timeline == o.Timeline && seen.History != (repository.Sum{}) {
				all = append(all, seenBefore(seen.History))
			}
		}
	}
	return all
}

// believe keeps what a small object says, where it is known which of several is right.
func (v *verification) believe(s *small, right []int) {
	for _, c := range s.contents {
		if len(right) > 0 && !slices.Contains(right, c.place) {
			continue
		}
		tli := s.object.Timeline
		if s.object.Class == repository.ClassGap {
			v.gaps = append(v.gaps, repository.Gap{Timeline: tli, Range: s.object.Range})
		}
		if s.object.Class == repository.ClassHistory {
			h, err := wal.ParseHistory(tli, c.body)
			if err != nil {
				continue // it was parsed before
			}
			p := v.places[c.place]
			p.histories[tli] = h
			if len(right) > 0 {
				p.sums[tli] = sumOf(c.body)
			}
			if _, known := v.histories[tli]; !known && len(right) > 0 {
				v.histories[tli], v.believed[tli] = h, c.body
			}
		}
	}
	if s.object.Class == repository.ClassHistory && !v.ripe(s.modified) {
		for _, p := range v.alive() { // it is on its way to those that lack it
			if h, known := v.histories[s.object.Timeline]; known && !s.listed[p.index] {
				p.histories[s.object.Timeline] = h
			}
		}
	}
}
