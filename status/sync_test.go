package status_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/syncmode"
)

// TestSync is the table of what is said of commits that wait for the archive, and of those that do not and should.
func TestSync(t *testing.T) {
	wanted := syncmode.Policy{Names: "pgark", DegradeAfter: 30 * time.Second}
	in := &repository.SyncEvent{Change: repository.SyncIn, Time: minute(3)}
	out := &repository.SyncEvent{Change: repository.SyncOut, Time: minute(5), Cause: "no confirmation for 30s"}
	for _, test := range []struct {
		name     string
		settings syncmode.Settings
		policy   syncmode.Policy
		event    *repository.SyncEvent
		inactive bool
		state    syncmode.State // "" for no word of it
		verdict  status.Verdict
		what     string // of the first cause
		fix      string
		since    time.Time
	}{
		{name: "nobody asks for it", settings: syncmode.Settings{Commit: "on"}, verdict: status.Protected},
		{name: "was in once", settings: syncmode.Settings{Commit: "on"}, event: out, verdict: status.Protected},
		{
			name: "in", settings: syncmode.Settings{Names: "pgark", Commit: "on"}, event: in,
			state: syncmode.In, verdict: status.Protected, since: minute(3),
		},
		{
			name: "in, and no record of it yet", settings: syncmode.Settings{Names: "pgark", Commit: "on"}, event: out,
			state: syncmode.In, verdict: status.Protected,
		},
		{name: "with others", settings: syncmode.Settings{Names: "pgark, s1", Commit: "on"}, state: syncmode.Shared, verdict: status.Protected},
		{
			name: "stepped out", settings: syncmode.Settings{Commit: "on"}, policy: wanted, event: out, state: syncmode.Out, verdict: status.AtRisk,
			what: "stepped out of synchronous mode, and steps in again when all has been durable for a while (no confirmation for 30s)", fix: "pgark check", since: minute(5),
		},
		{
			name: "out, set by others", settings: syncmode.Settings{Names: "s1", Commit: "on"}, policy: wanted, state: syncmode.Out, verdict: status.AtRisk,
			what: "synchronous_standby_names = 's1', which the agent leaves", fix: "SET synchronous_commit = local; ALTER SYSTEM SET synchronous_standby_names = 'pgark'",
		},
		{
			name: "remote_apply", settings: syncmode.Settings{Names: "pgark", Commit: "remote_apply"}, state: syncmode.Refused, verdict: status.AtRisk,
			what: "commits wait for ever", fix: "SET synchronous_commit = local; ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
		},
		{
			name: "local", settings: syncmode.Settings{Names: "pgark", Commit: "local"}, state: syncmode.NotWaiting, verdict: status.AtRisk,
			what: "commits do not wait for the archive: synchronous_commit = local", fix: "SET synchronous_commit = local; ALTER",
		},
		{
			name: "in, and the agent is dead", settings: syncmode.Settings{Names: "pgark", Commit: "on"}, event: in, inactive: true, state: syncmode.In, verdict: status.AtRisk,
			what: "commits on the server hang", fix: "pgark run", since: minute(3),
		},
		{
			name: "cannot be read", settings: syncmode.Settings{Names: "a b", Commit: "on"}, state: syncmode.Off, verdict: status.AtRisk,
			what: "want a comma", fix: "psql",
		},
	} {
		facts := archived()
		facts.Sync = test.event
		r := status.Make(facts, minute(9).Add(12*time.Second))
		server := received(0x900)
		if test.inactive {
			inactive(server)
		}
		r.SetServer(*server)
		test.settings.Application = "pgark"
		r.SetSync(test.settings, test.policy)
		r.Judge(commands)
		var state syncmode.State
		var since time.Time
		if r.Sync != nil {
			state = r.Sync.State
			if r.Sync.Since != nil {
				since = *r.Sync.Since
			}
		}
		if state != test.state || r.Verdict != test.verdict || !since.Equal(test.since) {
			t.Errorf("%s: got %s since %v, %s; want %s since %v, %s", test.name, state, since, r.Verdict, test.state, test.since, test.verdict)
		}
		switch {
		case test.what == "" && len(r.Causes) == 0:
		case len(r.Causes) == 0 || test.what == "" || !strings.Contains(r.Causes[0].What, test.what) || !strings.HasPrefix(r.Causes[0].Fix, test.fix):
			t.Errorf("%s: got %+v, want %q, fix %q", test.name, r.Causes, test.what, test.fix)
		}
	}
}

func TestSyncInJSON(t *testing.T) {
	facts := archived()
	facts.Sync = &repository.SyncEvent{Change: repository.SyncOut, Time: minute(5), Cause: "no answer"}
	r := status.Make(facts, minute(9))
	r.SetSync(syncmode.Settings{Commit: "on", Application: "pgark"}, syncmode.Policy{Names: "ANY 1 (pgark)", DegradeAfter: time.Minute})
	got, err := json.Marshal(r.Sync)
	want := `{"state":"out","synchronous_standby_names":"","synchronous_commit":"on","application_name":"pgark","standby_names":"ANY 1 (pgark)",` +
		`"degrade_after_seconds":60,"since":"2026-11-20T00:05:00Z","cause":"no answer"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}
