package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// tampered is a repository in a bucket that keeps versions, and somebody with a key to it.
type tampered struct {
	*site

	rows string // in the table when the agent stopped
}

// calm returns an instant after everything that was put until now, and before everything that is put after it returns: the bucket tells time to the second.
func calm(t *testing.T) (asOf string) {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	// The store dates by the clock of its file system, which is some milliseconds behind.
	eventually(t, 5*time.Second, "the next second", func() bool { return time.Since(now) > 1050*time.Millisecond })
	return now.UTC().Format(time.RFC3339)
}

// keys returns the names in the bucket of all objects of the repository that match a pattern below the system identifier, or of all.
func (s *tampered) keys(t *testing.T, pattern string) []string {
	t.Helper()
	var names []string
	bucket := filepath.Join(s.s3.Dir(), "pgark")
	if err := filepath.WalkDir(s.folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(bucket, path)
		if matches, _ := filepath.Match("main/*/"+pattern, name); matches || pattern == "" {
			names = append(names, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no %s in %s", pattern, s.folder)
	}
	slices.Sort(names)
	return names
}

// deleteAll leaves a bucket that is empty to whoever does not ask for versions.
func (s *tampered) deleteAll(t *testing.T) {
	t.Helper()
	for _, name := range s.keys(t, "") {
		s.s3.DeleteObject(t, "pgark", name)
	}
}

// overwrite puts new versions over objects of every class: noise, and the bytes of other objects of the repository. It returns the names.
func (s *tampered) overwrite(t *testing.T) (names []string) {
	t.Helper()
	put := func(name string, body []byte) {
		s.s3.PutObject(t, "pgark", name, body)
		names = append(names, name)
	}
	of := func(name string) []byte {
		body, err := os.ReadFile(filepath.Join(s.s3.Dir(), "pgark", name))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	segments := s.keys(t, "wal/00000001/*.zst*")
	put(segments[len(segments)-2], of(segments[0]))
	put(segments[0], of(segments[len(segments)-1]))
	put(s.keys(t, "backups/*/base-*")[0], storagetest.Random(100_000, 7))
	put(s.keys(t, "backups/*/index*")[0], of(s.keys(t, "backups/*/backup_manifest*")[0]))
	put(s.keys(t, "backups/*/record.json")[0], nil)
	return names
}

// proved restores, and fails the test unless the restored server holds every row.
func (s *tampered) proved(t *testing.T, flags ...string) outcome {
	t.Helper()
	r, o := s.restore(t.Context(), t, flags...)
	if o.code != 0 {
		t.Fatalf("restore %v: exit %d\n%s%s", flags, o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*) || ' ' || max(n) from t"); got != s.rows {
		t.Errorf("restore %v: restored %s, want %s", flags, got, s.rows)
	}
	r.stop(t)
	return o
}

// TestBucketTamperedWith guards T2 and I36: somebody with a key to the bucket deletes every object of the repository, or puts others over them. A plain restore
// uses nothing of it and says what would; as of before, the very same rows come back, also where the server is started by others. It is done by the scripts of
// docs/runbooks/bucket-lost.md.
func TestBucketTamperedWith(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s := &tampered{site: newSite(t, postgrestest.Need(t, 16), onS3, postgrestest.Options{SegmentSize: 1 << 20})}
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	for range 4 {
		s.server.Exec(t, "insert into t select generate_series(1, 1000)")
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.server.Exec(t, "insert into t values (1001)")
	s.waitArchived(t)
	s.rows = "4001 1001"
	agent.stop(t)
	s.url = s.as(t, "reader")

	before := calm(t)
	s.deleteAll(t)
	if o := s.tool.run(t.Context(), "restore", "--dry-run", s.url); o.code != 10 || !strings.Contains(o.stderr, "--as-of") {
		t.Errorf("plain restore from what was deleted: exit %d, want 10 and a hint\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.byRunbook(t, before)
	s.byOthers(t, before)
	found := s.undelete(t, before)
	if found.Lost.Objects < 10 || found.Back.Objects != 0 {
		t.Errorf("what undelete found: %+v", found)
	}
	if o := s.tool.run(t.Context(), "list", s.url); o.code != 10 {
		t.Errorf("looking brought something back: list: exit %d\n%s", o.code, o.stdout)
	}
	s.broughtBack(t, before, found.Lost.Objects)

	before = calm(t)
	spoiled := s.overwrite(t)
	if o := s.tool.run(t.Context(), "restore", "--dry-run", s.url); o.code == 0 || !strings.Contains(o.stderr, "record.json") || !strings.Contains(o.stderr, "--as-of") {
		t.Errorf("plain restore from what was put over: exit %d, want a refusal and a hint\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.proved(t, "--as-of", before)
	from := substituted(t, s.proved(t, "--as-of", calm(t)))
	for _, name := range spoiled {
		if from[name] != "primary (first versions)" {
			t.Errorf("as of after it, it is not said that %s is of the first version: %v", name, from)
		}
	}
	s.broughtBack(t, before, int64(len(spoiled)))
}

// undeleted is what repo undelete says of one repository.
type undeleted struct {
	Lost, Back struct{ Objects int64 }
}

// undelete looks what can be brought back.
func (s *tampered) undelete(t *testing.T, asOf string) undeleted {
	return s.undeleteBy(t, "lost", asOf)
}

func (s *tampered) undeleteBy(t *testing.T, script, asOf string) undeleted {
	t.Helper()
	var report struct{ Repositories []undeleted }
	out := s.tool.with("PGARK_REPO="+s.as(t, "repairer")).given("repo undelete", "-o json").did(t, "bucket-lost", script, "", "TIME="+asOf)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	return report.Repositories[0]
}

// byRunbook looks at the repository as it was, and restores it, as the runbook says.
func (s *tampered) byRunbook(t *testing.T, asOf string) {
	t.Helper()
	reader := s.tool.with("PGARK_REPO="+s.url).given("restore", "-o json --bin-dir "+s.server.Version.BinDir)
	if out := reader.did(t, "bucket-lost", "look", "", "TIME="+asOf); !strings.Contains(out, "SOUND") {
		t.Errorf("as it was:\n%s", out)
	}
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	r := restored{dir: dir}
	t.Cleanup(func() { r.stop(t) })
	conn := reached(t, reader.page(t, "bucket-lost", "restore", "", "TIME="+asOf, "NEW="+dir))
	if got := query(t, conn, "select count(*) || ' ' || max(n) from t"); got != s.rows {
		t.Errorf("restored %s, want %s", got, s.rows)
	}
	r.stop(t)
}

// broughtBack has all objects brought back, twice, and everything right again without more ado.
func (s *tampered) broughtBack(t *testing.T, asOf string, objects int64) {
	t.Helper()
	for range 2 {
		if got := s.undeleteBy(t, "undelete", asOf); got.Lost.Objects != objects || got.Back.Objects != objects {
			t.Errorf("brought back: %+v, want %d", got, objects)
		}
	}
	s.proved(t)
	if o := s.tool.run(t.Context(), "verify", "--deep", s.url); o.code != 0 || !strings.Contains(o.stdout, "SOUND") {
		t.Errorf("verify: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// byOthers has a server that pgark did not start recover as of an instant.
func (s *tampered) byOthers(t *testing.T, asOf string) {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	plan := s.tool.must(t.Context(), t, "restore", "--as-of", asOf, "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes", s.url)
	if !strings.Contains(plan, "AS OF ") {
		t.Errorf("the plan does not say so:\n%s", plan)
	}
	opened, log := s.recovers(t, dir, time.Minute, "select count(*) || ' ' || max(n) from t")
	if !opened || !strings.Contains(log, "answer: "+s.rows) {
		t.Errorf("opened %t:\n%s", opened, log)
	}
}

// substituted returns what a restore's JSON says came from elsewhere: names of objects and where from.
func substituted(t *testing.T, o outcome) map[string]string {
	t.Helper()
	var report struct {
		Result struct {
			Substitutes []struct {
				Object string `json:"object"`
				From   string `json:"from"`
			} `json:"substitutes"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for _, one := range report.Result.Substitutes {
		from["main/"+one.Object] = one.From
	}
	return from
}
