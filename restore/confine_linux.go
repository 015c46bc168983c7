package restore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What Landlock knows since Linux 5.19, and all of it that changes what is in files (linux/landlock.h). Before, a file could not be moved from one folder to
// another, as restore_command does with WAL that was read ahead. It knows nothing of modes, owners and times.
const (
	landlockNeeded = 2
	landlockHolds  = 3 // since 6.2: a file can be emptied by its path before, as replay does with what was dropped

	landlockWrites = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	landlockTruncates = unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landlockSignals   = 6 // since 6.12: LANDLOCK_SCOPE_SIGNAL
)

// confined runs start, which starts a process, on a thread that may change what is in files, and which there are, only below the folders, and so may the process and
// all that it starts. Shared memory and the null device are free. It reports false where the kernel cannot hold all of that, or none.
func confined(folders []string, start func() error) (held bool, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < landlockNeeded {
		return false, start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := restrict(int(version), folders)
		if err == nil {
			err = start()
		}
		done <- err
	}()
	return version >= landlockHolds, <-done
}

// restrict confines this thread for good.
func restrict(version int, folders []string) error {
	writes := uint64(landlockWrites)
	if version >= landlockHolds {
		writes |= landlockTruncates
	}
	rules := unix.LandlockRulesetAttr{Handled_access_fs: writes} // what an older kernel does not know of it has to be 0
	if version >= landlockSignals {
		rules.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if errno != 0 {
		return fmt.Errorf("confine server: %w", errno)
	}
	defer func() { _ = unix.Close(int(fd)) }()
	for _, folder := range append(folders, "/dev/shm") {
		if err := permit(int(fd), folder, writes); err != nil {
			return err
		}
	}
	if err := permit(int(fd), os.DevNull, writes&(unix.LANDLOCK_ACCESS_FS_WRITE_FILE|landlockTruncates)); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine server: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("confine server: %w", errno)
	}
	return nil
}

// permit allows access below a path. One that is not there needs none.
func permit(rules int, path string, access uint64) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("confine server: open %s: %w", path, err)
	}
	defer func() { _ = unix.Close(at) }()
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(at)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("confine server to %s: %w", path, errno)
	}
	return nil
}
