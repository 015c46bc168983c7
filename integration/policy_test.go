package integration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestLeastPrivilege guards I36, T1 and T2: a role with LOGIN REPLICATION alone and, at the bucket, exactly what `pgark repo policy` prints. The writer
// archives and takes base backups and can delete nothing; the reader restores all; the janitor lets a backup go, and nobody else.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	s.server.Exec(t, "create role ark login replication")
	wires := map[string]*storagetest.Proxy{}
	for _, role := range []string{"writer", "reader", "janitor"} {
		// As at Amazon's: the policy for a URL with an endpoint of its own asks for less.
		document := s.tool.must(t.Context(), t, "repo", "policy", "--quiet", "--role", role, "s3://pgark/main?region=us-east-1")
		wires[role] = storagetest.StartProxy(t, s.s3)
		wires[role].Trust() // it has its own policy
		wires[role].Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, []byte(document))})
	}
	url := func(role string) string { return wires[role].URL("pgark", "main") }

	writer := s.tool.with("PGUSER=ark", "PGDATABASE=postgres")
	if o := writer.run(t.Context(), "check", "--only", "postgres,storage", url("writer")); o.code != 0 || !strings.Contains(o.stdout, "may not delete") || strings.Contains(o.stdout, "this credential may delete") {
		t.Errorf("check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	power := "this credential may delete and overwrite objects, and delete their versions for good"
	if hardened() { // locks are in its way
		power = "this credential may delete and overwrite objects: whoever steals it can; their older versions stay"
	}
	if o := writer.run(t.Context(), "check", "--only", "storage", s.s3.URL("pgark", "main")); o.code != 0 || !strings.Contains(o.stdout, power) {
		t.Errorf("check with all rights: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	agent := writer.start(t, "run", url("writer"))
	s.waitBackup(t)
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g; select pg_switch_wal()")
	s.waitArchived(t)
	// Of what nobody verified the newest before the window stays, and a spare before it: the third goes.
	writer.must(t.Context(), t, "backup", url("writer"))
	writer.must(t.Context(), t, "backup", url("writer"))
	s.server.Exec(t, "insert into t values (1001)")
	s.waitArchived(t)

	retain := s.tool.with("PGARK_RETAIN_WINDOW=1s", "PGARK_RETAIN_GRACE=0s", "PGARK_RETAIN_MIN_BACKUPS=1")
	eventually(t, time.Minute, "a backup to be let go", func() bool {
		s.server.Exec(t, "insert into t select max(g) + 1 from t")
		s.waitArchived(t)
		var plan struct {
			Repositories []struct {
				Clusters []struct {
					Backups []struct {
						Remove string `json:"remove"`
					} `json:"backups"`
				} `json:"clusters"`
			} `json:"repositories"`
		}
		if err := json.Unmarshal([]byte(retain.must(t.Context(), t, "prune", "-o", "json", "--repo", url("janitor"))), &plan); err != nil {
			t.Fatal(err)
		}
		backups := plan.Repositories[0].Clusters[0].Backups
		return len(backups) == 3 && (backups[0].Remove != "" || backups[2].Remove != "")
	})
	s.waitArchived(t)
	rows := s.server.Text(t, "select count(*) from t")
	agent.stop(t)

	const fix = "pgark repo policy --role janitor s3://pgark/main"
	if o := retain.run(t.Context(), "prune", "--yes", "--repo", url("writer")); o.code != 13 || !strings.Contains(o.stderr, fix) {
		t.Errorf("prune by the writer: exit %d, want 13 and %q\n%s%s", o.code, fix, o.stdout, o.stderr)
	}
	if n := len(s.backups(t)); n != 3 {
		t.Errorf("%d backups, want 3", n)
	}
	pruned := retain.must(t.Context(), t, "prune", "--yes", "--repo", url("janitor"))
	var left struct {
		Backups []struct {
			ID string `json:"id"`
		} `json:"backups"`
	}
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "list", "-o", "json", url("reader"))), &left); err != nil {
		t.Fatal(err)
	}
	if len(left.Backups) != 2 {
		t.Errorf("%d backups after prune by the janitor, want 2:\n%s", len(left.Backups), pruned)
	}
	s.url = url("reader")
	r, o := s.restore(t.Context(), t)
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*) from t"); got != rows {
		t.Errorf("restored %s rows, want %s", got, rows)
	}

	// Nothing but these was asked for and refused: what a credential without the right goes on without.
	refused := map[string]map[storagetest.Op]int{}
	for role, wire := range wires {
		refused[role] = map[storagetest.Op]int{}
		for _, c := range wire.Calls() {
			if c.Fault != "policy" || hardened() && role == "reader" && c.Action == "s3:GetObjectRetention" { // where locks are configured a list tells of them what may be seen
				continue
			}
			refused[role][c.Op]++
		}
	}
	// The check tries to put over an object, and asks whether a lock keeps a version from being deleted. The agent that makes the repository asks once whether there was one, and
	// where locks are configured the check asks how the bucket locks.
	asks := 1
	if hardened() {
		asks++
	}
	if w := refused["writer"]; w[storagetest.Delete] == 0 || w[storagetest.Put] == 0 || w[storagetest.Get] == 0 || w[storagetest.Other] > asks || len(w) > 4 {
		t.Errorf("the writer was refused %v, want deletions, the trials of check and a look for an earlier repository alone", w)
	}
	delete(refused["reader"], storagetest.Put) // the mark that something is read
	if r := refused["reader"]; len(r) != 0 {
		t.Errorf("the reader was refused %v", r)
	}
	if j := refused["janitor"]; len(j) != 0 {
		t.Errorf("the janitor was refused %v", j)
	}
}
