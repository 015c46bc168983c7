package status

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/syncmode"
)

// Sync is what commits on the server may rely on.
type Sync struct {
	State syncmode.State `json:"state"`
	// StandbyNames and Commit are the server's synchronous_standby_names and synchronous_commit.
	StandbyNames string `json:"synchronous_standby_names"`
	Commit       string `json:"synchronous_commit"`
	// Application is the application_name by which the server knows the agent.
	Application string `json:"application_name"`
	// Wanted is what the agent sets StandbyNames to by itself; absent if it leaves it to others.
	Wanted string `json:"standby_names,omitempty"`
	// DegradeAfter is after how many seconds of waiting the agent steps out; absent means never.
	DegradeAfter float64 `json:"degrade_after_seconds,omitempty"`
	// Since is when it began, and Cause why, where the repository has a record of it.
	Since *time.Time `json:"since,omitempty"`
	Cause string     `json:"cause,omitempty"`
	// Error says why StandbyNames cannot be read.
	Error string `json:"error,omitempty"`
}

// SetSync lays what the server says of synchronous commits beside the archive's records of it. A server that does not name the
// agent, and is not to, leaves Sync absent.
func (r *Report) SetSync(s syncmode.Settings, p syncmode.Policy) {
	state, err := syncmode.Judge(s, p.Names)
	if state == syncmode.Off && err == nil {
		return
	}
	r.Sync = &Sync{
		State: state, StandbyNames: s.Names, Commit: s.Commit, Application: s.Application,
		Wanted: p.Names, DegradeAfter: p.DegradeAfter.Seconds(),
	}
	if err != nil {
		r.Sync.Error = err.Error()
	}
	if e := r.lastSync; e != nil && (e.Change == repository.SyncIn) == (state == syncmode.In) {
		r.Sync.Since, r.Sync.Cause = &e.Time, e.Cause
	}
}

// judgeSync says what commits cannot rely on although they are to.
func (r Report) judgeSync(c Commands) []finding {
	if r.Sync == nil {
		return nil
	}
	s := *r.Sync
	risk := func(what, fix string) []finding {
		return []finding{{verdict: AtRisk, Cause: Cause{What: what, Since: s.Since, Fix: fix}}}
	}
	const local, reload = "SET synchronous_commit = local; ", "; SELECT pg_reload_conf();"
	switch {
	case s.Error != "":
		return risk("what commits wait for cannot be read: "+s.Error, c.SQL("show synchronous_standby_names"))
	case s.State == syncmode.Refused:
		return risk(fmt.Sprintf("synchronous_commit = remote_apply and synchronous_standby_names = '%s': commits wait for ever, because nobody can read from an archive",
			s.StandbyNames), local+"ALTER SYSTEM SET synchronous_commit = on"+reload)
	case s.State == syncmode.NotWaiting:
		return risk(fmt.Sprintf("commits do not wait for the archive: synchronous_commit = %s, though synchronous_standby_names = '%s'", s.Commit, s.StandbyNames),
			local+"ALTER SYSTEM SET synchronous_commit = on"+reload)
	case s.State == syncmode.Out && s.StandbyNames != "":
		return risk(fmt.Sprintf("commits do not wait for the archive: synchronous_standby_names = '%s', which the agent leaves to whoever set it", s.StandbyNames),
			local+"ALTER SYSTEM SET synchronous_standby_names = '"+s.Wanted+"'"+reload)
	case s.State == syncmode.Out:
		what := "commits do not wait for the archive: the agent has stepped out of synchronous mode, and steps in again when all has been durable for a while"
		if s.Cause != "" {
			what += " (" + s.Cause + ")"
		}
		return risk(what, c.Check)
	case r.Server != nil && r.Server.Slot != nil && r.Server.Slot.Active != nil && !*r.Server.Slot.Active && s.State == syncmode.In:
		return risk(fmt.Sprintf("commits on the server hang: synchronous_standby_names = '%s', and no agent is receiving", s.StandbyNames), c.Run)
	}
	return nil
}
