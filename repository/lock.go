package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Extend sees to it that an object of the repository stays under lock for least from now, by making its lock end l.For from now if need be. It returns whether it
// did that, and the errors of storage.Locker.
func (r *Repository) Extend(ctx context.Context, key storage.Key, l storage.Lock, least time.Duration) (bool, error) {
	extended, err := storage.Extend(ctx, r.store, key, l, least)
	if err != nil {
		return extended, fmt.Errorf("make a lock longer: %w", err)
	}
	return extended, nil
}

// Needs lists all that a base backup is restored from, up to where it is consistent: its own objects, the WAL from the segment of its start on, pieces among it, the history
// files of its timeline's ancestry, and its pins.
func (c *Cluster) Needs(ctx context.Context, b Backup) ([]Object, error) {
	size, err := c.SegmentSize(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
	}
	var needs []Object
	for _, prefix := range []storage.Key{backupPrefix(c.id, b.ID), clusterPrefix(c.id) + pinsFolder + storage.Key(b.ID)} {
		for info, err := range c.store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
			}
			if o, ours := c.objectOf(size, info); ours && o.Backup == b.ID {
				needs = append(needs, o)
			}
		}
	}
	for e, err := range c.ListWAL(ctx, b.Timeline, size.Floor(b.StartLSN)) {
		if err != nil {
			return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
		}
		if e.Range.Start >= b.StopLSN {
			break
		}
		needs = append(needs, e.Object())
	}
	histories, err := c.Histories(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
	}
	line := []wal.TimelineID{b.Timeline}
	for _, parent := range histories[b.Timeline].Parents {
		line = append(line, parent.Timeline)
	}
	for _, tli := range line {
		if tli == 1 {
			continue // the first has none
		}
		info, err := c.store.Stat(ctx, historyKey(c.id, tli))
		if err != nil {
			return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
		}
		needs = append(needs, Object{Key: info.Key, Class: ClassHistory, Size: info.Size, Modified: info.Modified, Timeline: tli})
	}
	return needs, nil
}
