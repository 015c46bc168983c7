package syncmode

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/wal"
)

// Policy says what an agent may do by itself. The zero value touches nothing: commits
// wait for ever.
type Policy struct {
	// Names is what synchronous_standby_names is set to when the agent steps in;
	// "" leaves it to others.
	Names string
	// DegradeAfter is how long commits may wait before the agent steps out by
	// making the setting empty; 0 is for ever.
	DegradeAfter time.Duration
}

// Check returns what is wrong with the policy of an agent with this
// application_name.
func (p Policy) Check(application string) error {
	if p.Names == "" {
		if p.DegradeAfter > 0 {
			return fmt.Errorf("sync.degrade_after without sync.standby_names: nothing would say how to step in again")
		}
		return nil
	}
	names, err := ParseNames(p.Names)
	switch {
	case err != nil:
		return err
	case !names.Contains(application):
		return fmt.Errorf("sync.standby_names %q does not name this agent, whose application_name is %q", p.Names, application)
	case p.DegradeAfter > 0 && !names.Only(application):
		return fmt.Errorf("sync.standby_names %q with sync.degrade_after: stepping out would drop the others too, so name %q alone", p.Names, application)
	}
	return nil
}

const (
	// steady is how long all must be durable before the agent steps in. It
	// doubles each time that it had to step out soon after, up to mostSteady.
	steady     = 10 * time.Second
	mostSteady = 5 * time.Minute
	soonAfter  = time.Hour
	// tolerated is how old WAL may be that is not durable while all is well: pieces
	// go up once a second while no commit waits, at the default.
	tolerated = 5 * time.Second
	// mostWaits bounds what is remembered while nothing becomes durable.
	mostWaits = 1000
)

// Position is a place in the WAL of a timeline.
type Position struct {
	Timeline wal.TimelineID
	LSN      wal.LSN
}

// Look is what was found at one time.
type Look struct {
	At       time.Time
	Settings Settings
	// Flushed is the end of the server's WAL, read after the settings.
	Flushed Position
	// Durable is what the archive holds, as far as it is known.
	Durable Position
	// Streaming says that the archive receives.
	Streaming bool
}

// Step is something to do.
type Step string

// The steps.
const (
	Stay    Step = "stay"
	StepOut Step = "step out" // make synchronous_standby_names empty
	StepIn  Step = "step in"  // set it to Policy.Names
)

// Decision is what follows from a look.
type Decision struct {
	State State
	// OnDemand says that commits wait for what is put.
	OnDemand bool
	Step     Step
	// Waiting is for how long the oldest WAL has not been durable, as far as looks tell.
	Waiting time.Duration
	// Blocked says why there is no step although it is time for one; "" mostly.
	Blocked string
	// Err is that of a setting which cannot be read.
	Err error
}

// Watch decides look by look. Not safe for concurrent use.
type Watch struct {
	policy Policy

	waits     []wait    // WAL that is not durable, oldest first
	refused   time.Time // since when Refused; zero if it is not
	good      time.Time // since when all is durable in time; zero if it is not
	steady    time.Duration
	steppedIn time.Time
}

// wait is a position that was flushed at a time and is not durable yet.
type wait struct {
	flushed Position
	at      time.Time
}

// NewWatch returns a watch that has seen nothing.
func NewWatch(p Policy) *Watch { return &Watch{policy: p, steady: steady} }

// Look decides what follows from a look. The times of looks ascend.
func (w *Watch) Look(l Look) Decision {
	state, err := Judge(l.Settings, w.policy.Names)
	d := Decision{State: state, OnDemand: state.Named() && state != NotWaiting, Step: Stay, Err: err}
	d.Waiting = w.wait(l)
	w.mark(l, d)
	switch {
	case err != nil || l.Settings.Standby:
	case w.overdue(l, d):
		w.stepOut(l, &d)
	case w.mayStepIn(l, d):
		d.Step, w.steppedIn = StepIn, l.At
	}
	return d
}

// wait brings the list of what is not durable up to date, and returns the age of
// its first element.
func (w *Watch) wait(l Look) time.Duration {
	for len(w.waits) > 0 && w.waits[0].flushed.within(l.Durable) {
		w.waits = w.waits[1:]
	}
	last := len(w.waits) - 1
	if !l.Flushed.within(l.Durable) && len(w.waits) < mostWaits && (last < 0 || w.waits[last].flushed != l.Flushed) {
		w.waits = append(w.waits, wait{flushed: l.Flushed, at: l.At})
	}
	if len(w.waits) == 0 {
		return 0
	}
	return l.At.Sub(w.waits[0].at)
}

// within reports whether what ends at p is durable when all before d is. A timeline is
// left only when it is durable to its end.
func (p Position) within(d Position) bool {
	return p.Timeline < d.Timeline || p.Timeline == d.Timeline && p.LSN <= d.LSN
}

// mark keeps since when it is as it is.
func (w *Watch) mark(l Look, d Decision) {
	switch {
	case d.State != Refused:
		w.refused = time.Time{}
	case w.refused.IsZero():
		w.refused = l.At
	}
	switch {
	case !l.Streaming || d.Waiting > tolerated:
		w.good = time.Time{}
	case w.good.IsZero():
		w.good = l.At
	}
}

// overdue reports whether commits wait for longer than they may.
func (w *Watch) overdue(l Look, d Decision) bool {
	switch {
	case w.policy.DegradeAfter == 0:
		return false
	case d.State == Refused:
		return l.At.Sub(w.refused) >= w.policy.DegradeAfter
	case d.State == In || d.State == Shared:
		return d.Waiting >= w.policy.DegradeAfter
	}
	return false
}

// stepOut decides to step out, unless others are named too.
func (w *Watch) stepOut(l Look, d *Decision) {
	if names, err := ParseNames(l.Settings.Names); err != nil || !names.Only(l.Settings.Application) {
		d.Blocked = fmt.Sprintf("synchronous_standby_names = '%s' names others too: stepping out would drop them", l.Settings.Names)
		return
	}
	d.Step = StepOut
	if w.good = (time.Time{}); w.steppedIn.IsZero() || l.At.Sub(w.steppedIn) > soonAfter {
		w.steady = steady
		return
	}
	w.steppedIn = time.Time{} // counted once, however often stepping out has to be tried
	w.steady = min(2*w.steady, mostSteady)
}

// mayStepIn reports whether nobody else set synchronous_standby_names and all has
// been durable for long enough.
func (w *Watch) mayStepIn(l Look, d Decision) bool {
	return w.policy.Names != "" && d.State == Out && l.Settings.Names == "" && l.Settings.Commit != remoteApply &&
		!w.good.IsZero() && l.At.Sub(w.good) >= w.steady
}
