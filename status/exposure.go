package status

import "time"

// Exposure is what the RPO goes by, whoever asks: a report of the repository, or an agent of itself.
type Exposure struct {
	// Until is an instant up to which all that the server had can be restored; zero if none is known.
	Until time.Time
	// CaughtUp says that by the server's own word all that it has flushed can be restored, and that somebody receives what comes next.
	CaughtUp bool
}

// Age is how long before now the oldest commit lies that would be lost with the server now, at most; 0 while it is caught up. false
// if that is not known: nothing can be restored, or the clocks differ too much to tell.
func (e Exposure) Age(now time.Time) (time.Duration, bool) {
	switch {
	case e.Until.IsZero() || e.Until.Sub(now) > RPOTarget:
		return 0, false
	case e.CaughtUp:
		return 0, true
	}
	return max(0, now.Sub(e.Until)), true
}
