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
	backups, err := c.Backups(ctx)
	if err != nil {
		return stock{}, fmt.Errorf("list backups: %w", err)
	}
	gaps, err := c.Gaps(ctx)
	if err != nil {
		return stock{}, fmt.Errorf("list gaps: %w", err)
	}
	h := wal.History{Timeline: tli}
	if len(gaps) > 0 && tli > 1 {
		if h, _, err = c.History(ctx, tli); err != nil {
			return stock{}, err
		}
	}
	_, lost := openGap(gaps, backups, h)
	return stock{newest: newestGood(backups), lost: lost}, nil
}

// newestGood returns when the newest backup without wrong pages began, or the zero time.
func newestGood(backups []repository.Backup) time.Time {
	var newest time.Time
	for _, b := range backups {
		if good(b) && b.Started.After(newest) {
			newest = b.Started
		}
	}
	return newest
}

func good(b repository.Backup) bool { return b.Checksums != repository.ChecksumsFailed }

// openGap returns the newest gap on the way to the timeline of h, unless a good backup on that way begins at its end or
// behind it: what is written now cannot be restored until then. LSNs rise along the way. It is pure.
func openGap(gaps []repository.Gap, backups []repository.Backup, h wal.History) (repository.Gap, bool) {
	var newest repository.Gap
	for _, g := range gaps {
		if own, ok := h.RangeOf(g.Timeline); ok && g.Range.Start < own.End && g.Range.End > newest.Range.End {
			newest = g
		}
	}
	if newest.Range.Empty() {
		return repository.Gap{}, false
	}
	for _, b := range backups {
		if own, ok := h.RangeOf(b.Timeline); ok && own.Contains(b.StartLSN) && good(b) && b.StartLSN >= newest.Range.End {
			return repository.Gap{}, false
		}
	}
	return newest, true
}
