package restore_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/wal"
)

// site is a real server, archived into a folder.
type site struct {
	server  *postgrestest.Cluster
	repo    string // folder
	cluster *repository.Cluster
	agent   *archiver.Archiver
	stop    func()
}

func connect(ctx context.Context, conn string) (*postgres.Conn, error) {
	cfg, err := postgres.ParseConfig(conn)
	if err != nil {
		return nil, err
	}
	return postgres.Connect(ctx, cfg)
}

// newSite starts a server and archives it.
func newSite(t *testing.T, v postgrestest.Version, o postgrestest.Options) *site {
	t.Helper()
	if o.Settings == nil {
		o.Settings = map[string]string{"max_prepared_transactions": "10"}
	}
	s := &site{server: postgrestest.Start(t, v, o), repo: filepath.Join(postgrestest.TempDir(t), "repo")}
	s.archive(t)
	return s
}

// archive starts archiving until the test ends or s.stop is called.
func (s *site) archive(t *testing.T) {
	t.Helper()
	store, err := file.Open(s.repo)
	if err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context) (*repository.Repository, error) { return repository.Create(ctx, store) }
	dial := func(ctx context.Context) (archiver.Conn, error) { return connect(ctx, s.server.ConnString()) }
	s.agent = archiver.New(dial, open, archiver.Options{
		Interval: 50 * time.Millisecond, BeatEvery: time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.agent.Run(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("archiver: %v", err)
		}
	}
	t.Cleanup(s.stop)
	repo, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	system, err := conn.System(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.cluster = repo.Cluster(system.ID)
}

// backup takes a base backup.
func (s *site) backup(t *testing.T) repository.Backup {
	t.Helper()
	conn, err := connect(t.Context(), s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	b, err := backup.Run(t.Context(), backup.Stream(conn, backup.StreamOptions{Fast: true}), s.cluster, backup.Options{WaitDurable: s.agent.WaitDurable})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// durable waits until all WAL that the server wrote by now is archived.
func (s *site) durable(t *testing.T) {
	t.Helper()
	lsn, err := wal.ParseLSN(s.server.Text(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.agent.WaitDurable(ctx, s.agent.Durable().Timeline, lsn); err != nil {
		t.Fatal(err)
	}
}

// now returns the server's clock.
func (s *site) now(t *testing.T) wal.Time {
	t.Helper()
	var now time.Time
	s.server.Scan(t, "select clock_timestamp()", &now)
	return wal.FromGo(now)
}

// owner is the user the servers run as, if we are root.
func owner(t *testing.T) *restore.Owner {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	dir := postgrestest.TempDir(t)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := ids(info)
	return &restore.Owner{UID: uid, GID: gid}
}

// restored is a cluster that was brought back, and how to ask it.
type restored struct {
	plan   *restore.Plan
	laid   *restore.Laid
	result *restore.Recovered
}

func (r *restored) text(t *testing.T, sql string) string {
	t.Helper()
	rows, err := postgres.Query(t.Context(), r.result.Server.ConnString(r.result.User, "postgres"), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	for _, row := range rows {
		lines = append(lines, strings.Join(row, "|"))
	}
	return strings.Join(lines, "\n")
}

// plan resolves a target, waiting for coverage to be proved.
func (s *site) plan(t *testing.T, target restore.Target) *restore.Plan {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		inv, err := restore.Survey(t.Context(), s.cluster)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := restore.Resolve(t.Context(), s.cluster, inv, target)
		var e *restore.TargetError
		if errors.As(err, &e) && e.Reason == restore.ReasonTooLate && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
}

// restore brings a target back and starts it.
func (s *site) restore(t *testing.T, target restore.Target, change func(*restore.LayOptions, *restore.RecoverOptions)) *restored {
	t.Helper()
	plan := s.plan(t, target)
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	lay := restore.LayOptions{Dir: dir, RestoreCommand: command(t, s.repo, plan), Owner: owner(t)}
	run := restore.RecoverOptions{BinDir: s.server.Version.BinDir, Owner: lay.Owner, SocketDir: filepath.Join(postgrestest.TempDir(t), "s"), RestoreCommand: lay.RestoreCommand}
	if change != nil {
		change(&lay, &run)
	}
	postgrestest.Own(t, s.repo) // restore_command runs as the server's user
	laid, err := restore.LayDown(t.Context(), s.cluster, plan, lay)
	if err != nil {
		t.Fatal(err)
	}
	result, err := restore.Recover(t.Context(), s.cluster, plan, dir, run)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "pgark-recovery.log"))
		t.Fatalf("%v\nplan %+v\n%s", err, plan, log)
	}
	if result.Server != nil {
		t.Cleanup(func() {
			if err := result.Server.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if leftover, _ := filepath.Glob(filepath.Join(dir, "pg_wal", "pgark-*")); len(leftover) > 0 {
		t.Errorf("left in pg_wal: %q", leftover)
	}
	t.Logf("PostgreSQL %s: %s restored to %s in %s + %s: timeline %d, replayed %s, last %s, later %d of %d",
		s.server.Version, plan.Target, plan.Stop, laid.Took, result.Took, result.Timeline, result.Replayed, result.LastTime, result.Later, result.LaterChecked)
	return &restored{plan, laid, result}
}

// TestRealRestore restores a real server to each kind of target.
func TestRealRestore(t *testing.T) {
	t.Parallel()
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			testRealRestore(t, v)
		})
	}
}

func testRealRestore(t *testing.T, v postgrestest.Version) {
	s := newSite(t, v, postgrestest.Options{})
	s.server.Exec(t, "create table t (n int primary key, x xid8 default pg_current_xact_id())")
	s.server.Exec(t, "create unlogged table u (n int)")
	s.server.Exec(t, "insert into u values (1)")
	s.backup(t)
	s.server.Exec(t, "insert into t values (1)")
	first := s.now(t)
	s.server.Exec(t, "insert into t values (2)")
	xid, err := restore.ParseXID(s.server.Text(t, "select x from t where n = 2"))
	if err != nil {
		t.Fatal(err)
	}
	s.server.Exec(t, "select pg_create_restore_point('before the third')")
	s.server.Exec(t, "insert into t values (3)")
	lsn, err := wal.ParseLSN(s.server.Text(t, "select pg_current_wal_insert_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	s.server.Exec(t, "begin; insert into t values (4); prepare transaction 'p'")
	s.server.Exec(t, "select pg_switch_wal()")
	s.server.Exec(t, "insert into t values (5)")
	s.durable(t)
	last := s.now(t)

	tests := []struct {
		name   string
		target restore.Target
		want   string
		xacts  string
	}{
		{"time", restore.Target{Kind: restore.TargetTime, Time: first}, "1", ""},
		{"xid", restore.Target{Kind: restore.TargetXID, XID: xid}, "1,2", ""},
		{"before xid", restore.Target{Kind: restore.TargetXID, XID: xid, Exclusive: true}, "1", ""},
		{"name", restore.Target{Kind: restore.TargetName, Name: "before the third"}, "1,2", ""},
		{"before lsn", restore.Target{Kind: restore.TargetLSN, LSN: lsn, Exclusive: true}, "1,2,3", ""},
		{"immediate", restore.Target{Kind: restore.TargetImmediate}, "", ""},
		{"latest", restore.Target{}, "1,2,3,5", "p"},
		{"idle, to now", restore.Target{Kind: restore.TargetTime, Time: last}, "1,2,3,5", "p"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.restore(t, tt.target, nil)
			if got := r.text(t, "select coalesce(string_agg(n::text, ',' order by n), '') from t"); got != tt.want {
				t.Errorf("got rows %q, want %q", got, tt.want)
			}
			if got := r.text(t, "select coalesce(string_agg(gid, ','), '') from pg_prepared_xacts"); got != tt.xacts {
				t.Errorf("got prepared transactions %q, want %q", got, tt.xacts)
			}
			if got := r.text(t, "select count(*) from u"); got != "0" {
				t.Errorf("got %s rows in the unlogged table, want 0", got)
			}
			if r.result.Timeline != 2 || r.result.InRecovery {
				t.Errorf("got timeline %d, in recovery %t", r.result.Timeline, r.result.InRecovery)
			}
			if got := r.text(t, "show archive_mode"); got != "off" {
				t.Errorf("archive_mode is %s", got)
			}
			r.text(t, "insert into t values (100)")
		})
	}
}
