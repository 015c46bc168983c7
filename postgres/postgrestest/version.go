package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Majors returns the major versions that pgark supports, oldest first.
func Majors() []int { return []int{14, 15, 16, 17, 18} }

// Version is one real PostgreSQL.
type Version struct {
	Major  int
	BinDir string // holds initdb, pg_ctl and postgres; in Debian's also the clients
}

// String returns "17", for names of subtests.
func (v Version) String() string { return fmt.Sprint(v.Major) }

// Versions returns all supported majors, for one subtest each. It skips the
// test, or fails it under REQUIRE_ALL=1, when one is missing; with -short it
// skips.
func Versions(t testing.TB) []Version {
	t.Helper()
	var all []Version
	for _, major := range Majors() {
		all = append(all, Need(t, major))
	}
	return all
}

// Need returns one major, under the conditions of Versions.
func Need(t testing.TB, major int) Version {
	t.Helper()
	if testing.Short() {
		t.Skip("a real PostgreSQL is not for -short")
	}
	home := filepath.Join(moduleRoot(t), ".parts", fmt.Sprint("pg", major))
	if target, err := filepath.EvalSymlinks(home); err == nil {
		home = target // the link may lie where the server's user cannot look
	} else if major == 15 {
		home = "/usr/lib/postgresql/15"
	}
	v := Version{Major: major, BinDir: filepath.Join(home, "bin")}
	if _, err := os.Stat(filepath.Join(v.BinDir, "postgres")); err != nil {
		missing(t, fmt.Sprintf("PostgreSQL %d is missing: run integration/parts.sh %d", major, major))
	}
	return v
}

// Client returns the path of one of Debian's client programs, such as pgbench
// or pg_basebackup, which work with every major, under the conditions of
// Versions.
func Client(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Need(t, 15).BinDir, name)
	if _, err := os.Stat(path); err != nil {
		missing(t, fmt.Sprintf("%s is missing: run integration/parts.sh 15", name))
	}
	return path
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" { //nolint:forbidigo // the one switch of all tests
		t.Fatal(what)
	}
	t.Skip(what)
}

// moduleRoot returns the folder of go.mod above the test's.
func moduleRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
