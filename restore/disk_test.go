package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pgark/pgark/restore"
)

// missing skips the test, or fails it where everything is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// smallDisk mounts a file system of 20 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	small := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small).CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("no file system can be mounted: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", small).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return small
}

// asRoot runs the test again in a namespace where this user is root.
func asRoot(t *testing.T) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", "true").Run(); err != nil {
		missing(t, fmt.Sprintf("neither root nor a namespace to be root in: %v", err))
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", os.Args[0],
		"-test.v", "-test.run", "^"+t.Name()+"$", fmt.Sprintf("-test.short=%t", testing.Short()))
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v: %s", err, out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		missing(t, string(out))
	}
}

// A disk that fills up on the way leaves only the partial folder, in which no
// server starts, and says so.
func TestLayDownDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		asRoot(t)
		return
	}
	small := smallDisk(t)
	store, plan := fakeBackup(t, nil, pack{"base", dataDirectory()})
	o := layInto(t)
	o.Dir = filepath.Join(small, "data")
	ballast := filepath.Join(small, "ballast")
	o.Progress = func(done, _ int64) { // the disk fills up while it runs
		_ = os.WriteFile(ballast, make([]byte, 24<<20), 0o600)
	}
	_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
	var e *restore.SpaceError
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a SpaceError", err)
	}
	if exists(t, o.Dir) || exists(t, filepath.Join(o.Dir+".pgark-partial", "global/pg_control")) {
		t.Error("a data directory that looks complete is there")
	}
}

// TestInPlaceSmallDisk: a disk that could not hold the old cluster beside the new one is enough in place, though no file of the old one is
// right; one that fills up on the way is said, no server starts, and when there is room again the same restore goes on.
func TestInPlaceSmallDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		asRoot(t)
		return
	}
	small := smallDisk(t)
	members := directory(8192, 5*frame+1, 6*frame)
	store, plan := fakeBackup(t, nil, pack{"base", members})
	o := layInto(t)
	o.Dir, o.InPlace = filepath.Join(small, "data"), true
	oldCluster(t, o.Dir, members)
	for _, name := range []string{"8192", fmt.Sprint(5*frame + 1), fmt.Sprint(6 * frame)} {
		path := filepath.Join(o.Dir, "base/5", name)
		b := []byte(readFile(t, path))
		b[len(b)-1]++
		put(t, o.Dir, "base/5/"+name, b)
	}
	free, _, err := restore.Free(small)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(small, "ballast")
	if err := os.WriteFile(ballast, make([]byte, free-3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	full := false
	o.Progress = func(int64, int64) {
		if !full {
			full = true
			_ = os.WriteFile(filepath.Join(small, "more"), make([]byte, 12<<20), 0o600)
		}
	}
	var e *restore.SpaceError
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); !errors.As(err, &e) || !restore.Unfinished(o.Dir) {
		t.Fatalf("a disk that fills up: got error %v, unfinished: %t", err, restore.Unfinished(o.Dir))
	}
	if err := os.Remove(filepath.Join(small, "more")); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, o.Dir, members)
}
