package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// configLines are the lines of a configuration that say something.
func configLines(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(raw)) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "#") {
			lines = append(lines, text)
		}
	}
	return lines
}

// TestFirstRun does what README.md says, as a new user on a stock server: two commands, at most four lines of configuration, no restart of
// PostgreSQL, and the first commit is durable in S3 within a minute.
func TestFirstRun(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"pgark init --apply --config pgark.yml s3://acme-pg/main", "pgark run --config pgark.yml"} {
		if !strings.Contains(string(readme), line) {
			t.Errorf("README.md does not say %q any more: say here what it says", line)
		}
	}
	for _, v := range postgrestest.Versions(t) {
		t.Run(fmt.Sprint(v.Major), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, v, onS3, postgrestest.Options{Settings: map[string]string{}})
			const started = "select pg_postmaster_start_time()"
			before := s.server.Text(t, started)
			work := postgrestest.TempDir(t)
			file := filepath.Join(work, "pgark.yml")
			p := s.tool.with("HOME=" + work)

			begin := time.Now()
			printed := p.must(t.Context(), t, "init", "--apply", "--yes", "--config", file, s.url)
			for _, want := range []string{"CREATE ROLE pgark LOGIN REPLICATION;", "max_slot_wal_keep_size", "answers; the agent makes the archive there", "pgark check --config " + file} {
				if !strings.Contains(printed, want) {
					t.Errorf("init does not say %q:\n%s", want, printed)
				}
			}
			if lines := configLines(t, file); len(lines) > 4 {
				t.Errorf("%d lines of configuration, want at most 4: %q", len(lines), lines)
			}
			p.start(t, "run", "--config", file)
			s.server.Exec(t, "create table first (at timestamptz); insert into first values (now())")
			end := s.flushed(t)
			eventually(t, time.Minute, "the first commit to be durable", func() bool {
				return s.server.Text(t, "select count(*) from pg_stat_replication where usename = 'pgark' and flush_lsn >= '"+end.String()+"'") == "1"
			})
			took := time.Since(begin)
			t.Logf("PostgreSQL %d: the first commit was durable %s after the first command", v.Major, took.Round(time.Millisecond))
			if took > time.Minute {
				t.Errorf("the first commit was durable after %s, want 60 s", took)
			}
			if after := s.server.Text(t, started); after != before {
				t.Error("PostgreSQL was restarted")
			}
			if got := s.server.Text(t, "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = 'pgark'"); got != "f" {
				t.Error("the role may more than log in and replicate")
			}
			s.waitBackup(t)
			if o := p.run(t.Context(), "check", "--config", file); o.code != 0 || !strings.Contains(o.stdout, "durable after") {
				t.Errorf("check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
			}
			// Once more changes nothing.
			again := p.must(t.Context(), t, "init", "--apply", "--yes", "--config", file, s.url)
			if !strings.Contains(again, "nothing is lacking") || !strings.Contains(again, "there is an archive already") || !strings.Contains(again, "there is one") {
				t.Errorf("init once more:\n%s", again)
			}
		})
	}
}

// TestFirstRunByPeer: the server lets a role in whose name is the user's alone, as Debian's packages have it. What init prints is put
// where it says, and the agent archives then.
func TestFirstRunByPeer(t *testing.T) {
	t.Parallel()
	if _, _, ok := serverUser(); !ok {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("REQUIRE_ALL=1: peer authentication is tried as the user postgres, by root")
		}
		t.Skip("peer authentication is tried as the user postgres, by root")
	}
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	// above puts lines above those of a file of the server.
	above := func(name, lines, old string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.server.DataDir, name), []byte(lines+old), 0o600); err != nil {
			t.Fatal(err)
		}
		s.server.Exec(t, "select pg_reload_conf()")
	}
	// The superuser comes in as this test, which is root, looks by it.
	const peers = "local all postgres trust\nlocal all all peer\nlocal replication all peer\n"
	above("pg_hba.conf", "", peers)
	work := postgrestest.TempDir(t)
	file := filepath.Join(work, "pgark.yml")
	sql := s.tool.must(t.Context(), t, "init", "--print-sql", s.url)
	if !strings.HasPrefix(sql, "CREATE ROLE pgark LOGIN REPLICATION;\n") {
		t.Fatalf("the SQL:\n%s", sql)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("--print-sql wrote the configuration")
	}
	o := s.tool.run(t.Context(), "init", "--apply", "--yes", "--config", file, "-o", "json", s.url)
	if o.code != 0 {
		t.Fatalf("init: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	var found struct {
		HBA   []string `json:"pg_hba"`
		Ident []string `json:"pg_ident"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.HBA) != 2 || len(found.Ident) != 1 {
		t.Fatalf("got %+v, want two lines for pg_hba.conf and one for pg_ident.conf", found)
	}
	if c := s.tool.run(t.Context(), "check", "--only", "postgres", "--config", file); c.code != 13 {
		t.Errorf("check before the lines are there: exit %d, want 13\n%s", c.code, c.stdout)
	}
	above("pg_hba.conf", strings.Join(found.HBA, "\n")+"\n", peers)
	above("pg_ident.conf", strings.Join(found.Ident, "\n")+"\n", "")
	s.tool.start(t, "run", "--config", file)
	s.waitBackup(t)
	s.tool.must(t.Context(), t, "check", "--only", "postgres", "--config", file)
	// What is asked in SQL, too: the file names no database, and the lines let the role into one alone.
	if out := s.tool.must(t.Context(), t, "status", "--config", file); strings.Contains(out, "authentication failed") {
		t.Errorf("the lines that init printed do not do for status:\n%s", out)
	}
}

// TestReload: a hangup has the agent take what its file says by now, without a hole in the archive; a file with a fault changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	file := filepath.Join(postgrestest.TempDir(t), "pgark.yml")
	write := func(upload string) {
		t.Helper()
		text := "clusters:\n  main:\n    repo:\n      url: " + s.url + "\n      upload: " + upload + "\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("{ every: 1s }")
	agent := s.tool.start(t, "run", "--config", file)
	s.waitBackup(t)
	s.waitArchived(t)
	hangup := func(says string) {
		t.Helper()
		if err := agent.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "the log to say "+says, func() bool { return strings.Contains(agent.output(), says) })
		s.server.Exec(t, "create table if not exists more (n int); insert into more values (1)")
		s.waitArchived(t)
	}
	write("{ evry: 1s }")
	hangup("the configuration was read anew and has faults: the old one stays in force")
	if !strings.Contains(agent.output(), "did you mean every?") {
		t.Errorf("the log does not say what is wrong:\n%s", agent.output())
	}
	write("{ every: 200ms }")
	hangup("\"the configuration was read anew\"")
	if n := strings.Count(agent.output(), "agent starts"); n != 2 {
		t.Errorf("%d agents began, want 2: the first, and the one with the new settings", n)
	}
	if o := s.tool.run(t.Context(), "verify", "--deep", "--config", file); o.code != 0 {
		t.Errorf("verify: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
