package restore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/pgark/pgark/restore"
)

// TestLook says where all goes, and adds what each file system is to hold.
func TestLook(t *testing.T) {
	store, plan := fakeBackup(t, tablespaces(), tablespacePacks()...)
	plan.Needed = uint64(plan.Backup.Plain) + 1<<20
	o := layInto(t)
	folder := filepath.Dir(o.Dir)
	o.Tablespaces = map[string]string{"16400": filepath.Join(folder, "fast"), "slow disk": filepath.Join(folder, "big")}
	site, err := restore.Look(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []restore.SiteTablespace{{16400, "/srv/fast", filepath.Join(folder, "fast")}, {16401, "/srv/slow disk", filepath.Join(folder, "big")}}
	if site.Dir != o.Dir || !reflect.DeepEqual(site.Tablespaces, want) {
		t.Errorf("got %s, %v, want %s, %v", site.Dir, site.Tablespaces, o.Dir, want)
	}
	if len(site.FileSystems) != 1 {
		t.Fatalf("got file systems %v, want one", site.FileSystems)
	}
	// Packs are a little larger than the files in them.
	if fs := site.FileSystems[0]; fs.Needed < plan.Needed || fs.Needed > plan.Needed+1<<20 || fs.Free == 0 || !mountPoint(t, fs.Mount) {
		t.Errorf("got %+v, want %d bytes on a mount point", fs, plan.Needed)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("looking wrote %v, %v", left, err)
	}
}

func mountPoint(t *testing.T, path string) bool {
	t.Helper()
	_, device, err := restore.Free(path)
	if err != nil {
		t.Fatal(err)
	}
	_, above, err := restore.Free(filepath.Dir(path))
	return err == nil && (above != device || path == "/")
}

// TestLookTwoFileSystems: a tablespace on a file system of its own counts there.
func TestLookTwoFileSystems(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "pgark-test-") //nolint:usetesting // it is to lie on another file system
	if err != nil {
		missing(t, fmt.Sprintf("no second file system: %v", err))
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	store, plan := fakeBackup(t, tablespaces(), tablespacePacks()...)
	plan.Needed = uint64(plan.Backup.Plain)
	o := layInto(t)
	o.Tablespaces = map[string]string{"16400": filepath.Join(other, "fast"), "16401": filepath.Join(filepath.Dir(o.Dir), "big")}
	site, err := restore.Look(t.Context(), clusterIn(t, store), plan, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(site.FileSystems) != 2 {
		t.Fatalf("got %+v, want two file systems", site.FileSystems)
	}
	first, second := site.FileSystems[0], site.FileSystems[1]
	if second.Mount != "/dev/shm" || second.Needed == 0 || first.Needed+second.Needed < plan.Needed || first.Needed > plan.Needed {
		t.Errorf("got %+v, want %d bytes on both, the tablespace's in /dev/shm", site.FileSystems, plan.Needed)
	}
}

// TestLookRefuses what LayDown would, before a person is asked, and still says where.
func TestLookRefuses(t *testing.T) {
	store, plan := fakeBackup(t, tablespaces(), tablespacePacks()...)
	cluster := clusterIn(t, store)

	o := layInto(t)
	site, err := restore.Look(t.Context(), cluster, plan, o)
	var refused *restore.RefusedError
	if !errors.As(err, &refused) || len(refused.Flags) != 2 {
		t.Errorf("no places for tablespaces: got %v, want a RefusedError with two flags", err)
	}
	named := layInto(t)
	named.Tablespaces = map[string]string{"archive_2020": filepath.Join(filepath.Dir(o.Dir), "fast")}
	if _, err := restore.Look(t.Context(), cluster, plan, named); !errors.As(err, &refused) || len(refused.Flags) != 2 || !strings.Contains(refused.Reason, "archive_2020") {
		t.Errorf("a tablespace by its name in SQL: got %v, want a RefusedError that says so, with two flags", err)
	}
	if site == nil || len(site.Tablespaces) != 2 || site.Tablespaces[0].To != "" || len(site.FileSystems) != 1 {
		t.Errorf("got %+v, want the tablespaces without places", site)
	}

	o.Tablespaces = map[string]string{"16400": filepath.Join(filepath.Dir(o.Dir), "fast"), "16401": filepath.Join(filepath.Dir(o.Dir), "big")}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Look(t.Context(), cluster, plan, o); !errors.As(err, &refused) || refused.Path != o.Dir {
		t.Errorf("folder in use: got %v, want a RefusedError of %s", err, o.Dir)
	}

	o.Dir = filepath.Join(filepath.Dir(o.Dir), "else")
	plan.Needed = 1 << 60
	_, err = restore.Look(t.Context(), cluster, plan, o)
	var space *restore.SpaceError
	if !errors.As(err, &space) || space.Needed < 1<<60 || space.Free == 0 || !mountPoint(t, space.Dir) {
		t.Errorf("too large: got %v, want a SpaceError that names the file system", err)
	}
}

// TestLookNoPermission: a folder that this user cannot make is said before a person agrees. Root can.
func TestLookNoPermission(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	o := layInto(t)
	folder := filepath.Dir(o.Dir)
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	o.Dir = filepath.Join(folder, "below", "data")
	site, err := restore.Look(t.Context(), clusterIn(t, store), plan, o)
	if site == nil || errors.Is(err, os.ErrPermission) != (os.Geteuid() != 0) {
		t.Errorf("got %v, %v, as user %d", site, err, os.Geteuid())
	}
}

// TestInterrupted: what another restore writes to now is not left behind, and not to be removed.
func TestInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if restore.Interrupted(dir) {
		t.Error("nothing is there, and it counts as interrupted")
	}
	if err := os.Mkdir(restore.Partial(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if !restore.Interrupted(dir) {
		t.Error("a partial folder does not count as interrupted")
	}
	f, err := os.Open(restore.Partial(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if restore.Interrupted(dir) {
		t.Error("a partial folder that another restore writes to counts as interrupted")
	}
}
