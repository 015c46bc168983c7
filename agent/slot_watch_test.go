package agent

import (
	"math"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

const gb = int64(1_000_000_000)

// kept is a slot that a program receives from and that keeps so many gigabytes.
func kept(gigabytes float64) status.Slot {
	active, none := true, int64(status.NoLimit)
	return status.Slot{
		Name: "pgark", Exists: true, Restart: 0x1000, Retained: int64(gigabytes * float64(gb)), WALStatus: "extended", Active: &active, Limit: &none,
	}
}

// limits returns the slot with limits in gigabytes: slot.keep_max, max_slot_wal_keep_size, what is free on the disk; 0 for none.
func limits(s status.Slot, onLimit string, keepMax, server, free float64) status.Slot {
	in := func(v float64) *int64 { bytes := int64(v * float64(gb)); return &bytes }
	if keepMax > 0 {
		s.KeepMax, s.OnLimit = in(keepMax), onLimit
	}
	if server > 0 {
		s.Limit, s.Safe = in(server), in(server-float64(s.Retained)/float64(gb))
	}
	if free > 0 {
		s.DiskFree = in(free)
	}
	return s
}

// TestSlotWatch is the table of what looks at a slot amount to, ten seconds apart; the last one is judged.
func TestSlotWatch(t *testing.T) {
	drop := func(gigabytes float64) status.Slot { return limits(kept(gigabytes), config.Drop, 64, 0, 0) }
	alert := func(gigabytes float64) status.Slot { return limits(kept(gigabytes), config.Alert, 64, 0, 0) }
	gone := status.Slot{Name: "pgark"}
	lost, waning := kept(70), limits(kept(70), "", 0, 64, 0)
	lost.WALStatus, lost.Restart = "lost", 0
	waning.WALStatus = "unreserved"
	replication := limits(status.Slot{Name: "pgark", Exists: true, Restart: 5, Retained: 65 * gb}, config.Drop, 64, 0, 0) // all that a replication connection tells
	invalidated := status.Slot{Name: "pgark", Exists: true}
	for _, test := range []struct {
		name  string
		looks []status.Slot

		state   slotState
		changed bool
		drop    bool
		by      string
		left    float64 // gigabytes
		rate    float64 // gigabytes per second
		seconds float64 // to the limit; 0 where it is not known
	}{
		{"first look, all well", []status.Slot{alert(1)}, slotFine, false, false, status.BoundByKeepMax, 63, 0, 0},
		{"no limit at all", []status.Slot{kept(1), kept(500)}, slotFine, false, false, "", 0, 49.9, 0},
		{"grows slowly", []status.Slot{alert(1), alert(1.1)}, slotFine, false, false, status.BoundByKeepMax, 62.9, 0.01, 6290},
		{"half used, and the rest in less than ten minutes", []status.Slot{alert(32), alert(33)}, slotFilling, true, false, status.BoundByKeepMax, 31, 0.1, 310},
		{"half used, and the rest in hours", []status.Slot{alert(33), alert(33.01)}, slotFine, false, false, status.BoundByKeepMax, 30.99, 0.001, 30990},
		{"half used, shrinking", []status.Slot{alert(40), alert(33)}, slotFine, false, false, status.BoundByKeepMax, 31, 0, 0},
		{"four fifths used", []status.Slot{alert(52)}, slotFilling, true, false, status.BoundByKeepMax, 12, 0, 0},
		{"still so", []status.Slot{alert(52), alert(53)}, slotFilling, false, false, status.BoundByKeepMax, 11, 0.1, 110},
		{"a little less: no word yet", []status.Slot{alert(52), alert(50)}, slotFilling, false, false, status.BoundByKeepMax, 14, 0, 0},
		{"much less", []status.Slot{alert(52), alert(30)}, slotFine, true, false, status.BoundByKeepMax, 34, 0, 0},
		{"at the limit, alert", []status.Slot{alert(60), alert(64)}, slotFull, true, false, status.BoundByKeepMax, 0, 0.4, 0},
		{"beyond the limit", []status.Slot{alert(60), alert(70)}, slotFull, true, false, status.BoundByKeepMax, 0, 1, 0},
		{"just below it again", []status.Slot{alert(64), alert(63)}, slotFull, false, false, status.BoundByKeepMax, 1, 0, 0},
		{"below it again", []status.Slot{alert(64), alert(55)}, slotFilling, true, false, status.BoundByKeepMax, 9, 0, 0},
		{"at the limit, drop", []status.Slot{drop(60), drop(64)}, slotFull, true, true, status.BoundByKeepMax, 0, 0.4, 0},
		{"at the limit, drop, and that failed before", []status.Slot{drop(64), drop(65)}, slotFull, false, true, status.BoundByKeepMax, 0, 0.1, 0},
		{"a burst that ends below the limit drops nothing", []status.Slot{drop(1), drop(60)}, slotFilling, true, false, status.BoundByKeepMax, 4, 5.9, 0.678},
		{"dropped", []status.Slot{drop(64), gone}, slotFine, true, false, "", 0, 0, 0},
		{"made anew: the rate begins anew", []status.Slot{drop(64), gone, drop(1)}, slotFine, false, false, status.BoundByKeepMax, 63, 0, 0},
		{"the server's limit is nearer, and the server sees to it", []status.Slot{limits(kept(33), config.Drop, 64, 33, 0)}, slotFull, true, false, status.BoundByServer, 0, 0, 0},
		{"over the server's limit", []status.Slot{waning}, slotWaning, true, false, status.BoundByServer, 0, 0, 0},
		{"over the server's limit: a second look", []status.Slot{waning, waning}, slotWaning, false, false, status.BoundByServer, 0, 0, 0},
		{"lost", []status.Slot{waning, lost}, slotLost, true, false, "", 0, 0, 0},
		{"invalidated, as a replication connection tells", []status.Slot{invalidated}, slotLost, true, false, "", 0, 0, 0},
		{"lost, and made anew", []status.Slot{lost, alert(1)}, slotFine, true, false, status.BoundByKeepMax, 63, 0, 0},
		{"no ordinary connection", []status.Slot{replication}, slotFull, true, true, status.BoundByKeepMax, 0, 0, 0},
		{"the disk is nearer", []status.Slot{limits(kept(10), config.Drop, 64, 0, 30)}, slotFine, false, false, status.BoundByDisk, 30, 0, 0},
		{"the slot fills the disk", []status.Slot{limits(kept(33), config.Alert, 64, 0, 7)}, slotFilling, true, false, status.BoundByDisk, 7, 0, 0},
		{"the disk's last twentieth", []status.Slot{limits(kept(39), config.Drop, 64, 0, 2)}, slotFull, true, true, status.BoundByDisk, 2, 0, 0},
		{"the disk is full within a second", []status.Slot{limits(kept(10), config.Drop, 64, 0, 53), limits(kept(60), config.Drop, 200, 0, 4)}, slotFull, true, true, status.BoundByDisk, 4, 5, 0.8},
		{"others fill the disk", []status.Slot{limits(kept(0.1), config.Alert, 64, 0, 7)}, slotFine, false, false, status.BoundByDisk, 7, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w slotWatch
			var v slotVerdict
			at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
			for _, look := range test.looks {
				v = w.look(at, look)
				at = at.Add(10 * time.Second)
			}
			if v.State != test.state || v.Changed != test.changed || v.Drop != test.drop {
				t.Errorf("got %+v, want %s, changed %t, drop %t", v, test.state, test.changed, test.drop)
			}
			if math.Abs(v.Rate/float64(gb)-test.rate) > test.rate/100 {
				t.Errorf("rate: got %g, want %g GB/s", v.Rate/float64(gb), test.rate)
			}
			bound := status.Bound{}
			if v.Bound != nil {
				bound = *v.Bound
			}
			if bound.By != test.by || math.Abs(float64(bound.Left)-test.left*float64(gb)) > 1000 {
				t.Errorf("bound: got %+v, want %g GB left by %s", bound, test.left, test.by)
			}
			seconds := 0.0
			if bound.Seconds != nil {
				seconds = *bound.Seconds
			}
			if math.Abs(seconds-test.seconds) > test.seconds/100 {
				t.Errorf("time to the limit: got %g, want %g s", seconds, test.seconds)
			}
		})
	}
}

// TestSlotRateIsOfTheLastMinute: what was long ago does not count.
func TestSlotRateIsOfTheLastMinute(t *testing.T) {
	var w slotWatch
	var v slotVerdict
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for i := range 20 {
		gigabytes := 10.0
		if i > 10 {
			gigabytes += float64(i-10) / 10
		}
		v = w.look(at.Add(time.Duration(i)*10*time.Second), kept(gigabytes))
	}
	if math.Abs(v.Rate-1e7) > 1e5 {
		t.Errorf("got %g B/s, want 10 MB/s", v.Rate)
	}
}
