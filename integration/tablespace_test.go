package integration_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestTablespaceMadeSince guards I20 and I26: a tablespace that was made after the base backup is made again by replay, where it lay. A restore beside the server at
// work takes nothing from it: it says so before it touches the folder. Where the folder is free it goes on, and in place of the server, which owned the folder, nothing
// stands in its way.
func TestTablespaceMadeSince(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 16), onFile, postgrestest.Options{})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	space := filepath.Join(postgrestest.TempDir(t), "late")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, space)
	s.server.Exec(t, "create tablespace late location '"+space+"'")
	s.server.Exec(t, "create table spaced tablespace late as select generate_series(1, 2000) n")
	s.server.Exec(t, "checkpoint")
	s.waitArchived(t)

	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	beside := []string{"restore", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--start", "--yes", "-o", "json", s.url}
	before := surroundings(t, space)
	if o := s.tool.run(t.Context(), beside...); o.code != 5 || !strings.Contains(o.stderr, "makes tablespace") || !strings.Contains(o.stderr, space) {
		t.Errorf("beside the server: exit %d\n%s", o.code, o.stderr)
	}
	if after := surroundings(t, space); after != before {
		t.Errorf("the restore reached into the tablespace of the server at work:\n%s\nbefore:\n%s", after, before)
	}
	agent.stop(t)
	s.server.Kill(t)

	rows := func(dir string, o outcome) {
		t.Helper()
		if n := query(t, reached(t, o), "select count(*)::text from spaced"); n != "2000" {
			t.Errorf("%s has %s rows, want 2000", dir, n)
		}
		restored{dir: dir}.halt(t)
	}
	rows(s.server.DataDir, s.tool.run(t.Context(), "restore", "--into", s.server.DataDir, "--in-place", "--bin-dir", s.server.Version.BinDir, "--start", "--yes", "-o", "json", s.url))

	if err := errors.Join(os.RemoveAll(dir), os.Rename(space, space+"-old"), os.Mkdir(space, 0o700)); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, space)
	rows(dir, s.tool.run(t.Context(), beside...))
}
