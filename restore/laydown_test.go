package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage/memory"
)

// checkFiles compares what lies in dir with the members of a backup.
func checkFiles(t *testing.T, dir string, members []member) {
	t.Helper()
	changed := map[string]bool{"postgresql.auto.conf": true, "standby.signal": true, "postmaster.pid": true, "tablespace_map": true}
	for _, m := range members {
		if changed[m.path] || m.kind == repository.TypeLink {
			continue
		}
		path := filepath.Join(dir, m.path)
		info, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		want := fs.FileMode(m.mode)
		if m.kind == repository.TypeDir {
			want |= fs.ModeDir
		}
		if info.Mode() != want {
			t.Errorf("%s: got mode %s, want %s", m.path, info.Mode(), want)
		}
		if m.kind == repository.TypeDir {
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, m.content) {
			t.Errorf("%s: got %d bytes that differ from the %d of the backup (%v)", m.path, len(got), len(m.content), err)
		}
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestLayDown(t *testing.T) {
	members := dataDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:10]}, pack{"base", members[10:]})
	o := layInto(t)
	var done, calls atomic.Int64
	o.Progress = func(d, total int64) {
		calls.Add(1)
		done.Store(max(done.Load(), d))
		if d > total {
			t.Errorf("got progress %d of %d", d, total)
		}
	}
	laid, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, members)
	if laid.Dir != o.Dir || laid.Files != int64(len(members)-5) || done.Load() != laid.Bytes || calls.Load() == 0 {
		t.Errorf("got %+v, progress %d in %d calls", laid, done.Load(), calls.Load())
	}
	for name, want := range map[string]bool{
		"standby.signal": false, "postmaster.pid": false, "recovery.signal": true, "pg_wal/archive_status": true, "pg_replslot": true,
		"postgresql.conf": true, "pg_hba.conf": true, "tablespace_map": false, "global/pg_control.pgark-partial": false,
	} {
		if got := exists(t, filepath.Join(o.Dir, name)); got != want {
			t.Errorf("%s: exists: got %t, want %t", name, got, want)
		}
	}
	if exists(t, o.Dir+".pgark-partial") {
		t.Error("the partial folder is still there")
	}
	if len(laid.Notes) != 3 {
		t.Errorf("got notes %q, want one for each file that was written", laid.Notes)
	}
	conf := readFile(t, filepath.Join(o.Dir, "postgresql.conf"))
	if !strings.Contains(conf, "max_connections = 100") || !strings.Contains(conf, "max_prepared_transactions = 5") {
		t.Errorf("got postgresql.conf %q", conf)
	}
	auto := readFile(t, filepath.Join(o.Dir, "postgresql.auto.conf"))
	for _, want := range []string{
		"work_mem = '5MB'\n", "restore_command = 'fetch ''%f'' %p'\n", "recovery_target_lsn = '0/2FFF00'\n", "recovery_target_inclusive = 'off'\n",
		"recovery_target_timeline = '1'\n", "archive_mode = 'off'\n", "primary_conninfo = ''\n", "recovery_target_action = 'promote'\n",
	} {
		if !strings.Contains(auto, want) {
			t.Errorf("postgresql.auto.conf lacks %q:\n%s", want, auto)
		}
	}
	if strings.Contains(auto, "host=live") || strings.Contains(auto, "'old'") {
		t.Errorf("postgresql.auto.conf keeps settings of its earlier life:\n%s", auto)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Group access of initdb --allow-group-access is kept, whatever the umask; all
// other bits go.
func TestLayDownModes(t *testing.T) {
	members := smallDirectory()
	for i := range members {
		members[i].mode |= 0o4057
	}
	store, plan := fakeBackup(t, nil, pack{"base", members})
	o := layInto(t)
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	for i := range members {
		members[i].mode = 0o640
		if members[i].kind == repository.TypeDir {
			members[i].mode = 0o750
		}
	}
	checkFiles(t, o.Dir, members)
}

func tablespaces() []repository.Tablespace {
	return []repository.Tablespace{{OID: 16400, Path: "/srv/fast"}, {OID: 16401, Path: "/srv/slow disk"}, {OID: 16402, Path: "pg_tblspc/16402"}}
}

func tablespacePacks() []pack {
	base := append(smallDirectory(), folder("pg_tblspc"), content("tablespace_map", []byte("16400 /srv/fast\n16401 /srv/slow disk\n")),
		member{path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/srv/fast", mode: 0o777},
		member{path: "pg_tblspc/16401", kind: repository.TypeLink, link: "/srv/slow disk", mode: 0o777},
		folder("pg_tblspc/16402"))
	return []pack{
		{"16400", []member{folder("PG_15_1"), folder("PG_15_1/5"), noise("PG_15_1/5/1", 3<<20)}},
		{"16401", []member{folder("PG_15_1"), noise("PG_15_1/2", 100)}},
		{"16402", []member{folder("PG_15_1"), noise("PG_15_1/3", 100)}},
		{"base", base},
	}
}

func TestLayDownTablespaces(t *testing.T) {
	packs := tablespacePacks()
	store, plan := fakeBackup(t, tablespaces(), packs...)
	o := layInto(t)
	places := t.TempDir()
	fast, slow := filepath.Join(places, "fast"), filepath.Join(places, "slow\\disk")
	if err := os.Mkdir(fast, 0o755); err != nil { // empty folders are welcome
		t.Fatal(err)
	}
	o.Tablespaces = map[string]string{"16400": fast, "slow disk": slow}
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, fast, packs[0].members)
	checkFiles(t, slow, packs[1].members)
	checkFiles(t, filepath.Join(o.Dir, "pg_tblspc/16402"), packs[2].members)
	for name, want := range map[string]string{"16400": fast, "16401": slow} {
		if got, err := os.Readlink(filepath.Join(o.Dir, "pg_tblspc", name)); err != nil || got != want {
			t.Errorf("link %s: got %q, %v, want %q", name, got, err, want)
		}
	}
	want := fmt.Sprintf("16400 %s\n16401 %s\n", fast, strings.ReplaceAll(slow, `\`, `\\`))
	if got := readFile(t, filepath.Join(o.Dir, "tablespace_map")); got != want {
		t.Errorf("got tablespace_map %q, want %q", got, want)
	}
	for _, dir := range []string{fast, slow} {
		if exists(t, filepath.Join(dir, "pgark-restore")) || exists(t, dir+".pgark-partial") {
			t.Errorf("%s: something was left behind", dir)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: got mode %v, %v", dir, info.Mode(), err)
		}
	}
}

// refusal wants a restore refused, with the words, before anything is written.
func refusal(t *testing.T, store *memory.Store, plan *restore.Plan, o restore.LayOptions, words string) {
	t.Helper()
	before := tree(t, filepath.Dir(o.Dir))
	_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	var e *restore.RefusedError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), words) {
		t.Errorf("got error %v, want it refused with %q", err, words)
	}
	if after := tree(t, filepath.Dir(o.Dir)); after != before {
		t.Errorf("something was written: got %s, before %s", after, before)
	}
}

// tree lists all below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			fmt.Fprintln(&s, path, d.Type())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func TestLayDownRefuses(t *testing.T) {
	store, plan := fakeBackup(t, tablespaces(), tablespacePacks()...)
	places := t.TempDir()
	full := func() restore.LayOptions {
		o := layInto(t)
		o.Tablespaces = map[string]string{"16400": filepath.Join(places, "a"), "16401": filepath.Join(places, "b")}
		return o
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		words  string
		change func(*restore.LayOptions)
	}{
		{"not empty", "not empty", func(o *restore.LayOptions) {
			must(os.Mkdir(o.Dir, 0o700))
			must(os.WriteFile(filepath.Join(o.Dir, "x"), nil, 0o600))
		}},
		{"a file", "no folder", func(o *restore.LayOptions) { must(os.WriteFile(o.Dir, nil, 0o600)) }},
		{"a link", "no folder", func(o *restore.LayOptions) { must(os.Symlink(places, o.Dir)) }},
		{"a running server", "server runs", func(o *restore.LayOptions) {
			must(os.Mkdir(o.Dir, 0o700))
			must(os.WriteFile(filepath.Join(o.Dir, "postmaster.pid"), fmt.Appendf(nil, "%d\n/x\n", sleeper(t)), 0o600))
		}},
		{
			"tablespaces without a place", "--tablespace 16400=DIR (was /srv/fast) --tablespace 16401=DIR (was /srv/slow disk)",
			func(o *restore.LayOptions) { o.Tablespaces = nil },
		},
		{"a tablespace that is not there", "no such tablespace", func(o *restore.LayOptions) { o.Tablespaces["999"] = "/x" }},
		{"a relative place", "absolute", func(o *restore.LayOptions) { o.Tablespaces["16400"] = "a" }},
		{"a place with a line break", "absolute", func(o *restore.LayOptions) { o.Tablespaces["16400"] = "/a\nb" }},
		{"a place in the data directory", "within or around", func(o *restore.LayOptions) { o.Tablespaces["16400"] = o.Dir + "/pg_tblspc/x" }},
		{"one place for two", "within or around", func(o *restore.LayOptions) { o.Tablespaces["16400"] = o.Tablespaces["16401"] + "/" }},
		{"around the data directory", "within or around", func(o *restore.LayOptions) { o.Tablespaces["16400"] = filepath.Dir(o.Dir) }},
		{"a place that is not empty", "not empty", func(o *restore.LayOptions) {
			must(os.MkdirAll(o.Tablespaces["16400"]+"/x", 0o700))
			t.Cleanup(func() { must(os.RemoveAll(filepath.Join(places, "a"))) })
		}},
	}
	if os.Geteuid() == 0 {
		tests = append(tests, struct {
			name   string
			words  string
			change func(*restore.LayOptions)
		}{"foreign", "belongs to user 1, not", func(o *restore.LayOptions) {
			must(os.Mkdir(o.Dir, 0o700))
			must(os.Chown(o.Dir, 1, 1))
		}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := full()
			tt.change(&o)
			refusal(t, store, plan, o, tt.words)
		})
	}
}

func TestLayDownNoRoom(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	plan.Needed = 1 << 62
	_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, layInto(t))
	var e *restore.SpaceError
	if !errors.As(err, &e) || e.Needed < 1<<61 || e.Free == 0 || e.Dir == "" {
		t.Errorf("got error %v, want a SpaceError", err)
	}
}

// Whatever is wrong with what is stored, nothing is put in place.
func TestLayDownCorrupt(t *testing.T) {
	tests := []struct {
		name   string
		change func([]member) []member
		words  string
	}{
		{"checksum of a small file", func(m []member) []member { m[len(m)-5].crc = 1; return m }, "CRC32C"},
		{"checksum of a large file", func(m []member) []member { m[len(m)-1].crc = 1; return m }, "CRC32C"},
		{"checksum of an empty file", func(m []member) []member { m[9].crc = 1; return m }, "empty"},
		{"no backup_label", func(m []member) []member { return append(m[:4], m[5:]...) }, "backup_label"},
		{"label of another backup", func(m []member) []member {
			m[4].content = []byte(strings.Replace(fakeLabel, "0/200028", "0/300028", 1))
			return m
		}, "backup_label"},
		{"label that is none", func(m []member) []member { m[4].content = []byte("x"); return m }, "backup_label"},
		{"no pg_control", func(m []member) []member { return append(m[:10], m[11:]...) }, "pg_control"},
		{"pg_control of another cluster", func(m []member) []member { m[10].content = control(5); return m }, "system identifier"},
		{"pg_control that is none", func(m []member) []member { m[10].content = m[10].content[:100]; return m }, "pg_control"},
		{"a file where a folder is", func(m []member) []member { return append(m, noise("base/5/1/x", 10)) }, "file exists"},
		{"our own name", func(m []member) []member { return append(m, noise("global/pg_control.pgark-partial", 10)) }, "exists"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store, plan := fakeBackup(t, nil, pack{"base", tt.change(smallDirectory())})
			o := layInto(t)
			_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
			if err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got error %v, want one with %q", err, tt.words)
			}
			if exists(t, o.Dir) || exists(t, filepath.Join(o.Dir+".pgark-partial", "global/pg_control")) {
				t.Error("a data directory that looks complete is there")
			}
		})
	}
	t.Run("a file in two packs", func(t *testing.T) {
		store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()}, pack{"base", []member{noise("base/5/8192", 8192)}})
		o := layInto(t)
		if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err == nil || exists(t, o.Dir) {
			t.Errorf("got error %v, data directory there: %t", err, exists(t, o.Dir))
		}
	})
	t.Run("an archive of no tablespace", func(t *testing.T) {
		store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()}, pack{"16999", []member{noise("x", 10)}})
		o := layInto(t)
		if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err == nil || exists(t, o.Dir) {
			t.Errorf("got error %v, data directory there: %t", err, exists(t, o.Dir))
		}
	})
}

// A byte that changed anywhere in what is stored is found.
func TestLayDownBitFlips(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	for _, key := range store.Keys() {
		if !strings.Contains(string(key), "/backups/") || strings.HasSuffix(string(key), "record.json") ||
			strings.Contains(string(key), "manifest") {
			continue // the record is read before, the manifest not at all
		}
		whole := store.Bytes(key)
		for i := range 16 {
			place := len(whole) * i / 16
			if strings.Contains(string(key), ".tar") && place < repository.HeaderSize {
				continue // its header is not needed: runs are verified against the index
			}
			bad := store.Clone()
			changed := bytes.Clone(whole)
			changed[place] ^= 0x10
			bad.Replace(key, changed)
			o := layInto(t)
			if _, err := restore.LayDown(t.Context(), clusterIn(t, bad), plan, o); err == nil && !seekTable(key, place, len(whole)) {
				t.Errorf("%s: a flipped bit in byte %d of %d was not found", key, place, len(whole))
			}
		}
		for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			bad := store.Clone()
			bad.Replace(key, whole[:n])
			o := layInto(t)
			if _, err := restore.LayDown(t.Context(), clusterIn(t, bad), plan, o); err == nil && !seekTable(key, n, len(whole)) {
				t.Errorf("%s: cut to %d of %d bytes was not found", key, n, len(whole))
			}
		}
	}
}

// seekTable reports whether a byte lies in the index's seek table, which only
// other programs read.
func seekTable[K ~string](key K, place, size int) bool {
	return strings.HasSuffix(string(key), "index.zst") && place > size-100
}

// Each call to the store fails in turn; then the same restore runs clean.
func TestLayDownEachCallFails(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:5]}, pack{"base", members[5:15]}, pack{"base", members[15:]})
	o := layInto(t)
	boom := errors.New("boom")
	failed := 0
	for n := 1; ; n++ {
		if n > 200 {
			t.Fatal("no end of calls")
		}
		bad := store.Clone()
		badCluster := clusterIn(t, bad)
		bad.Fail(memory.Any, "", n, boom)
		_, err := restore.LayDown(t.Context(), badCluster, plan, o)
		if err == nil {
			break
		}
		failed++
		if !errors.Is(err, boom) {
			t.Errorf("call %d: got error %v, want boom", n, err)
		}
		if exists(t, o.Dir) {
			t.Fatalf("call %d failed, and the data directory is there", n)
		}
	}
	if failed < 5 {
		t.Errorf("only %d calls were made to fail", failed)
	}
	checkFiles(t, o.Dir, members)
}

// An interrupted restore leaves only the partial folder, and the next starts clean.
func TestLayDownCancelled(t *testing.T) {
	packs := tablespacePacks()
	store, plan := fakeBackup(t, tablespaces(), packs...)
	o := layInto(t)
	places := t.TempDir()
	o.Tablespaces = map[string]string{"16400": filepath.Join(places, "a"), "16401": filepath.Join(places, "b")}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int64, int64) { cancel() }
	_, err := restore.LayDown(ctx, clusterIn(t, store), plan, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want it cancelled", err)
	}
	for _, dir := range []string{o.Dir, filepath.Join(places, "a"), filepath.Join(places, "b")} {
		if exists(t, dir) || !exists(t, dir+".pgark-partial") {
			t.Errorf("%s: there: %t, partial: %t", dir, exists(t, dir), exists(t, dir+".pgark-partial"))
		}
	}
	// A kill between the renames: one tablespace is in place already.
	if err := os.Rename(filepath.Join(places, "a.pgark-partial"), filepath.Join(places, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir+".pgark-partial", "junk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Progress = nil
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, packs[3].members)
	checkFiles(t, filepath.Join(places, "a"), packs[0].members)
	if exists(t, filepath.Join(o.Dir, "junk")) {
		t.Error("junk of the interrupted restore is in the data directory")
	}
	// Now all is complete: the tablespace is no leftover any more.
	o.Dir += "2"
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err == nil {
		t.Error("a second restore took the tablespaces of the first")
	}
}

// Two restores into one folder: the second is refused.
func TestLayDownTwice(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	o := layInto(t)
	second := make(chan error, 1)
	var once atomic.Bool
	o.Progress = func(int64, int64) {
		if once.CompareAndSwap(false, true) {
			again := o
			again.Progress = nil
			_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, again)
			second <- err
		}
	}
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	var e *restore.RefusedError
	if err := <-second; !errors.As(err, &e) || !strings.Contains(err.Error(), "another restore") {
		t.Errorf("got error %v, want it refused", err)
	}
	checkFiles(t, o.Dir, smallDirectory())
}

// sleeper is another process that runs until the test ends.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
