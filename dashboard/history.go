package dashboard

import (
	"sync"
	"time"
)

const (
	// historyStep is the time that one value of a history is for, and historyLength how many there are: a day.
	historyStep   = time.Minute
	historyLength = 24 * 60
)

// History is the worst RPO of each minute of the last day, as far as this process was there. It is safe for concurrent use.
type History struct {
	mu     sync.Mutex
	values []*float64 // the newest last; nil where the RPO was not known at some time of the minute, or nobody was there
	until  time.Time  // the end of the newest minute
}

// Past is what a history holds.
type Past struct {
	// From is when the first value begins, Step how many seconds each is for.
	From   time.Time  `json:"from"`
	Step   float64    `json:"step_seconds"`
	Values []*float64 `json:"values"`
}

// Add adds what is known now; nil is not known.
func (h *History) Add(now time.Time, rpo *float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := now.Truncate(historyStep).Add(historyStep)
	switch missed := int(end.Sub(h.until) / historyStep); {
	case len(h.values) == 0 || missed >= historyLength || missed < 0:
		h.values = []*float64{rpo}
	case missed == 0:
		last := &h.values[len(h.values)-1]
		if *last != nil && (rpo == nil || *rpo > **last) {
			*last = rpo
		}
		return
	default:
		h.values = append(append(h.values, make([]*float64, missed-1)...), rpo)
		h.values = h.values[max(0, len(h.values)-historyLength):]
	}
	h.until = end
}

// Past returns what is held.
func (h *History) Past() Past {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Past{Step: historyStep.Seconds(), Values: append([]*float64{}, h.values...)}
	p.From = h.until.Add(-time.Duration(len(h.values)) * historyStep).UTC()
	return p
}
