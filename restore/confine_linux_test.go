package restore

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConfinedEmpties guards I26: a process is called confined where no file outside can be emptied by its path, as replay does with what was dropped. Landlock's
// second version, of Linux 5.19, lets it.
func TestConfinedEmpties(t *testing.T) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < landlockHolds {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("this kernel has no Landlock as of Linux 6.2: version %d, %v", version, errno)
		}
		t.Skip("this kernel has no Landlock as of Linux 6.2")
	}
	for _, as := range []int{landlockNeeded, landlockHolds, int(version)} {
		file := filepath.Join(t.TempDir(), "of a live server")
		if err := os.WriteFile(file, []byte("rows"), 0o600); err != nil {
			t.Fatal(err)
		}
		inside := t.TempDir()
		emptied := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			if err := restrict(as, []string{inside}); err != nil {
				emptied <- err
				return
			}
			emptied <- unix.Truncate(file, 0)
		}()
		if err := <-emptied; errors.Is(err, unix.EACCES) != (as >= landlockHolds) {
			t.Errorf("as version %d: emptying a file: %v", as, err)
		}
	}
}
