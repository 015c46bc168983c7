package repository

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// archivedJobs is how many objects are asked after at a time.
const archivedJobs = 16

// Archived returns the objects of a base backup, and those of the WAL in legs, that lie in an archive: those that are thawed, and those that
// must be before they can be read. Of several sources it is those that lie in an archive in all of them. Beside the listings it costs one
// request for each such object.
func (c *Cluster) Archived(ctx context.Context, b Backup, legs map[wal.TimelineID]wal.Range) ([]storage.Info, error) {
	var candidates []storage.Info
	prefix := backupPrefix(c.id, b.ID)
	for info, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("look for archived objects of backup %s: %w", b.ID, err)
		}
		if info.Archive.Class != "" && classInBackup(strings.TrimPrefix(string(info.Key), string(prefix))) != "" {
			candidates = append(candidates, info)
		}
	}
	for tli, leg := range legs {
		for e, err := range c.ListWAL(ctx, tli, leg.Start) {
			if err != nil {
				return nil, fmt.Errorf("look for archived WAL of backup %s: %w", b.ID, err)
			}
			if e.Range.Start >= leg.End {
				break
			}
			if e.Archive.Class != "" && e.Range.End > leg.Start {
				candidates = append(candidates, storage.Info{Key: e.Key, Size: e.Stored, Modified: e.Modified, Archive: e.Archive})
			}
		}
	}
	return c.asked(ctx, candidates)
}

// asked asks after each object, and leaves out those that need not be thawed.
func (c *Cluster) asked(ctx context.Context, candidates []storage.Info) ([]storage.Info, error) {
	var mu sync.Mutex
	var found []storage.Info
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(archivedJobs)
	for _, candidate := range candidates {
		group.Go(func() error {
			info, err := c.store.Stat(asking, candidate.Key)
			if err != nil {
				return fmt.Errorf("ask whether %s is thawed: %w", candidate.Key, err)
			}
			if info.Archive.Class == "" {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, info)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b storage.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return found, nil
}
