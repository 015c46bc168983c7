package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestNothingSteersTheTerminal: names and notes in a repository are whatever somebody wrote there. What would move the cursor, clear a line, set the title or turn
// the direction of the text is shown for what it is; colours and cursor movements of our own are not touched.
func TestNothingSteersTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain ✓ text\n\tof two lines\n":          "plain ✓ text\n\tof two lines\n",
		"\x1b[31m✗\x1b[0m bad \x1b[1;31mx\x1b[0m": "\x1b[31m✗\x1b[0m bad \x1b[1;31mx\x1b[0m",
		"title \x1b]0;mine\a":                     `title \u001b]0;mine\u0007`,
		"hidden \x1b[8m \x1b[2Jcleared":           `hidden \u001b[8m \u001b[2Jcleared`,
		"DAMAGED\r\x1b[KPROTECTED":                `DAMAGED\u000d\u001b[KPROTECTED`,
		"back\b\b\b\b":                            `back\u0008\u0008\u0008\u0008`,
		"csi \u009b2J and \x9b2J \x7f":            `csi \u009b2J and \x9b2J \u007f`,
		"turned \u202egpj.exe\u202c \u2066":       `turned \u202egpj.exe\u202c \u2066`,
		clearScreen:                               clearScreen,
		cursorHome:                                cursorHome,
		clearLine + "bar":                         clearLine + "bar",
		clearLine + "x" + clearLine:               clearLine + `x\u000d\u001b[K`,
		"line" + clearRight + "\n":                "line" + clearRight + "\n",
	} {
		var out bytes.Buffer
		if _, err := (&redactingWriter{&out, newRedactor(nil)}).Write([]byte(in)); err != nil || out.String() != want {
			t.Errorf("%q:\ngot  %q\nwant %q, %v", in, out.String(), want, err)
		}
	}
	// In JSON it stands for the very same.
	name := "\x1b[2J\u009b\u202e\x7f\n"
	text, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	var again string
	if shown := visible(string(text)); json.Unmarshal([]byte(shown), &again) != nil || again != name || strings.ContainsFunc(shown, unruly) {
		t.Errorf("got %s, which reads as %q", shown, again)
	}
}

// TestRowsAreLines: a name with a line break in it adds no line to a table.
func TestRowsAreLines(t *testing.T) {
	if lines := columns([][]string{{"NAME", "X"}, {"a\nPROTECTED", "b"}}); len(lines) != 2 || strings.Contains(lines[1], "\n") {
		t.Errorf("got %q", lines)
	}
}
