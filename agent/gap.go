package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// stock is what the schedule of base backups reads of a cluster's repository.
type stock struct {
	newest time.Time // when the newest good backup began; zero if there is none
	lost   bool      // WAL was lost, and no good backup begins behind it yet
}

// takeStock reads the backups and the gap records. tli is the timeline that is archived now, 0 if none is yet.
func takeStock(ctx context.Context, c *repository.Cluster, tli wal.TimelineID) (stock, error) {
	// A record that cannot be read is status's to tell of; it must not keep the next base backup from being taken.
	backups, err := c.Backups(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return stock{}, fmt.Errorf("list backups: %w", err)
	}
	gaps, err := c.Gaps(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return stock{}, fmt.Errorf("list gaps: %w", err)
	}
	h := wal.History{Timeline: tli}
	if len(gaps) > 0 && tli > 1 {
		if h, _, err = c.History(ctx, tli); err != nil {
			return stock{}, err
		}
	}
	_, lost := repository.OpenGap(gaps, backups, h)
	return stock{newest: newestGood(backups), lost: lost}, nil
}

// newestGood returns when the newest backup without wrong pages began, or the zero time.
func newestGood(backups []repository.Backup) time.Time {
	var newest time.Time
	for _, b := range backups {
		if b.Good() && b.Started.After(newest) {
			newest = b.Started
		}
	}
	return newest
}
