package restore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// TestRealContents restores what is special about a cluster: tablespaces,
// large objects, unlogged tables, prepared transactions, other databases,
// segments of other sizes, and a superuser whose name is nobody's guess.
func TestRealContents(t *testing.T) {
	t.Parallel()
	sizes := map[int]wal.SegmentSize{14: 1 << 20, 15: 64 << 20, 17: 1 << 20}
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			testRealContents(t, v, sizes[v.Major])
		})
	}
}

func testRealContents(t *testing.T, v postgrestest.Version, size wal.SegmentSize) {
	s := newSite(t, v, postgrestest.Options{Superuser: "dba", SegmentSize: size, Settings: map[string]string{"max_prepared_transactions": "10", "max_connections": "37"}})
	space := filepath.Join(postgrestest.TempDir(t), "space one")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, space)
	s.server.Exec(t, "create tablespace one location '"+space+"'")
	s.server.Exec(t, "create table spaced (n int, pad text) tablespace one")
	s.server.Exec(t, "insert into spaced select g, repeat('x', 100) from generate_series(1, 20000) g")
	s.server.Exec(t, "create unlogged table u (n int)")
	s.server.Exec(t, "insert into u values (1)")
	b := s.backup(t)
	if len(b.Tablespaces) != 1 {
		t.Fatalf("got tablespaces %v", b.Tablespaces)
	}
	s.server.Exec(t, "insert into spaced select g, repeat('y', 100) from generate_series(1, 20000) g")
	s.server.Exec(t, "select lo_from_bytea(4711, decode(repeat('0a0b', 50000), 'hex'))")
	s.server.Exec(t, "create database other")
	s.server.Exec(t, "begin; insert into spaced values (0, 'prepared'); prepare transaction 'p'")
	s.server.Exec(t, "create role postgres login") // which is no superuser
	s.server.Exec(t, "update pg_database set datallowconn = false where datname = 'template1'")
	s.server.Exec(t, "begin; insert into spaced values (-1, 'done'); prepare transaction 'q'")
	s.server.Exec(t, "commit prepared 'q'")
	target := s.now(t)
	s.server.Exec(t, "rollback prepared 'p'") // it holds a lock on the table
	s.server.Exec(t, "drop table spaced")
	s.durable(t)

	moved := filepath.Join(postgrestest.TempDir(t), "moved")
	r := s.restore(t, restore.Target{Kind: restore.TargetTime, Time: target}, func(lay *restore.LayOptions, _ *restore.RecoverOptions) {
		lay.Tablespaces = map[string]string{"space one": moved}
	})
	if r.result.User != "dba" || r.result.Database != "postgres" {
		t.Errorf("asked %s as %s", r.result.Database, r.result.User)
	}
	for sql, want := range map[string]string{
		"select count(*), sum(n), min(n) from spaced":                                 "40001|400019999|-1",
		"select md5(lo_get(4711))":                                                    s.server.Text(t, "select md5(lo_get(4711))"),
		"select count(*) from u":                                                      "0",
		"select gid from pg_prepared_xacts":                                           "p",
		"select count(*) from pg_database where datname = 'other'":                    "1",
		"select pg_tablespace_location(oid) from pg_tablespace where spcname = 'one'": moved,
		"show max_connections":                                                        "37",
		"show listen_addresses":                                                       "",
	} {
		if got := r.text(t, sql); got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
	}
	r.text(t, "commit prepared 'p'")
	if got := r.text(t, "select count(*) from spaced where n = 0"); got != "1" {
		t.Errorf("got %s rows of the prepared transaction, want 1", got)
	}
}

// TestRealTimelines restores along and across a promotion.
func TestRealTimelines(t *testing.T) {
	t.Parallel()
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			testRealTimelines(t, v)
		})
	}
}

func testRealTimelines(t *testing.T, v postgrestest.Version) {
	s := newSite(t, v, postgrestest.Options{})
	s.server.Exec(t, "create table t (n int)")
	s.backup(t)
	s.server.Exec(t, "insert into t values (1)")
	before := s.now(t)
	s.server.Exec(t, "insert into t values (2)")
	s.durable(t)
	s.server.Stop(t, postgrestest.Fast)
	s.server.WriteFile(t, "standby.signal", "")
	s.server.Start(t)
	s.server.Promote(t)
	s.server.Exec(t, "insert into t values (3)")
	deadline := time.Now().Add(time.Minute)
	for s.agent.Durable().Timeline != 2 {
		if time.Now().After(deadline) {
			t.Fatalf("the archiver does not follow: %+v", s.agent.Status())
		}
	}
	s.durable(t)
	one := restore.TimelineChoice{Rule: restore.TimelineExact, ID: 1}
	tests := []struct {
		name     string
		target   restore.Target
		timeline wal.TimelineID // followed
		want     string
	}{
		{"latest", restore.Target{}, 2, "1,2,3"},
		{"before the switch", restore.Target{Kind: restore.TargetTime, Time: before}, 1, "1"},
		{"the old timeline to its end", restore.Target{Timeline: one}, 1, "1,2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.restore(t, tt.target, nil)
			if r.plan.Timeline != tt.timeline || r.result.Timeline != 3 { // 2 is taken: the new one is 3 in each case
				t.Errorf("got timeline %d along %d, want 3 along %d", r.result.Timeline, r.plan.Timeline, tt.timeline)
			}
			if got := r.text(t, "select coalesce(string_agg(n::text, ',' order by n), '') from t"); got != tt.want {
				t.Errorf("got rows %q, want %q", got, tt.want)
			}
		})
	}
}

// small is a server with little in it, archived, and one commit after its backup.
func small(t *testing.T) *site {
	t.Helper()
	s := newSite(t, postgrestest.Need(t, 15), postgrestest.Options{})
	s.server.Exec(t, "create table t (n int)")
	s.backup(t)
	s.server.Exec(t, "insert into t values (1)")
	s.durable(t)
	return s
}

func TestRealActions(t *testing.T) {
	t.Parallel()
	s := small(t)
	t.Run("pause", func(t *testing.T) {
		r := s.restore(t, restore.Target{}, func(lay *restore.LayOptions, run *restore.RecoverOptions) {
			lay.Action, run.Action = restore.ActionPause, restore.ActionPause
			run.SocketDir = "" // in the data directory
		})
		if !r.result.InRecovery || r.result.Timeline != 1 {
			t.Errorf("got %+v, want it in recovery on timeline 1", r.result)
		}
		if dir := r.result.Server.SocketDir; dir != filepath.Join(r.laid.Dir, "pgark-socket") || dir != restore.DefaultSocketDir(r.laid.Dir) {
			t.Errorf("got socket folder %s, the plan would say %s", dir, restore.DefaultSocketDir(r.laid.Dir))
		}
		if r.result.User != "postgres" {
			t.Errorf("got user %q, want the one that was let in", r.result.User)
		}
		if got := r.text(t, "select count(*), pg_get_wal_replay_pause_state() from t group by 2"); got != "1|paused" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		r := s.restore(t, restore.Target{}, func(lay *restore.LayOptions, run *restore.RecoverOptions) {
			lay.Action, run.Action = restore.ActionShutdown, restore.ActionShutdown
		})
		if r.result.Server != nil || !r.result.InRecovery || exists(t, filepath.Join(r.laid.Dir, "postmaster.pid")) {
			t.Errorf("got %+v, want the server ended in recovery", r.result)
		}
	})
}

// lay lays the end of the archive down.
func (s *site) lay(t *testing.T, o restore.LayOptions) (*restore.Plan, string) {
	t.Helper()
	plan := s.plan(t, restore.Target{})
	o.Dir = filepath.Join(postgrestest.TempDir(t), "restored")
	o.Owner = owner(t)
	if o.RestoreCommand == "" {
		postgrestest.Own(t, s.repo)
		o.RestoreCommand = command(t, s.repo, plan)
	}
	if _, err := restore.LayDown(t.Context(), s.cluster, plan, o); err != nil {
		t.Fatal(err)
	}
	return plan, o.Dir
}

// TestRealFailures: what goes wrong is said in the server's words, and no
// server is left.
func TestRealFailures(t *testing.T) {
	t.Parallel()
	s := small(t)
	run := func(t *testing.T) restore.RecoverOptions {
		return restore.RecoverOptions{BinDir: s.server.Version.BinDir, Owner: owner(t), SocketDir: filepath.Join(postgrestest.TempDir(t), "s")}
	}
	gone := func(t *testing.T, dir string) {
		t.Helper()
		if exists(t, filepath.Join(dir, "postmaster.pid")) {
			t.Error("a server was left")
		}
	}
	t.Run("restore_command fails", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{RestoreCommand: "exit 200"})
		_, err := restore.Recover(t.Context(), s.cluster, plan, dir, run(t))
		var e *restore.ServerError
		if !errors.As(err, &e) || !strings.Contains(e.Words, "could not restore file") || !strings.Contains(err.Error(), "pgark-recovery.log") {
			t.Errorf("got error %v", err)
		}
		gone(t, dir)
	})
	t.Run("the disk is full", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{RestoreCommand: "echo 'error: fetch %f: write WAL file: no space left on device' >&2; exit 200"})
		_, err := restore.Recover(t.Context(), s.cluster, plan, dir, run(t))
		var e *restore.ServerError
		if !errors.As(err, &e) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(e.Words, "could not restore file") || !strings.Contains(e.Words, "write WAL file") {
			t.Errorf("got error %v, want the server's and that of restore_command", err)
		}
		gone(t, dir)
	})
	t.Run("restore_command says that WAL has ended", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{RestoreCommand: "exit 1"})
		_, err := restore.Recover(t.Context(), s.cluster, plan, dir, run(t))
		var e *restore.ServerError
		if !errors.As(err, &e) {
			t.Errorf("got error %v, want the server to refuse", err)
		}
		gone(t, dir)
	})
	t.Run("cancelled", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{RestoreCommand: "sleep 30; exit 200"})
		ctx, cancel := context.WithCancel(t.Context())
		o := run(t)
		o.Progress = func(p restore.Progress) {
			if p.Elapsed > 500*time.Millisecond {
				cancel()
			}
		}
		began := time.Now()
		if _, err := restore.Recover(ctx, s.cluster, plan, dir, o); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want it cancelled", err)
		}
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("stopping took %s", took)
		}
		gone(t, dir)
	})
	t.Run("wrong programs", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{})
		o := run(t)
		o.BinDir = postgrestest.Need(t, 16).BinDir
		_, err := restore.Recover(t.Context(), s.cluster, plan, dir, o)
		var e *restore.BinariesError
		if !errors.As(err, &e) || e.Major != 15 || !strings.Contains(err.Error(), "16.") {
			t.Errorf("got error %v, want a BinariesError", err)
		}
	})
	t.Run("a plan that the server contradicts", func(t *testing.T) {
		plan, dir := s.lay(t, restore.LayOptions{})
		other := *plan
		other.LastEnd = &wal.TransactionEnd{Time: 1}
		_, err := restore.Recover(t.Context(), s.cluster, &other, dir, run(t))
		var e *restore.ProofError
		if !errors.As(err, &e) {
			t.Errorf("got error %v, want a ProofError", err)
		}
		gone(t, dir)
	})
}
