package integration_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// surroundings are the files below a folder: mode and hash of each.
func surroundings(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(content)
		_, err = fmt.Fprintf(&list, "%s %s %s\n", path, info.Mode(), hex.EncodeToString(sum[:8]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// TestConfined guards I26 and T8: whatever the restored cluster is told by its configuration, its WAL and its databases, a drill beside the server it came from
// changes no file outside of its sandbox, and runs no program or function of theirs.
func TestConfined(t *testing.T) {
	t.Parallel()
	const major = 14 // the last that writes statistics to a folder of its configuration
	d := newDrills(t, major)
	d.tool = d.tool.with("PGARK_DRILL_AMCHECK=false")
	outside := filepath.Join(postgrestest.TempDir(t), "outside")
	space := filepath.Join(outside, "space")
	if err := os.MkdirAll(space, 0o755); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, outside)
	postgrestest.Own(t, space)
	// Its server has read its configuration, and is not told to do so again.
	told := "# what a restored server is told\n"
	for _, name := range []string{"recovery_end_command", "archive_cleanup_command", "restore_command"} {
		told += fmt.Sprintf("%s = 'touch %s/%s'\n", name, outside, name)
	}
	told += fmt.Sprintf("logging_collector = on\nlog_directory = '%[1]s'\nexternal_pid_file = '%[1]s/pid'\nunix_socket_directories = '%[1]s'\nunix_socket_group = 'nobody-has-this'\n", outside)
	told += "ssl = on\nssl_passphrase_command = 'touch " + outside + "/ssl_passphrase_command'\nstats_temp_directory = '" + outside + "'\n"
	d.server.Append(t, "postgresql.conf", told)
	// The owner of a database is no superuser, and its functions run as whoever meets them.
	d.server.Exec(t, "create role shop")
	d.server.Exec(t, "create database shop owner shop")
	d.server.Exec(t, "alter database shop set search_path = trap, pg_catalog")
	shop := strings.Replace(d.server.ConnString(), "dbname=postgres", "dbname=shop", 1)
	session, err := pgx.Connect(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"set role shop; create schema trap",
		`set role shop; create function trap.differs("char", "char") returns boolean language plpgsql as $$ begin raise exception 'a function of the cluster ran as %', current_user; end $$`,
		`set role shop; create operator trap.<> (leftarg = "char", rightarg = "char", function = trap.differs)`,
	} {
		if _, err := session.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	hangUp(t.Context(), session)
	archiving := d.tool.start(t, "run")
	d.waitBackup(t)
	d.server.Exec(t, "create table orders as select generate_series(1, 1000) n")
	d.waitArchived(t)
	before := surroundings(t, outside)
	d.hold(t, 0, "--to", "latest", "--from", "primary")
	if after := surroundings(t, outside); after != before {
		t.Errorf("the configuration of the restored cluster reached out:\n%s\nbefore:\n%s", after, before)
	}

	// Replay makes a tablespace where its server had it, which still has it (create_tablespace_directories, src/backend/commands/tablespace.c).
	d.server.Exec(t, "create tablespace late location '"+space+"'")
	d.server.Exec(t, "create table spaced tablespace late as select g n, repeat('x', 500) pad from generate_series(1, 2000) g")
	d.server.Exec(t, "checkpoint")
	d.server.Exec(t, "update spaced set n = -n where n < 100")
	d.server.Exec(t, "checkpoint")
	d.waitArchived(t)
	before = surroundings(t, outside)
	late := d.hold(t, 1, "--to", "latest", "--from", "primary").Report
	if after := surroundings(t, outside); after != before {
		t.Errorf("the drill wrote into the tablespace of the server at work:\n%s\nbefore:\n%s", after, before)
	}
	if !strings.Contains(late.Failure, "tablespace") || !strings.Contains(late.Failure, "base backup") {
		t.Errorf("got %q, want what to do about the tablespace", late.Failure)
	}
	d.tool.must(t.Context(), t, "backup", "--wait")
	d.server.Exec(t, "insert into spaced values (1)")
	d.waitArchived(t)
	before = surroundings(t, outside)
	d.hold(t, 0, "--to", "latest", "--from", "primary")
	if after := surroundings(t, outside); after != before {
		t.Errorf("a drill of a backup with the tablespace reached out:\n%s\nbefore:\n%s", after, before)
	}
	archiving.stop(t)
}
