package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/syncmode"
)

// TestStatusSync: a line says what commits may rely on, and one by which setting.
func TestStatusSync(t *testing.T) {
	facts := archivedTwoWeeks()
	facts.Sync = &repository.SyncEvent{Change: repository.SyncOut, Time: day(20, "10:36:55"), Cause: "no confirmation for 30s"}
	policy := syncmode.Policy{Names: "ANY 1 (pgark)", DegradeAfter: 30 * time.Second}
	for _, test := range []struct {
		settings syncmode.Settings
		want     string
	}{
		{
			syncmode.Settings{Names: "ANY 1 (pgark)", Commit: "on"},
			"  sync      in · no commit returns before it is durable here\n            synchronous_standby_names = 'ANY 1 (pgark)', the agent is pgark, steps out after 30 s\n",
		},
		{
			syncmode.Settings{Commit: "on"},
			"  sync      OUT · commits return before they are durable · since 2026-11-20 10:36:55Z\n            synchronous_standby_names = '', the agent is pgark, steps out after 30 s\n",
		},
		{syncmode.Settings{Names: "pgark", Commit: "remote_apply"}, "  sync      REFUSED · synchronous_commit = remote_apply: such commits wait for ever · since"},
		{syncmode.Settings{Names: "pgark, s1", Commit: "on"}, "  sync      shared · a commit may return with another's confirmation alone"},
		{syncmode.Settings{Names: "pgark", Commit: "off"}, "  sync      NOT WAITING · synchronous_commit = off"},
	} {
		s, out := shown(t)
		r := status.Make(facts, day(20, "10:41:07"))
		r.SetServer(served())
		test.settings.Application = "pgark"
		r.SetSync(test.settings, policy)
		s.printSync(r)
		if !strings.HasPrefix(out.String(), test.want) {
			t.Errorf("got\n%swant\n%s", out.String(), test.want)
		}
	}
	s, out := shown(t)
	if s.printSync(status.Report{}); out.Len() > 0 {
		t.Errorf("nothing to say, and yet: %s", out.String())
	}
}
