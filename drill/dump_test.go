package drill_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/restore"
)

func TestCheckArguments(t *testing.T) {
	for line, bad := range map[string]string{
		"":                                    "",
		"--format=custom -Z 5":                "",
		"-Fc --no-owner --schema=public -n x": "",
		"--format custom":                     "",
		"--disable-triggers --data-only -a":   "",
		"-F t":                                "",
		"--filter=rules.txt":                  "",
		"--file=/etc/passwd":                  "--file=/etc/passwd",
		"--fi dump.sql":                       "--fi",
		"-f dump.sql":                         "-f",
		"-fdump.sql":                          "-fdump.sql",
		"--host=prod":                         "--host=prod",
		"--ho prod":                           "--ho",
		"-hprod":                              "-hprod",
		"-p 5432":                             "-p",
		"--user=postgres":                     "--user=postgres",
		"-d prod":                             "-d",
		"--dbname host=prod":                  "--dbname",
		"-a -Fd":                              "-Fd",
		"-F directory":                        "-F",
		"--format=directory":                  "--format=directory",
		"--form d":                            "--form",
		"-j4":                                 "-j4",
		"--jobs=4":                            "--jobs=4",
	} {
		err := drill.CheckArguments(strings.Fields(line))
		var e *drill.ArgumentError
		got := ""
		if errors.As(err, &e) {
			got = e.Argument
		}
		if got != bad || (err != nil) != (bad != "") {
			t.Errorf("%s: got %v, want %q refused", line, err, bad)
		}
	}
}

// TestDumpFile: a dump has its name when it is whole, never before, and never in the place of another file.
func TestDumpFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.sql")
	if err := drill.DumpFile(path, "half", nil); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("a dump that was given up left %v", left)
	}
	if err := drill.DumpFile(path, "whole", func() {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("before it is whole: got %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	var refused *restore.RefusedError
	if err := drill.DumpFile(path, "another", func() {}); !errors.As(err, &refused) {
		t.Errorf("a file that exists: got %v", err)
	}
	other := filepath.Join(dir, "other.sql")
	if err := drill.DumpFile(other, "ours", func() { write(t, other, "theirs") }); !errors.As(err, &refused) {
		t.Errorf("a file that came meanwhile: got %v", err)
	}
	for file, want := range map[string]string{path: "whole", other: "theirs"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
	if left := names(t, dir); !slices.Equal(left, []string{"other.sql", "shop.sql"}) {
		t.Errorf("got %v", left)
	}
}
