package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is printed now into testdata/golden")

// golden compares a text with a file of testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: go test ./cmd/pgark -run Golden -update writes it", err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(nothing)"
		}
		if line(gotLines) != line(wantLines) {
			t.Errorf("%s:%d: got\n%s\nwant\n%s\ngo test ./cmd/pgark -run Golden -update takes what is printed now", file, i+1, line(gotLines), line(wantLines))
			return
		}
	}
}

// TestGoldenHelp: what every command's --help prints, in one file, so that a change of what users see is seen in the change.
func TestGoldenHelp(t *testing.T) {
	var all strings.Builder
	for _, m := range manuals((&program{}).app()) {
		stdout, stderr, code := call(t, nil, append(append([]string{}, m.words...), "--help")...)
		want := exitOK
		if m.command() == "pgark wal fetch" { // PostgreSQL must not take help for a file
			want = exitFetchUnknown
		}
		if code != want || stderr != "" {
			t.Errorf("%s --help: exit %d, %s", m.command(), code, stderr)
		}
		all.WriteString("==== " + m.command() + " --help\n" + strings.TrimRight(stdout, "\n") + "\n\n")
	}
	golden(t, "help.txt", all.String())
}
