package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/restore"
)

// TestForeignLibrary: what packages put on this host may be loaded, what a backup may hold may not.
func TestForeignLibrary(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(data, "..", "link-to-data")); err != nil {
		t.Fatal(err)
	}
	const preload = "shared_preload_libraries"
	for _, test := range []struct{ name, value, want string }{
		{preload, "", ""},
		{preload, "pg_stat_statements, auto_explain", ""},
		{preload, `"$libdir/pg_stat_statements",$libdir/plugins/x`, ""},
		{preload, "/usr/lib/postgresql/17/lib/timescaledb.so", ""},
		{preload, "auto_explain, ./evil.so", "./evil.so"},
		{preload, "base/5/16384", "base/5/16384"},
		{preload, `"` + data + `/base/5/16384"`, data + "/base/5/16384"},
		{preload, "$libdir/../../../../" + data + "/evil", "$libdir/../../../../" + data + "/evil"},
		{preload, filepath.Join(filepath.Dir(data), "link-to-data", "base"), filepath.Join(filepath.Dir(data), "link-to-data", "base")},
		{preload, data + "/../link-to-data", data + "/../link-to-data"},
		{preload, filepath.Dir(data) + "/link-to-data", filepath.Dir(data) + "/link-to-data"},
		{preload, "/proc/self/cwd/evil.so", "/proc/self/cwd/evil.so"},
		{preload, "/dev/shm/evil.so", "/dev/shm/evil.so"},
		{"session_preload_libraries", "x/y", "x/y"},
		{"dynamic_library_path", "$libdir:/usr/local/lib/pgsql", ""},
		{"dynamic_library_path", "$libdir:/proc/self/cwd", "/proc/self/cwd"},
		{"dynamic_library_path", data + ":$libdir", data},
		{"jit_provider", "llvmjit", ""},
		{"jit_provider", "../../../../srv/x", "../../../../srv/x"},
	} {
		if got := restore.ForeignLibrary(test.name, test.value, []string{data}); got != test.want {
			t.Errorf("%s = %s: got %q, want %q", test.name, test.value, got, test.want)
		}
	}
}

// TestLibrariesOfTheBackup: the server's own program reads the configuration, whatever it includes.
func TestLibrariesOfTheBackup(t *testing.T) {
	t.Parallel()
	c := postgrestest.Start(t, postgrestest.Need(t, 18), postgrestest.Options{})
	if err := restore.CheckLibraries(t.Context(), c.Version.BinDir, c.DataDir, owner(t)); err != nil {
		t.Errorf("got %v for a cluster like any other", err)
	}
	c.Append(t, "other.conf", "Shared_Preload_Libraries = 'auto_explain,''./base/evil.so'''\n")
	c.Append(t, "postgresql.conf", "include 'other.conf'\n")
	var refused *restore.SettingError
	if err := restore.CheckLibraries(t.Context(), c.Version.BinDir, c.DataDir, owner(t)); !errors.As(err, &refused) || refused.Name != "shared_preload_libraries" {
		t.Errorf("got %v, want the setting refused by name", err)
	}
}
