package runbooks_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/docs/runbooks"
)

// TestForm: each page can be read at three in the morning: it begins with when it is the right one, what is lost, how long it takes and what not to do; it says how to be sure and, but for those that
// change nothing, how to go back; and nothing in it is left open that nobody fills in.
func TestForm(t *testing.T) {
	t.Parallel()
	all := runbooks.All()
	found, err := filepath.Glob("*.md")
	if err != nil || len(found) != len(all) {
		t.Errorf("%d pages in the folder, %d in the list: %v", len(found), len(all), err)
	}
	for _, r := range all {
		head, _, _ := strings.Cut(r.Text, "\n## ")
		if !strings.HasPrefix(r.Text, "# ") || r.Title == "" {
			t.Errorf("%s has no title", r.Name)
		}
		for _, row := range []string{"| when |", "| you lose |", "| it takes |", "| do not |"} {
			if !strings.Contains(head, "\n"+row) {
				t.Errorf("%s: %q is not at its head", r.Name, row)
			}
		}
		for _, end := range []string{"Be sure", "Back"} {
			if !strings.Contains(r.Text, end+"\n") {
				t.Errorf("%s has no %q", r.Name, end)
			}
		}
		for _, name := range runbooks.Open(r.Text) {
			if runbooks.Places()[name] == "" {
				t.Errorf("%s leaves {{%s}} open, which nobody fills in", r.Name, name)
			}
		}
		names := map[string]bool{}
		for _, s := range runbooks.Scripts(r.Text) {
			if !s.ByHand && (s.Name == "" || s.What == "" || names[s.Name]) {
				t.Errorf("%s: a script begins with # NAME: WHAT, and no two have one name: %q", r.Name, s.Name+": "+s.What+"\n"+s.Lines)
			}
			names[s.Name] = true
		}
		if got, want := len(runbooks.Scripts(r.Text)), strings.Count(r.Text, "```sh"); got != want {
			t.Errorf("%s: %d of its %d blocks are scripts", r.Name, got, want)
		}
	}
}

// TestLinks: every link between pages leads somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, r := range runbooks.All() {
		for _, part := range strings.Split(r.Text, "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			target, _, _ = strings.Cut(target, "#")
			if strings.HasPrefix(target, "http") {
				continue
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
		}
	}
}

// TestFill: a value is quoted where a shell reads it and nowhere else, and what has no value stays open.
func TestFill(t *testing.T) {
	t.Parallel()
	text := "at {{data-directory}}, {{slot}}\n```sh\n# look: {{slot}}\nls {{data-directory}}.new\n```\n{{data-directory}}\n"
	got := runbooks.Fill(text, map[string]runbooks.Value{"data-directory": {Text: "/a b", Shell: "'/a b'"}})
	want := "at /a b, {{slot}}\n```sh\n# look: {{slot}}\nls '/a b'.new\n```\n/a b\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if open := runbooks.Open(got); !slices.Equal(open, []string{"slot"}) {
		t.Errorf("open: %v", open)
	}
	scripts := runbooks.Scripts(got)
	if len(scripts) != 1 || scripts[0] != (runbooks.Script{Name: "look", What: "{{slot}}", Lines: "ls '/a b'.new\n"}) {
		t.Errorf("scripts: %+v", scripts)
	}
}

// TestFind: by its name, or that of its file.
func TestFind(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"zone-lost", "zone-lost.md", "docs/runbooks/zone-lost.md"} {
		if r, ok := runbooks.Find(name); !ok || r.Name != "zone-lost" {
			t.Errorf("%s: %q, %t", name, r.Name, ok)
		}
	}
	if r, ok := runbooks.Find("zone"); ok {
		t.Errorf("zone: %q", r.Name)
	}
}
