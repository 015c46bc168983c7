package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestStandbyFollows guards I31 on every major: a standby that knows nothing but the archive, through a follower on its host, has all that was
// committed soon after; also when the follower or the standby were away, and when the archive goes on on another timeline.
func TestStandbyFollows(t *testing.T) {
	for _, major := range []int{14, 15, 16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			testStandbyFollows(t, postgrestest.Need(t, major))
		})
	}
}

func testStandbyFollows(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	f.server.Stop(t, postgrestest.Fast)
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	copyFolder(t, f.server.DataDir, dir)
	f.server.Start(t)
	writeFile(t, filepath.Join(dir, "standby.signal"), "")
	way := filepath.Join(postgrestest.TempDir(t), "way") // of the standby to the archive
	open := func() {
		if err := os.Symlink(f.folder, way); err != nil {
			t.Fatal(err)
		}
	}
	open()
	appendFile(t, filepath.Join(dir, "postgresql.auto.conf"), fmt.Sprintf("primary_conninfo = 'host=%s port=5432'\n", socket)+
		fmt.Sprintf("restore_command = '%s %s wal fetch --repo file://%s %%f %%p'\n", strings.Join(f.tool.keys(), " "), f.tool.bin, way)+
		"wal_retrieve_retry_interval = '200ms'\n")
	far := postgrestest.StartFrom(t, v, dir)
	far.WaitReady(t)
	same := func(what string) {
		t.Helper()
		f.caughtUp(t, far)
		const rows = "select count(*) || ' ' || coalesce(sum(id), 0) || ' ' || coalesce(md5(string_agg(id || pad, ',' order by id)), '') from t"
		if want, got := f.server.Text(t, rows), far.Text(t, rows); got != want {
			t.Errorf("%s: standby has %s, primary %s", what, got, want)
		}
	}
	f.write(t, 30)
	same("archive alone")

	// A standby that dies because the store is away is none. What it lacks comes when the store is back.
	if err := os.Remove(way); err != nil {
		t.Fatal(err)
	}
	f.write(t, 30)
	eventually(t, waitLong, "the standby to be refused", func() bool {
		return strings.Contains(far.Log(), "pgark.json") || strings.Contains(far.Log(), "no repository")
	})
	if !far.Running() {
		t.Fatal("the standby ended while the store was away")
	}
	open()
	same("store away")

	follower := f.tool.start(t, "standby", "follow", "--socket-dir", socket, "--interval", "300ms", "--repo", f.url)
	eventually(t, waitLong, "the standby to stream", func() bool { return far.Text(t, "select count(*) from pg_stat_wal_receiver") == "1" })
	f.write(t, 30)
	same("streaming")
	if o := f.tool.run(t.Context(), "standby", "follow", "--socket-dir", socket, "--repo", f.url); o.code != 11 || !strings.Contains(o.stderr, "--socket-dir DIR") {
		t.Errorf("a second follower: exit %d, want 11\n%s", o.code, o.stderr)
	}

	follower.kill()
	f.write(t, 30)
	follower = f.tool.start(t, "standby", "follow", "--socket-dir", socket, "--interval", "300ms", "--repo", f.url)
	same("follower killed")

	far.Kill(t)
	f.write(t, 30)
	far.Start(t)
	far.WaitReady(t)
	same("standby crashed")

	// The primary is lost; its standby goes on.
	f.caughtUp(t, f.nodes[1])
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.write(t, 30)
	same("another timeline")
	if got := far.Text(t, "select received_tli from pg_stat_wal_receiver"); got != "2" {
		t.Errorf("standby receives timeline %s, want 2", got)
	}
	// An agent in the role of a follower does the same, and archives what its server writes once that was promoted.
	follower.stop(t)
	dr := f.tool.with("PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR="+socket,
		"PGHOST="+far.SocketDir, fmt.Sprintf("PGPORT=%d", far.Port), "PGTARGETSESSIONATTRS=any")
	agent := dr.start(t, "run", f.url)
	f.write(t, 30)
	same("agent that follows")
	const slot = "select count(*) from pg_replication_slots where slot_name = 'pgark' and restart_lsn is not null"
	eventually(t, waitLong, "the slot on the standby", func() bool { return far.Text(t, slot) == "1" })
	f.agent.kill()
	f.fail(t)
	missed := v.Major%2 == 0 // the agent is dead when its server is promoted
	if missed {
		agent.kill()
	}
	f.promote(t, far)
	f.write(t, 30)
	if missed {
		agent = dr.start(t, "run", f.url)
	}
	f.waitArchived(t)
	if got := f.timeline(t); got != 3 {
		t.Errorf("the promoted standby writes timeline %d, want 3", got)
	}
	agent.stop(t)
	if t.Failed() {
		t.Logf("follower:\n%s\nstandby:\n%s", follower.output(), far.Log())
	}
}

// keys are the variables that give a program of the server what the tool opens the repository with.
func (p tool) keys() []string {
	var keys []string
	for _, v := range p.env {
		if strings.HasPrefix(v, "PGARK_ENCRYPTION_") {
			keys = append(keys, v)
		}
	}
	return keys
}
