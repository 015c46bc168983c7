package cost

import (
	"slices"
	"time"
)

// Choice is an upload interval: what it costs, and what may be lost with it.
type Choice struct {
	// Every is the interval, seconds.
	Every float64 `json:"every_seconds"`
	// RPO is how many seconds of commits may be lost with the host, about: the interval, and PutTime.
	RPO float64 `json:"rpo_seconds"`
	// Month is what uploads cost at most in all repositories, USD a month: as if the server were busy day and night.
	Month float64 `json:"at_most_usd_month"`
	// Chosen says that it is the one in force.
	Chosen bool `json:"chosen,omitempty"`
}

// PutTime is what a PUT of a piece is taken to last: most objects of a few KB are put in less at Amazon's stores from a host in the same region.
const PutTime = 100 * time.Millisecond

// choices are the intervals that are told of beside the one in force.
func choices() []time.Duration {
	return []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second, 15 * time.Second, time.Minute}
}

// Auto is the interval that follows an objective for the commits that may be lost: a quarter of it, between 200 ms and a minute, so that three uploads in a row may fail.
// Without an objective it is a second.
func Auto(objective time.Duration) time.Duration {
	if objective <= 0 {
		return time.Second
	}
	return min(max(objective/4, 200*time.Millisecond), time.Minute).Round(time.Millisecond)
}

// trade is what intervals cost in all repositories whose prices are known.
func trade(all []Repository, h Habits) []Choice {
	told := []Choice{}
	if h.Synchronous || h.Every <= 0 {
		return told
	}
	intervals := append(choices(), h.Every)
	slices.Sort(intervals)
	for _, every := range slices.Compact(intervals) {
		c := Choice{Every: every.Seconds(), RPO: (every + PutTime).Seconds(), Chosen: every == h.Every}
		for _, r := range all {
			t, ok := tariffOf(r.Store, r.Given)
			if !ok {
				continue
			}
			q := uploads(every)
			if r.ByBucket {
				q.Gets = 0
			}
			c.Month = *dollars(c.Month + (q.Puts*t.Put+q.Gets*t.Get)/1000)
		}
		told = append(told, c)
	}
	if told[0].Month == 0 {
		return []Choice{}
	}
	return told
}
