package agent

import (
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

// slotState is how the WAL that the slot keeps stands to what it may keep.
type slotState string

const (
	slotUnknown slotState = ""           // no look yet
	slotFine    slotState = "fine"       // or there is none: the archiver makes it
	slotFilling slotState = "filling"    // a limit comes near
	slotFull    slotState = "full"       // it is reached
	slotWaning  slotState = "unreserved" // the server's word: it may remove the slot's WAL at the next checkpoint
	slotLost    slotState = "lost"       // it has
)

const (
	// governEvery is how often the slot is looked at, and governOften how often where a limit is near.
	governEvery = 10 * time.Second
	governOften = time.Second
	// rateOver is how long back the rate is taken from.
	rateOver = time.Minute
)

// slotLook is one look at the slot.
type slotLook struct {
	at   time.Time
	slot status.Slot
}

// slotVerdict is what one look amounts to.
type slotVerdict struct {
	State slotState
	// Changed says that the look before found another state.
	Changed bool
	// Rate is how many bytes the slot keeps more each second; 0 if that is not known or it does not grow.
	Rate float64
	// Bound is the nearest limit, with the time to it where Rate is known; nil if there is none.
	Bound *status.Bound
	// Drop says that the slot is to be dropped, for the server's sake.
	Drop bool
}

// slotWatch judges looks at the slot, one after another. It does nothing itself.
type slotWatch struct {
	looks []slotLook // of the last minute, oldest first
	state slotState
}

// look judges one look. The slot is one that keepPolicy was applied to.
func (w *slotWatch) look(at time.Time, slot status.Slot) slotVerdict {
	v := slotVerdict{Rate: w.rate(at, slot)}
	slot.SetBound(v.Rate)
	v.Bound = slot.Bound
	v.State = w.judge(slot, v.Rate)
	v.Changed = v.State != w.state && (w.state != slotUnknown || v.State != slotFine)
	w.state = v.State
	v.Drop = v.State == slotFull && slot.OnLimit == config.Drop && v.Bound.By != status.BoundByServer
	return v
}

// rate notes a look and returns how fast the slot's WAL grows.
func (w *slotWatch) rate(at time.Time, slot status.Slot) float64 {
	if !slot.Exists || slot.Lost() {
		w.looks = nil
		return 0
	}
	for len(w.looks) > 0 && at.Sub(w.looks[0].at) > rateOver {
		w.looks = w.looks[1:]
	}
	w.looks = append(w.looks, slotLook{at, slot})
	first := w.looks[0]
	over := at.Sub(first.at).Seconds()
	if over <= 0 {
		return 0
	}
	return max(0, float64(slot.Retained-first.slot.Retained)/over)
}

func (w *slotWatch) judge(slot status.Slot, rate float64) slotState {
	bound := slot.Bound
	switch {
	case slot.Lost():
		return slotLost
	case slot.WALStatus == "unreserved":
		return slotWaning
	case bound == nil:
		return slotFine
	}
	// A disk is full before its last byte, and what is written until the next look counts as written.
	reserve := 0.0
	if bound.By == status.BoundByDisk {
		reserve = max(rate*governOften.Seconds(), float64(bound.Limit)/20)
	}
	switch {
	case float64(bound.Left) <= reserve, w.state == slotFull && bound.Left <= bound.Limit/10:
		return slotFull
	case bound.Near():
		return slotFilling
	// Back to fine only with some distance, so that the log is not told again and again.
	case (w.state == slotFilling || w.state == slotFull) && bound.Left <= bound.Limit*2/5:
		return slotFilling
	}
	return slotFine
}
