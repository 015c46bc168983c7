package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// storeKind is where a repository lies.
type storeKind string

const (
	onFile storeKind = "file"
	onS3   storeKind = "s3"
)

// site is one scenario's world: a real server, a repository, and pgark between them.
type site struct {
	server *postgrestest.Cluster
	url    string
	tool   tool
	s3     *storagetest.Server // nil on file
	folder string              // of the repository's files, behind the S3 server too

	segmentSize wal.SegmentSize
}

// newRepository makes an empty repository of the kind and the environment to reach it with.
func newRepository(t testing.TB, kind storeKind) (url, folder string, s3 *storagetest.Server, env []string) {
	t.Helper()
	if kind == onFile && !hardened() {
		dir := filepath.Join(postgrestest.TempDir(t), "repo")
		t.Cleanup(func() { planted().lookIn(dir) })
		return "file://" + dir, dir, nil, nil
	}
	s3 = storagetest.StartServer(t)
	t.Cleanup(func() { planted().lookIn(s3.Dir()) })
	url, env = newBucket(t, s3, "pgark", "main")
	return url, filepath.Join(s3.Dir(), "pgark", "main"), s3, append(env, s3.Env()...)
}

// ledgerSettings are what the ledger and its oracle need of a server.
func ledgerSettings() map[string]string {
	return map[string]string{
		"max_prepared_transactions": "30",
		"wal_keep_size":             "4GB",
		"timezone":                  "UTC",
		"log_timezone":              "UTC",
		"track_commit_timestamp":    "on",
		"shared_buffers":            "32MB",
	}
}

// newSite starts a server of the version with an empty repository beside it.
func newSite(t testing.TB, v postgrestest.Version, kind storeKind, o postgrestest.Options) *site {
	t.Helper()
	if o.Settings == nil {
		o.Settings = ledgerSettings()
	}
	s := &site{server: postgrestest.Start(t, v, o), segmentSize: wal.DefaultSegmentSize}
	if o.SegmentSize != 0 {
		s.segmentSize = o.SegmentSize
	}
	var env []string
	s.url, s.folder, s.s3, env = newRepository(t, kind)
	s.tool = newTool(t, append(env,
		"PGHOST="+s.server.SocketDir, fmt.Sprintf("PGPORT=%d", s.server.Port), "PGUSER="+s.server.Superuser)...)
	return s
}

// address is where the server listens.
func (s *site) address() string { return fmt.Sprintf("127.0.0.1:%d", s.server.Port) }

// throughWire returns the tool that reaches the server through a wire, in the clear.
func (s *site) throughWire(w *wire) tool {
	return s.tool.with(fmt.Sprint("PGHOST=", w.at().Addr()), fmt.Sprint("PGPORT=", w.at().Port()), "PGSSLMODE=disable")
}

// backups lists what `pgark list` shows, by the files of the repository: id and stop LSN.
func (s *site) backups(t testing.TB) []backupFact {
	t.Helper()
	return backupsIn(t, s.folder)
}

// backupsIn lists the base backups of a repository by its files.
func backupsIn(t testing.TB, folder string) []backupFact {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*", "backups", "*", "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	var facts []backupFact
	for _, f := range found {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var b backupFact
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		facts = append(facts, b)
	}
	return facts
}

type backupFact struct {
	ID       string    `json:"id"`
	StartLSN string    `json:"start_lsn"`
	StopLSN  string    `json:"stop_lsn"`
	Stopped  time.Time `json:"stopped"`
}

func (b backupFact) stop(t testing.TB) wal.LSN {
	t.Helper()
	l, err := wal.ParseLSN(b.StopLSN)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waitBackup waits until the repository holds a base backup.
func (s *site) waitBackup(t testing.TB) {
	t.Helper()
	eventually(t, 2*time.Minute, "the first base backup", func() bool { return len(s.backups(t)) > 0 })
}

// flushed is the server's flush position now.
func (s *site) flushed(t testing.TB) wal.LSN {
	t.Helper()
	l, err := wal.ParseLSN(s.server.Text(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waitArchived waits until the server was told that everything it has flushed by now is durable in the repository.
func (s *site) waitArchived(t testing.TB) wal.LSN {
	t.Helper()
	at := s.flushed(t)
	eventually(t, time.Minute, "WAL to be archived up to "+at.String(), func() bool {
		return s.server.Text(t, "select count(*) from pg_stat_replication where application_name like 'pgark%' and flush_lsn >= '"+at.String()+"'") == "1"
	})
	return at
}

// restored is a cluster that pgark restored and started.
type restored struct {
	dir  string
	conn string
	out  string
}

// restore restores with the target flags and starts the server, which is stopped with the test or by close.
func (s *site) restore(ctx context.Context, t testing.TB, flags ...string) (restored, outcome) {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	args := append([]string{"restore"}, flags...)
	args = append(args, "--into", dir, "--bin-dir", s.server.Version.BinDir, "--start", "--port", "5433", "--yes", "-o", "json", s.url)
	o := s.tool.run(ctx, args...)
	r := restored{dir: dir, out: o.stdout}
	if o.code == 0 {
		var report struct {
			Result struct {
				Socket string `json:"socket"`
				Port   int    `json:"port"`
			} `json:"result"`
		}
		if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
			t.Fatalf("restore printed no JSON: %v\n%s", err, o.stdout)
		}
		r.conn = fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port)
	}
	t.Cleanup(func() { r.stop(t) }) //nolint:contextcheck // the test's context has ended by then
	return r, o
}

// stop ends the restored server if it runs, looks for secrets in its logs and configuration, and removes the cluster.
func (r restored) stop(t testing.TB) {
	defer func() { _ = os.RemoveAll(r.dir) }()
	r.end(t)
}

// end is stop, and leaves the cluster.
func (r restored) end(t testing.TB) {
	defer func() {
		for _, name := range []string{"pgark-recovery.log", "pgark-standby.log", "postgresql.auto.conf", "postmaster.opts"} {
			if text, err := os.ReadFile(filepath.Join(r.dir, name)); err == nil {
				planted().look(name+" of a restored cluster", text)
			}
		}
	}()
	raw, err := os.ReadFile(filepath.Join(r.dir, "postmaster.pid"))
	if err == nil {
		pid := 0
		_, _ = fmt.Sscan(strings.SplitN(string(raw), "\n", 2)[0], &pid)
		if p, err := os.FindProcess(pid); err == nil && pid > 1 {
			_ = p.Signal(os.Interrupt) // fast shutdown, postmaster.c
			eventually(t, 30*time.Second, "the restored server to stop", func() bool {
				_, err := os.Stat(filepath.Join(r.dir, "postmaster.pid"))
				return os.IsNotExist(err)
			})
		}
	}
}

// query returns the one value that sql gives.
func query(t testing.TB, conn, sql string) (value string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(t.Context(), c)
	if err := c.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// reached returns how to reach the server that a restore with --start -o json started.
func reached(t testing.TB, o outcome) (conn string) {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	var report struct {
		Result struct {
			Socket string `json:"socket"`
			Port   int    `json:"port"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port)
}
