package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// put writes a file below dir, and its folders.
func put(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// oldCluster is a data directory as the members of a backup say, with its own pg_control, ready to be replaced.
func oldCluster(t *testing.T, dir string, members []member) {
	t.Helper()
	for _, m := range members {
		switch m.kind {
		case repository.TypeDir:
			if err := os.MkdirAll(filepath.Join(dir, m.path), 0o700); err != nil {
				t.Fatal(err)
			}
		case repository.TypeFile:
			put(t, dir, m.path, m.content)
		case repository.TypeLink:
			if err := os.Symlink(m.link, filepath.Join(dir, m.path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"postmaster.pid", "standby.signal", "backup_label"} {
		_ = os.Remove(filepath.Join(dir, name))
	}
}

// TestInPlace guards I20, I26 and R41: what is right by content is kept, whatever its time says; all else is replaced, and what is not in the
// backup goes, the old WAL first of all. The server's logs stay.
func TestInPlace(t *testing.T) {
	members := smallDirectory()
	large := members[len(members)-1]
	store, plan := fakeBackup(t, nil, pack{"base", members[:15]}, pack{"base", members[15:]})
	o := layInto(t)
	o.InPlace = true
	oldCluster(t, o.Dir, members)

	var stale []byte // as long and as old as the right one
	for _, m := range members {
		if m.path == "base/5/8192" {
			stale = append(stale, m.content...)
		}
	}
	stale[4000] ^= 1
	info, err := os.Stat(filepath.Join(o.Dir, "base/5/8192"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, o.Dir, "base/5/8192", stale)
	if err := os.Chtimes(filepath.Join(o.Dir, "base/5/8192"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(o.Dir, large.path), time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	gone := []string{
		"base/5/99999", "base/6/1", "pg_wal/000000010000000000000009", "pg_wal/00000002.history", "pg_wal/archive_status/x.done",
		"pg_replslot/pgark/state", "postmaster.pid", "standby.signal", "global/pg_internal.init", "base/5/pgsql_tmp/x", "pg_tblspc/16999", "base/5/link",
		"global/pg_control.pgark-before", "pgark-restore", "global/pg_control.pgark-partial",
	}
	for _, name := range gone[:8] {
		put(t, o.Dir, name, []byte("old"))
	}
	put(t, o.Dir, "postmaster.pid", []byte("999999999\n/x\n"))
	put(t, o.Dir, "log/postgresql.log", []byte("what happened"))
	put(t, outside, "postgresql.conf", []byte("# of the package\n"))
	put(t, outside, "space/PG_15_1/5/1", []byte("a tablespace made since"))
	put(t, outside, "hard", large.content)
	for from, to := range map[string]string{
		"postgresql.conf": outside + "/postgresql.conf", "base/5/link": outside, "pg_tblspc/16999": outside + "/space",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(o.Dir, from)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(o.Dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	// A file that has another name too must not be shared with the restored cluster.
	hard := filepath.Join(o.Dir, "base/5/513")
	if err := errors.Join(os.Rename(hard, outside+"/513"), os.Link(outside+"/513", hard)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(o.Dir, "base/5/1"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Folder where a file belongs, and the other way round.
	if err := errors.Join(os.Remove(filepath.Join(o.Dir, "base/5/511")), os.Mkdir(filepath.Join(o.Dir, "base/5/511"), 0o700)); err != nil {
		t.Fatal(err)
	}
	store.Reset()

	laid, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, members)
	for _, name := range gone {
		if exists(t, filepath.Join(o.Dir, name)) {
			t.Errorf("%s is still there", name)
		}
	}
	if got := readFile(t, filepath.Join(o.Dir, "log/postgresql.log")); got != "what happened" {
		t.Errorf("the log holds %q", got)
	}
	if got := readFile(t, filepath.Join(o.Dir, "postgresql.conf")); got != "# of the package\n" {
		t.Errorf("postgresql.conf is %q", got)
	}
	for _, name := range []string{"513", "space/PG_15_1/5/1", "hard"} {
		if !exists(t, filepath.Join(outside, name)) {
			t.Errorf("%s, which lay outside, is gone", name)
		}
	}
	if !exists(t, filepath.Join(o.Dir, "recovery.signal")) || !exists(t, filepath.Join(o.Dir, "backup_label")) {
		t.Error("the directory would not recover")
	}
	if laid.ReusedBytes < int64(len(large.content)) || laid.ReusedBytes >= plan.Backup.Plain || laid.ReusedFiles == 0 {
		t.Errorf("reused %d files of %d, %d bytes of %d", laid.ReusedFiles, laid.Files, laid.ReusedBytes, laid.Bytes)
	}
	if len(laid.Notes) < 1 || !strings.Contains(strings.Join(laid.Notes, "\n"), "tablespace 16999 is not in the backup: its files in "+outside) {
		t.Errorf("notes: %q", laid.Notes)
	}
	// The second pack holds the large file and the like, which are right: nothing of it was fetched.
	if n := store.Count(memory.Get, "*/base-00002*"); n != 0 {
		t.Errorf("%d reads of a pack whose files are all there", n)
	}
}

// TestInPlaceTablespaces: they stay where they are, and nothing beside the server's own folder is touched there. pg_wal may be a link.
func TestInPlaceTablespaces(t *testing.T) {
	packs := tablespacePacks()
	store, plan := fakeBackup(t, tablespaces(), packs...)
	o := layInto(t)
	o.InPlace = true
	outside := t.TempDir()
	fast, slow, walDir := filepath.Join(outside, "fast"), filepath.Join(outside, "slow"), filepath.Join(outside, "wal")
	var base []member
	for _, m := range packs[3].members {
		switch m.path {
		case "pg_tblspc/16400":
			m.link = fast
		case "pg_tblspc/16401":
			m.link = slow
		}
		base = append(base, m)
	}
	oldCluster(t, o.Dir, base)
	oldCluster(t, fast, packs[0].members)
	oldCluster(t, filepath.Join(o.Dir, "pg_tblspc/16402"), packs[2].members)
	put(t, fast, "PG_15_1/5/77", []byte("made since"))
	put(t, fast, "PG_16_9/5/1", []byte("of another server"))
	put(t, slow, "PG_15_1/2", []byte("other content"))
	put(t, walDir, "000000010000000000000009", []byte("old WAL"))
	put(t, walDir, "archive_status/000000010000000000000009.ready", nil)
	put(t, walDir, "lost+found/x", nil)
	if err := errors.Join(os.RemoveAll(filepath.Join(o.Dir, "pg_wal")), os.Symlink(walDir, filepath.Join(o.Dir, "pg_wal"))); err != nil {
		t.Fatal(err)
	}
	site, err := restore.Look(t.Context(), clusterIn(t, store), plan, o)
	if err != nil || len(site.Tablespaces) != 2 || site.Tablespaces[0].To != fast || site.Tablespaces[1].To != slow || site.Held == 0 || site.State == nil {
		t.Fatalf("look: %+v, %v", site, err)
	}
	laid, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, slices.DeleteFunc(packs[3].members, func(m member) bool { return m.path == "pg_wal" }))
	checkFiles(t, fast, packs[0].members)
	checkFiles(t, slow, packs[1].members)
	checkFiles(t, filepath.Join(o.Dir, "pg_tblspc/16402"), packs[2].members)
	for path, want := range map[string]bool{
		fast + "/PG_15_1/5/77": false, fast + "/PG_16_9/5/1": true, walDir + "/000000010000000000000009": false, walDir + "/lost+found/x": true,
		walDir + "/archive_status": true, walDir + "/archive_status/000000010000000000000009.ready": false, fast + "/pgark-restore": false,
	} {
		if exists(t, path) != want {
			t.Errorf("%s: there: %t", path, !want)
		}
	}
	if info, err := os.Lstat(filepath.Join(o.Dir, "pg_wal")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("pg_wal: %v, %v", info, err)
	}
	for name, want := range map[string]string{"16400": fast, "16401": slow} {
		if got, err := os.Readlink(filepath.Join(o.Dir, "pg_tblspc", name)); err != nil || got != want {
			t.Errorf("link %s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if laid.ReusedBytes == 0 {
		t.Error("nothing was reused")
	}
}

// TestInPlaceRefuses guards I6 and I26: what is not the same cluster, or has a server at work in it, is not touched.
func TestInPlaceRefuses(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members})
	withSpace, spacePlan := fakeBackup(t, tablespaces(), tablespacePacks()...)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, words string
		change      func(o *restore.LayOptions)
	}{
		{"nothing there", "no data directory", func(o *restore.LayOptions) { must(os.RemoveAll(o.Dir)) }},
		{"a file", "no folder", func(o *restore.LayOptions) { must(os.RemoveAll(o.Dir)); must(os.WriteFile(o.Dir, nil, 0o600)) }},
		{"no data directory", "no global/pg_control", func(o *restore.LayOptions) { must(os.Remove(filepath.Join(o.Dir, "global/pg_control"))) }},
		{"another cluster", "system identifier 5, not", func(o *restore.LayOptions) { put(t, o.Dir, "global/pg_control", control(5)) }},
		{"a damaged pg_control", "cannot tell whose", func(o *restore.LayOptions) { put(t, o.Dir, "global/pg_control", control(5)[:200]) }},
		{"a running server", "server runs", func(o *restore.LayOptions) {
			put(t, o.Dir, "postmaster.pid", fmt.Appendf(nil, "%d\n/x\n", sleeper(t)))
		}},
		{"the mark of another", "system identifier 7, not", func(o *restore.LayOptions) {
			must(os.Remove(filepath.Join(o.Dir, "global/pg_control")))
			put(t, o.Dir, "pgark-restore", []byte("7\n"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := layInto(t)
			o.InPlace = true
			oldCluster(t, o.Dir, members)
			tt.change(&o)
			refusal(t, store, plan, o, tt.words)
		})
	}
	t.Run("tablespaces without a place", func(t *testing.T) {
		o := layInto(t)
		o.InPlace = true
		oldCluster(t, o.Dir, members)
		refusal(t, withSpace, spacePlan, o, "--tablespace 16400=DIR")
		other := t.TempDir()
		put(t, other, "PG_15_1/5/1", []byte("of whom?"))
		o.Tablespaces = map[string]string{"16400": other, "16401": other + "2"}
		refusal(t, withSpace, spacePlan, o, "not where the tablespace lies now")
	})
}

// TestInPlaceNoRoom: what lies there counts as room, because it goes or stays; what is missing beyond that is said before anything is changed.
func TestInPlaceNoRoom(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members})
	o := layInto(t)
	o.InPlace = true
	oldCluster(t, o.Dir, members)
	before := tree(t, o.Dir)
	plan.Needed = 1 << 62
	var e *restore.SpaceError
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); !errors.As(err, &e) || tree(t, o.Dir) != before {
		t.Errorf("got %v", err)
	}
}

// TestInPlaceEachCallFails guards I28 and the promise that no server starts in half a state: each call to the store fails in turn. Then there is no
// pg_control, the directory is known as unfinished, and the same restore goes on; what was there already is not fetched again.
func TestInPlaceEachCallFails(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:5]}, pack{"base", members[5:15]}, pack{"base", members[15:]})
	boom := errors.New("boom")
	failed := 0
	step := 1
	if testing.Short() {
		step = 3
	}
	for n := 1; ; n += step {
		if n > 200 {
			t.Fatal("no end of calls")
		}
		o := layInto(t)
		o.InPlace = true
		oldCluster(t, o.Dir, members[:12])
		before := tree(t, o.Dir)
		bad := store.Clone()
		cluster := clusterIn(t, bad)
		bad.Fail(memory.Any, "", n, boom)
		_, err := restore.LayDown(t.Context(), cluster, plan, o)
		if err == nil {
			break
		}
		failed++
		untouched := tree(t, o.Dir) == before
		if !untouched && (exists(t, filepath.Join(o.Dir, "global/pg_control")) || !restore.Unfinished(o.Dir)) {
			t.Fatalf("call %d failed, and a server might start in half a state", n)
		}
		laid, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
		if err != nil {
			t.Fatalf("call %d failed; going on: %v", n, err)
		}
		checkFiles(t, o.Dir, members)
		if restore.Unfinished(o.Dir) || exists(t, filepath.Join(o.Dir, "pgark-restore")) {
			t.Errorf("call %d failed: after going on it is unfinished still", n)
		}
		if laid.ReusedFiles == 0 {
			t.Errorf("call %d failed: nothing was reused", n)
		}
	}
	if failed*step < 5 {
		t.Errorf("only %d calls were made to fail", failed)
	}
}

// TestResume: a restore into a new folder that was broken off goes on from the files that are right.
func TestResume(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:15]}, pack{"base", members[15:]})
	o := layInto(t)
	o.Jobs = 1
	bad := store.Clone()
	cluster := clusterIn(t, bad)
	bad.Fail(memory.Get, "*/base-00002*", 0, storage.ErrDenied)
	if _, err := restore.LayDown(t.Context(), cluster, plan, o); err == nil || exists(t, o.Dir) {
		t.Fatalf("got error %v", err)
	}
	// What a file that was cut off by a lost power supply, and junk, look like.
	partial := restore.Partial(o.Dir)
	if err := os.Truncate(filepath.Join(partial, "base/5/513"), 100); err != nil {
		t.Fatal(err)
	}
	put(t, partial, "base/5/8192", make([]byte, 8192))
	put(t, partial, "junk/x", []byte("junk"))
	store.Reset()
	laid, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, members)
	if exists(t, filepath.Join(o.Dir, "junk")) || exists(t, partial) {
		t.Error("something is left over")
	}
	if laid.ReusedFiles == 0 || laid.ReusedFiles >= laid.Files {
		t.Errorf("reused %d of %d files", laid.ReusedFiles, laid.Files)
	}
}

// TestInPlaceCancelled: Ctrl-C at any time leaves a directory that the same restore makes whole.
func TestInPlaceCancelled(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:15]}, pack{"base", members[15:]})
	o := layInto(t)
	o.InPlace = true
	oldCluster(t, o.Dir, members[:12])
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int64, int64) { cancel() }
	if _, err := restore.LayDown(ctx, clusterIn(t, store), plan, o); !errors.Is(err, context.Canceled) || !restore.Unfinished(o.Dir) {
		t.Errorf("got error %v, unfinished: %t", err, restore.Unfinished(o.Dir))
	}
	o.Progress = nil
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, members)
	// Two at a time: the second is refused.
	var second atomic.Value
	o.Progress = func(int64, int64) {
		again := o
		again.Progress = nil
		_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, again)
		second.CompareAndSwap(nil, fmt.Sprint(err))
	}
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	if said, _ := second.Load().(string); !strings.Contains(said, "another restore") {
		t.Errorf("a second restore: %q", said)
	}
}

// TestInPlaceByRoot: who restores as root gives all of it to the server's user, the mark too: that user may go on himself.
func TestInPlaceByRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "only root gives files away")
	}
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:15]}, pack{"base", members[15:]})
	o := layInto(t)
	o.InPlace, o.Owner = true, &restore.Owner{UID: 12345, GID: 12345}
	oldCluster(t, o.Dir, members[:12])
	owned := func(want bool) {
		t.Helper()
		err := filepath.WalkDir(o.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !want {
				return os.Lchown(path, 12345, 12345)
			}
			info, err := d.Info()
			if st, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && st.Uid != 12345 {
				t.Errorf("%s belongs to user %d", path, st.Uid)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	owned(false)
	bad := store.Clone()
	cluster := clusterIn(t, bad)
	bad.Fail(memory.Get, "*/base-00002*", 0, storage.ErrDenied)
	if _, err := restore.LayDown(t.Context(), cluster, plan, o); err == nil || !restore.Unfinished(o.Dir) {
		t.Fatalf("got error %v, unfinished: %t", err, restore.Unfinished(o.Dir))
	}
	owned(true)
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	owned(true)
	checkFiles(t, o.Dir, members)
}
