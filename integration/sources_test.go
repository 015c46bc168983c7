package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// objects returns the files of a repository below its system identifier that match a pattern, sorted.
func objects(t *testing.T, folder, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*", filepath.FromSlash(stored(pattern))))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, folder, err)
	}
	slices.Sort(found)
	return found
}

// spoil changes a file of a repository behind pgark's back.
func spoil(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipped(b []byte) []byte { b[2*len(b)/5] ^= 8; return b }

// spoilOneEach damages the last pack in one repository and its index in another, flipped both, and returns their paths: what reads the two as one needs one object of the second to be
// asked, whichever of them is near enough to be the first.
func spoilOneEach(t *testing.T, one, other string) (pack, index string) {
	t.Helper()
	packs, indexes := objects(t, one, "backups/*/base-*.tar.zst"), objects(t, other, "backups/*/index.zst")
	pack, index = packs[len(packs)-1], indexes[len(indexes)-1]
	spoil(t, pack, flipped)
	spoil(t, index, flipped)
	return pack, index
}

// TestRestoreFromDamaged guards I25 and I37: in the primary an object of each class is flipped, cut, emptied, swapped or gone. A restore takes each of
// them from the copy, says which, and the server proves that it holds every commit. What is damaged in both is refused: what and where is said, and no
// server opens. From the damaged primary alone nothing is restored either.
func TestRestoreFromDamaged(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 16), onFile, postgrestest.Options{})
	url, dr := s.copyBehind(t)
	s.tool.env = append(s.tool.env, "PGARK_COPIES=dr="+url, "PGARK_REQUIRED=all", "PGARK_REPO="+s.url)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	for range 5 {
		s.server.Exec(t, "insert into t select generate_series(1, 1000)")
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.server.Exec(t, "insert into t values (7)")
	s.waitArchived(t)
	agent.stop(t)

	segments := objects(t, s.folder, "wal/00000001/*.zst")
	pack := objects(t, s.folder, "backups/*/base-*.tar.zst")[0]
	if len(segments) < 5 {
		t.Fatalf("got segments %v", segments)
	}
	second := segments[len(segments)-2]
	for path, change := range map[string]func([]byte) []byte{
		pack: flipped,
		objects(t, s.folder, "backups/*/index.zst")[0]:   func(b []byte) []byte { return b[:len(b)/2] },
		objects(t, s.folder, "backups/*/record.json")[0]: func([]byte) []byte { return nil },
		segments[len(segments)-1]:                        flipped,
		segments[len(segments)-3]:                        func([]byte) []byte { return nil },
	} {
		spoil(t, path, change)
	}
	other, err := os.ReadFile(segments[len(segments)-4])
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, second, func([]byte) []byte { return other })
	if err := os.RemoveAll(filepath.Dir(objects(t, s.folder, "wal/00000001/*.part/*")[0])); err != nil {
		t.Fatal(err)
	}

	r, o := s.restore(t.Context(), t)
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*)::text from t"); got != "5001" {
		t.Errorf("restored %s rows, want 5001", got)
	}
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
		from[filepath.Base(one.Object)] = one.From
	}
	for _, path := range []string{
		pack, stored("index.zst"), "record.json", second, segments[len(segments)-1], segments[len(segments)-3],
	} {
		if from[filepath.Base(path)] != "dr" {
			t.Errorf("it is not said that %s came from dr: %v\n%s", path, from, o.stdout)
		}
	}
	r.stop(t)

	// The same for a person's eyes; and from the damaged repository alone nothing.
	text := s.tool.run(t.Context(), "restore", "--into", filepath.Join(postgrestest.TempDir(t), "x"), "--bin-dir", s.server.Version.BinDir, "--yes", s.url)
	if text.code != 0 || !strings.Contains(text.stdout, "DAMAGED") || !strings.Contains(strings.Join(strings.Fields(text.stdout), " "), stored("/index.zst")+" from dr; primary: ") {
		t.Errorf("exit %d\n%s%s", text.code, text.stdout, text.stderr)
	}
	alone := s.tool.run(t.Context(), "restore", "--from", "primary", "--into", filepath.Join(postgrestest.TempDir(t), "x"), "--yes")
	if alone.code == 0 {
		t.Errorf("restored from the damaged primary alone:\n%s", alone.stdout)
	}

	// One segment is damaged in both.
	spoil(t, objects(t, dr, "wal/00000001/"+filepath.Base(second))[0], flipped)
	r, o = s.restore(t.Context(), t)
	if o.code != 4 || !strings.Contains(o.stderr, filepath.Base(second)) || !strings.Contains(o.stderr, "transactions of") {
		t.Errorf("damaged in both: exit %d\n%s", o.code, o.stderr)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "postmaster.pid")); err == nil {
		t.Error("a server runs short of its target")
	}
}
