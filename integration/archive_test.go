package integration_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestArchivedBackup: a base backup that a lifecycle rule moved to an archive is told of in the plan before anything is written; one command has just what the plan needs thawed,
// says how far that has come, and then the restore works.
func TestArchivedBackup(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 16), onS3, postgrestest.Options{})
	proxy := storagetest.StartProxy(t, s.s3)
	glacier := storagetest.NewGlacier()
	proxy.Add(storagetest.Rule{Fault: glacier.Fault()})
	through := proxy.URL("pgark", "main")
	payer := storagetest.StartProxy(t, s.s3)
	payer.Trust() // to thaw is a right that no role of pgark's has
	payer.Add(storagetest.Rule{Fault: glacier.Fault()})
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g")
	agent := s.tool.start(t, "run", through)
	s.waitBackup(t)
	s.waitArchived(t)
	agent.stop(t)
	backup := s.backups(t)[0].ID
	glacier.Freeze("/pgark/main/*/backups/"+backup+"/*.tar.*", "GLACIER")
	glacier.Freeze("/pgark/main/*/backups/"+backup+"/index.*", "DEEP_ARCHIVE")

	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	restore := []string{"restore", "--to", "latest", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--start", "--port", "5433", "--yes", through}
	for _, args := range [][]string{append([]string{"restore", "--dry-run"}, restore[1:]...), restore} {
		o := s.tool.run(t.Context(), args...)
		if o.code != exitUnprotected || !strings.Contains(o.stdout, "archived") || !strings.Contains(o.stdout, "pgark repo thaw") || !strings.Contains(o.stdout+o.stderr, "GLACIER") {
			t.Fatalf("%v: exit %d, want %d and what must be thawed\n%s%s", args, o.code, exitUnprotected, o.stdout, o.stderr)
		}
		if found, err := filepath.Glob(dir + "*"); err != nil || len(found) > 0 {
			t.Fatalf("%v wrote %v, %v", args, found, err)
		}
	}
	if n := len(glacier.Asked()); n != 0 {
		t.Fatalf("a restore asked for %d objects: that is billed", n)
	}

	thaw := func(want int, flags ...string) (sum struct{ Objects, Frozen, Asked int }) {
		t.Helper()
		o := s.tool.run(t.Context(), append(append([]string{"repo", "thaw", "--to-backup", backup, "-o", "json"}, flags...), payer.URL("pgark", "main"))...)
		var document struct {
			Archived *struct{ Objects, Frozen, Asked int } `json:"archived"`
		}
		document.Archived = &sum
		if err := json.Unmarshal([]byte(o.stdout), &document); err != nil || o.code != want {
			t.Fatalf("thaw %v: exit %d, want %d, %v\n%s%s", flags, o.code, want, err, o.stdout, o.stderr)
		}
		return sum
	}
	packs, err := filepath.Glob(filepath.Join(s.folder, "*", "backups", backup, "*.tar.*"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs: %v, %v", packs, err)
	}
	all := len(packs) + 1
	if sum := thaw(exitAtRisk); sum.Objects != all || sum.Frozen != all || sum.Asked != 0 || len(glacier.Asked()) != 0 {
		t.Errorf("shown: got %+v, want %d objects, and none asked for", sum, all)
	}
	thaw(exitAtRisk, "--yes", "--days", "3", "--tier", "bulk")
	asked := glacier.Asked()
	for path, body := range asked {
		if !strings.Contains(body, "<Days>3</Days>") || !strings.Contains(body, "<Tier>Bulk</Tier>") {
			t.Errorf("%s was asked for with %s", path, body)
		}
	}
	if len(asked) != all {
		t.Errorf("asked for %d objects, want the %d of the plan", len(asked), all)
	}
	if sum := thaw(exitAtRisk, "--yes"); sum.Asked != all {
		t.Errorf("under way: got %+v, want all of %d", sum, all)
	}
	glacier.Finish()
	if sum := thaw(0); sum.Frozen != 0 || sum.Objects != all {
		t.Errorf("thawed: got %+v", sum)
	}
	s.url = through
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*)::text from t"); got != "1000" {
		t.Errorf("restored %s rows, want 1000", got)
	}
}
