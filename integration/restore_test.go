package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestRecoveryNeverShort guards I22: whatever befalls restore_command while a real server recovers, the server gives up or
// waits, and never opens short of its target. Once the fault is gone the same data directory recovers to the target.
func TestRecoveryNeverShort(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	for n := range 4 { // some segments
		s.server.Exec(t, fmt.Sprintf("insert into t values (%d)", n))
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.server.Exec(t, "insert into t values (4)")
	s.waitArchived(t)
	agent.stop(t)

	proxy := storagetest.StartProxy(t, s.s3)
	through := proxy.URL("pgark", "main")
	wal := "/pgark/main/*/wal/*"
	faults := []struct {
		name  string
		rules []storagetest.Rule
		// command replaces restore_command.
		command string
	}{
		{name: "store down", rules: []storagetest.Rule{{Op: storagetest.Get, Fault: storagetest.Cut()}, {Op: storagetest.List, Fault: storagetest.Cut()}}},
		{name: "store hangs", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.Hang()}}},
		{name: "403 after the first", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.Answer(403, "AccessDenied")}}},
		{name: "503", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.Answer(503, "SlowDown")}}},
		{name: "404 that lies", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.Answer(404, "NoSuchKey")}}},
		{name: "404 and an empty list", rules: []storagetest.Rule{
			{Op: storagetest.Get, Path: wal, Fault: storagetest.Answer(404, "NoSuchKey")}, {Op: storagetest.List, Fault: storagetest.HideKeys("*")},
		}},
		{name: "corrupt", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.FlipBit(300)}}},
		{name: "cut short", rules: []storagetest.Rule{{Op: storagetest.Get, Path: wal, Fault: storagetest.Truncate(300)}}},
		{name: "helper killed", command: "kill -9 $$"},
		{name: "helper terminated", command: "kill -15 $$"},
		{name: "helper missing", command: "/nonexistent/pgark wal fetch %f %p"},
		{name: "helper panics", command: "exit 134"},
		{name: "end of WAL claimed at once", command: "exit 1"},
		{name: "end of WAL claimed later", command: "case %f in *000004) exit 1;; esac; PGARK"},
	}
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(postgrestest.TempDir(t), "restored")
			s.tool.must(t.Context(), t, "restore", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes", through)
			auto := filepath.Join(dir, "postgresql.auto.conf")
			right := restoreCommandOf(t, auto)
			command := strings.Replace(right, "wal fetch ", "wal fetch --timeout 3s ", 1)
			if tt.command != "" {
				command = strings.Replace(tt.command, "PGARK", command, 1)
			}
			setRestoreCommand(t, auto, command)
			var remove []func()
			for _, rule := range tt.rules {
				remove = append(remove, proxy.Add(rule))
			}
			if opened, log := s.recovers(t, dir, 40*time.Second); opened {
				t.Errorf("the server opened:\n%s", log)
			}
			for _, r := range remove {
				r()
			}
			setRestoreCommand(t, auto, right)
			opened, log := s.recovers(t, dir, 90*time.Second, "select count(*) || ' ' || max(n) from t")
			if !opened || !strings.Contains(log, "answer: 5 4") {
				t.Errorf("after the fault: opened %t:\n%s", opened, log)
			}
		})
	}
}

// restoreCommandOf reads restore_command from a configuration file that pgark wrote.
func restoreCommandOf(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "restore_command = '"); ok {
			return strings.NewReplacer("''", "'", `\\`, `\`).Replace(strings.TrimSuffix(value, "'"))
		}
	}
	t.Fatalf("no restore_command in %s", raw)
	return ""
}

// setRestoreCommand adds another restore_command, which counts since it is the last.
func setRestoreCommand(t *testing.T, path, command string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "restore_command = '%s'\n", strings.NewReplacer("'", "''", `\`, `\\`).Replace(command))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// recovers starts a server on a data directory and watches it: opened says that it came to accept connections within d. Then the
// query is run and its answer added to the log. The server is stopped in any case.
func (s *site) recovers(t *testing.T, dir string, d time.Duration, query ...string) (opened bool, log string) {
	t.Helper()
	socket := postgrestest.TempDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.server.Version.BinDir, "postgres"), "-D", dir, "-k", socket, "-c", "listen_addresses=",
		"-c", "port=5433", "-c", "hot_standby=off", "-c", "logging_collector=off", "-c", "lc_messages=C", "-c", "fsync=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // immediate shutdown: its children end too
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = planted().without(s.tool.env)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	postgrestest.AsServer(t, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the log says why
		close(done)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for running := true; running && !opened; {
		select {
		case <-done:
			running = false
		case <-tick.C:
			opened = strings.Contains(out.String(), "ready to accept connections")
		}
	}
	if opened {
		for _, sql := range query {
			rows, err := postgres.Query(ctx, fmt.Sprintf("host=%s port=5433 user=postgres dbname=postgres", socket), sql)
			if err != nil {
				t.Error(err)
				continue
			}
			_, _ = fmt.Fprintf(&out, "answer: %s\n", strings.Join(rows[0], " "))
		}
		cancel()
		<-done
	}
	return opened, out.String()
}
