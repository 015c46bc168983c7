package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/telemetry/otlptest"
)

// drilled is what `pgark drill run -o json` prints.
type drilled struct {
	Report       repository.Drill `json:"report"`
	Repositories []struct {
		Name  string `json:"name"`
		Error string `json:"error"`
	} `json:"repositories"`
	Kept     string `json:"kept"`
	Estimate *struct {
		Seconds float64 `json:"seconds"`
		Drills  int     `json:"drills"`
	} `json:"estimate"`
}

// drills is a site with a copy, and a folder for drills.
type drills struct {
	*site

	near string // folder of the copy
	dir  string
}

func newDrills(t *testing.T, major int) *drills {
	t.Helper()
	d := &drills{site: newSite(t, postgrestest.Need(t, major), onFile, postgrestest.Options{Superuser: "dba"})}
	d.near, d.dir = filepath.Join(postgrestest.TempDir(t), "near"), filepath.Join(postgrestest.TempDir(t), "drill")
	d.tool = d.tool.with("PGARK_REPO="+d.url, "PGARK_COPIES=near=file://"+d.near, "PGARK_REQUIRED=all", "PGARK_DRILL_DIR="+d.dir)
	return d
}

// hold holds a drill and expects an exit code.
func (d *drills) hold(t *testing.T, code int, flags ...string) drilled {
	t.Helper()
	o := d.tool.run(t.Context(), append([]string{"drill", "run", "-o", "json", "--bin-dir", d.server.Version.BinDir}, flags...)...)
	var got drilled
	if err := json.Unmarshal([]byte(o.stdout), &got); o.code != code || err != nil {
		t.Fatalf("drill run %v: exit %d, want %d: %v\n%s%s", flags, o.code, code, err, o.stdout, o.stderr)
	}
	d.isClean(t)
	return got
}

// reported is what a drill's report says of what a check found: nothing, where contents are encrypted.
func reported(found string) string {
	if encrypting() {
		return ""
	}
	return found
}

// isClean says that no sandbox is there.
func (d *drills) isClean(t *testing.T) {
	t.Helper()
	if left := tree(t, d.dir); len(left) > 1 {
		t.Errorf("a drill left %v", left)
	}
}

func (d *drills) checks(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(postgrestest.TempDir(t), "checks.sql")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkOf(t *testing.T, d repository.Drill, kind, name string) repository.DrillCheck {
	t.Helper()
	for _, c := range d.Checks {
		if c.Kind == kind && c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s %s in %+v", kind, name, d.Checks)
	return repository.DrillCheck{}
}

// TestDrill guards I43 and R7f: a drill restores for real, the newest tail and any instant, from each repository; a check that fails fails it; the report is in both
// repositories and nothing else is; what a killed drill left is removed by the next, with its server.
func TestDrill(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	d := newDrills(t, 15)
	d.server.Exec(t, "create database shop")
	receiver := otlptest.NewReceiver(t)
	d.tool = d.tool.with("OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL)
	archiving := d.tool.start(t, "run")
	d.waitBackup(t)
	d.server.Exec(t, "create table orders (n int primary key, at timestamptz default clock_timestamp()); insert into orders select generate_series(1, 1000)")
	d.server.Exec(t, "insert into orders values (1001)")
	d.waitArchived(t)
	archiving.stop(t)
	before := tree(t, d.folder)

	// The last commit lies in a piece of a segment that is not complete.
	newest := d.hold(t, 0, "--to", "latest", "--from", "near", "--sql", d.checks(t, `
-- check: newest
-- expect: 1001|t
select count(*), max(at) <= current_setting('pgark.target_time')::timestamptz from orders;
-- check: reaches out
-- database: shop
-- expect: off||0|0
select current_setting('archive_mode'), current_setting('listen_addresses'), current_setting('max_logical_replication_workers'), current_setting('max_worker_processes')
`))
	r := newest.Report
	if newest.Estimate != nil {
		t.Errorf("an estimate before the first drill: %+v", newest.Estimate)
	}
	if r.Result != repository.DrillPassed || !r.Target.Latest || r.Repository != "near" || r.LastCommit == nil || r.DataLoss == nil || r.RTO <= 0 ||
		r.Fetch.Bytes == 0 || r.Fetch.Seconds == 0 || r.Replay.Bytes == 0 || !strings.HasPrefix(r.ServerVersion, "15.") {
		t.Errorf("got %+v", r)
	}
	if _, ok := r.Rates(); !ok {
		t.Errorf("no rates in %+v", r)
	}
	for kind, name := range map[string]string{repository.CheckPages: "", repository.CheckAmcheck: ""} {
		if c := checkOf(t, r, kind, name); c.Result != repository.CheckPassed || c.Count < 100 {
			t.Errorf("got %+v", c)
		}
	}
	d.filed(t, r, before)
	d.exported(t, receiver, r)

	d.tool = d.tool.with("PGARK_DRILL_AMCHECK=false")
	second := d.hold(t, 1, "--to", "random", "--from", "each", "--sql", d.checks(t, "-- check: more\n-- expect: t\nselect count(*) < 5 from pg_class\n-- check: absent\n-- database: nowhere\nselect true\n"))
	failed := second.Report
	if e := second.Estimate; e == nil || e.Drills != 1 || e.Seconds <= 0 {
		t.Errorf("the estimate by the first drill: got %+v", e)
	}
	if c := checkOf(t, failed, repository.CheckSQL, "more"); failed.Result != repository.DrillFailed || failed.Phase != repository.DrillVerify || c.Got != reported("f") ||
		c.Result != repository.CheckFailed || failed.Repository != "primary" || failed.Target.Asked != "random" || failed.RTO == 0 {
		t.Errorf("got %+v", failed)
	}
	if c := checkOf(t, failed, repository.CheckSQL, "absent"); c.Result != repository.CheckFailed || !strings.Contains(c.Detail, reported("nowhere")) {
		t.Errorf("a check in a database that is not there: got %+v", c)
	}
	d.isSaid(t, r, failed) // near was proved alone, then it was the turn of the other
	d.brokenOff(t)
	for _, sql := range []string{"truncate orders", "vacuum full orders", "drop table orders"} {
		d.server.Exec(t, sql)
	}
	d.byItself(t)
	if out := d.tool.must(t.Context(), t, "log", "--drops"); !strings.Contains(out, "commit, dropped public.orders with 1 index or TOAST relation\n") ||
		strings.Count(out, "replaced public.orders with 1 index or TOAST relation by 2 new ones") != 2 {
		t.Errorf("the log does not call by its name what a drill still had:\n%s", out)
	}
	if n := int(soakNumber(t, "DRILLS", 0)); n > 0 {
		d.estimated(t, n)
	}
	d.tool.did(t, "drill", "again", "", "FROM=near", "SANDBOX="+d.dir)
	d.isClean(t)
	d.damaged(t)
}

// filed compares what both repositories hold: the same report and names, and nothing else that is new.
func (d *drills) filed(t *testing.T, r repository.Drill, before []string) {
	t.Helper()
	added := slices.DeleteFunc(tree(t, d.folder), func(path string) bool {
		// Who may delete nothing leaves the holds of what it read, which end by themselves.
		return slices.Contains(before, path) || hardened() && strings.Contains(path, "/holds")
	})
	if len(added) != 3 || filepath.Base(added[0]) != "drills" { // the folder, names, report
		t.Errorf("a drill wrote %v", added)
	}
	for _, name := range []string{r.ID + ".json", stored(r.ID + "-names.zst")} {
		var texts [][]byte
		for _, folder := range []string{d.folder, d.near} {
			text, err := os.ReadFile(filepath.Join(folder, r.SystemID.String(), "drills", name))
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		if !bytes.Equal(texts[0], texts[1]) {
			t.Errorf("%s differs between the repositories", name)
		}
	}
	store, err := agent.OpenStore(t.Context(), d.url, agent.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	opened, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	found, err := opened.With(opening(t)).Cluster(r.SystemID).DrillNames(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := strconv.ParseUint(d.server.Text(t, "select pg_relation_filenode('orders')::text"), 10, 32)
	database, _ := strconv.ParseUint(d.server.Text(t, "select oid::text from pg_database where datname = 'postgres'"), 10, 32)
	if rel, ok := found.ByFile(1663, uint32(database), uint32(file)); !ok || rel.Name != "orders" || rel.Schema != "public" || rel.Kind != "r" {
		t.Errorf("the name of file %d: got %+v, %t", file, rel, ok)
	}
	if rel, ok := found.ByFile(1664, 0, 1262); !ok || rel.Name != "pg_database" {
		t.Errorf("a shared relation: got %+v, %t", rel, ok)
	}
}

// isSaid: the commands tell of the drills.
func (d *drills) isSaid(t *testing.T, passed, failed repository.Drill) {
	t.Helper()
	list := d.tool.did(t, "drill", "drills", "")
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 3 || !strings.Contains(lines[1], passed.ID) || !strings.HasSuffix(lines[1], "passed") ||
		!strings.Contains(lines[2], failed.ID) || !strings.HasSuffix(lines[2], "failed: verify") {
		t.Errorf("drill list:\n%s", list)
	}
	if out := d.tool.did(t, "drill", "show", "", "ID="+failed.ID); !strings.Contains(out, "verify") || !strings.Contains(out, "more") {
		t.Errorf("drill show %s:\n%s", failed.ID, out)
	}
	if out := d.tool.must(t.Context(), t, "list"); !strings.Contains(out, "◆ drill "+passed.ID+", RTO ") {
		t.Errorf("list:\n%s", out)
	}
	if out := d.tool.run(t.Context(), "status").stdout; !strings.Contains(out, "drill FAILED") || !strings.Contains(out, "the newest drill, "+failed.ID+", failed (verify)") {
		t.Errorf("status:\n%s", out)
	}
	if out := d.tool.must(t.Context(), t, "drill", "show", passed.ID); !strings.Contains(out, "PASS   RTO ") || !strings.Contains(out, "page checksums of ") {
		t.Errorf("drill show:\n%s", out)
	}
	if out := d.tool.must(t.Context(), t, "drill", "show", "--from", "near", failed.ID); !strings.Contains(out, "FAIL") || !strings.Contains(out, `sql more = "`+reported("f")+`", want "t"`) {
		t.Errorf("drill show of one that failed:\n%s", out)
	}
}

// brokenOff: Ctrl-C leaves nothing; kill -9 leaves a server, which the next drill ends and whose folder it removes, and nothing else.
func (d *drills) brokenOff(t *testing.T) {
	t.Helper()
	reports, _ := filepath.Glob(filepath.Join(d.folder, "*", "drills", "*.json"))
	sleeping := d.checks(t, "-- check: long\nselect pg_sleep(600)\n")
	begin := func() (*process, int) {
		p := d.tool.start(t, "drill", "run", "--to", "latest", "--sql", sleeping, "--bin-dir", d.server.Version.BinDir)
		pid := 0
		eventually(t, time.Minute, "the check to run", func() bool {
			found, _ := filepath.Glob(filepath.Join(d.dir, "*", "s", "server.pid"))
			if len(found) == 1 {
				text, _ := os.ReadFile(found[0])
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			}
			return pid > 0 && strings.Contains(p.output(), "check")
		})
		return p, pid
	}
	p, server := begin()
	interrupt(t, p)
	d.isClean(t)
	if syscall.Kill(server, 0) == nil {
		t.Errorf("the server of an interrupted drill, process %d, is left", server)
	}
	p, server = begin()
	p.kill()
	if err := syscall.Kill(server, 0); err != nil {
		t.Fatalf("the server of a killed drill: %v", err)
	}
	mine := filepath.Join(d.dir, "pgark-sandbox-of-mine", "notes")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, filepath.Dir(mine))
	if now, _ := filepath.Glob(filepath.Join(d.folder, "*", "drills", "*.json")); len(now) != len(reports) {
		t.Errorf("drills that were broken off have reports: %v", now)
	}
	// A repository that was never proved is the first in turn, and passed over if it cannot be.
	gone := d.tool.with("PGARK_COPIES=near=file://"+d.near+" gone=file://"+filepath.Join(d.near, "gone"), "PGARK_REQUIRED=primary")
	o := gone.run(t.Context(), "drill", "run", "--to", "latest", "--from", "each", "--keep", "--bin-dir", d.server.Version.BinDir)
	if o.code != 0 || !strings.Contains(o.stdout, "PASS") || !strings.Contains(o.stdout, "  kept ") || !strings.Contains(o.stdout, "from near ") || !strings.Contains(o.stdout, "it was the turn of gone: ") {
		t.Errorf("after a killed one: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	d.isKept(t)
	if syscall.Kill(server, 0) == nil {
		t.Errorf("the server of a killed drill, process %d, is left", server)
	}
	if left := tree(t, d.dir); !slices.Equal(left, []string{d.dir, filepath.Dir(mine), mine}) {
		t.Errorf("got %v", left)
	}
	if err := os.RemoveAll(filepath.Dir(mine)); err != nil {
		t.Fatal(err)
	}
}

// isKept: what --keep left is a cluster that was shut down, and a server that is started on it by hand keeps to itself.
func (d *drills) isKept(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.dir, "pgark-sandbox-*", "data", "PG_VERSION"))
	if err != nil || len(found) != 1 {
		t.Fatalf("kept: %v, %v", found, err)
	}
	data := filepath.Dir(found[0])
	show := func(setting string) string {
		cmd := exec.CommandContext(t.Context(), filepath.Join(d.server.Version.BinDir, "postgres"), "-D", data, "-C", setting)
		out, err := postgrestest.AsServer(t, cmd).Output()
		if err != nil {
			t.Errorf("%s of what was kept: %v", setting, err)
		}
		return strings.TrimSpace(string(out))
	}
	for setting, want := range map[string]string{
		"listen_addresses": "", "archive_mode": "off", "max_logical_replication_workers": "0", "unix_socket_directories": filepath.Join(filepath.Dir(data), "s"),
	} {
		if got := show(setting); got != want {
			t.Errorf("what was kept has %s = %q, want %q", setting, got, want)
		}
	}
	if err := os.RemoveAll(filepath.Dir(data)); err != nil {
		t.Fatal(err)
	}
}

// byItself: the agent holds drills as they are due, and takes one that is on its way with it when it stops.
func (d *drills) byItself(t *testing.T) {
	t.Helper()
	count := func() int {
		found, _ := filepath.Glob(filepath.Join(d.near, "*", "drills", "*.json"))
		return len(found)
	}
	before := count()
	d.tool.private = true
	agent := d.tool.with("PGARK_DRILL_SCHEDULE=@every 1s", "PGARK_DRILL_TARGET=latest", "PGARK_DRILL_AMCHECK=sample",
		`PGARK_DRILL_SQL=[{name: inline, query: "select 1, 2", expect: 1|2}]`, "PATH="+d.server.Version.BinDir+":/usr/bin:/bin").start(t, "run")
	eventually(t, time.Minute, "the agent to hold a drill", func() bool { return count() > before && strings.Contains(agent.output(), "drill passed") })
	agent.stop(t)
	d.isClean(t)
	newest := objects(t, d.near, "drills/*.json")
	var r repository.Drill
	text, err := os.ReadFile(newest[before])
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(text)).Decode(&r)
	}
	if err != nil || r.Repository != "primary" {
		t.Errorf("it was the turn of the primary: %v\n%s", err, text)
	}
	if c := checkOf(t, r, repository.CheckAmcheck, ""); c.Result != repository.CheckPassed || c.By != repository.BySample || c.Count < 20 {
		t.Errorf("a sample of tables: got %+v", c)
	}
	if c := checkOf(t, r, repository.CheckSQL, "inline"); c.Result != repository.CheckPassed || c.Got != reported("1|2") {
		t.Errorf("a check of the configuration: got %+v", c)
	}
}

// estimated is the long form: as many drills of random instants in a cluster of almost a gigabyte. What was said before each of how long it will take holds; the first ones, which it
// is learned from, do not count. It wants a quiet machine.
func (d *drills) estimated(t *testing.T, n int) {
	t.Helper()
	const learned, tolerance = restore.EstimateDrills, 0.25
	load := pgbench{t: t, server: d.server, rate: 1500}
	load.fill(60)
	archiving := d.tool.start(t, "run")
	d.waitArchived(t)
	d.tool.must(t.Context(), t, "backup")
	load.run(90 * time.Second)
	d.waitArchived(t)
	archiving.stop(t)
	for i := range learned + n {
		got := d.hold(t, 0, "--to", "random")
		r := got.Report
		if got.Estimate == nil {
			t.Fatal("no estimate")
		}
		off := float64(r.RTO)/got.Estimate.Seconds - 1
		t.Logf("drill %2d: %4d MB, %4d MB of WAL: estimate %.2f s, RTO %.2f s (fetch %.2f, replay %.2f, open %.2f): %+.0f %%", i+1-learned,
			r.Fetch.Bytes/1e6, r.Replay.Bytes/1e6, got.Estimate.Seconds, r.RTO, r.Fetch.Seconds, r.Replay.Seconds, r.Open.Seconds, 100*off)
		if i >= learned && math.Abs(off) > tolerance {
			t.Errorf("drill %d took %.2f s, %.2f s were said before", i+1-learned, r.RTO, got.Estimate.Seconds)
		}
	}
}

// damaged: a drill finds what was damaged in the one repository it reads, and says so also where its report is not taken. One that reads several restores, and says what it read of them
// that is damaged.
func (d *drills) damaged(t *testing.T) {
	t.Helper()
	pack, index := spoilOneEach(t, d.folder, d.near)
	r := d.hold(t, 3, "--to", "latest").Report
	if r.Result != repository.DrillPassed || r.Repository != "primary+near" || !slices.Equal(r.Sources, []string{"primary", "near"}) || r.Substituted != 1 || len(r.Substitutes) != 1 {
		t.Fatalf("a pack and an index that are whole in one repository only: got %+v", r)
	}
	s, want, of, from := r.Substitutes[0], pack, "primary", "near"
	if s.From == "primary" { // near is asked first, where the primary is a bucket that answers far more slowly
		want, of, from = index, "near", "primary"
	}
	if filepath.Base(s.Object) != filepath.Base(want) || s.From != from || !strings.Contains(s.Reason, of+": ") {
		t.Errorf("got %+v", s)
	}
	spoil(t, index, flipped) // whole again
	packs := objects(t, d.near, "backups/*/base-*.tar.zst")
	spoil(t, packs[len(packs)-1], flipped)
	folder := filepath.Dir(filepath.Dir(filepath.Dir(packs[0]))) + "/drills"
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	alone := d.tool.with("PGARK_COPIES=", "PGARK_REQUIRED=primary", "PGARK_REPO=file://"+d.near, "PGARK_LOCK_MODE=", "PGARK_LOCK_FOR=")
	o := alone.run(t.Context(), "drill", "run", "--to", "latest", "--bin-dir", d.server.Version.BinDir)
	if o.code != 1 || !strings.Contains(o.stdout, "FAIL") || !strings.Contains(o.stdout, filepath.Base(packs[len(packs)-1])) || !strings.Contains(o.stdout, "not in primary") {
		t.Errorf("a damaged pack: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	d.isClean(t)
}

// TestDrillPages: a page that is really damaged on the server comes with its base backup, and a drill finds it and names its file: by pg_checksums, and where that program is not on the
// host by the sandbox's own server. What is whole passes, and the report says by which of the two.
func TestDrillPages(t *testing.T) {
	t.Parallel()
	for major, by := range map[int]string{15: repository.ByChecksums, 17: repository.ByBaseBackup} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			d := newDrills(t, major)
			program := filepath.Join(d.server.Version.BinDir, "pg_checksums")
			if _, err := os.Stat(program); err == nil && by == repository.ByBaseBackup {
				by = repository.ByChecksums // a host that has it
			}
			d.tool = d.tool.with("PGARK_DRILL_AMCHECK=false")
			d.server.Exec(t, "create table cold as select g, repeat('x', 500) from generate_series(1, 2000) g; checkpoint")
			file := d.server.Text(t, "select pg_relation_filepath('cold')")
			backUp := func(command ...string) {
				archiving := d.tool.start(t, "run")
				d.waitBackup(t)
				if len(command) > 0 {
					d.waitArchived(t)
					d.tool.run(t.Context(), command...) // says that pages are damaged
				}
				archiving.stop(t)
			}
			var second []string
			if by == repository.ByBaseBackup { // TestDrill has the other
				backUp()
				c := checkOf(t, d.hold(t, 0, "--to", "latest").Report, repository.CheckPages, "")
				if c.Result != repository.CheckPassed || c.By != by || c.Bytes < 10<<20 {
					t.Errorf("a whole cluster: got %+v", c)
				}
				second = []string{"backup"}
			}
			d.server.Stop(t, postgrestest.Fast)
			spoil(t, filepath.Join(d.server.DataDir, file), func(b []byte) []byte { b[3*8192+4000] ^= 1; return b })
			d.server.Start(t)
			backUp(second...)
			r := d.hold(t, 1, "--to", "latest").Report
			c := checkOf(t, r, repository.CheckPages, "")
			if r.Result != repository.DrillFailed || r.Phase != repository.DrillVerify || c.Result != repository.CheckFailed || c.By != by || !strings.Contains(c.Detail, reported(filepath.Base(file))) {
				t.Errorf("a damaged page: got %+v", r)
			}
			d.restoreVerified(t, filepath.Base(file))
		})
	}
}

// restoreVerified: a restore that is to verify finds the damaged page too, with the server running on, and leaves nothing of its checks there.
func (d *drills) restoreVerified(t *testing.T, file string) {
	t.Helper()
	what := "amcheck"
	if _, err := os.Stat(filepath.Join(d.server.Version.BinDir, "pg_amcheck")); err != nil {
		what = "pages"
	}
	r, o := d.restore(t.Context(), t, "--verify", what)
	var report struct {
		Result struct {
			Checks []repository.DrillCheck `json:"checks"`
			Socket string                  `json:"socket"`
			Port   int                     `json:"port"`
			User   string                  `json:"user"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); o.code != 3 || err != nil {
		t.Fatalf("restore --verify %s: exit %d, want 3: %v\n%s%s", what, o.code, err, o.stdout, o.stderr)
	}
	c := checkOf(t, repository.Drill{Checks: report.Result.Checks}, repository.CheckPages, "")
	if c.Result != repository.CheckFailed || c.By != repository.ByBaseBackup || !strings.Contains(c.Detail, file) {
		t.Errorf("a damaged page: got %+v", c)
	}
	if what == "amcheck" {
		if c := checkOf(t, repository.Drill{Checks: report.Result.Checks}, repository.CheckAmcheck, ""); c.Result != repository.CheckFailed || strings.Contains(c.Detail, "is left") {
			t.Errorf("a damaged page: got %+v", c)
		}
	}
	conn := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", report.Result.Socket, report.Result.Port, report.Result.User)
	if got := query(t, conn, "select count(*)::text from pg_extension where extname = 'amcheck'"); got != "0" {
		t.Error("the extension that was needed is left in the cluster")
	}
	r.stop(t)
}
