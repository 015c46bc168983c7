package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// account is the user the servers run as.
type account struct {
	name     string
	uid, gid int
	switches bool // we are root and it is someone else
}

// serverAccount returns the user postgres for root, ourselves for others.
func serverAccount(t testing.TB) account {
	t.Helper()
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			t.Fatalf("find the user of the server: %v", err)
		}
		return account{name: me.Username, uid: os.Getuid(), gid: os.Getgid()}
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		missing(t, "the user postgres is missing: run integration/parts.sh 15")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatalf("user postgres: %v", err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatalf("user postgres: %v", err)
	}
	return account{name: u.Username, uid: uid, gid: gid, switches: true}
}

// AsServer makes cmd run as the user the servers run as. It sets
// cmd.SysProcAttr; call it before the command starts.
func AsServer(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	a := serverAccount(t)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if a.switches {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
		if cmd.Dir == "" {
			cmd.Dir = "/" // ours may be one it cannot look into
		}
	}
	return cmd
}

// Own gives a file or folder, with all in it, to the user the servers run as.
func Own(t testing.TB, path string) {
	t.Helper()
	a := serverAccount(t)
	if !a.switches {
		return
	}
	err := filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, a.uid, a.gid)
	})
	if err != nil {
		t.Fatalf("give %s to user %s: %v", path, a.name, err)
	}
}

// TempDir returns a new empty folder that the servers' user owns and can
// reach, unlike that of t.TempDir. It is removed with the test.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgark-test-") //nolint:usetesting // whose parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	Own(t, dir)
	return dir
}

// own gives one new file or folder away.
func (a account) own(path string) error {
	if !a.switches {
		return nil
	}
	if err := os.Lchown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("give to user %s: %w", a.name, err)
	}
	return nil
}
