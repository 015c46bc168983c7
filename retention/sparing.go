package retention

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/pgark/pgark/wal"
)

const (
	// few is how many base backups may go whatever they are of all.
	few = 2
	// brief is of how much time WAL may go whatever it is of all: after a night without a run, of a window of a day.
	brief = 2 * 24 * time.Hour
)

// tooMuch reports whether of a cluster most base backups go, or most WAL. The latter counts where the WAL of a long time goes, and that from one base backup to the next of more
// than one: a window that is shorter than it is between backups lets that of one go at a time, which may be most of what is there.
func (p *Plan) tooMuch() bool {
	return slices.ContainsFunc(p.Clusters, func(c ClusterPlan) bool {
		goes := 0
		for _, b := range c.Backups {
			if len(b.Keep) == 0 {
				goes++
			}
		}
		stretches, took, bytes := c.past(p.Now)
		return goes > few && 2*goes > len(c.Backups) || stretches > 1 && took > brief && bytes > c.KeptWAL
	})
}

// past returns of how many base backups the WAL goes with which one could be recovered to an instant before the next, how long it took to come, and how much it is.
func (c *ClusterPlan) past(now time.Time) (stretches int, took time.Duration, bytes int64) {
	type stretch struct {
		wal.Range

		took  time.Duration
		bytes int64
	}
	list := make([]stretch, len(c.Backups))
	for i, b := range c.Backups {
		end, until := wal.LSN(math.MaxUint64), now
		if i+1 < len(c.Backups) {
			next := c.Backups[i+1]
			end, until = b.SegmentSize.Floor(next.StartLSN), next.Started
		}
		list[i] = stretch{Range: wal.Range{Start: segmentEnd(b.SegmentSize, b.StopLSN), End: end}, took: until.Sub(b.Started)}
	}
	slices.SortFunc(list, func(a, b stretch) int { return cmp.Compare(a.Start, b.Start) })
	for _, e := range c.WAL {
		i, _ := slices.BinarySearchFunc(list, e.Range.Start, func(s stretch, at wal.LSN) int { return cmp.Compare(s.Start, at+1) })
		if i > 0 && e.Range.End <= list[i-1].End {
			list[i-1].bytes += e.Stored
		}
	}
	for _, s := range list {
		if s.bytes > 0 {
			stretches, took, bytes = stretches+1, took+s.took, bytes+s.bytes
		}
	}
	return stretches, took, bytes
}
