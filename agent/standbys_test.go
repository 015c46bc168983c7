package agent

import (
	"testing"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
)

func TestChooseStandbyStep(t *testing.T) {
	durable := archiver.Position{Timeline: 2, LSN: 0x5000000}
	standby := func(change func(*standbyFacts)) standbyFacts {
		f := standbyFacts{
			system:   postgres.System{ID: 7, Timeline: 2, Flush: 0x6000000},
			recovery: true, slotKnown: true, slot: postgres.Slot{Exists: true, RestartLSN: 0x1000000, Timeline: 2},
		}
		change(&f)
		return f
	}
	drop := func(limit int64) config.Keep { return config.Keep{Max: limit, OnLimit: config.Drop} }
	for name, c := range map[string]struct {
		facts standbyFacts
		limit config.Keep
		want  standbyStep
		fails bool
	}{
		"behind durable":           {standby(func(*standbyFacts) {}), config.Keep{}, standbyStep{advance: 0x5000000}, false},
		"has less than is durable": {standby(func(f *standbyFacts) { f.system.Flush = 0x4000000 }), config.Keep{}, standbyStep{advance: 0x4000000}, false},
		"moved already":            {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0x5000000 }), config.Keep{}, standbyStep{}, false},
		"ahead of what is durable": {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0x5800000 }), config.Keep{}, standbyStep{}, false},
		"no slot yet":              {standby(func(f *standbyFacts) { f.slot = postgres.Slot{} }), config.Keep{}, standbyStep{create: true}, false},
		"slot keeps nothing":       {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0 }), config.Keep{}, standbyStep{drop: true, create: true}, false},
		"PostgreSQL 14": {
			standby(func(f *standbyFacts) { f.slot, f.slotKnown = postgres.Slot{}, false }),
			config.Keep{},
			standbyStep{create: true, advance: 0x5000000},
			false,
		},
		"a store away for less than the limit": {standby(func(*standbyFacts) {}), drop(0x1000001), standbyStep{advance: 0x5000000}, false},
		"for as much as the limit":             {standby(func(*standbyFacts) {}), drop(0x1000000), standbyStep{full: true, drop: true}, false},
		"which only alerts":                    {standby(func(*standbyFacts) {}), config.Keep{Max: 1, OnLimit: config.Alert}, standbyStep{advance: 0x5000000}, false},
		"dropped for the limit":                {standby(func(f *standbyFacts) { f.slot = postgres.Slot{} }), drop(0x2000000), standbyStep{full: true}, false},
		"and the store is back":                {standby(func(f *standbyFacts) { f.slot = postgres.Slot{} }), drop(0x2000002), standbyStep{create: true}, false},
		"a standby that lags keeps nothing":    {standby(func(f *standbyFacts) { f.system.Flush = 0x4000000 }), drop(1), standbyStep{advance: 0x4000000}, false},
		"PostgreSQL 14 at the limit": {
			standby(func(f *standbyFacts) { f.slot, f.slotKnown = postgres.Slot{}, false }),
			drop(0x1000000),
			standbyStep{full: true, drop: true},
			false,
		},
		"on another timeline": {standby(func(f *standbyFacts) { f.system.Timeline = 3 }), config.Keep{}, standbyStep{}, false},
		"another cluster":     {standby(func(f *standbyFacts) { f.system.ID = 8 }), config.Keep{}, standbyStep{}, true},
	} {
		got, err := chooseStandbyStep(c.facts, 7, durable, c.limit)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
		}
	}
	got, err := chooseStandbyStep(standby(func(f *standbyFacts) { f.recovery = false }), 7, durable, config.Keep{Max: 1, OnLimit: config.Drop})
	if err != nil || got.leave == "" || got.create || got.advance != 0 {
		t.Errorf("a primary: got %+v, %v", got, err)
	}
}
