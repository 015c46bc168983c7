package integration_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/telemetry/otlptest"
)

// with returns the tool with further variables.
func (p tool) with(env ...string) tool {
	p.env = append(slices.Clone(p.env), env...)
	return p
}

// tree lists all that lies below a folder, nothing if it is not there.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		found = append(found, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// refusal is one bad input: what is called, and what must come of it.
type refusal struct {
	name string
	env  []string
	args []string
	code int
	// says must be in the error, as must a cause or a fix.
	says string
}

func (r refusal) check(t *testing.T, p tool, untouched string) {
	t.Helper()
	before := tree(t, untouched)
	o := p.with(r.env...).run(t.Context(), r.args...)
	if o.code != r.code {
		t.Errorf("%s: exit %d, want %d\n%s%s", r.name, o.code, r.code, o.stdout, o.stderr)
	}
	if all := o.stdout + o.stderr; !strings.Contains(all, r.says) || !strings.Contains(all, "fix ") {
		t.Errorf("%s: want %q and a fix, got\n%s", r.name, r.says, all)
	}
	if strings.Contains(o.stdout+o.stderr, "hunter22") {
		t.Errorf("%s: the password shows\n%s%s", r.name, o.stdout, o.stderr)
	}
	if after := tree(t, untouched); !slices.Equal(before, after) {
		t.Errorf("%s: wrote something:\n%s", r.name, strings.Join(after, "\n"))
	}
}

// TestBadServerInput: what is wrong with the connection ends in one clear error, and nothing is written.
func TestBadServerInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, "create role ark login replication password 'right'; create role bare login; create role unlisted login replication")
	hba := "local replication ark scram-sha-256\nlocal all bare trust\nlocal replication bare trust\nlocal all postgres trust\nlocal replication postgres trust\n"
	path := filepath.Join(s.server.DataDir, "pg_hba.conf")
	if err := os.WriteFile(path, []byte(hba), 0o600); err != nil {
		t.Fatal(err)
	}
	s.server.Exec(t, "select pg_reload_conf()")
	elsewhere := []string{"PGHOST=" + filepath.Join(s.folder, "no-socket")}
	for _, r := range []refusal{
		{"run, wrong password", []string{"PGUSER=ark", "PGPASSWORD=hunter22"}, []string{"run", s.url}, 13, "authentication"},
		{"run, no password", []string{"PGUSER=ark"}, []string{"run", s.url}, 13, "authentication"},
		{"run, role without REPLICATION", []string{"PGUSER=bare"}, []string{"run", s.url}, 13, "REPLICATION"},
		{"run, no line in pg_hba.conf", []string{"PGUSER=unlisted"}, []string{"run", s.url}, 13, "pg_hba.conf"},
		{"check, wrong password", []string{"PGUSER=ark", "PGPASSWORD=hunter22"}, []string{"check", "--only", "postgres", s.url}, 13, "authentication"},
		{"check, no server", elsewhere, []string{"check", "--only", "postgres", s.url}, 15, "no PostgreSQL answered"},
		{"backup, no repository", nil, []string{"backup", s.url}, 10, "no repository here"},
		{"list, no repository", nil, []string{"list", s.url}, 10, "no repository here"},
		{"restore, no repository", nil, []string{"restore", "--into", s.folder, "--yes", s.url}, 10, "no repository here"},
	} {
		r.check(t, s.tool, s.folder)
	}
}

// TestBadStoreInput: what is wrong with the bucket.
func TestBadStoreInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	s.s3.CreateBucket(t, "plain")
	plain := s.s3.URL("plain", "main")
	for _, r := range []refusal{
		{"list, empty bucket", nil, []string{"list", s.url}, 10, "no repository here"},
		{"restore, empty bucket", nil, []string{"restore", "--into", filepath.Join(s.folder, "x"), "--yes", s.url}, 10, "no repository here"},
		{"run, no such bucket", nil, []string{"run", s.s3.URL("absent", "main")}, 10, "no such bucket"},
		{"check, no such bucket", nil, []string{"check", "--only", "storage", s.s3.URL("absent", "main")}, 10, "no such bucket"},
		{"run, wrong region", nil, []string{"run", strings.Replace(s.url, "us-east-1", "eu-west-1", 1)}, 2, "another region"},
		{"run, wrong key", []string{"AWS_SECRET_ACCESS_KEY=hunter22hunter22"}, []string{"run", s.url}, 13, "access denied"},
		{"check, wrong key", []string{"AWS_SECRET_ACCESS_KEY=hunter22hunter22"}, []string{"check", "--only", "storage", s.url}, 13, "access denied"},
		{"list, wrong key", []string{"AWS_SECRET_ACCESS_KEY=hunter22hunter22"}, []string{"list", s.url}, 13, "access denied"},
		{"run, no Object Lock", hardLock(), []string{"run", plain}, 2, "has no Object Lock"},
		{"check, no Object Lock", hardLock(), []string{"check", "--only", "storage", plain}, 2, "put-object-lock-configuration --bucket plain"},
	} {
		r.check(t, s.tool, s.folder)
	}
}

// TestTourOfTheCommands goes once through all commands on one cluster: what they say must fit, and
// another cluster and other programs are refused.
func TestTourOfTheCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	receiver := otlptest.NewReceiver(t)
	s.tool = s.tool.with("OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL)
	p, ctx := s.tool, t.Context()
	s.server.Exec(t, "create table kept as select generate_series(1, 1000) n")

	if out := p.must(ctx, t, "check", s.url); !strings.Contains(out, "read back identical") || !strings.Contains(out, "no agent archives") ||
		!strings.Contains(out, "10 of 10 walsenders are free") || !strings.Contains(out, "the server's clock") || !strings.Contains(out, "(8 tried)") && !hardened() {
		t.Errorf("check before the agent:\n%s", out)
	}
	if found := tree(t, s.folder); len(found) > 1 && !hardened() { // who may not delete leaves what was tried
		t.Errorf("check left something: %v", found)
	}
	agent := p.start(t, "run", s.url)
	s.waitBackup(t)
	s.waitArchived(t)
	if out := p.must(ctx, t, "check", s.url); !strings.Contains(out, "read back identical") || strings.Contains(out, "no agent") || !strings.Contains(out, "0 errors") {
		t.Errorf("check beside the agent:\n%s", out)
	}
	if out := p.must(ctx, t, "backup", "--label", "release=42", s.url); !strings.Contains(out, "is in the repository") {
		t.Errorf("backup: %s", out)
	}
	var report struct {
		Backups []struct {
			Restorable bool              `json:"restorable"`
			Labels     map[string]string `json:"labels"`
		} `json:"backups"`
		Gaps   []any     `json:"gaps"`
		Until  string    `json:"recoverable_until"`
		Behind *int64    `json:"behind_bytes"`
		Server *struct{} `json:"server"`
	}
	if err := json.Unmarshal([]byte(p.must(ctx, t, "status", "-o", "json", s.url)), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Backups) != 2 || !report.Backups[1].Restorable || report.Backups[1].Labels["release"] != "42" || len(report.Gaps) != 0 ||
		report.Until == "" || report.Behind == nil || report.Server == nil {
		t.Errorf("status: got %+v", report)
	}
	for _, words := range [][]string{{"list"}, {"ls"}, {"backups"}, {"status"}, {"status", "--ascii"}, {"wal", "ls"}} {
		if out := p.must(ctx, t, append(words, s.url)...); out == "" {
			t.Errorf("%v printed nothing", words)
		}
	}
	s.tourOfWAL(t)
	s.tourOfRefusals(t)

	agent.stop(t)
	s.tourOfSpans(t, receiver)
}

// tourOfWAL reads a segment through wal cat and wal fetch and compares it with the server's own.
func (s *site) tourOfWAL(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	name := s.server.Text(t, "select pg_walfile_name(pg_current_wal_lsn())")
	s.server.Exec(t, "select pg_switch_wal()")
	s.waitArchived(t)
	want, err := os.ReadFile(filepath.Join(s.server.DataDir, "pg_wal", name))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.tool.must(ctx, t, "wal", "cat", "--repo", s.url, name); got != string(want) {
		t.Errorf("wal cat %s: %d bytes, and not the server's %d", name, len(got), len(want))
	}
	out := filepath.Join(postgrestest.TempDir(t), "fetched")
	s.tool.must(ctx, t, "wal", "fetch", "--repo", s.url, name, out)
	if got, err := os.ReadFile(out); err != nil || string(got) != string(want) {
		t.Errorf("wal fetch %s: %v, %d bytes, and not the server's", name, err, len(got))
	}
	for _, absent := range []string{"0000000100000999000000FF", "00000002.history"} {
		if o := s.tool.run(ctx, "wal", "fetch", "--repo", s.url, absent, out+"-absent"); o.code != 1 {
			t.Errorf("wal fetch %s: exit %d, want 1\n%s", absent, o.code, o.stderr)
		}
	}
	if o := s.tool.run(ctx, "wal", "cat", "--repo", s.url, "0000000100000999000000FF"); o.code != 4 {
		t.Errorf("wal cat of what is absent: exit %d, want 4", o.code)
	}
}

// tourOfRefusals: another cluster, programs of another major, targets that are not there.
func (s *site) tourOfRefusals(t *testing.T) {
	t.Helper()
	other := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{})
	foreign := s.tool.with("PGHOST="+other.SocketDir, "PGPORT="+other.Text(t, "show port"))
	into := filepath.Join(postgrestest.TempDir(t), "into")
	for _, r := range []refusal{
		{"run, another cluster's repository", nil, []string{"run", s.url}, 5, "system identifier"},
		{"backup, another cluster's repository", nil, []string{"backup", s.url}, 5, "system identifier"},
		{"check, another cluster's repository", nil, []string{"check", s.url}, 5, "system identifier"},
	} {
		// The first cluster's agent writes on, so only what the other would make is looked for.
		r.check(t, foreign, filepath.Join(s.folder, other.Text(t, "select system_identifier::text from pg_control_system()")))
	}
	for _, r := range []refusal{
		{
			"restore, programs of another major", nil,
			[]string{"restore", "--into", into, "--start", "--yes", "--bin-dir", postgrestest.Need(t, 14).BinDir, s.url},
			2, "no server programs of PostgreSQL 15",
		},
		{"restore, before the first backup", nil, []string{"restore", "--to", "1d ago", "--into", into, "--yes", s.url}, 4, "nearest after"},
		{"restore, after the end", nil, []string{"restore", "--to", "2099-01-01T00:00:00Z", "--into", into, "--yes", s.url}, 4, "nearest before"},
		{"restore, no such backup", nil, []string{"restore", "--to-backup", "20000101T000000Z", "--into", into, "--yes", s.url}, 4, "20000101T000000Z"},
		{"restore, no zone", nil, []string{"restore", "--to", "2026-11-20 10:31", "--into", into, "--yes", s.url}, 2, "zone"},
		{"restore, into the running server", nil, []string{"restore", "--into", s.server.DataDir, "--yes", s.url}, 5, "refused"},
	} {
		r.check(t, s.tool, into)
	}
	if out := s.tool.must(t.Context(), t, "restore", "--dry-run", s.url); !strings.Contains(out, "nothing written yet") || !strings.Contains(out, "none missing") {
		t.Errorf("dry run:\n%s", out)
	}
	if found := tree(t, into); len(found) > 0 {
		t.Errorf("a refused restore wrote %v", found)
	}
}

// TestBackupWithoutAgent: a backup that nothing would make consistent is refused before a byte is read.
func TestBackupWithoutAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	agent.stop(t)
	s.server.Exec(t, "create table later as select generate_series(1, 1000) n")
	refusal{"backup, no agent", nil, []string{"backup", s.url}, 1, "no agent archives"}.check(t, s.tool, s.folder)
}

// TestCtrlC: SIGINT ends an agent and a command that waits with 130, and leaves nothing half done.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	interrupt(t, agent)
	s.server.Exec(t, "create table later as select generate_series(1, 1000) n")
	waiting := s.tool.start(t, "backup", "--wait", "-v", s.url)
	eventually(t, 30*time.Second, "the backup to wait", func() bool { return strings.Contains(waiting.output(), "the agent archives") })
	interrupt(t, waiting)
	if found, err := filepath.Glob(filepath.Join(s.folder, "*", "backups", "*")); err != nil || len(found) != 1 {
		t.Errorf("the interrupted backup left %v, %v", found, err)
	}
}

// interrupt sends SIGINT and expects exit code 130.
func interrupt(t testing.TB, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Fatalf("no end a minute after SIGINT:\n%s", p.output())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d after SIGINT, want 130:\n%s", code, p.output())
	}
}
