package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

var (
	errNoSource  = errors.New("no other repository holds it right")
	errUndecided = errors.New("which of the contents is right is not known; --trust NAME says which repository to believe")
	errData      = errors.New("what the record names is not all there")
)

// heal puts right what is wrong, in an order in which every repository can be restored from at every moment as well as before.
func (v *verification) heal(ctx context.Context) error {
	for i := range v.damage {
		d := &v.damage[i]
		p := v.placeOf(d.Repository)
		if p.failed() != nil {
			continue
		}
		from, err := v.healOne(ctx, p, d)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			d.Error = err.Error()
			v.Logger.WarnContext(ctx, "object could not be healed", "repo", p.Name, "key", string(d.Key), "err", err)
		default:
			d.Healed, d.HealedFrom = true, from
			v.Logger.InfoContext(ctx, "object was healed", "repo", p.Name, "key", string(d.Key), "from", from)
		}
	}
	return nil
}

func (v *verification) placeOf(name string) *place { return v.places[slices.Index(v.names, name)] }

// healOne heals one object. It returns the name of the place it came from.
func (v *verification) healOne(ctx context.Context, p *place, d *Damage) (from string, err error) {
	switch {
	case d.Kind == Different:
		return "", errUndecided
	case d.Class == repository.ClassRecord && v.lacksData(p, d.Backup):
		return "", errData
	}
	err = errNoSource
	for _, q := range v.sources(p, d) {
		switch mended := v.mendFrom(ctx, q, p, d); {
		case mended == nil:
			return q.Name, nil
		case ctx.Err() != nil, !notThere(mended):
			return "", mended
		case errors.Is(err, errNoSource) && !isGone(mended):
			err = fmt.Errorf("%w: %w", errNoSource, mended)
		}
	}
	return "", err
}

// notThere reports whether err says of the place that an object was to come from that it does not hold it right.
func notThere(err error) bool {
	var corrupt *repository.CorruptError
	return isGone(err) || errors.As(err, &corrupt) || errors.Is(err, errNoSource)
}

// sources returns the places that an object may come from: those that are known to hold it first, and of what has no hash those alone.
func (v *verification) sources(p *place, d *Damage) []*place {
	var known, others []*place
	for _, q := range v.alive() {
		switch {
		case q == p:
		case slices.Contains(d.Elsewhere, q.Name):
			known = append(known, q)
		default:
			others = append(others, q)
		}
	}
	if d.Class == repository.ClassHistory || d.Class == repository.ClassMarker {
		return known
	}
	return append(known, others...)
}

// lacksData reports whether data of a backup are not right in a place: its record may not be put before them.
func (v *verification) lacksData(p *place, id string) bool {
	return slices.ContainsFunc(v.damage, func(d Damage) bool {
		return d.Backup == id && d.Repository == p.Name && d.Class != repository.ClassRecord && !d.Healed
	})
}

// mendFrom puts an object of q in the place of that in p, and reads it there.
func (v *verification) mendFrom(ctx context.Context, q, p *place, d *Damage) error {
	o := d.object
	o.Size = 0
	switch d.Class {
	case repository.ClassSegment, repository.ClassPiece:
		return v.mendWAL(ctx, q, p, d)
	case repository.ClassPack:
		if d.pack == nil {
			return errNoSource
		}
		if err := repository.MendPack(ctx, q.cluster, p.cluster, d.backup, d.pack); err != nil {
			return err
		}
		return p.cluster.CheckPack(ctx, d.backup, d.pack)
	case repository.ClassIndex, repository.ClassManifest:
		if err := repository.Mend(ctx, q.cluster, p.cluster, o, d.backup); err != nil {
			return err
		}
		return p.cluster.CheckPart(ctx, d.backup, o)
	case repository.ClassMarker, repository.ClassHistory, repository.ClassBeat, repository.ClassSync, repository.ClassGap,
		repository.ClassRecord, repository.ClassDrill, repository.ClassNames, repository.ClassPin, repository.ClassFence,
		repository.ClassReading, repository.ClassExpiry, repository.ClassHold, repository.ClassCensus: // the last four are of one repository alone, and never judged
	}
	if err := repository.Mend(ctx, q.cluster, p.cluster, o, repository.Backup{}); err != nil {
		return err
	}
	body, err := p.cluster.CheckRecord(ctx, o)
	if err == nil {
		v.mended(p, o, body)
	}
	return err
}

// mended notes a small object that is right now.
func (v *verification) mended(p *place, o repository.Object, body []byte) {
	if o.Class == repository.ClassMarker {
		p.marker = sumOf(body)
	}
	if o.Class == repository.ClassHistory {
		p.histories[o.Timeline], p.sums[o.Timeline] = v.histories[o.Timeline], sumOf(body)
	}
}

// mendWAL puts the same object right, or, where q holds the WAL in others or p holds none, those that hold it.
func (v *verification) mendWAL(ctx context.Context, q, p *place, d *Damage) error {
	err := errNoSource
	if !d.hole {
		e := entryOf(d.object)
		if err = repository.Mend(ctx, q.cluster, p.cluster, d.object, repository.Backup{}); err == nil {
			return v.checkMended(ctx, p, e)
		}
		if !notThere(err) {
			return err
		}
	}
	r := d.object.Range
	if d.Timeline == 0 || r.Empty() || p.sound[d.Timeline] == nil {
		return err
	}
	for e, listing := range q.cluster.ListWAL(ctx, d.Timeline, r.Start) {
		if listing != nil {
			return listing
		}
		if e.Range.Start >= r.End {
			break
		}
		if e.Range.End <= r.Start || p.sound[d.Timeline].Covers(e.Range) {
			continue
		}
		if err := repository.Mend(ctx, q.cluster, p.cluster, e.Object(), repository.Backup{}); err != nil && !notThere(err) {
			return err
		} else if err == nil {
			if err := v.checkMended(ctx, p, e); err != nil {
				return err
			}
		}
	}
	if !p.sound[d.Timeline].Covers(r) {
		return errNoSource
	}
	return nil
}

// entryOf returns a WAL object as an entry whose size is not known.
func entryOf(o repository.Object) repository.Entry {
	e := repository.Entry{Key: o.Key, Kind: repository.KindSegment, Timeline: o.Timeline, Range: o.Range}
	if o.Class == repository.ClassPiece {
		e.Kind = repository.KindPiece
	}
	return e
}

// checkMended reads WAL that was put right.
func (v *verification) checkMended(ctx context.Context, p *place, e repository.Entry) error {
	e.Stored = 0
	var key *repository.KeyError
	if _, err := p.cluster.CheckWAL(ctx, e); err != nil && (!errors.As(err, &key) || !key.NoKey()) { // the copy's was not opened either
		return fmt.Errorf("read what was put: %w", err)
	}
	p.holds(e)
	return nil
}

// isGone reports whether err says that an object is not there.
func isGone(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, repository.ErrNoBackup)
}
