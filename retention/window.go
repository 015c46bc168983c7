package retention

import (
	"slices"
	"time"
)

// mostSilence is how much a time in which nothing was stored counts for in the window. So an archive that stands still does not lose its
// last days, and neither does one whose clock jumps ahead.
const mostSilence = 24 * time.Hour

// activity are the times at which something was stored, ascending.
type activity []time.Time

// activityOf returns when WAL, backups and beats were stored, of all clusters.
func activityOf(c *Catalog) activity {
	var all activity
	for i := range c.Clusters {
		cluster := &c.Clusters[i]
		for _, e := range cluster.WAL {
			all = append(all, e.Modified)
		}
		for _, b := range cluster.Backups {
			all = append(all, b.Made)
		}
		for _, o := range cluster.Beats {
			all = append(all, o.Modified)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// now returns the present: by the clock, but not later than something was stored. A clock that is ahead lets nothing go before its time, and an
// archive in which nothing is stored any more keeps its last window.
func (a activity) now(clock time.Time) time.Time {
	if n := len(a); n > 0 && a[n-1].Before(clock) {
		return a[n-1]
	}
	return clock
}

// start returns when the window of that length begins that ends at end.
func (a activity) start(end time.Time, window time.Duration) time.Time {
	n, _ := slices.BinarySearchFunc(a, end, func(t, end time.Time) int {
		if t.After(end) {
			return 1
		}
		return -1
	})
	at := end
	for _, t := range slices.Backward(a[:n]) {
		counted := min(at.Sub(t), mostSilence)
		if counted >= window {
			break
		}
		at, window = t, window-counted
	}
	return at.Add(-window)
}
