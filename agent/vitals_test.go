package agent

import (
	"testing"
	"time"

	"github.com/pgark/pgark/archiver"
)

// TestExposureOf holds what an archiver's state says of the RPO: only the server's own fresh word is 0, and what this host saw counts before
// what the server's clock says.
func TestExposureOf(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	idle := archiver.Status{
		State: archiver.Streaming, Durable: archiver.Position{Timeline: 1, LSN: 100}, ServerEnd: 100,
		CoveredUntil: ago(time.Second), CoverageTime: ago(-20 * time.Second),
	}
	as := func(change func(*archiver.Status)) archiver.Status {
		s := idle
		change(&s)
		return s
	}
	for _, test := range []struct {
		name  string
		s     archiver.Status
		want  time.Duration
		known bool
	}{
		{"idle", idle, 0, true},
		{"busy", as(func(s *archiver.Status) { s.ServerEnd = 101 }), time.Second, true},
		{"a server that says nothing more", as(func(s *archiver.Status) { s.CoveredUntil = ago(6 * time.Second) }), 6 * time.Second, true},
		{"the connection is lost", as(func(s *archiver.Status) { s.State = archiver.Waiting }), time.Second, true},
		{"nothing known", archiver.Status{State: archiver.Connecting}, 0, false},
		{"catching up, by the time of what is durable", as(func(s *archiver.Status) {
			s.State, s.ServerEnd, s.CoveredUntil, s.CoverageTime = archiver.CatchingUp, 1<<30, ago(time.Hour), ago(time.Minute)
		}), time.Minute, true},
		{"catching up since the start", as(func(s *archiver.Status) {
			s.State, s.ServerEnd, s.CoveredUntil, s.CoverageTime = archiver.CatchingUp, 1<<30, time.Time{}, ago(time.Minute)
		}), time.Minute, true},
		{"a server whose clock is far ahead", as(func(s *archiver.Status) {
			s.State, s.CoveredUntil, s.CoverageTime = archiver.CatchingUp, time.Time{}, ago(-time.Hour)
		}), 0, false},
	} {
		got, known := exposureOf(test.s, now).Age(now)
		if got != test.want || known != test.known {
			t.Errorf("%s: got %v, known %t; want %v, %t", test.name, got, known, test.want, test.known)
		}
	}
}

// TestVitalsBeforeAnythingIsKnown: an agent that has not begun is no primary, protects nothing, and is alive.
func TestVitalsBeforeAnythingIsKnown(t *testing.T) {
	_, c := serverThatHangs(t)
	f, now := NewVitals(c).Facts(), time.Now()
	if f.Primary(now).OK || f.RPO(now, 0).OK || f.Ready(now).OK || !f.Alive(now).OK {
		t.Errorf("got %v %v %v %v", f.Primary(now), f.RPO(now, 0), f.Ready(now), f.Alive(now))
	}
}
