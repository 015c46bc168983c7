package restore_test

import (
	"os"
	"syscall"
)

// ids returns the user and group that own a file.
func ids(info os.FileInfo) (uid, gid int) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return os.Getuid(), os.Getgid()
	}
	return int(st.Uid), int(st.Gid)
}
