package repository

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// letGo returns what one of the two repositories let go. A record that cannot be read lets nothing go: what is copied for that is let go again.
func (c copier) letGo(ctx context.Context, id wal.SystemID) (Expiry, error) {
	var all Expiry
	for _, store := range []storage.Store{c.from, c.to} {
		one, err := (&Cluster{store: store, id: id}).Expiry(ctx)
		if err != nil && !OnlyUnreadable(err) {
			return Expiry{}, err
		}
		all.Add(one)
	}
	return all, nil
}

// unexpired returns the objects that no repository let go, without pieces whose segments are complete in to: they were deleted there.
func (c copier) unexpired(ctx context.Context, id wal.SystemID, expired *Expiry, all []storage.Info) ([]storage.Info, error) {
	if len(all) == 0 {
		return nil, nil
	}
	cluster := &Cluster{store: c.from, id: id}
	size, err := cluster.SegmentSize(ctx)
	if err != nil && !errors.Is(err, ErrNoWAL) && !isCorrupt(err) {
		return nil, err
	}
	complete := map[storage.Key]bool{} // by the key up to ".part"
	for _, info := range all {
		segment, _, isPiece := strings.Cut(string(info.Key), partSuffix+"/")
		if _, known := complete[storage.Key(segment)]; known || !isPiece {
			continue
		}
		_, found, err := first(ctx, c.to, storage.Key(segment+"."), storage.Key(segment+partSuffix+"0"))
		if err != nil {
			return nil, err
		}
		complete[storage.Key(segment)] = found
	}
	return slices.DeleteFunc(all, func(info storage.Info) bool {
		segment, _, isPiece := strings.Cut(string(info.Key), partSuffix+"/")
		return isPiece && complete[storage.Key(segment)] || cluster.expiredObject(expired, size, info.Key)
	}), nil
}

// pins copies the pin records, in the order of their numbers. Corrupt ones are left out, with those behind them of the same backup, and told at the end.
func (c copier) pins(ctx context.Context, id wal.SystemID, expired *Expiry) error {
	pins, err := c.missing(ctx, pinPrefix(id))
	if err != nil {
		return err
	}
	var corrupt error
	broken := map[string]bool{} // backups
	for _, pin := range pins {
		backup, _, _ := parsePinName(strings.TrimPrefix(string(pin.Key), string(pinPrefix(id))))
		if broken[backup] || (&Cluster{id: id}).expiredObject(expired, 0, pin.Key) {
			continue
		}
		if err := c.object(ctx, pin, storage.ReadSettled, verifyPin); err != nil && !isCorrupt(err) {
			return err
		} else if err != nil {
			corrupt, broken[backup] = errors.Join(corrupt, err), true
		}
	}
	return corrupt
}

// inherit records in to, as let go, what from let go and neither holds: it cannot come from there any more, and is no damage. What from holds after all it
// may yet take back.
func (c copier) inherit(ctx context.Context, id wal.SystemID) error {
	from, to := &Cluster{store: c.from, id: id}, &Cluster{store: c.to, id: id}
	theirs, err := from.Expiry(ctx)
	if err != nil {
		return unlessUnreadable(err)
	}
	own, err := to.Expiry(ctx)
	if err != nil || own.Contains(theirs) {
		return unlessUnreadable(err)
	}
	theirs, err = from.gone(ctx, theirs)
	if err != nil {
		return err
	}
	lacks, err := to.gone(ctx, theirs)
	if err != nil {
		return err
	}
	if own.Contains(lacks) {
		return nil
	}
	return to.PutExpiry(ctx, own, lacks)
}

// gone returns what e names and the repository does not hold.
func (c *Cluster) gone(ctx context.Context, e Expiry) (Expiry, error) {
	lacks := Expiry{Time: e.Time}
	held := map[wal.TimelineID]*Coverage{}
	for _, s := range e.WAL {
		if held[s.Timeline] == nil {
			v, err := c.Coverage(ctx, s.Timeline, 0)
			if err != nil {
				return Expiry{}, err
			}
			held[s.Timeline] = &v
		}
		for _, gap := range held[s.Timeline].Gaps(s.Range) {
			lacks.WAL = append(lacks.WAL, Stretch{s.Timeline, gap})
		}
	}
	there, err := c.backupIDs(ctx)
	if err != nil {
		return Expiry{}, err
	}
	reported, err := c.drillIDs(ctx)
	if err != nil {
		return Expiry{}, err
	}
	lacks.Backups = slices.DeleteFunc(slices.Clone(e.Backups), func(id string) bool { return slices.Contains(there, id) })
	lacks.Drills = slices.DeleteFunc(slices.Clone(e.Drills), func(id string) bool { return slices.Contains(reported, id) })
	return lacks, nil
}

func unlessUnreadable(err error) error {
	if OnlyUnreadable(err) {
		return nil
	}
	return err
}
