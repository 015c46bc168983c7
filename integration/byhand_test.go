package integration_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// scriptsOf returns the shell blocks of docs/RESTORE-BY-HAND.md by the first word of their first comment.
func scriptsOf(t testing.TB) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/RESTORE-BY-HAND.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```sh\n# ([a-z]+)[^\n]*\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		scripts[m[1]] = m[2]
	}
	return scripts
}

// TestRestoreByHand runs the page for a person without pgark as it stands: zstd, tar, a shell and PostgreSQL alone restore a cluster with a
// tablespace to a time, and what they restore is the prefix that the server's WAL says.
func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	scripts := scriptsOf(t)
	for _, name := range []string{"pick", "unpack", "tablespace", "fetch", "settings"} {
		if scripts[name] == "" {
			t.Fatalf("the page has no script %q", name)
		}
	}
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	seed := seed(t)
	l := newLedger(t.Context(), t, s.server.ConnString(), 3, seed)
	space := postgrestest.TempDir(t)
	s.server.Exec(t, "create tablespace elsewhere location '"+space+"'")
	s.server.Exec(t, "create table moved tablespace elsewhere as select generate_series(1, 10000) g")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	if err := l.run(ctx); err != nil {
		t.Fatal(err)
	}
	final, err := readState(t.Context(), s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	end := s.waitArchived(t)
	agent.stop(t)
	ends := s.truth(t, end)
	target := ends[len(ends)-len(ends)/4].time

	dir := s.byHand(t, scripts, target.UTC().Format("2006-01-02 15:04:05.999999")+"+00")
	server := postgrestest.StartFrom(t, s.server.Version, dir)
	server.WaitReady(t)
	eventually(t, time.Minute, "the end of recovery", func() bool { return server.Text(t, "select count(*) where not pg_is_in_recovery()") == "1" })
	got, err := readState(t.Context(), server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	if err := compareRows(got.rows, expected(ends, final.rows, untilTime(target))); err != nil {
		t.Error(err)
	}
	if n := server.Text(t, "select count(*) from moved"); n != "10000" {
		t.Errorf("table in the tablespace: got %s rows, want 10000", n)
	}
	if in := server.Text(t, "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'elsewhere'"); in == space {
		t.Errorf("the tablespace of the restored cluster lies in the source's folder %s", in)
	}
}

// byHand runs the page's scripts as the servers' user and returns the data directory.
func (s *site) byHand(t *testing.T, scripts map[string]string, target string) string {
	t.Helper()
	home := postgrestest.TempDir(t)
	fetch := filepath.Join(home, "fetch")
	if err := os.WriteFile(fetch, []byte(scripts["fetch"]), 0o755); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"REPO": s.brought(t), "DIR": filepath.Join(home, "data"), "FETCH": fetch, "TARGET": target}
	if encrypting() {
		needAge(t)
		env["IDENTITY"] = sharedKeys(t).recovery
		shell(t, scripts["decrypt"], env)
	}
	records := strings.Fields(shell(t, scripts["pick"], env))
	if len(records) != 1 {
		t.Fatalf("found backups %q, want one", records)
	}
	env["BACKUP"] = filepath.Dir(records[0])
	env["CLUSTER"] = filepath.Dir(filepath.Dir(env["BACKUP"]))
	shell(t, scripts["unpack"], env)
	packs, err := filepath.Glob(filepath.Join(env["BACKUP"], "[0-9]*.tar.zst"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs of a tablespace: %v", err)
	}
	env["OID"], _, _ = strings.Cut(filepath.Base(packs[0]), "-")
	env["FOLDER"] = filepath.Join(home, "space")
	// The page's check, before the map of tablespaces is rewritten; their files are not under the data directory yet.
	shell(t, `pg_verifybackup --no-parse-wal --ignore=pg_tblspc "$DIR"`, env)
	shell(t, scripts["tablespace"], env)
	shell(t, scripts["settings"], env)
	return env["DIR"]
}

// brought is a folder with all of the repository, that the servers' user may read and write: where the suite is hardened a copy of what the bucket holds, as somebody has it who reads by hand.
func (s *site) brought(t testing.TB) string {
	t.Helper()
	if !hardened() {
		return s.folder
	}
	folder := filepath.Join(postgrestest.TempDir(t), "repo")
	if err := os.CopyFS(folder, os.DirFS(s.folder)); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, folder)
	return folder
}

// shell runs a script that must end well and returns what it printed.
func shell(t testing.TB, script string, env map[string]string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-euc", script)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := postgrestest.AsServer(t, cmd).CombinedOutput()
	if err != nil {
		t.Fatalf("script: %v\n%s\n%s", err, script, out)
	}
	return string(out)
}
