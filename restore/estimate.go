package restore

import (
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
)

// Estimate is how long a restore will take, by what drills measured.
type Estimate struct {
	Fetch, Replay, Open time.Duration
	// Plan is how long the plan has taken already, where that counts as a part of the restore, as it does in a drill; otherwise 0.
	Plan time.Duration
	// Drill is the newest of the drills it comes from, and Drills their number.
	Drill  repository.Drill
	Drills int
}

// Total is the time to a server that accepts connections: from the first byte, or from the beginning of the plan where Plan is known.
func (e *Estimate) Total() time.Duration { return e.Plan + e.Fetch + e.Replay + e.Open }

// EstimateDrills is how many drills an estimate goes by: enough to tell what a
// restore takes whatever its size from what each byte takes, and few enough
// that all are recent.
const EstimateDrills = 8

// MakeEstimate says how long the plan will take on the host, from drills in any
// order: those of this host, if there are any. It returns nil if none measured
// anything. Files that are there already make a restore shorter than it says.
func MakeEstimate(plan *Plan, drills []repository.Drill, host string) *Estimate {
	measured := slices.DeleteFunc(slices.Clone(drills), func(d repository.Drill) bool {
		_, ok := d.Rates()
		return !ok
	})
	slices.SortFunc(measured, func(a, b repository.Drill) int { return b.Started.Compare(a.Started) })
	here := slices.DeleteFunc(slices.Clone(measured), func(d repository.Drill) bool { return d.Host != host })
	if len(here) > 0 {
		measured = here
	}
	if len(measured) == 0 {
		return nil
	}
	measured = measured[:min(len(measured), EstimateDrills)]
	var fetch, replay []sample
	var open []time.Duration
	for _, d := range measured {
		rates, _ := d.Rates()
		fetch = append(fetch, sample{float64(d.Fetch.Bytes), float64(d.Fetch.Seconds)})
		replay = append(replay, sample{float64(d.Replay.Bytes), float64(d.Replay.Seconds)})
		open = append(open, rates.Open)
	}
	slices.Sort(open)
	return &Estimate{
		Fetch: predict(fetch, float64(max(plan.Backup.Plain, 0))), Replay: predict(replay, float64(plan.WAL)), Open: open[len(open)/2],
		Drill: measured[0], Drills: len(measured),
	}
}

// sample is how long some bytes took.
type sample struct{ bytes, seconds float64 }

// spread is how much larger than the smallest the largest sample is where its
// own time and that of each byte can be told apart.
const spread = 1.25

// predict returns how long bytes will take: by the straight line nearest to the
// samples, if they differ enough in size and it neither begins before 0 nor
// falls; otherwise in proportion.
func predict(samples []sample, bytes float64) time.Duration {
	n := float64(len(samples))
	var sum, squares sample // of bytes and seconds; of bytes times either
	least, most := samples[0].bytes, samples[0].bytes
	for _, s := range samples {
		sum.bytes, sum.seconds = sum.bytes+s.bytes, sum.seconds+s.seconds
		squares.bytes, squares.seconds = squares.bytes+s.bytes*s.bytes, squares.seconds+s.bytes*s.seconds
		least, most = min(least, s.bytes), max(most, s.bytes)
	}
	seconds := bytes * sum.seconds / sum.bytes
	if most >= spread*least {
		slope := (n*squares.seconds - sum.bytes*sum.seconds) / (n*squares.bytes - sum.bytes*sum.bytes)
		if fixed := (sum.seconds - slope*sum.bytes) / n; slope > 0 && fixed >= 0 {
			seconds = fixed + slope*bytes
		}
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
