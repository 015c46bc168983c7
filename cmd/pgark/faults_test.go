package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// without are the commands that read no configuration, and those that go on without one.
func without() []string {
	return []string{"init", "man", "version", "completion", "config schema", "config env", "diagnose", "runbook"}
}

// leaves are the commands that do something, each with the arguments without which it does nothing.
func leaves() map[string][]string {
	needed := map[string][]string{
		"drill show": {"20261120T030000Z"}, "keep pin": {"20261120T020000Z"}, "keep unpin": {"20261120T020000Z"},
		"wal fetch": {"000000010000000000000001", "/nowhere/f"}, "wal cat": {"000000010000000000000001"},
		"export": {"--at", "latest", "--database", "app", "--into", "/nowhere/f"}, "completion": {"bash"},
		"log": {"--around", "2026-11-20T10:31:00Z"}, "restore": {"--into", "/nowhere/d"},
		"repo copy": {"--to", "dr"}, "repo undelete": {"--as-of", "2026-11-20T10:31:00Z"}, "repo thaw": {"--to", "latest"},
		"standby create": {"--into", "/nowhere/d"},
	}
	found := map[string][]string{}
	for _, m := range manuals((&program{}).app()) {
		if len(m.subs) == 0 && len(m.words) > 0 {
			name := strings.Join(m.words, " ")
			found[name] = needed[name]
		}
	}
	return found
}

// TestFaultyConfigurationOfEveryCommand: whatever is wrong with the configuration, and whichever command reads it, it ends with 2 and names the fault,
// before anything is done. wal fetch has its own code for all that is no file.
func TestFaultyConfigurationOfEveryCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("good.yml", "clusters: { main: { repo: \"file://"+dir+"/repo\" } }\n")
	faults := []struct {
		name, file, variable, says string
	}{
		{"no file", filepath.Join(dir, "none.yml"), "", "no such file"},
		{"a folder", dir, "", "is a directory"},
		{"not YAML", write("tabs.yml", "clusters:\n\tmain: x\n"), "", "tabs.yml:2"},
		{"a key that is none", write("key.yml", "clusters: { main: { repos: \"file:///a\" } }\n"), "", "did you mean repo"},
		{"a value that is none", write("value.yml", "clusters: { main: { repo: \"file:///a\", objectives: { rpo: soon } } }\n"), "", `"soon"`},
		{"no repository", write("none.yml.d", "clusters: { main: { postgres: host=x } }\n"), "", "repo"},
		{"a variable that is none", good, "PGARK_RETAIN_WINDO=1d", "did you mean PGARK_RETAIN_WINDOW"},
		{"a variable's value", good, "PGARK_RPO=soon", `"soon"`},
		{"a variable's file", good, "PGARK_POSTGRES_FILE=" + dir + "/none", "no such file"},
	}
	commands := leaves()
	if len(commands) < 30 {
		t.Errorf("%d commands", len(commands))
	}
	for name, more := range commands {
		if slices.Contains(without(), name) {
			continue
		}
		for _, fault := range faults {
			words := append(append(strings.Fields(name), "--config", fault.file), more...)
			_, stderr, code := call(t, []string{"PGHOST=/nonexistent", fault.variable}, words...)
			want := exitUsage
			if name == "wal fetch" {
				want = exitFetchUnknown
			}
			if code != want || !strings.Contains(stderr, fault.says) {
				t.Errorf("%s, %s: exit %d, want %d and %q\n%s", name, fault.name, code, want, fault.says, stderr)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "repo")); err == nil {
		t.Error("a repository was made")
	}
}

// TestEveryCommandTakesCommonFlags: each of them behind each command's name, with each of its values; what is wrong with one is refused by all.
func TestEveryCommandTakesCommonFlags(t *testing.T) {
	for _, m := range manuals((&program{}).app()) {
		known := map[string]bool{}
		for _, f := range m.flags {
			for _, name := range f.Names() {
				known[name] = true
			}
		}
		for _, want := range []string{"config", "c", "cluster", "output", "o", "quiet", "q", "verbose", "v", "no-color", "progress", "yes", "y", "timeout", "repo"} {
			if !known[want] {
				t.Errorf("%s knows no --%s", m.command(), want)
			}
		}
	}
	for name, more := range leaves() {
		want := exitUsage
		if name == "wal fetch" {
			want = exitFetchUnknown
		}
		for _, wrong := range [][]string{{"--timeout", "soon"}, {"--timeout", "-1s"}, {"--progress", "dots"}, {"--output", "xml"}} {
			_, stderr, code := call(t, []string{"PGHOST=/nonexistent"}, append(append(strings.Fields(name), wrong...), more...)...)
			if code != want || !strings.Contains(stderr, wrong[1]) {
				t.Errorf("%s %q: exit %d, want %d: %s", name, wrong, code, want, stderr)
			}
		}
	}
	for _, words := range [][]string{{"version", "-q", "-v", "--no-color", "-y", "--timeout", "1m"}, {"version", "-v", "-v"}, {"--verbose", "version"}} {
		if _, stderr, code := call(t, nil, words...); code != exitOK || stderr != "" {
			t.Errorf("%q: exit %d, %s", words, code, stderr)
		}
	}
}

// TestColoursAndTerminals: NO_COLOR is stronger than what forces colours, and PGARK_FORCE_TTY makes a terminal of what is none, where
// PGARK_NO_INPUT keeps from asking.
func TestColoursAndTerminals(t *testing.T) {
	const red = "\x1b[1;31m"
	for _, test := range []struct {
		environment []string
		flags       []string
		coloured    bool
	}{
		{nil, nil, false},
		{[]string{"CLICOLOR_FORCE=1"}, nil, true},
		{[]string{"CLICOLOR_FORCE=0"}, nil, false},
		{[]string{"PGARK_FORCE_TTY=1"}, nil, true},
		{[]string{"PGARK_FORCE_TTY=1", "TERM=dumb"}, nil, false},
		{[]string{"CLICOLOR_FORCE=1", "NO_COLOR=1"}, nil, false},
		{[]string{"PGARK_FORCE_TTY=1", "NO_COLOR=1"}, nil, false},
		{[]string{"CLICOLOR_FORCE=1"}, []string{"--no-color"}, false},
	} {
		_, stderr, _ := call(t, test.environment, append([]string{"status", "--repo", "nonsense"}, test.flags...)...)
		if strings.Contains(stderr, red) != test.coloured {
			t.Errorf("%q %q: got %q", test.environment, test.flags, stderr)
		}
	}
	asks := []string{"restore", "--repo", "file:///nowhere", "--into", "/nowhere/d", "--to", "2026-11-20 10:31"}
	_, stderr, code := call(t, []string{"PGARK_FORCE_TTY=1", "PGARK_NO_INPUT=1"}, asks...)
	if code != exitUsage || strings.Contains(stderr, "[1/2]") {
		t.Errorf("PGARK_NO_INPUT: exit %d, %s", code, stderr)
	}
}
