package verify

import (
	"context"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// recallExpiry reads what each place let go by its retention. That is not missing there, although another place may hold it still.
func (v *verification) recallExpiry(ctx context.Context) error {
	for _, p := range v.alive() {
		expiry, err := p.cluster.Expiry(ctx)
		switch {
		case err == nil:
		case repository.OnlyUnreadable(err):
			v.note("%s: %v; what it let go looks as if it were missing", p.Name, err)
		default:
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		p.expiry = expiry
	}
	return nil
}

// explained returns what nobody looks for in a place: what gap records name, what it let go itself, and what another let go before the first WAL that this one has of a timeline, which
// it may never have had.
func (v *verification) explained(p *place) []repository.Gap {
	gaps := slices.Concat(v.gaps, p.expiry.Gaps())
	for _, other := range v.alive() {
		for _, gap := range other.expiry.Gaps() {
			if own := p.there[gap.Timeline]; own != nil && len(own.Spans) > 0 {
				gap.Range.End = min(gap.Range.End, own.Spans[0].Start)
			}
			if gap.Range.Start < gap.Range.End {
				gaps = append(gaps, gap)
			}
		}
	}
	return gaps
}

// letGo reports whether an object is missing in a place because that let it go.
func (p *place) letGo(o repository.Object) bool {
	switch {
	case o.Backup != "":
		return p.expiry.HasBackup(o.Backup)
	case o.Drill != "":
		return p.expiry.HasDrill(o.Drill)
	case o.Class == repository.ClassSegment || o.Class == repository.ClassPiece:
		return p.expiry.Covers(o.Timeline, o.Range)
	}
	return false
}

// forgive drops what is missing because a place let it go, also while the verification ran.
func (v *verification) forgive() {
	v.damage = slices.DeleteFunc(v.damage, func(d Damage) bool {
		o := d.object
		o.Backup = d.Backup
		return d.Kind == Missing && v.placeOf(d.Repository).letGo(o)
	})
}

// unexpired returns the parts of WAL that a place did not let go.
func (p *place) unexpired(s stretch) []stretch {
	gone := repository.Coverage{Timeline: s.timeline}
	for _, e := range p.expiry.WAL {
		if e.Timeline == s.timeline {
			gone.Add(e.Range)
		}
	}
	var rest []stretch
	for _, r := range gone.Gaps(s.Range) {
		rest = append(rest, stretch{s.timeline, r})
	}
	return rest
}

// should is the part of an archive that a place should be able to bring back: without what it let go.
func (p *place) should(ideal holdings) holdings {
	h := holdings{size: ideal.size, histories: ideal.histories, covered: map[wal.TimelineID][]wal.Range{}}
	for _, b := range ideal.backups {
		if !p.expiry.HasBackup(b.ID) {
			h.backups = append(h.backups, b)
		}
	}
	for tli, spans := range ideal.covered {
		for _, span := range spans {
			for _, rest := range p.unexpired(stretch{tli, span}) {
				h.covered[tli] = append(h.covered[tli], rest.Range)
			}
		}
	}
	return h
}
