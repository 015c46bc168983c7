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

// inherit records in to, as let go, what from let go and to does not hold: it cannot come from there any more, and is no damage.
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
	lacks := Expiry{Time: theirs.Time}
	held := map[wal.TimelineID]*Coverage{}
	for _, s := range theirs.WAL {
		if held[s.Timeline] == nil {
			v, err := to.Coverage(ctx, s.Timeline, 0)
			if err != nil {
				return err
			}
			held[s.Timeline] = &v
		}
		for _, gap := range held[s.Timeline].Gaps(s.Range) {
			lacks.WAL = append(lacks.WAL, Stretch{s.Timeline, gap})
		}
	}
	there, err := to.backupIDs(ctx)
	if err != nil {
		return err
	}
	for _, backup := range theirs.Backups {
		if !slices.Contains(there, backup) {
			lacks.Backups = append(lacks.Backups, backup)
		}
	}
	reported, err := to.drillIDs(ctx)
	if err != nil {
		return err
	}
	for _, drill := range theirs.Drills {
		if !slices.Contains(reported, drill) {
			lacks.Drills = append(lacks.Drills, drill)
		}
	}
	if own.Contains(lacks) {
		return nil
	}
	return to.PutExpiry(ctx, own, lacks)
}

func unlessUnreadable(err error) error {
	if OnlyUnreadable(err) {
		return nil
	}
	return err
}
