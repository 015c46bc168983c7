package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzTab presses TAB behind any words: nothing acts, nothing panics, and nothing is written.
func FuzzTab(f *testing.F) {
	for _, line := range []string{
		"", "run", "restore --into x --yes", "restore\x00--t", "wal fetch 000000010000000000000001 out", "config show -o", "-- run", "status --watch=1s", "init --apply --yes -", "drill run --dir x --",
		"standby promote --yes", "completion ba", "prune --yes", "-c x backup --wait", "--version", "man --dir .",
	} {
		f.Add(line)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, line string) {
		words := append(append([]string{"pgark"}, strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == 0 })...), completionFlag)
		var out, said bytes.Buffer
		p := &program{
			stdin: strings.NewReader(""), stdout: &out, stderr: &said, environment: []string{"PGARK_REPO=file://" + dir + "/repo", "PGHOST=" + dir},
			now: time.Now, interrupted: func() os.Signal { return nil },
		}
		saved := os.Args
		os.Args = words // urfave/cli completes by the process's own words
		defer func() { os.Args = saved }()
		p.main(t.Context(), words)
		if p.ran != "" {
			t.Errorf("%q TAB ran %s", words, p.ran)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%q TAB wrote %v, %v", words, entries, err)
		}
	})
}
