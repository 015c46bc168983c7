package syncmode_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/syncmode"
)

func TestParseNames(t *testing.T) {
	for _, test := range []struct {
		text    string
		any     bool
		num     int
		members []string
	}{
		{"pgark", false, 1, []string{"pgark"}},
		{"a, b,c", false, 1, []string{"a", "b", "c"}},
		{" \t\r\n\f\vpgark\n", false, 1, []string{"pgark"}},
		{"2 (a, b)", false, 2, []string{"a", "b"}},
		{"2(a,b,c)", false, 2, []string{"a", "b", "c"}},
		{"FIRST 2 (a, b)", false, 2, []string{"a", "b"}},
		{"any 1 (pgark)", true, 1, []string{"pgark"}},
		{"AnY 3(a,b,c)", true, 3, []string{"a", "b", "c"}},
		{"*", false, 1, []string{"*"}},
		{"ANY 2 (*)", true, 2, []string{"*"}},
		{`"*"`, false, 1, []string{"*"}},
		{`"pg ark", "a""b"`, false, 1, []string{"pg ark", `a"b`}},
		{`""`, false, 1, []string{""}},
		{`"any"`, false, 1, []string{"any"}},
		{"anyone, firstly", false, 1, []string{"anyone", "firstly"}},
		{"any_1", false, 1, []string{"any_1"}},
		{"_x$1, Näme", false, 1, []string{"_x$1", "Näme"}},
		{"2", false, 1, []string{"2"}},
		{"2, b", false, 1, []string{"2", "b"}},
		{"1 (2)", false, 1, []string{"2"}},
		{"ANY 007 (a)", true, 7, []string{"a"}},
		{"5 (a)", false, 5, []string{"a"}},
	} {
		got, err := syncmode.ParseNames(test.text)
		if err != nil || got.Any != test.any || got.Num != test.num || !slices.Equal(got.Members, test.members) {
			t.Errorf("%q: got %+v, %v", test.text, got, err)
		}
	}
}

func TestParseNamesRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", ",", "a,", ",a", "a b", "(a)", "any", "ANY (a)", "ANY a", "FIRST 1 a", "FIRST 1 (a", "FIRST 1 ()", "1 (a),", "1 (a) b", "0 (a)",
		"ANY 0 (a)", "2a", "a-b", "pg.ark", "a;b", `"a`, `"a""`, "'a'", "any, b", "a, first", "1 (a, any)", "**", "a (b)", "-1 (a)", "1 1 (a)", "ANY 1 2 (a)", "1 ((a))",
	} {
		if got, err := syncmode.ParseNames(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

// TestNames is what a value promises of a standby called pgark.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		text                  string
		contains, needs, only bool
	}{
		{"pgark", true, true, true},
		{"PgArK", true, true, true},
		{`"pgark"`, true, true, true},
		{"ANY 1 (pgark)", true, true, true},
		{"pgark, pgark", true, true, true},
		{"other", false, false, false},
		{"pgark2", false, false, false},
		{"*", true, false, false},
		{"ANY 1 (*)", true, false, false},
		{"pgark, s1", true, false, false},
		{"s1, pgark", true, false, false},
		{"2 (s1, pgark)", true, true, false},
		{"ANY 2 (s1, pgark)", true, true, false},
		{"ANY 1 (s1, pgark)", true, false, false},
		{"ANY 2 (s1, S1, pgark)", true, true, false},
		{"ANY 2 (s1, s2, pgark)", true, false, false},
		{"ANY 2 (s1, s2)", false, false, false},
		{"ANY 2 (pgark, *)", true, false, false},
	} {
		names, err := syncmode.ParseNames(test.text)
		if err != nil {
			t.Fatal(err)
		}
		if c, n, o := names.Contains("pgark"), names.Needs("pgark"), names.Only("pgark"); c != test.contains || n != test.needs || o != test.only {
			t.Errorf("%q: contains %v, needs %v, only %v; want %v, %v, %v", test.text, c, n, o, test.contains, test.needs, test.only)
		}
	}
	if names, _ := syncmode.ParseNames("Ärger"); names.Contains("ärger") {
		t.Error("case counts beyond ASCII")
	}
}

// FuzzParseNames: whatever a server says is read or refused, and what was read means the same when it is written with quotes.
func FuzzParseNames(f *testing.F) {
	for _, text := range []string{"", "pgark", "ANY 1 (pgark, *)", "2 (a, b)", `"a""b", c`, "FIRST 1(x", "any", "\"", "9999999999999999999 (a)", "ä\x80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := syncmode.ParseNames(text)
		if err != nil {
			return
		}
		if n.Num < 1 || len(n.Members) == 0 {
			t.Fatalf("%q: got %+v", text, n)
		}
		quoted := make([]string, 0, len(n.Members))
		for _, m := range n.Members {
			if !n.Contains(m) {
				t.Fatalf("%q does not contain its member %q", text, m)
			}
			quoted = append(quoted, `"`+strings.ReplaceAll(m, `"`, `""`)+`"`)
		}
		again, err := syncmode.ParseNames("FIRST 1 (" + strings.Join(quoted, ",") + ")")
		if err != nil || !slices.Equal(again.Members, n.Members) {
			t.Fatalf("%q: quoted %q: got %+v, %v", text, quoted, again, err)
		}
		if n.Needs("pgark") && !n.Contains("pgark") || n.Only("pgark") && n.Contains("pgark") && !n.Needs("pgark") {
			t.Fatalf("%q: contradiction", text)
		}
	})
}
