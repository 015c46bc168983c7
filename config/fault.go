package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Fault is one thing wrong in a configuration.
type Fault struct {
	// File, Line and Column say where, from 1; Line 0 when the fault is in no file.
	File         string
	Line, Column int
	// Key is the full path of the key, or the variable.
	Key string
	// Message says what is wrong and what is wanted.
	Message string
	// Suggestion is the key or value that was probably meant, or "".
	Suggestion string
	// Source is the line at fault. It may hold a secret: redact it before printing.
	Source string
}

type faults []Fault

// Error is everything wrong in a configuration.
type Error struct{ Faults []Fault }

// Error returns one line for each fault.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Faults))
	for _, f := range e.Faults {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// FileError says that the configuration file itself cannot be read. It unwraps to the system's error.
type FileError struct{ Err error }

// Error names the file, as the system's error does.
func (e *FileError) Error() string { return "read configuration: " + e.Err.Error() }

// Unwrap returns the system's error.
func (e *FileError) Unwrap() error { return e.Err }

// String returns the fault on one line, without its source.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Message)
	if f.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %s?", f.Suggestion)
	}
	return b.String()
}

// Excerpt returns the line at fault with a caret under it, or "" if it is in no file. It may
// hold a secret: redact it before printing.
func (f Fault) Excerpt() string {
	if f.Line == 0 || f.Source == "" {
		return ""
	}
	margin := fmt.Sprintf("%4d | ", f.Line)
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, firstRunes(f.Source, f.Column-1))
	return margin + f.Source + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + indent + "^"
}

// hiddenText stands in a line in the place of what is not shown.
const hiddenText = "***"

// hide takes what begins at the fault's column out of its line: the value is a secret.
func (f *Fault) hide() {
	if f.Source != "" {
		f.Source = firstRunes(f.Source, f.Column-1) + hiddenText
	}
}

// secretForms are the values in a line that may be secret though something else in it is at fault: the URLs of those who are told, and what signs.
var secretForms = []*regexp.Regexp{ //nolint:gochecknoglobals // patterns are constants
	regexp.MustCompile(`((?:heartbeat|secret)["']?\s*:\s*)[^\s#].*`),
	regexp.MustCompile(`(\bto["']?\s*:\s*)[^\s#].*`),
	regexp.MustCompile(`(^\s*-\s+["']?)[a-z][a-z0-9+.-]*://.*`),
	regexp.MustCompile(`(webhook\+https?://).*`),
}

// withoutSecrets is a line of the file without them.
func withoutSecrets(line string) string {
	for _, form := range secretForms {
		line = form.ReplaceAllString(line, "${1}"+hiddenText)
	}
	return line
}

func firstRunes(s string, n int) string {
	r := []rune(s)
	return string(r[:max(0, min(n, len(r)))])
}

// Nearest returns the candidate that one misspells as s, or "" if none is near enough.
func Nearest(s string, candidates []string) string {
	best, least := "", max(1, len(s)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(s, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is Levenshtein's, over bytes: keys are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
