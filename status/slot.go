package status

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// What may bound the WAL that a slot keeps.
const (
	// BoundByServer is max_slot_wal_keep_size: beyond it the server invalidates the slot.
	BoundByServer = "max_slot_wal_keep_size"
	// BoundByKeepMax is slot.keep_max of the configuration.
	BoundByKeepMax = "slot.keep_max"
	// BoundByDisk is what is free on the disk of pg_wal.
	BoundByDisk = "disk"
)

// Bound is the nearest limit of the WAL that a slot may keep.
type Bound struct {
	By string `json:"by"`
	// Limit is how much WAL the slot may keep, Left how much more than now; bytes.
	Limit int64 `json:"limit_bytes"`
	Left  int64 `json:"left_bytes"`
	// Seconds is about how long that takes at the rate at which the server writes; absent where that is not known.
	Seconds *float64 `json:"left_seconds,omitempty"`
}

// soon is how much time before a limit is warned of where half of it is used up.
const soon = 10 * time.Minute

// Near tells whether four fifths of the limit are used up, or half of it and the rest will be soon.
func (b Bound) Near() bool {
	return b.Left <= b.Limit/5 || b.Seconds != nil && *b.Seconds <= soon.Seconds() && b.Left <= b.Limit/2
}

// nearest returns what bounds the WAL of a slot first; nil if nothing does, or the slot keeps none.
func (s Slot) nearest() *Bound {
	var nearest *Bound
	consider := func(b Bound) {
		b.Left = max(0, b.Left)
		if nearest == nil || b.Left < nearest.Left {
			nearest = &b
		}
	}
	if !s.Exists || s.Lost() {
		return nil
	}
	switch {
	case s.Limit == nil || *s.Limit == NoLimit:
	case s.Safe != nil:
		consider(Bound{By: BoundByServer, Limit: *s.Limit, Left: *s.Safe})
	default:
		consider(Bound{By: BoundByServer, Limit: *s.Limit, Left: *s.Limit - s.Retained})
	}
	if s.KeepMax != nil {
		consider(Bound{By: BoundByKeepMax, Limit: *s.KeepMax, Left: *s.KeepMax - s.Retained})
	}
	if s.DiskFree != nil {
		consider(Bound{By: BoundByDisk, Limit: s.Retained + *s.DiskFree, Left: *s.DiskFree})
	}
	return nearest
}

// SetBound finds the nearest limit of the slot. rate is how many bytes of WAL the slot keeps more each second; 0 if that is not known,
// or it does not grow.
func (s *Slot) SetBound(rate float64) {
	s.Bound = s.nearest()
	if s.Bound != nil && rate > 0 {
		seconds := float64(s.Bound.Left) / rate
		s.Bound.Seconds = &seconds
	}
}

// rate returns how many bytes the server has written each second since the archive held all that it had; 0 where that was too short a
// time ago to tell, or is not known.
func (r Report) rate() float64 {
	if r.Behind == nil || r.DurableUntil == nil {
		return 0
	}
	over := r.Now.Sub(*r.DurableUntil)
	if over < RPOTarget {
		return 0
	}
	return float64(*r.Behind) / over.Seconds()
}

// judgeBound warns of a limit that comes near.
func (r Report) judgeBound(c Commands) []finding {
	slot := r.Server.Slot
	if slot == nil || slot.Bound == nil || slot.WALStatus == "unreserved" || !slot.Bound.Near() {
		return nil
	}
	b := slot.Bound
	limit := fmt.Sprintf("%s (%s)", b.By, humanize.Bytes(uint64(max(0, b.Limit))))
	then := "it keeps more all the same, because slot.on_limit is alert"
	switch {
	case b.By == BoundByServer:
		then = "the server removes WAL that is not archived"
	case b.By == BoundByDisk:
		limit, then = "the end of the disk", "PostgreSQL stops"
		if slot.OnLimit == "drop" {
			then = "the agent drops the slot, and what is not archived is lost"
		}
	case slot.OnLimit == "drop":
		then = "the agent drops the slot, and what is not archived is lost"
	}
	when := fmt.Sprintf("comes near %s: then", limit)
	switch {
	case b.Left == 0:
		when = fmt.Sprintf("has reached %s:", limit)
	case b.Seconds != nil:
		when = fmt.Sprintf("reaches %s in about %s: then", limit, b.About())
	}
	what := fmt.Sprintf("the server keeps %s of WAL for slot %s and %s %s", humanize.Bytes(uint64(max(0, slot.Retained))), slot.Name, when, then)
	return []finding{{verdict: AtRisk, Cause: Cause{What: what, Since: r.DurableUntil, Fix: c.Check}}}
}

// About is how long it takes until the limit is reached, in words that promise no more than they can keep; "" where that is not known, or it is.
func (b Bound) About() string {
	if b.Seconds == nil || b.Left == 0 {
		return ""
	}
	d := time.Duration(min(*b.Seconds, 1e9) * float64(time.Second))
	switch {
	case d < time.Minute:
		return "a minute"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
