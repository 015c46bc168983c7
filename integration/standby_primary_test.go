package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestStandbyOfThePrimary: a standby that was made with --primary-conninfo streams from the primary while there is a way to it, and goes on with the archive while there is none, from files and from a
// follower. It has what recovery needs of the primary's settings, whatever its postgresql.conf says. A takeover is refused while the probe finds the primary, and one that is
// broken off with Ctrl-C leaves things as it says.
func TestStandbyOfThePrimary(t *testing.T) {
	t.Parallel()
	v := postgrestest.Need(t, 17)
	needed := map[string]string{
		"max_connections": "123", "max_worker_processes": "13", "max_wal_senders": "14", "max_prepared_transactions": "15", "max_locks_per_transaction": "77",
	}
	s := newSite(t, v, onFile, postgrestest.Options{Settings: needed})
	// The file tells of less by now, as after a change before a restart: only pg_control knows.
	s.server.Configure(t, map[string]string{
		"max_connections": "40", "max_worker_processes": "4", "max_wal_senders": "10", "max_prepared_transactions": "0", "max_locks_per_transaction": "64",
	})
	s.server.Exec(t, "create table t (id int primary key, pad text)")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)

	way := filepath.Join(postgrestest.TempDir(t), "way") // to the primary
	open := func() {
		if err := os.Symlink(s.server.SocketDir, way); err != nil {
			t.Fatal(err)
		}
	}
	const walsenders = "select count(pg_terminate_backend(pid)) from pg_stat_replication where application_name <> 'pgark'"
	shut := func() {
		if err := os.Remove(way); err != nil {
			t.Fatal(err)
		}
		s.server.Exec(t, walsenders)
	}
	open()
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	there := s.tool.with("PGARK_REPO="+s.url, "PGARK_STANDBY_SOCKET_DIR="+socket, "PGHOST=/nonexistent", "PGPORT=1")
	there.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", v.BinDir, "--yes",
		"--primary-conninfo", fmt.Sprintf("host=%s port=%d user=postgres", way, s.server.Port))
	far := postgrestest.StartFrom(t, v, dir)
	far.WaitReady(t)
	for name, want := range needed {
		if got := far.Text(t, "show "+name); got != want {
			t.Errorf("%s of the standby is %s, want %s", name, got, want)
		}
	}
	streamsFrom := func(host string) {
		t.Helper()
		eventually(t, waitLong, "the standby to stream from "+host, func() bool {
			return far.Text(t, "select coalesce(max(sender_host), '') from pg_stat_wal_receiver where status = 'streaming'") == host
		})
	}
	rows := 0
	same := func(what string) {
		t.Helper()
		s.server.Exec(t, fmt.Sprintf("insert into t select n, repeat('x', 500) from generate_series(%d, %d) n", rows+1, rows+300))
		rows += 300
		s.server.Exec(t, "select pg_switch_wal()")
		eventually(t, waitLong, what+": the standby to have all rows", func() bool { return far.Text(t, "select count(*) from t") == fmt.Sprint(rows) })
	}
	streamsFrom(way)
	same("streaming from the primary")

	shut()
	same("no way to the primary, and no follower")
	follower := there.start(t, "standby", "follow", "--interval", "300ms")
	streamsFrom(socket)
	same("streaming from the follower")
	open()
	follower.kill()
	streamsFrom(way)
	same("streaming from the primary again")

	// Taking over.
	dr := there.with("PGHOST="+far.SocketDir, fmt.Sprint("PGPORT=", far.Port), "PGTARGETSESSIONATTRS=any")
	primary := fmt.Sprintf("host=%s port=%d user=postgres", s.server.SocketDir, s.server.Port)
	if o := dr.run(t.Context(), "standby", "promote", "--probe", primary, "--silence", "1ms"); o.code != 5 || !strings.Contains(o.stderr, "it answers, and takes writes") {
		t.Fatalf("while the probe finds the primary: exit %d, want 5\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := dr.run(t.Context(), "standby", "promote", "--probe", primary+" dbname=none options=-cnothing=1", "--silence", "1ms"); o.code != 5 || !strings.Contains(o.stderr, "it answers: ") {
		t.Fatalf("while the primary refuses the probe: exit %d, want 5\n%s%s", o.code, o.stdout, o.stderr)
	}
	// It has no way to what is durable, so that it waits for that.
	shut()
	far.Exec(t, "alter system set restore_command = '/bin/false'")
	far.Exec(t, "alter system set primary_conninfo = ''")
	far.Exec(t, "select pg_reload_conf()")
	eventually(t, waitLong, "the stream to end", func() bool { return far.Text(t, "select count(*) from pg_stat_wal_receiver") == "0" })
	s.server.Exec(t, fmt.Sprintf("insert into t select n, repeat('x', 500) from generate_series(%d, %d) n", rows+1, rows+300))
	rows += 300
	s.waitArchived(t)
	promote := dr.start(t, "standby", "promote", "--force")
	eventually(t, waitLong, "the takeover to wait for replay", func() bool { return strings.Contains(promote.output(), "bytes left") })
	eventually(t, waitLong, "the primary's agent to end", func() bool {
		select {
		case <-agent.done:
			return true
		default:
			return false
		}
	})
	if code := exitOf(agent); code != 11 {
		t.Errorf("the primary's agent: exit %d, want 11", code)
	}
	if err := promote.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-promote.done
	if code, text := exitOf(promote), promote.output(); code != 130 || !contains(text, "cancelled", "timeline 1 stays fenced", "pgark standby fence --lift") {
		t.Errorf("Ctrl-C: exit %d, want 130\n%s", code, text)
	}
	if got := far.Text(t, "select pg_is_in_recovery()"); got != "true" && got != "t" {
		t.Errorf("the standby was promoted: in recovery %s", got)
	}
	if o := s.tool.run(t.Context(), "run", s.url); o.code != 11 {
		t.Errorf("the primary's agent, begun again: exit %d, want 11\n%s", o.code, o.stderr)
	}
	dr.must(t.Context(), t, "standby", "fence", "--lift")
	s.tool.start(t, "run", s.url)
	s.server.Exec(t, fmt.Sprintf("insert into t values (%d, 'lifted')", rows+1))
	s.waitArchived(t)
}

// exitOf is the exit code of a process that ended.
func exitOf(p *process) int {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
