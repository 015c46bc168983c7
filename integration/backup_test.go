package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/wal"
)

// TestBaseBackup takes a base backup of each major under load into each kind of store, unpacks it with zstd and
// tar, lets pg_verifybackup judge it, starts a server from it and compares what that holds.
func TestBaseBackup(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		for _, kind := range []storeKind{onFile, onS3} {
			t.Run(fmt.Sprintf("%s/%s", v, kind), func(t *testing.T) { testBaseBackup(t, v, kind) })
		}
	}
}

func testBaseBackup(t *testing.T, v postgrestest.Version, kind storeKind) {
	server := postgrestest.Start(t, v, postgrestest.Options{SegmentSize: 1 << 20, Settings: map[string]string{
		"log_timezone": "Europe/Berlin", "shared_buffers": "16MB", "max_prepared_transactions": "5",
	}})
	store := emptyStore(t, kind)
	cluster, archive := runArchiver(t, server, store)
	fillForBackup(t, server)

	loading, stopLoad := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- loadUntil(loading, server) }()
	before := server.Text(t, "select count(*) from busy")
	conn, closeConn := replicate(t, server)
	defer closeConn()
	var last backup.Progress
	b, err := backup.Run(t.Context(), backup.Stream(conn, backup.StreamOptions{Label: "it's a test", Fast: true}), cluster, backup.Options{
		WaitDurable: archive.WaitDurable,
		Progress:    func(p backup.Progress) { last = p },
	})
	stopLoad()
	if loadErr := <-ended; loadErr != nil {
		t.Fatal(loadErr)
	}
	if err != nil {
		t.Fatal(err)
	}
	checkRecord(t, b, server, last)

	dir := unpackByHand(t, cluster, store, b)
	if v.Major <= 16 { // the manifest of 17 has a form that Debian 15's tool does not know
		out, err := exec.CommandContext(t.Context(), postgrestest.Client(t, "pg_verifybackup"), "-n", dir).CombinedOutput()
		if err != nil {
			t.Errorf("pg_verifybackup: %v: %s", err, out)
		}
	}
	layWALForCrash(t, cluster, b, filepath.Join(dir, "pg_wal"))
	restored := postgrestest.StartFrom(t, v, dir)
	restored.WaitReady(t)
	for _, query := range []string{
		"select md5(string_agg(id::text || payload, ',' order by id)) from fixed",
		"select md5(string_agg(id::text, ',' order by id)) from spaced",
		"select md5(string_agg(lo_get(lob)::text, ',' order by id)) from lobs",
		"select string_agg(gid, ',' order by gid) from pg_prepared_xacts",
	} {
		if got, want := restored.Text(t, query), server.Text(t, query); got != want || got == "" {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	if n := restored.Text(t, "select count(*) from unlogged"); n != "0" {
		t.Errorf("unlogged table: got %s rows, want 0", n)
	}
	if got, least := integer(t, restored.Text(t, "select count(*) from busy")), integer(t, before); got < least {
		t.Errorf("busy: got %d rows, want at least the %d there were when the backup began", got, least)
	}
}

// checkRecord compares the record with what the server says of itself.
func checkRecord(t *testing.T, b repository.Backup, server *postgrestest.Cluster, last backup.Progress) {
	t.Helper()
	if b.Checksums != repository.ChecksumsVerified || b.Label != "it's a test" || len(b.Tablespaces) != 1 {
		t.Errorf("record: got checksums %s, label %q, tablespaces %v", b.Checksums, b.Label, b.Tablespaces)
	}
	if num := integer(t, server.Text(t, "show server_version_num")); int64(b.PGVersionNum) != num {
		t.Errorf("record: got version %d, want %d", b.PGVersionNum, num)
	}
	catalog := integer(t, server.Text(t, "select catalog_version_no from pg_control_system()"))
	if int64(b.CatalogVersion) != catalog {
		t.Errorf("record: got catalog version %d, want %d", b.CatalogVersion, catalog)
	}
	if since := time.Since(b.Started); since < 0 || since > 10*time.Minute {
		t.Errorf("record: started %v, %v ago", b.Started, since)
	}
	if last.Phase != backup.PhaseCommit || last.Total == 0 || last.Done < last.Total/2 || last.Done > 2*last.Total {
		t.Errorf("progress: got %+v", last)
	}
}

// fillForBackup makes what a backup must bring back.
func fillForBackup(t *testing.T, server *postgrestest.Cluster) {
	t.Helper()
	space := postgrestest.TempDir(t)
	server.Exec(t, "create tablespace fast location '"+space+"'")
	server.Exec(t, `
		create table fixed as select g as id, md5(g::text) || repeat('x', g % 300) as payload from generate_series(1, 30000) g;
		create index on fixed (payload);
		create table spaced tablespace fast as select g as id from generate_series(1, 50000) g;
		create unlogged table unlogged as select g as id from generate_series(1, 1000) g;
		create table lobs (id int, lob oid);
		insert into lobs select g, lo_from_bytea(0, convert_to(repeat('large object ', g * 100), 'UTF8')) from generate_series(1, 20) g;
		create table busy (id bigserial primary key, payload text)`)
	server.Exec(t, "begin; insert into fixed values (0, 'prepared'); prepare transaction 'waits'")
}

// loadUntil writes, extends, drops and truncates until ctx ends.
func loadUntil(ctx context.Context, server *postgrestest.Cluster) error {
	statements := []string{
		"insert into busy (payload) select repeat(md5(random()::text), 20) from generate_series(1, 200)",
		"update busy set payload = payload || 'x' where id % 7 = 0 and id > (select max(id) - 500 from busy)",
		"create table if not exists passing as select * from busy limit 1000",
		"drop table if exists passing",
		"create temp table if not exists t as select 1",
	}
	conn, err := pgx.Connect(ctx, server.ConnString())
	if err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx) // a statement that has begun is ended
	defer func() { _ = conn.Close(whole) }()
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := conn.Exec(whole, statements[i%len(statements)]); err != nil {
			return err
		}
	}
	return nil
}

// emptyStore opens an empty store of the kind, behind the retry loop as it is used.
func emptyStore(t *testing.T, kind storeKind) storage.Store {
	t.Helper()
	url, folder, server, _ := newRepository(t, kind)
	if kind == onFile {
		store, err := file.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return retry.New(store, retry.Options{})
	}
	server.Setenv(t)
	options, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(store, retry.Options{})
}

// replicate opens a replication connection.
func replicate(t *testing.T, server *postgrestest.Cluster) (*postgres.Conn, func()) {
	t.Helper()
	config, err := postgres.ParseConfig(server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := postgres.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return conn, func() { _ = conn.Close(context.WithoutCancel(t.Context())) }
}

// runArchiver runs an archiver of the server into a new repository until the test ends.
func runArchiver(t *testing.T, server *postgrestest.Cluster, store storage.Store) (*repository.Cluster, *archiver.Archiver) {
	t.Helper()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	keys := opening(t)
	config, err := postgres.ParseConfig(server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	conn, closeConn := replicate(t, server)
	defer closeConn()
	system, err := conn.System(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := archiver.New(
		func(ctx context.Context) (archiver.Conn, error) { return postgres.Connect(ctx, config) },
		func(context.Context) (*repository.Repository, error) { return repo.With(keys), nil },
		archiver.Options{},
	)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("archiver: %v", err)
		}
	})
	eventually(t, time.Minute, "the archiver to begin", func() bool { return a.Durable().LSN > 0 })
	return repo.With(keys).Cluster(system.ID), a
}

// unpackByHand lays a backup down with zstd and tar, its tablespaces in folders of their own.
func unpackByHand(t *testing.T, c *repository.Cluster, store storage.Store, b repository.Backup) string {
	t.Helper()
	r, err := c.OpenBackup(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	into := map[string]string{"base": filepath.Join(postgrestest.TempDir(t), "data")}
	var moved postgres.TablespaceMap
	for _, s := range b.Tablespaces {
		dir := postgrestest.TempDir(t)
		into[strconv.FormatUint(uint64(s.OID), 10)] = dir
		moved = append(moved, postgres.TablespaceLink{OID: s.OID, Path: dir})
	}
	for _, p := range r.Packs() {
		body, err := store.Get(t.Context(), storage.Key(fmt.Sprintf("%s/backups/%s/%s", b.SystemID, b.ID, stored(p.Name))), storage.All())
		if err != nil {
			t.Fatal(err)
		}
		unpackPack(t, body, into[p.Archive])
		_ = body.Close()
	}
	manifest, err := r.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := into["base"]
	// The map that came is kept for pg_verifybackup to look at; the moved one takes its place afterwards.
	for _, link := range moved {
		if err := os.Symlink(link.Path, filepath.Join(dir, "pg_tblspc", fmt.Sprint(link.OID))); err != nil {
			t.Fatal(err)
		}
	}
	putFile(t, filepath.Join(dir, "backup_manifest"), manifest)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// unpackPack pipes a pack through the stock tools.
func unpackPack(t *testing.T, body io.Reader, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := "zstd -dc | tar x -C " + dir
	if encrypting() {
		needAge(t)
		script = "age -d -i " + sharedKeys(t).recovery + " | " + script
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail; "+script)
	cmd.Stdin = body
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// layWALForCrash writes the WAL [start, stop) of a backup into pg_wal, as whole segments, and points tablespace_map at the
// folders the tablespaces lie in now.
func layWALForCrash(t *testing.T, c *repository.Cluster, b repository.Backup, dir string) {
	t.Helper()
	size := b.SegmentSize
	for n := size.Number(b.StartLSN); size.Start(n) < b.StopLSN; n++ {
		seg := wal.SegmentID{Timeline: b.Timeline, Number: n}
		plain, err := c.ReadSegment(t.Context(), size, seg)
		if err != nil {
			t.Fatal(err)
		}
		putFile(t, filepath.Join(dir, size.FileName(seg)), append(plain, make([]byte, int(size)-len(plain))...))
	}
	data := filepath.Dir(dir)
	var moved postgres.TablespaceMap
	for _, s := range b.Tablespaces {
		target, err := os.Readlink(filepath.Join(data, "pg_tblspc", fmt.Sprint(s.OID)))
		if err != nil {
			t.Fatal(err)
		}
		postgrestest.Own(t, target)
		moved = append(moved, postgres.TablespaceLink{OID: s.OID, Path: target})
	}
	putFile(t, filepath.Join(data, "tablespace_map"), moved.Encode())
}

func putFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func integer(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBaseBackupBadPage damages a page on the server's disk: the backup is stored with the server's verdict, and Run
// says so.
func TestBaseBackupBadPage(t *testing.T) {
	t.Parallel()
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t, v, postgrestest.Options{})
			cluster, archive := runArchiver(t, server, emptyStore(t, onFile))
			server.Exec(t, "create table t as select g from generate_series(1, 10000) g; checkpoint")
			path := filepath.Join(server.DataDir, server.Text(t, "select pg_relation_filepath('t')"))
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			for page := range int64(3) {
				_, err = f.WriteAt([]byte("damaged"), page*8192+4000)
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			conn, closeConn := replicate(t, server)
			defer closeConn()
			b, err := backup.Run(t.Context(), backup.Stream(conn, backup.StreamOptions{Fast: true}), cluster, backup.Options{WaitDurable: archive.WaitDurable})
			if !errors.Is(err, backup.ErrPageChecksums) {
				t.Errorf("got %v, want ErrPageChecksums", err)
			}
			stored, err := cluster.Backup(t.Context(), b.ID)
			if err != nil || stored.Checksums != repository.ChecksumsFailed || stored.ChecksumFailures != 3 {
				t.Errorf("stored: %s, %d, %v", stored.Checksums, stored.ChecksumFailures, err)
			}
		})
	}
}

// TestBaseBackupConnectionLost cuts the connection in the middle of a backup: nothing is visible, the server leaves
// backup mode, and the next backup succeeds.
func TestBaseBackupConnectionLost(t *testing.T) {
	t.Parallel()
	v := postgrestest.Need(t, 15)
	server := postgrestest.Start(t, v, postgrestest.Options{})
	cluster, archive := runArchiver(t, server, emptyStore(t, onFile))
	server.Exec(t, "create table t as select g, repeat('x', 500) from generate_series(1, 100000) g")
	conn, closeConn := replicate(t, server)
	defer closeConn()
	cut := false
	_, err := backup.Run(t.Context(), backup.Stream(conn, backup.StreamOptions{Fast: true, MaxRate: 32 << 20}), cluster, backup.Options{
		WaitDurable: archive.WaitDurable,
		Progress: func(p backup.Progress) {
			if p.Done > 10<<20 && !cut {
				cut = true
				server.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where query like 'BASE_BACKUP%' or backend_type = 'walsender' and state = 'active' and pid in (select pid from pg_stat_progress_basebackup)")
			}
		},
	})
	if err == nil || !cut {
		t.Fatalf("got %v, cut %v, want an error", err, cut)
	}
	if all, err := cluster.Backups(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("visible: %v, %v", all, err)
	}
	eventually(t, 10*time.Second, "the server to leave backup mode", func() bool {
		return server.Text(t, "select count(*) from pg_stat_progress_basebackup") == "0"
	})
	again, closeAgain := replicate(t, server)
	defer closeAgain()
	if _, err := backup.Run(t.Context(), backup.Stream(again, backup.StreamOptions{Fast: true}), cluster, backup.Options{WaitDurable: archive.WaitDurable}); err != nil {
		t.Errorf("the next backup: %v", err)
	}
}
