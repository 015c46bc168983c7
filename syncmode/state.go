package syncmode

// State says what a server's settings promise of commits that return without a
// warning.
type State string

// The states. Their text stands in JSON and in the repository.
const (
	// Off: commits do not wait for the archive, nor are they to.
	Off State = "off"
	// In: no commit returns before it is durable in the archive.
	In State = "in"
	// Shared: the agent is named beside others. A commit may return with their
	// confirmation alone.
	Shared State = "shared"
	// Out: commits are to wait for the archive and do not.
	Out State = "out"
	// Refused: synchronous_commit is remote_apply. What it asks for, that commits
	// can be read on the standby, an archive cannot confirm: such commits wait for ever.
	Refused State = "refused"
	// NotWaiting: the agent is named, but synchronous_commit is off or local.
	NotWaiting State = "not_waiting"
)

// Settings are what a server says, all read at one time.
type Settings struct {
	// Names is synchronous_standby_names.
	Names string
	// Commit is synchronous_commit of a session that did not change it.
	Commit string
	// Application is application_name of the agent's connections as the server knows it.
	Application string
	// Standby says that the server is one itself: it has no commits to wait.
	Standby bool
}

// remoteApply is the value of synchronous_commit that no archive can serve.
const remoteApply = "remote_apply"

// Judge says what the settings promise, when the agent is to set
// synchronous_standby_names to wanted; "" leaves the setting to others. The error
// is that of a setting that cannot be read; the state is Off then.
func Judge(s Settings, wanted string) (State, error) {
	if s.Standby {
		return Off, nil
	}
	var names Names
	if s.Names != "" {
		var err error
		if names, err = ParseNames(s.Names); err != nil {
			return Off, err
		}
	}
	switch {
	case !names.Contains(s.Application) && wanted != "":
		return Out, nil
	case !names.Contains(s.Application):
		return Off, nil
	case s.Commit == remoteApply:
		return Refused, nil
	case s.Commit == "off" || s.Commit == "local":
		return NotWaiting, nil
	case !names.Needs(s.Application):
		return Shared, nil
	}
	return In, nil
}

// Named reports whether the server names the agent, so that commits may wait for it.
func (s State) Named() bool { return s != Off && s != Out }
