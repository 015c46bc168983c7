package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// versitygw returns the path of the server's binary, .parts/versitygw under the module's root. It is
// built there, as tools.mod pins it, if it is missing or was built from another tools.mod. If it cannot
// be had the test is skipped, or fails where REQUIRE_ALL=1. With -short it is always skipped.
func versitygw(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("a real S3 server is not for -short")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path, err := buildVersitygw(t, root)
	switch {
	case err == nil:
		return path
	case os.Getenv("REQUIRE_ALL") == "1": //nolint:forbidigo // the switch of the tests themselves
		t.Fatalf("part missing: versitygw: %v", err)
	default:
		t.Skipf("part missing: versitygw: %v", err)
	}
	return ""
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "tools.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no tools.mod in the working folder or above it")
		}
		dir = filepath.Dir(dir)
	}
}

func buildVersitygw(t testing.TB, root string) (_ string, err error) {
	parts := filepath.Join(root, ".parts")
	if err := os.MkdirAll(parts, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(parts, "versitygw.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	tools, err := os.ReadFile(filepath.Join(root, "tools.mod"))
	if err != nil {
		return "", err
	}
	// integration/parts.sh builds the same, and marks it in the same way.
	binary, pin := filepath.Join(parts, "versitygw"), filepath.Join(parts, "versitygw.pin")
	built, _ := os.ReadFile(pin) // missing: to be built
	if _, err := os.Stat(binary); err == nil && bytes.Equal(built, tools) {
		return binary, nil
	}
	t.Logf("building %s", binary)
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=tools.mod", "-o", binary+".new", //nolint:gosec // fixed words
		"github.com/versity/versitygw/cmd/versitygw")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return binary, errors.Join(os.Rename(binary+".new", binary), os.WriteFile(pin, tools, 0o600))
}
