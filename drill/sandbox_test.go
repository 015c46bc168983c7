package drill_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// names lists a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSweep: only what is provably left over by a sandbox goes, and no process but its own server is ended.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	at := func(parts ...string) string {
		return filepath.Join(append([]string{dir, drill.SandboxPrefix + parts[0]}, parts[1:]...)...)
	}
	write(t, at("left", "data", "base", "1"), "x")
	write(t, at("left", drill.MarkerName), drill.MarkerText)
	// The number in it is that of a process that is no server of this folder: this test.
	write(t, at("left", "data", "postmaster.pid"), fmt.Sprintf("%d\n", os.Getpid()))
	write(t, at("killed-early", drill.MarkerName), "")
	if err := os.Mkdir(at("empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, at("kept", "data", "PG_VERSION"), "17\n")
	write(t, at("foreign", drill.MarkerName), "my own notes\n")
	write(t, at("at-work", drill.MarkerName), drill.MarkerText)
	write(t, filepath.Join(dir, "customers", drill.MarkerName), drill.MarkerText)
	write(t, at("a-file"), "x")
	outside := t.TempDir()
	write(t, filepath.Join(outside, drill.MarkerName), drill.MarkerText)
	if err := os.Symlink(outside, at("link")); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(at("at-work", drill.MarkerName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := drill.Sweep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	want := []string{"customers"}
	for _, name := range []string{"a-file", "at-work", "foreign", "kept", "link"} {
		want = append(want, drill.SandboxPrefix+name)
	}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := names(t, outside); len(got) != 1 {
		t.Errorf("behind the link: got %v", got)
	}
}

// TestSandbox: it marks its folder, leaves another's alone, and takes its own away.
func TestSandbox(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drills")
	a, err := drill.NewSandbox(t.Context(), drill.Place{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(a.DataDir(), "base", "1"), "x")
	b, err := drill.NewSandbox(t.Context(), drill.Place{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("two sandboxes at work: got %v", got)
	}
	write(t, filepath.Join(b.DataDir(), "postgresql.auto.conf"), "archive_mode = 'off'\n")
	if err := b.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := drill.NewSandbox(t.Context(), drill.Place{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{filepath.Base(b.Dir)}) {
		t.Errorf("got %v, want the one that is kept: %s", got, b.Dir)
	}
	var refused *restore.RefusedError
	long := filepath.Join(dir, strings.Repeat("x", 80))
	if _, err := drill.NewSandbox(t.Context(), drill.Place{Dir: long}); !errors.As(err, &refused) {
		t.Errorf("a path too long for a socket: got %v", err)
	}
	if got := names(t, long); len(got) > 0 {
		t.Errorf("a refused sandbox left %v", got)
	}
}

// TestLookArchived: what is thawed, and freezes again before all of it is read, is refused before anything is laid down.
func TestLookArchived(t *testing.T) {
	r, err := repository.Create(t.Context(), memory.New())
	if err != nil {
		t.Fatal(err)
	}
	thawed := func(until time.Time) storage.Info {
		return storage.Info{Key: "pack", Archive: storage.Archive{Class: "GLACIER", Until: until}}
	}
	plan := &restore.Plan{Backup: repository.Backup{PGVersionNum: 150000, Plain: 1 << 40}} // for which a host takes hours
	for until, refused := range map[time.Duration]bool{time.Hour: true, 7 * 24 * time.Hour: false} {
		plan.Archived = []storage.Info{thawed(time.Now().Add(until))}
		err := new(drill.Sandbox).Look(t.Context(), r.Cluster(7), plan)
		if errors.Is(err, storage.ErrArchived) != refused {
			t.Errorf("thawed for %v: got %v", until, err)
		}
	}
}
