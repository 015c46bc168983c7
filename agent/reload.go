package agent

import (
	"sync/atomic"
	"time"
)

// Reload is one reading of the configuration.
type Reload struct {
	At time.Time
	// Err is why it was not taken; nil if it is in force.
	Err error
}

// Reloads tell whether the configuration in force is the one that was read last. The zero value knows of no reading; it is safe for
// concurrent use.
type Reloads struct{ last atomic.Pointer[Reload] }

// Note keeps a reading.
func (r *Reloads) Note(at time.Time, err error) { r.last.Store(&Reload{at, err}) }

// Last returns the last reading; false if there was none.
func (r *Reloads) Last() (Reload, bool) {
	if last := r.last.Load(); last != nil {
		return *last, true
	}
	return Reload{}, false
}
