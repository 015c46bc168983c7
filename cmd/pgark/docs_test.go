package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^ *```sh[^\n]*\n(.*?)^ *```$")
	quoted     = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	between    = regexp.MustCompile(`\n|;|\|\|?|&&|&`)
	comment    = regexp.MustCompile(`(?m)(^|\s)#.*$`)
)

// callsIn returns the words of each call of pgark in a piece of shell, without the program's name. What stands in quotes is one word.
func callsIn(shell string) (calls [][]string) {
	shell = strings.ReplaceAll(shell, "\\\n", " ")
	shell = comment.ReplaceAllString(quoted.ReplaceAllString(shell, "QUOTED"), "")
	for _, command := range between.Split(shell, -1) {
		words := strings.Fields(command)
		for len(words) > 0 && (words[0] == "$" || words[0] == "(" || strings.Contains(words[0], "=")) {
			words = words[1:]
		}
		if len(words) > 2 && words[0] == "sudo" && words[1] == "-u" {
			words = words[3:]
		}
		if len(words) > 0 && words[0] == "pgark" {
			calls = append(calls, words[1:])
		}
	}
	return calls
}

// wrongIn says what is wrong with the words of a call: a command or flag that there is not; "" if nothing is.
func wrongIn(app *cli.App, words []string) string {
	commands, flags := app.Commands, app.Flags
	group := true // of commands, one of which must come
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch at := slices.IndexFunc(commands, func(c *cli.Command) bool { return slices.Contains(c.Names(), word) }); {
		case strings.HasPrefix(word, ">") || strings.HasPrefix(word, "<"):
			i = len(words)
		case at >= 0:
			flags, commands = commands[at].Flags, commands[at].Subcommands
			group = len(commands) > 0
		case strings.HasPrefix(word, "-") && len(word) > 1:
			name, _, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
			f := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
			if f < 0 {
				return "there is no flag " + word
			}
			if d, ok := flags[f].(cli.DocGenerationFlag); ok && d.TakesValue() && !joined {
				if _, generic := flags[f].(*cli.GenericFlag); !generic {
					i++ // its value
				}
			}
		case group:
			return "there is no command " + word
		default:
			return "" // an argument: nothing but arguments follows
		}
	}
	if group {
		return "a command is missing"
	}
	return ""
}

// TestCommandsInDocs: every line of shell in the documents that calls pgark names commands and flags that there are.
func TestCommandsInDocs(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/runbooks/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	lines := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			for _, words := range callsIn(block[1]) {
				lines++
				if wrong := wrongIn((&program{}).app(), words); wrong != "" {
					t.Errorf("%s: pgark %s: %s", filepath.Base(file), strings.Join(words, " "), wrong)
				}
			}
		}
	}
	if lines < 60 {
		t.Errorf("%d lines call pgark: are they still found?", lines)
	}
}

// TestWrongIn: what TestCommandsInDocs would find.
func TestWrongIn(t *testing.T) {
	for _, test := range []struct{ shell, want string }{
		{"pgark status --exit-code || true", "[]"},
		{"PGARK_X='a b' pgark restore --to '10m ago' --into \"$NEW\" \\\n  --start s3://a # --nothing", "[]"},
		{"sudo -u postgres pgark init --apply s3://a", "[]"},
		{"pgark restroe --start", "[there is no command restroe]"},
		{"pgark restore --begin", "[there is no flag --begin]"},
		{"pgark repo copy --form dr", "[there is no flag --form]"},
		{"true; pgark drill", "[a command is missing]"},
		{"pgark status | pgark drill lst", "[there is no command lst]"},
		{"systemctl start pgark", "[]"},
	} {
		found := []string{}
		for _, words := range callsIn(test.shell) {
			if wrong := wrongIn((&program{}).app(), words); wrong != "" {
				found = append(found, wrong)
			}
		}
		if got := fmt.Sprint(found); got != test.want {
			t.Errorf("%s: got %s, want %s", test.shell, got, test.want)
		}
	}
}
