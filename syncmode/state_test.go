package syncmode_test

import (
	"testing"

	"github.com/pgark/pgark/syncmode"
)

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings syncmode.Settings
		wanted   string
		want     syncmode.State
	}{
		{"nobody asks for it", syncmode.Settings{Commit: "on"}, "", syncmode.Off},
		{"others are named", syncmode.Settings{Names: "s1", Commit: "on"}, "", syncmode.Off},
		{"named", syncmode.Settings{Names: "pgark", Commit: "on"}, "", syncmode.In},
		{"remote_write waits for what is durable too", syncmode.Settings{Names: "ANY 1 (pgark)", Commit: "remote_write"}, "", syncmode.In},
		{"beside others", syncmode.Settings{Names: "pgark, s1", Commit: "on"}, "", syncmode.Shared},
		{"with others", syncmode.Settings{Names: "ANY 2 (pgark, s1)", Commit: "on"}, "", syncmode.In},
		{"remote_apply", syncmode.Settings{Names: "pgark", Commit: "remote_apply"}, "", syncmode.Refused},
		{"remote_apply beside others", syncmode.Settings{Names: "s1, pgark", Commit: "remote_apply"}, "", syncmode.Refused},
		{"remote_apply without us", syncmode.Settings{Names: "s1", Commit: "remote_apply"}, "", syncmode.Off},
		{"local", syncmode.Settings{Names: "pgark", Commit: "local"}, "pgark", syncmode.NotWaiting},
		{"off", syncmode.Settings{Names: "pgark", Commit: "off"}, "", syncmode.NotWaiting},
		{"wanted and not there", syncmode.Settings{Commit: "on"}, "pgark", syncmode.Out},
		{"wanted, others are there", syncmode.Settings{Names: "s1", Commit: "on"}, "pgark", syncmode.Out},
		{"wanted and there", syncmode.Settings{Names: "FIRST 1 (pgark)", Commit: "on"}, "pgark", syncmode.In},
		{"on a standby nothing commits", syncmode.Settings{Names: "pgark", Commit: "on", Standby: true}, "pgark", syncmode.Off},
	} {
		test.settings.Application = "pgark"
		if got, err := syncmode.Judge(test.settings, test.wanted); err != nil || got != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.name, got, err, test.want)
		}
	}
	if got, err := syncmode.Judge(syncmode.Settings{Names: "a b", Application: "a"}, ""); err == nil || got != syncmode.Off {
		t.Errorf("a setting that cannot be read: got %s, %v", got, err)
	}
}
