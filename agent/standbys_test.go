package agent

import (
	"testing"

	"github.com/pgark/pgark/archiver"
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
	for name, c := range map[string]struct {
		facts standbyFacts
		want  standbyStep
		fails bool
	}{
		"behind durable":           {standby(func(*standbyFacts) {}), standbyStep{advance: 0x5000000}, false},
		"has less than is durable": {standby(func(f *standbyFacts) { f.system.Flush = 0x4000000 }), standbyStep{advance: 0x4000000}, false},
		"moved already":            {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0x5000000 }), standbyStep{}, false},
		"ahead of what is durable": {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0x5800000 }), standbyStep{}, false},
		"no slot yet":              {standby(func(f *standbyFacts) { f.slot = postgres.Slot{} }), standbyStep{create: true}, false},
		"slot keeps nothing":       {standby(func(f *standbyFacts) { f.slot.RestartLSN = 0 }), standbyStep{drop: true, create: true}, false},
		"PostgreSQL 14": {
			standby(func(f *standbyFacts) { f.slot, f.slotKnown = postgres.Slot{}, false }),
			standbyStep{create: true, advance: 0x5000000},
			false,
		},
		"on another timeline": {standby(func(f *standbyFacts) { f.system.Timeline = 3 }), standbyStep{}, false},
		"another cluster":     {standby(func(f *standbyFacts) { f.system.ID = 8 }), standbyStep{}, true},
	} {
		got, err := chooseStandbyStep(c.facts, 7, durable)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
		}
	}
	got, err := chooseStandbyStep(standby(func(f *standbyFacts) { f.recovery = false }), 7, durable)
	if err != nil || got.leave == "" || got.create || got.advance != 0 {
		t.Errorf("a primary: got %+v, %v", got, err)
	}
}
