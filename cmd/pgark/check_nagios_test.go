package main

import (
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
)

func TestNagiosLine(t *testing.T) {
	good := agent.Finding{Section: "End2end", Verdict: agent.Good, Text: "marker durable", Durable: 380 * time.Millisecond, Repo: "primary"}
	warning := agent.Finding{Section: "Postgres", Verdict: agent.Warning, Text: "max_slot_wal_keep_size = -1: a | b\nc"}
	bad := agent.Finding{Section: "Storage", Verdict: agent.Bad, Text: "access denied"}
	for _, test := range []struct {
		found []agent.Finding
		want  string
		code  int
	}{
		{[]agent.Finding{good}, "PGARK OK - main: 1 finding, all right | errors=0;;0 warnings=0;0 'durable_primary'=0.380s;;;0", 0},
		{[]agent.Finding{good, warning}, "PGARK WARNING - main: Postgres: max_slot_wal_keep_size = -1: a / b; c | errors=0;;0 warnings=1;0 'durable_primary'=0.380s;;;0", 1},
		{[]agent.Finding{warning, bad}, "PGARK CRITICAL - main: Storage: access denied | errors=1;;0 warnings=1;0", 2},
	} {
		r := findings{session: &session{program: &program{}}, silent: true, cluster: "main"}
		for _, f := range test.found {
			r.add(f)
		}
		if got, code := r.nagiosLine(); got != test.want || code != test.code {
			t.Errorf("got %d %s\nwant %d %s", code, got, test.code, test.want)
		}
	}
}
