package health

import (
	"cmp"
	"fmt"
	"time"

	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/status"
)

const (
	// seenFor is how long the last look at the server counts. The agent looks every five seconds and gives each look ten.
	seenFor = 20 * time.Second
	// storedFor is how long it counts that the repository took an object: three of the beats that are put while there is no WAL.
	storedFor = 30 * time.Second
	// lagTarget is how far a standby may be behind where nobody says. An idle primary is heard of every ten seconds.
	lagTarget = time.Minute
	// turnsFor is how long the archiver's loop may stand still on a host that is overloaded.
	turnsFor = time.Minute
)

// Answer is one answer: whether all is well, and a line that says what is, how old that is, and why it is not.
type Answer struct {
	OK   bool
	Text string
}

func yes(format string, args ...any) Answer { return Answer{true, fmt.Sprintf(format, args...)} }
func no(format string, args ...any) Answer  { return Answer{false, fmt.Sprintf(format, args...)} }

// ago writes the time from t to now in seconds.
func ago(t, now time.Time) string { return seconds(now.Sub(t)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", max(0, d).Seconds()) }

// Primary says whether the agent is beside a server that takes writes and is the one that is archived. It does not depend on the
// store, but once: until it has answered, nobody knows whether another server took over while this one was away.
func (f Facts) Primary(now time.Time) Answer {
	s := f.Server
	switch {
	case f.Archive.Fenced:
		return no("FENCED another server took over, or this one's history is not the archived one")
	case s.Seen.IsZero():
		return no("UNREACHABLE the server has not answered since the agent began")
	case s.Failed || now.Sub(s.Seen) > seenFor:
		return no("UNREACHABLE the server does not answer; seen=%s", ago(s.Seen, now))
	case f.Archive.SystemID != 0 && s.SystemID != f.Archive.SystemID:
		return no("UNKNOWN the server there is of another cluster; seen=%s", ago(s.Seen, now))
	case s.Recovery:
		return no("STANDBY timeline=%d seen=%s", s.Timeline, ago(s.Seen, now))
	case !f.Archive.Compared:
		return no("UNKNOWN the server takes writes, and was not compared with the repository since the agent began; seen=%s", ago(s.Seen, now))
	}
	return yes("PRIMARY timeline=%d seen=%s", s.Timeline, ago(s.Seen, now))
}

// RPO says whether at most so much time of commits would be lost with the server now; 0 means the target.
func (f Facts) RPO(now time.Time, most time.Duration) Answer {
	if most == 0 {
		most = f.Target
	}
	if most == 0 {
		most = status.RPOTarget
	}
	a := f.Archive
	switch {
	case a.Fenced:
		return no("UNPROTECTED rpo=unknown: another server took over, or this one's history is not the archived one")
	case !a.BackedUp:
		return no("UNPROTECTED rpo=unknown: no base backup is known of")
	case a.Lost:
		return no("AT RISK rpo=unknown: WAL was lost, and no base backup was taken since")
	}
	age, known := a.Exposure.Age(now)
	switch {
	case !known:
		return no("AT RISK rpo=unknown: nothing became durable since the agent began, or the clocks differ too much")
	case age > most:
		return no("AT RISK rpo=%s max=%s", seconds(age), seconds(most))
	}
	return yes("PROTECTED rpo=%s max=%s", seconds(age), seconds(most))
}

// Following says whether the server is a standby in recovery that has all that the primary had committed up to within so long ago; 0 means
// lagTarget. One that is stuck falls behind with the time, and so does one whose archive is away.
func (f Facts) Following(now time.Time, most time.Duration) Answer {
	if most == 0 {
		most = lagTarget
	}
	s := f.Server
	switch {
	case s.Seen.IsZero():
		return no("UNREACHABLE the server has not answered since the agent began")
	case s.Failed || now.Sub(s.Seen) > seenFor:
		return no("UNREACHABLE the server does not answer; seen=%s", ago(s.Seen, now))
	case !s.Recovery:
		return no("PRIMARY timeline=%d seen=%s", s.Timeline, ago(s.Seen, now))
	case f.Standby.Until.IsZero() || f.Standby.Until.Sub(now) > status.RPOTarget:
		return no("UNKNOWN lag=unknown state=%s seen=%s", f.state(), ago(s.Seen, now))
	}
	lag := max(0, now.Sub(f.Standby.Until))
	if lag > most {
		return no("BEHIND lag=%s max=%s state=%s seen=%s", seconds(lag), seconds(most), f.state(), ago(s.Seen, now))
	}
	return yes("STANDBY lag=%s max=%s state=%s seen=%s", seconds(lag), seconds(most), f.state(), ago(s.Seen, now))
}

// state is that of the standby, in a word.
func (f Facts) state() string { return string(cmp.Or(f.Standby.State, standby.Unknown)) }

// Ready says whether WAL streams, and whether the repository takes it.
func (f Facts) Ready(now time.Time) Answer {
	a := f.Archive
	switch {
	case a.Fenced:
		return no("FENCED another server took over, or this one's history is not the archived one")
	case a.Stopping:
		return no("STOPPING")
	case !a.Streaming:
		return no("WAITING no WAL comes from the server")
	case a.Stored.IsZero():
		return no("WAITING the repository has taken nothing since the agent began")
	case a.Refused:
		return no("WAITING the repository refuses WAL; stored=%s", ago(a.Stored, now))
	case now.Sub(a.Stored) > a.Every+storedFor:
		return no("WAITING the repository takes nothing; stored=%s", ago(a.Stored, now))
	}
	return yes("READY stored=%s", ago(a.Stored, now))
}

// Alive says whether the agent itself works. Neither server nor store has a part in it: who starts an agent anew because of them only
// makes it begin again.
func (f Facts) Alive(now time.Time) Answer {
	if a := f.Archive; a.Streaming && now.Sub(a.Turned) > turnsFor {
		return no("STUCK the archiver's loop stands still; turned=%s", ago(a.Turned, now))
	}
	return yes("ALIVE")
}
