package cost

import "time"

// Requests that do not depend on what is written. docs/CONFIGURATION.md bounds those of an agent (section Standbys).
const (
	// beatEvery is how often an agent puts a beat while nothing is written.
	beatEvery = 10 * time.Second
	// watchEvery is how often it looks for others and for fences, with at most watchRequests each time.
	watchEvery    = 30 * time.Second
	watchRequests = 4
	// lookEvery is how often it looks at the repositories for its page and metrics, which takes at most lookRequests beside one for each base backup.
	lookEvery    = 5 * time.Minute
	lookRequests = 60
	// pageObjects is how many objects a request lists; all WAL is listed twice a day: for the census, and when retention is due.
	pageObjects = 1000
	listings    = 2
	// partBytes is how much of a base backup a request puts, and readBytes how much one reads again, once, to verify it.
	partBytes, readBytes = 16 << 20, 16 << 20
)

// times is how often something is done in a month.
func times(every time.Duration) float64 { return float64(Month) / float64(every) }

// uploads are the requests for pieces of WAL while the server is busy day and night, at an interval: each is put, and then the fence is read; while nothing is written
// a beat is put instead.
func uploads(every time.Duration) Requests {
	return Requests{Puts: times(min(every, beatEvery)), Gets: times(every)}
}

// stays are the requests that put what stays, whole segments and base backups, and read the fence after each segment.
func (r Repository) stays() Requests {
	var q Requests
	if n := r.Rates.Objects; n != nil {
		q = Requests{Puts: *n, Gets: *n}
	}
	if bytes := r.Rates.Backups; bytes != nil {
		q.Puts += *bytes / partBytes
	}
	return q
}

// upkeep are those of what is done with it: it is verified once, counted and pruned.
func (r Repository) upkeep() Requests {
	var q Requests
	if n := r.Rates.Objects; n != nil {
		q.Puts += *n * listings * times(24*time.Hour) / pageObjects // what comes in a month, all through one
		q.Gets += *n
	}
	if bytes := r.Rates.Backups; bytes != nil {
		q.Gets += *bytes / readBytes
	}
	return q
}

// watching are those of an agent that looks for others.
func watching() Requests { return Requests{Puts: times(watchEvery) * watchRequests} }

// looks are those for the page and metrics.
func (r Repository) looks(h Habits) Requests {
	if !h.Looks {
		return Requests{}
	}
	return Requests{Puts: times(lookEvery) * lookRequests, Gets: times(lookEvery) * float64(r.Records)}
}

// requests adds what requests cost: by the puts that were counted, unless they are more than there can be, else of the most there can be.
func (r Repository) requests(e *Estimate, t tariff, h Habits) {
	price := func(q Requests) *float64 { return dollars((q.Puts*t.Put + q.Gets*t.Get) / 1000) }
	if t.Put == 0 && t.Get == 0 {
		e.RequestsUSD = new(float64)
		return
	}
	all := r.upkeep().plus(r.looks(h))
	if !r.ByBucket {
		e.Quiet = price(Requests{Puts: times(beatEvery)}.plus(watching()).plus(r.looks(h)))
		all = all.plus(watching())
	}
	var written Requests
	bounded := !h.Synchronous && h.Every > 0
	busy := uploads(h.Every).plus(r.stays())
	switch {
	case r.Puts != nil && !(bounded && *r.Puts > busy.Puts): // an hour with a base backup in it says more of a month than there can be
		e.Basis, written = Measured, Requests{Puts: *r.Puts, Gets: *r.Puts}
	case bounded:
		e.Basis, written = AtMost, busy
	case h.Synchronous:
		e.unknown("how often WAL is put is not known: commits wait for it, and each may be a request; the agent counts them, and tells who asks on its host, where http.listen is set")
		return
	default:
		e.unknown("how often WAL is put is not known: no configuration says it")
		return
	}
	if r.ByBucket { // which reads no fence
		written.Gets = 0
	}
	all = all.plus(written)
	e.Requests, e.RequestsUSD = &all, price(all)
}
