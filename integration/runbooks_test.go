package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// newBooks is a site with a copy in a folder, a folder for drills, and a configuration file that names all of it, as on a real host. Another tool archives too: a copy of each segment, in a folder.
func newBooks(t *testing.T) (s *site, other string) {
	t.Helper()
	dir := postgrestest.TempDir(t)
	other = filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, other)
	settings := ledgerSettings()
	settings["archive_mode"], settings["archive_command"] = "on", "cp %p "+other+"/%f"
	s = newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{SegmentSize: 1 << 20, Settings: settings})
	file := filepath.Join(dir, "pgark.yml")
	text := fmt.Sprintf("clusters:\n  main:\n    postgres: %q\n    repo: %q\n    copies: [{ name: dr, url: %q }]\n    required: all\n    drill: { dir: %q, schedule: 'off' }\n",
		s.server.ConnString(), s.url, "file://"+filepath.Join(dir, "dr"), filepath.Join(dir, "drill"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, file)
	s.tool = s.tool.with("PGARK_CONFIG="+file, "PGDATA="+s.server.DataDir)
	return s, other
}

// isSure waits until a runbook's own proof of success holds.
func (s *site) isSure(t *testing.T, page string) {
	t.Helper()
	var o outcome
	eventually(t, waitLong, page+": to be protected", func() bool {
		o = s.tool.page(t, page, "sure", s.server.Version.BinDir)
		return o.code == 0
	})
	if page != "bucket-lost" && !strings.Contains(o.stdout, "PROTECTED") {
		t.Errorf("%s: sure of\n%s", page, o.stdout)
	}
}

// letGo waits until the server knows that nobody receives from the slot.
func (s *site) letGo(t *testing.T) {
	t.Helper()
	eventually(t, waitLong, "the slot to be left", func() bool {
		return s.server.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and not active") == "1"
	})
}

// TestRunbooksOfTheAgent follows the runbooks for an agent that is down, a slot near its limit, damage without a copy, and for who comes from another tool, on one server.
func TestRunbooksOfTheAgent(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s, other := newBooks(t)
	bin, super := s.server.Version.BinDir, "SUPER="+s.server.ConnString()
	agent := s.tool.start(t, "run")
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g")
	s.waitBackup(t)
	s.waitArchived(t)

	// Another tool archives the same WAL; then it does not any more.
	if out := s.tool.did(t, "migration", "begin", bin); !strings.Contains(out, "End2end") {
		t.Errorf("check:\n%s", out)
	}
	segment := s.server.Text(t, "select pg_walfile_name(pg_switch_wal())")
	s.server.Exec(t, "insert into t values (0)")
	eventually(t, waitLong, "the other tool to have "+segment, func() bool {
		return s.server.Text(t, "select last_archived_wal >= '"+segment+"' from pg_stat_archiver") == "t"
	})
	s.waitArchived(t)
	if out := s.tool.did(t, "migration", "both", bin); !strings.Contains(out, segment[:8]) {
		t.Errorf("pg_stat_archiver:\n%s", out)
	}
	s.tool.did(t, "migration", "compare", bin, "SEGMENT="+segment, "OTHER="+filepath.Join(other, segment))
	s.tool.did(t, "migration", "prove", bin, "DRILL="+filepath.Join(filepath.Dir(other), "drill"))
	if out := s.tool.must(t.Context(), t, "runbook", "single-instance-lost"); !strings.Contains(out, "--into "+s.server.DataDir+" --start") || strings.Count(out, ", by the drill of ") != 4 ||
		strings.Contains(out, "unknown") || strings.Contains(out, "{{") {
		t.Errorf("what is known is not filled in:\n%s", out)
	}
	s.tool.did(t, "migration", "switch", bin, super)
	if got := s.server.Text(t, "show archive_command"); got != "/bin/true" {
		t.Errorf("archive_command is %q", got)
	}
	s.isSure(t, "migration")
	s.tool.did(t, "damage", "anew", bin)
	if n := len(s.backups(t)); n != 2 {
		t.Errorf("%d base backups, want 2", n)
	}

	agent.kill()
	s.letGo(t)
	if o := s.tool.page(t, "agent-down", "look", bin); o.code != 0 || !strings.Contains(o.stdout, "no agent is receiving") {
		t.Errorf("without an agent: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := s.tool.page(t, "agent-down", "live", bin); o.code == 0 {
		t.Errorf("a dead agent answers\n%s", o.stdout)
	}
	agent = s.tool.startPage(t, "agent-down", "start", bin)
	s.waitArchived(t)
	s.isSure(t, "agent-down")
	s.tool.did(t, "agent-down", "proof", bin)

	// The slot keeps WAL that nobody takes; in the end it is let go.
	agent.stop(t)
	s.letGo(t)
	s.server.Exec(t, "insert into t select generate_series(1, 20000)")
	if out := s.tool.did(t, "slot-near-limit", "look", bin); !strings.Contains(out, "NOT active") {
		t.Errorf("status:\n%s", out)
	}
	if out := s.tool.did(t, "slot-near-limit", "server", bin); !strings.Contains(out, "pgark") || !strings.Contains(out, "reserved") {
		t.Errorf("the slots:\n%s", out)
	}
	s.tool.did(t, "slot-near-limit", "raise", bin, super)
	if got := s.server.Text(t, "show max_slot_wal_keep_size"); got != "128GB" {
		t.Errorf("the limit is %s", got)
	}
	s.tool.did(t, "slot-near-limit", "let go", bin)
	if got := s.server.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark'"); got != "0" {
		t.Error("the slot is there")
	}
	s.tool.start(t, "run")
	s.isSure(t, "slot-near-limit")
	s.waitArchived(t)
}

// TestRunbooksOfRestores follows the runbooks for data that is wrong, a server that is lost, and a bucket that is gone, one after the other on one cluster.
func TestRunbooksOfRestores(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s, _ := newBooks(t)
	bin := s.server.Version.BinDir
	agent := s.tool.start(t, "run")
	s.server.Exec(t, "create table t (n int, note text)")
	s.waitBackup(t)
	s.server.Exec(t, "insert into t select g, 'right' from generate_series(1, 1000) g")
	before := s.server.Text(t, "select now()::text")
	s.server.Exec(t, "update t set note = 'wrong'")
	s.server.Exec(t, "insert into t values (1001, 'after')")
	s.waitArchived(t)
	is := func(conn, want string) {
		t.Helper()
		if got := query(t, conn, "select count(*) || ' ' || min(note) from t"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}

	const wrong, lost = "point-in-time", "single-instance-lost"
	beside := filepath.Join(postgrestest.TempDir(t), "restored")
	words := []string{"TIME=" + before, "NEW=" + beside}
	if out := s.tool.did(t, wrong, "commits", bin, words...); !strings.Contains(out, "stops here") {
		t.Errorf("the log:\n%s", out)
	}
	s.tool.did(t, wrong, "plan", bin, words...)
	json := s.tool.given("restore", "-o json")
	conn := reached(t, json.page(t, wrong, "beside", bin, words...))
	is(conn, "1000 right")
	restored{dir: beside}.stop(t)

	agent.stop(t)
	s.server.Stop(t, postgrestest.Fast)
	is(reached(t, json.page(t, wrong, "in place", bin, words...)), "1000 right")
	service := s.serve(t, wrong)
	is(s.server.ConnString(), "1000 right")

	// The host is lost with its disk, after one more commit.
	s.server.Exec(t, "insert into t values (1002, 'newest')")
	s.waitArchived(t)
	service.kill()
	s.server.Remove(t)
	if out := s.tool.did(t, lost, "look", bin); !strings.Contains(out, s.server.DataDir) {
		t.Errorf("the plan:\n%s", out)
	}
	is(reached(t, json.page(t, lost, "restore", bin)), "1001 newest")
	service = s.serve(t, lost)
	is(s.server.ConnString(), "1001 newest")

	service.stop(t)

	// The bucket is gone for good; its place is filled from the copy.
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.folder, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	s.tool.did(t, "bucket-lost", "refill", bin)
	s.isSure(t, "bucket-lost")
}

// serve is what a person does after a restore: the restored server is stopped, the service started, and the cluster archived as the one that takes its source's place. The agent of the runbook is
// ended, and one begins as a service would, which is returned.
func (s *site) serve(t *testing.T, page string) *process {
	t.Helper()
	restored{dir: s.server.DataDir}.end(t)
	s.server.Start(t)
	adopting := s.tool.startPage(t, page, "adopt", s.server.Version.BinDir)
	eventually(t, waitLong, "archiving to go on", func() bool { return strings.Contains(adopting.output(), "archiving goes on") })
	adopting.stop(t)
	service := s.tool.start(t, "run")
	s.waitArchived(t)
	s.isSure(t, page)
	return service
}

// TestRunbookOfAZone: primary and agent are gone with their zone, the repository is not; a standby that follows it takes over.
func TestRunbookOfAZone(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s, _ := newBooks(t)
	agent := s.tool.start(t, "run")
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g")
	s.waitBackup(t)
	s.waitArchived(t)
	dir, socket := filepath.Join(postgrestest.TempDir(t), "standby"), filepath.Join(postgrestest.TempDir(t), "s")
	here := s.tool.with("PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR="+socket, "PGTARGETSESSIONATTRS=any")
	here.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes")
	standby := postgrestest.StartFrom(t, s.server.Version, dir)
	standby.WaitReady(t)
	here = here.with("PGARK_POSTGRES=" + standby.ConnString())
	here.start(t, "run")
	eventually(t, waitLong, "the standby to stream", func() bool { return standby.Text(t, "select count(*) from pg_stat_wal_receiver") == "1" })
	s.server.Exec(t, "insert into t values (0)")
	s.waitArchived(t)

	agent.kill()
	s.server.Remove(t)
	if out := here.did(t, "zone-lost", "look", ""); !strings.Contains(out, "primary") {
		t.Errorf("standby status:\n%s", out)
	}
	eventually(t, waitLong, "the standby to take over", func() bool {
		o := here.given("standby promote", "--silence 3s").page(t, "zone-lost", "take over", "")
		if o.code != 0 && o.code != 5 {
			t.Fatalf("promote: exit %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		return o.code == 0
	})
	if got := standby.Text(t, "select count(*) from t"); got != "1001" {
		t.Errorf("%s rows, want 1001", got)
	}
	eventually(t, waitLong, "the cluster to be protected", func() bool { return here.page(t, "zone-lost", "sure", "").code == 0 })
}

// TestRunbookOfAnUpgrade: a cluster moves from 15 to 17 by dump and restore, is archived beside what was archived of the old one, and the old one can be brought back. pg_upgrade, which the suite's
// servers lack, would leave the same: another system identifier.
func TestRunbookOfAnUpgrade(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s, _ := newBooks(t)
	const book = "major-upgrade"
	old, bin := s.server, s.server.Version.BinDir
	agent := s.tool.start(t, "run")
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g")
	s.waitBackup(t)
	s.tool.did(t, book, "before", bin)
	s.server.Exec(t, "insert into t values (0)")
	s.waitArchived(t)
	dir := postgrestest.TempDir(t)
	s.tool.did(t, book, "prove", bin, "DRILL="+filepath.Join(dir, "drill"))
	before := s.tool // which knows the old cluster: the runbook was printed before the upgrade

	s.server = postgrestest.Start(t, postgrestest.Need(t, 17), postgrestest.Options{Settings: ledgerSettings()})
	words := []string{"OLD=" + old.ConnString(), "NEWSERVER=" + s.server.ConnString()}
	before.did(t, book, "dump and restore", bin, words...)
	fresh := strings.TrimSpace(before.did(t, book, "id", bin, words...))
	old.Stop(t, postgrestest.Fast)
	agent.stop(t)
	point := "PGARK_POSTGRES=" + s.server.ConnString()
	refused := s.tool.with(point).run(t.Context(), "run")
	if refused.code != 5 || !strings.Contains(refused.stderr, "--adopt "+fresh) {
		t.Errorf("the new cluster unadopted: exit %d, want 5\n%s", refused.code, refused.stderr)
	}
	adopting := before.startPage(t, book, "adopt", bin, "ID="+fresh, point)
	eventually(t, waitLong, "archiving to begin", func() bool { return strings.Contains(adopting.output(), "archiving begins") })
	var o outcome
	eventually(t, waitLong, "the new cluster to be protected", func() bool {
		o = before.page(t, book, "sure", bin, point)
		return o.code == 0
	})
	if !strings.Contains(o.stdout, "kept until") { // what was taken before, and so of the old one
		t.Errorf("the old cluster is not listed:\n%s", o.stdout)
	}
	adopting.stop(t)

	back := filepath.Join(dir, "back")
	conn := reached(t, before.given("restore", "-o json").page(t, book, "back", bin, "BACK="+back, "OLDBIN="+bin))
	if got := query(t, conn, "select count(*)::text from t"); got != "1001" {
		t.Errorf("the old cluster came back with %s rows, want 1001", got)
	}
	restored{dir: back}.stop(t)
	if got := s.server.Text(t, "select count(*) from t"); got != "1001" {
		t.Errorf("the new cluster has %s rows, want 1001", got)
	}
}
