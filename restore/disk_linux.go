package restore

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// syncFolder makes all that was written to the file system of folder durable
// with one syncfs, which is cheaper than an fsync for each file. Since Linux
// 5.8 it reports write errors.
func syncFolder(folder *os.File) error {
	if err := unix.Syncfs(int(folder.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", folder.Name(), err)
	}
	return nil
}

// allocate reserves size bytes for f, so that a full disk shows at once and
// the file lies in few extents. File systems that cannot are no error.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// writeBack asks for what was just written to go to the disk at once, while
// more is fetched and decoded: without it the disk rests until syncFolder, which
// then takes as long as the disk needs for everything. It promises nothing, and
// write errors come up in syncFolder (sync_file_range(2)).
func writeBack(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// lockFile takes the file or folder for this process, until the file is closed. It
// returns false if another process has it.
func lockFile(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// Free returns the bytes a user may still write at path, and an id of the file
// system that holds it.
func Free(path string) (free, device uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return fs.Bavail * uint64(fs.Bsize), st.Dev, nil
}

// alive reports whether a process with this id runs.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// ownerOf returns the user that owns what info describes.
func ownerOf(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return os.Geteuid()
}
