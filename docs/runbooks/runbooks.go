// Package runbooks holds what to do when something has gone wrong: the pages of this folder, embedded, so that whoever has the program has them while nothing else
// answers.
//
// A page leaves open what differs from cluster to cluster, as {{name}}; Fill puts it in. What a person has to choose is a variable of the shell instead. Blocks of a page that begin with
// ```sh are run by a test against real servers; the ones that begin with ```sh by-hand take what no test here has, such as systemd.
package runbooks

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed *.md
var files embed.FS

// Runbook is one page.
type Runbook struct {
	// Name is that of its file, without .md.
	Name string `json:"name"`
	// Title says what has happened.
	Title string `json:"title"`
	// Text is Markdown.
	Text string `json:"text,omitempty"`
}

// names are the pages in the order in which they are listed: first what is lost, then what is wrong, then what is planned.
func names() []string {
	return []string{
		"single-instance-lost", "zone-lost", "region-lost", "point-in-time", "accidental-drop", "bucket-lost", "key-lost",
		"agent-down", "slot-near-limit", "damage", "drill", "major-upgrade", "migration",
	}
}

// All returns every runbook.
func All() []Runbook {
	all := make([]Runbook, 0, len(names()))
	for _, name := range names() {
		text, err := files.ReadFile(name + ".md")
		if err != nil {
			panic(fmt.Sprintf("runbook %s is not embedded: %v", name, err))
		}
		title, _, _ := strings.Cut(string(text), "\n")
		all = append(all, Runbook{Name: name, Title: strings.TrimPrefix(title, "# "), Text: string(text)})
	}
	return all
}

// Find returns the runbook of a name, which may be that of its file.
func Find(name string) (Runbook, bool) {
	name = strings.TrimSuffix(path.Base(name), ".md")
	all := All()
	if at := slices.IndexFunc(all, func(r Runbook) bool { return r.Name == name }); at >= 0 {
		return all[at], true
	}
	return Runbook{}, false
}

// Places are the names that pages leave open, and what each stands for.
func Places() map[string]string {
	return map[string]string{
		"environment":    "the variables by which pgark finds this cluster, for export",
		"config":         "the configuration file",
		"cluster":        "the cluster's name in it",
		"postgres":       "a connection string of the server, to its database postgres",
		"data-directory": "the server's data directory",
		"system-id":      "the system identifier of the archived cluster",
		"slot":           "the replication slot",
		"repository":     "the URL of the primary repository",
		"copy":           "the name of the first copy",
		"rpo":            "how much was lost in the last drill",
		"rto":            "how long the last drill took",
	}
}

var open = regexp.MustCompile(`\{\{([a-z-]+)\}\}`)

// Open returns the names that a text leaves open, each once, in the order of the text.
func Open(text string) []string {
	var found []string
	for _, match := range open.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(found, match[1]) {
			found = append(found, match[1])
		}
	}
	return found
}

// Value is what stands in a place: as a person reads it, and as a shell does, quoted.
type Value struct{ Text, Shell string }

// Fill puts values into their places; one without a value stays open.
func Fill(text string, values map[string]Value) string {
	code := false
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			code = !code
			continue
		}
		lines[i] = open.ReplaceAllStringFunc(line, func(place string) string {
			value, ok := values[strings.Trim(place, "{}")]
			switch {
			case !ok:
				return place
			case code:
				return value.Shell
			}
			return value.Text
		})
	}
	return strings.Join(lines, "\n")
}

// Script is a block of a page that a shell runs.
type Script struct {
	// Name is what stands before the colon in its first line, a comment; What is behind it.
	Name, What string
	// Lines are the commands.
	Lines string
	// ByHand says that no test runs it.
	ByHand bool
}

var block = regexp.MustCompile("(?ms)^```sh( by-hand)?\n(?:# ([^\n:]+): ?([^\n]*)\n)?(.*?)^```$")

// Scripts returns the blocks of a text that a shell runs.
func Scripts(text string) []Script {
	var all []Script
	for _, found := range block.FindAllStringSubmatch(text, -1) {
		all = append(all, Script{Name: found[2], What: found[3], Lines: found[4], ByHand: found[1] != ""})
	}
	return all
}
