package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestDroppedTableInTwoCommands: a table is dropped by mistake, and work goes on. `pgark log --drops` finds the drop, and the command
// that it prints, pasted, gives the cluster as it was at the commit before.
func TestDroppedTableInTwoCommands(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	for major, kind := range map[int]storeKind{15: onFile, 17: onS3} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, postgrestest.Need(t, major), kind, postgrestest.Options{})
			agent := s.tool.start(t, "run", s.url)
			s.server.Exec(t, "create table orders(id int primary key, note text)")
			s.server.Exec(t, "create database shop")
			s.waitBackup(t)
			s.server.Exec(t, "insert into orders select g, repeat('x', 100) from generate_series(1, 5000) g")
			s.server.Exec(t, "create table kept(id int); insert into kept values (1)")
			s.server.Exec(t, "insert into orders values (5001, 'the last before the drop')")
			file := s.server.Text(t, "select pg_relation_filepath('orders')")
			xid := s.server.Text(t, "select (pg_current_xact_id()::text::int8 + 1)::text") // that of the next transaction
			s.server.Exec(t, "drop table orders")
			s.server.Exec(t, "insert into kept values (2)")
			s.server.Exec(t, "truncate kept")
			s.server.Exec(t, "drop database shop")
			s.server.Exec(t, "insert into kept values (3)")
			s.waitArchived(t)

			out := s.tool.must(t.Context(), t, "log", "--drops", s.url)
			line := regexp.MustCompile(`(?m)^\S+ +` + xid + ` .*commit, dropped (.*)$\n +before it: (.*)$`).FindStringSubmatch(out)
			if line == nil || !strings.Contains(line[1], file) {
				t.Fatalf("the drop of %s by transaction %s is not found:\n%s", file, xid, out)
			}
			if !strings.Contains(out, "commit, replaced ") || !strings.Contains(out, "dropped database with OID") || strings.Count(out, "before it:") != 3 {
				t.Errorf("want the drop of the table, TRUNCATE and the drop of the database:\n%s", out)
			}
			beside := s.restorePasted(t, line[2], map[string]string{
				"select count(*) || ' ' || max(id) || ' ' || max(note) filter (where id > 5000) from orders": "5001 5001 the last before the drop",
				"select string_agg(id::text, ',') from kept":                                                 "1",
			})
			database := regexp.MustCompile(`(?m)dropped database .*$\n +before it: (.*)$`).FindStringSubmatch(out)
			dir := s.restorePasted(t, database[1], map[string]string{"select count(*)::text from kept": "0"})
			if got := query(t, strings.Replace(dir, "dbname=postgres", "dbname=shop", 1), "select current_database()::text"); got != "shop" {
				t.Errorf("connected to %q", got)
			}
			if major == 15 { // of which the suite has pg_dump and psql
				s.bringBack(t, xid, beside)
			}
			if kind == onS3 {
				s.halfDropped(t, regexp.MustCompile(`(?m)^\S+ +(\d+) .*dropped database`).FindStringSubmatch(out)[1])
			}
			s.logTells(t, xid)
			agent.stop(t)
		})
	}
}

// bringBack gets the table back into the running server as the runbook says: by an export, and from the cluster that was restored beside it.
func (s *site) bringBack(t *testing.T, xid, beside string) {
	t.Helper()
	tool := s.tool.with("PGARK_REPO=" + s.url)
	bin := s.server.Version.BinDir
	if out := tool.did(t, "accidental-drop", "drops", ""); !strings.Contains(out, "--to-xid "+xid+" --before") {
		t.Errorf("the drop by transaction %s is not found:\n%s", xid, out)
	}
	sandbox := filepath.Join(postgrestest.TempDir(t), "sandbox")
	if err := os.Mkdir(sandbox, 0o700); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, sandbox)
	words := []string{"XID=" + xid, "DATABASE=postgres", "TABLE=public.orders", "SANDBOX=" + sandbox}
	is := func(how string) {
		if got := s.server.Text(t, "select count(*) || ' ' || max(id) from orders"); got != "5001 5001" {
			t.Errorf("%s: %s", how, got)
		}
		s.server.Exec(t, "drop table orders")
	}
	tool.did(t, "accidental-drop", "export", bin, words...)
	tool.did(t, "accidental-drop", "load", bin, words...)
	is("exported")
	socket := regexp.MustCompile(`host=(\S+)`).FindStringSubmatch(beside)
	tool.did(t, "accidental-drop", "copy", bin, append(words, "SOCKET="+socket[1])...)
	is("copied")
}

// halfDropped restores to right before the commit of DROP DATABASE shop: the database is marked and its files are gone. The restore says so, and how to find the
// place before that.
func (s *site) halfDropped(t *testing.T, xid string) {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	o := s.tool.run(t.Context(), "restore", "--to-xid", xid, "--before", "--into", dir, "--start", "--bin-dir", s.server.Version.BinDir, "--yes", s.url)
	t.Cleanup(func() { restored{dir: dir}.stop(t) })
	if said := strings.Join(strings.Fields(o.stdout), " "); o.code != 3 || !strings.Contains(said, "INVALID database shop: DROP DATABASE was at work on it") ||
		!strings.Contains(said, "pgark log --drops --around ") {
		t.Errorf("restore into the middle of DROP DATABASE: exit %d, want 3\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// restorePasted runs a printed command with a folder for DIR, and compares what the restored server holds. It returns how to reach it.
func (s *site) restorePasted(t *testing.T, command string, want map[string]string) string {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	words := strings.Fields(strings.ReplaceAll(command, "'", ""))
	for i, word := range words {
		if word == "DIR" {
			words[i] = dir
		}
	}
	// What a shell on this host would find by itself: the programs of the major. And a script reads JSON.
	n := len(words) - 1
	words = append(append(append([]string{}, words[1:n]...), "--bin-dir", s.server.Version.BinDir, "--yes", "-o", "json"), words[n])
	o := s.tool.run(t.Context(), words...)
	t.Cleanup(func() { restored{dir: dir}.stop(t) })
	var report struct {
		Result struct {
			Socket string `json:"socket"`
			Port   int    `json:"port"`
			Later  int    `json:"later_applied"`
		} `json:"result"`
	}
	if o.code != 0 {
		t.Fatalf("%s: exit %d\n%s", command, o.code, o.stderr)
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatal(err)
	}
	conn := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port)
	for sql, value := range want {
		if got := query(t, conn, sql); got != value {
			t.Errorf("%s\n%s: got %q, want %q", command, sql, got, value)
		}
	}
	return conn
}

// logTells looks at the rest of what the log can do: JSON, one transaction, a time, an archive that is damaged there.
func (s *site) logTells(t *testing.T, xid string) {
	t.Helper()
	ctx := t.Context()
	var doc struct {
		Entries []struct {
			Kind    string `json:"kind"`
			Time    string `json:"time"`
			XID     uint32 `json:"xid"`
			Removed *struct {
				Means   string   `json:"means"`
				Count   int      `json:"count"`
				Restore []string `json:"restore"`
			} `json:"removed"`
		} `json:"entries"`
	}
	if err := json.Unmarshal([]byte(s.tool.must(ctx, t, "log", "--xid", xid, "-o", "json", s.url)), &doc); err != nil {
		t.Fatal(err)
	}
	// The table, its index, its TOAST table and that one's index.
	if len(doc.Entries) != 1 || fmt.Sprint(doc.Entries[0].XID) != xid || doc.Entries[0].Removed == nil || doc.Entries[0].Removed.Means != "drop" ||
		doc.Entries[0].Removed.Count != 4 || strings.Join(doc.Entries[0].Removed.Restore, " ") != "--to-xid "+xid+" --before" {
		t.Errorf("--xid %s: got %+v", xid, doc)
	}
	out := s.tool.must(ctx, t, "log", "--around", doc.Entries[0].Time, "--limit", "2", s.url)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 6 || strings.Count(out, "commit") != 4 || strings.Index(out, xid) > strings.Index(out, "stops here") {
		t.Errorf("--around the drop:\n%s", out)
	}
	if o := s.tool.run(ctx, "log", "--xid", "4000000000", s.url); o.code != 4 || !strings.Contains(o.stderr, "no end of transaction 4000000000") {
		t.Errorf("a transaction that never was: exit %d\n%s", o.code, o.stderr)
	}
	if out := s.tool.must(ctx, t, "log", "--around", "2001-01-01T00:00:00Z", s.url); !strings.Contains(out, "no transaction in this time") ||
		!strings.Contains(out, "the nearest transaction behind") {
		t.Errorf("long before the archive:\n%s", out)
	}
	if s.s3 != nil {
		return // objects are damaged on the file system alone
	}
	s.waitArchived(t)
	name := s.server.Text(t, "select pg_walfile_name(pg_switch_wal())")
	s.server.Exec(t, "insert into kept values (4)")
	var found []string
	eventually(t, time.Minute, "segment "+name, func() bool {
		found, _ = filepath.Glob(filepath.Join(s.folder, "*", "wal", "*", stored(name+".zst")))
		return len(found) == 1
	})
	s.waitArchived(t)
	second := filepath.Join(postgrestest.TempDir(t), "second")
	if err := os.CopyFS(second, os.DirFS(s.folder)); err != nil {
		t.Fatal(err)
	}
	flip(t, found[0])
	if out := s.tool.with("PGARK_COPIES=dr=file://"+second).must(ctx, t, "log", s.url); !strings.Contains(out, "1 object damaged or missing in one repository, given by another") ||
		strings.Contains(out, "DAMAGED") {
		t.Errorf("with a copy that is whole:\n%s", out)
	}
	o := s.tool.run(ctx, "log", s.url)
	if o.code != 3 || !strings.Contains(o.stdout, "DAMAGED") || !strings.Contains(o.stdout, "commit") {
		t.Errorf("with a damaged segment: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// flip changes a byte in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, info.Mode()); err != nil {
		t.Fatal(err)
	}
}
