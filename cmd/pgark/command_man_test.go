package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestManuals: there is a page for every command, each with all that a page has, and groff takes them without a warning.
func TestManuals(t *testing.T) {
	dir := t.TempDir()
	if stdout, stderr, code := call(t, nil, "man", "--dir", dir); code != exitOK {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 30 {
		t.Errorf("%d pages", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "FILES", "EXAMPLES"} {
			if !strings.Contains(string(text), "\n.SH "+section+"\n") {
				t.Errorf("%s has no %s", filepath.Base(page), section)
			}
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("REQUIRE_ALL=1: %v", err)
		}
		t.Skipf("groff is missing: %v", err)
	}
	for _, page := range pages {
		out, err := exec.CommandContext(t.Context(), groff, "-man", "-Wall", "-ww", "-Tascii", "-z", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("groff on %s: %v\n%s", filepath.Base(page), err, out)
		}
	}
}

// TestExamplesOfManuals: each command has one, and it names commands and flags that there are.
func TestExamplesOfManuals(t *testing.T) {
	p := &program{}
	for _, m := range manuals(p.app()) {
		examples := examplesOf(m.words)
		if len(examples) == 0 {
			t.Errorf("%s has no example", m.command())
		}
		for _, example := range examples {
			_, line, ok := strings.Cut(example, "pgark ")
			if !ok {
				t.Errorf("%q calls no pgark", example)
			}
			line, _, _ = strings.Cut(line, " | ")
			commands, flags := p.app().Commands, []cli.Flag{}
			for _, word := range strings.Fields(line) {
				if at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == word }); at >= 0 {
					flags, commands = commands[at].Flags, commands[at].Subcommands
					continue
				}
				name, dashed := strings.CutPrefix(word, "-")
				name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
				if dashed && !slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
					t.Errorf("%q: there is no flag %s", example, word)
				}
			}
		}
	}
}
