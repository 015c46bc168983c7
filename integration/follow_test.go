package integration_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestStandbyFollows guards I31 on every major, under pgbench: a standby that knows nothing but the archive, through a follower on its host, shows at each moment exactly what the primary had committed
// at the LSN that it replayed, and soon all of it; also when the store, the follower or the standby were away, and when the archive goes on on another timeline.
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
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	way, away := f.way(t)
	f.write(t, 30)
	load := newSteady(t, f.server, 1, 30)
	load.start(f.server)
	f.waitArchived(t)
	// The far host knows the archive alone.
	there := f.tool.with("PGARK_REPO="+way, "PGARK_STANDBY_SOCKET_DIR="+socket, "PGHOST=/nonexistent", "PGPORT=1", "PGTARGETSESSIONATTRS=any")
	testCreate(t, f, there, dir)
	far := postgrestest.StartFrom(t, v, dir)
	far.WaitReady(t)
	same := func(what string) {
		t.Helper()
		f.equalAtReplayed(t, what, far)
		f.caughtUp(t, far)
		const rows = "select count(*) || ' ' || coalesce(sum(id), 0) || ' ' || coalesce(md5(string_agg(id || pad, ',' order by id)), '') from t"
		if want, got := f.server.Text(t, rows), far.Text(t, rows); got != want {
			t.Errorf("%s: standby has %s, primary %s", what, got, want)
		}
	}
	f.caughtUp(t, far) // with the tables of the load
	f.write(t, 30)
	same("archive alone")

	// A standby that dies because the store is away is none. What it lacks comes when the store is back.
	back := away()
	f.write(t, 30)
	eventually(t, waitLong, "the standby to be refused", func() bool {
		return strings.Contains(far.Log(), "pgark.json") || strings.Contains(far.Log(), "no repository")
	})
	if !far.Running() {
		t.Fatal("the standby ended while the store was away")
	}
	f.equalAtReplayed(t, "while the store is away", far)
	back()
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
	load.stop()
	f.caughtUp(t, f.nodes[1])
	f.note(t)
	f.fail(t)
	f.promote(t, f.nodes[1])
	load.start(f.server)
	f.write(t, 30)
	same("another timeline")
	// It may just be between two connections.
	eventually(t, waitLong, "the standby to receive timeline 2", func() bool { return far.Text(t, "select received_tli from pg_stat_wal_receiver") == "2" })
	// An agent in the role of a follower does the same, and archives what its server writes once that was promoted.
	follower.stop(t)
	address := freeAddress(t)
	says := func(path string, want int, begins string) {
		t.Helper()
		last := ""
		eventually(t, waitLong, path+" to say "+begins, func() bool {
			code, line := ask(t, "http://"+address+path)
			if last != line {
				last = line
				t.Logf("%s: %d %s", path, code, line)
			}
			return code == want && strings.HasPrefix(line, begins)
		})
	}
	dr := there.with("PGARK_STANDBY_ROLE=follow", "PGARK_HTTP_LISTEN="+address, "PGHOST="+far.SocketDir, fmt.Sprintf("PGPORT=%d", far.Port))
	agent := dr.start(t, "run")
	f.write(t, 30)
	same("agent that follows")
	says("/standby?max_lag=60s", 200, "STANDBY lag=")
	says("/primary", 503, "STANDBY timeline=2")
	const slot = "select count(*) from pg_replication_slots where slot_name = 'pgark' and restart_lsn is not null"
	eventually(t, waitLong, "the slot on the standby", func() bool { return far.Text(t, slot) == "1" })
	load.stop()
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
	says("/primary", 200, "PRIMARY timeline=3")
	says("/standby", 503, "PRIMARY timeline=3")
	agent.stop(t)
	if t.Failed() {
		t.Logf("follower:\n%s\nstandby:\n%s", follower.output(), far.Log())
	}
}

// testCreate makes a standby in dir, and looks at what --start starts.
func testCreate(t *testing.T, f *family, there tool, dir string) {
	t.Helper()
	o := there.run(t.Context(), "standby", "create", "--into", dir, "--bin-dir", f.server.Version.BinDir, "--primary-conninfo", "host=10.0.0.1 password=canary-of-a-primary")
	if text := o.stdout + o.stderr; o.code != 2 || strings.Contains(text, "canary-of-a-primary") || !strings.Contains(text, "passfile=") {
		t.Errorf("a password on the command line: exit %d\n%s", o.code, text)
	}
	out := there.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", f.server.Version.BinDir, "--start", "--port", "5433", "--yes", "-o", "json")
	var made struct {
		Result struct {
			Socket string `json:"socket"`
			Port   int    `json:"port"`
			PID    int    `json:"pid"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conn := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", made.Result.Socket, made.Result.Port)
	if got := query(t, conn, "select pg_is_in_recovery() || ' ' || current_setting('archive_mode') || ' ' || current_setting('listen_addresses')"); got != "true off " {
		t.Errorf("the standby that was started is %q, want in recovery, not archiving, without TCP", got)
	}
	eventually(t, waitLong, "the standby to have the rows that are archived", func() bool {
		return query(t, conn, "select count(*)::text from t") == f.server.Text(t, "select count(*) from t")
	})
	restored{dir: dir}.end(t)
	if o := there.run(t.Context(), "standby", "create", "--into", dir, "--yes"); o.code != 5 {
		t.Errorf("into a folder in use: exit %d, want 5\n%s", o.code, o.stderr)
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
