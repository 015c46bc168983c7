package main

import (
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/standby"
)

// TestStandbyCode: a monitor goes by the code alone.
func TestStandbyCode(t *testing.T) {
	late := func(seconds float64) *float64 { return &seconds }
	for _, c := range []struct {
		state standby.State
		late  *float64
		want  int
	}{
		{standby.AtEnd, late(0), 0},
		{standby.Behind, late(59), 0},
		{standby.Behind, late(61), 3},
		{standby.Behind, nil, 3},
		{standby.Paused, late(0), 3},
		{standby.Primary, nil, 3},
		{standby.Unknown, nil, 3},
		{standby.AtGap, late(0), 4},
		{standby.Foreign, nil, 4},
	} {
		if got := standbyCode(agent.StandbyReport{State: c.state, Late: c.late}, time.Minute); got != c.want {
			t.Errorf("%s: code %d, want %d", c.state, got, c.want)
		}
	}
}
