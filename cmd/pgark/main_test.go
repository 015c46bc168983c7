package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pgark": main,
		// crash is a wal fetch with a fault in a goroutine that is not the main one.
		"crash": func() {
			guardPlumbing()
			go func() { panic("a fault") }()
			select {}
		},
	})
}

// TestScripts runs testdata/script/*.txtar: what needs no server.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "LC_ALL=C.UTF-8", "PGHOST=/nonexistent", "PGCONNECT_TIMEOUT=2", "AWS_EC2_METADATA_DISABLED=true",
				"GORACE=atexit_sleep_ms=100", // a program of the race detector waits a second before it exits
				"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "PGPASSWORD=hunter22")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and checks its exit code: exits 2 pgark foo.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec returns it as it is
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s exited %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// call runs the command line in this process.
func call(t *testing.T, environment []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return callWith(t, &program{environment: environment}, args...)
}

// callWith is call of a program of which the rest is set.
func callWith(t *testing.T, p *program, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	p.stdin, p.stdout, p.stderr = strings.NewReader(""), &out, &err
	p.now = func() time.Time { return time.Date(2026, 11, 20, 10, 41, 7, 0, time.UTC) }
	p.interrupted = func() os.Signal { return nil }
	words := append([]string{"pgark"}, args...)
	// urfave/cli completes by the process's own words.
	saved := os.Args
	os.Args = words
	defer func() { os.Args = saved }()
	code = p.main(t.Context(), words)
	return out.String(), err.String(), code
}

func TestExitCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/EXIT-CODES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range exitCodes() {
		if row := fmt.Sprintf("| %d | %s |", c.code, c.meaning); !strings.Contains(string(doc), row) {
			t.Errorf("docs/EXIT-CODES.md lacks the row %s", row)
		}
	}
}

// TestTabRunsNothing completes at every place of command lines that would act: nothing may.
func TestTabRunsNothing(t *testing.T) {
	dir := t.TempDir()
	environment := []string{"PGARK_REPO=file://" + dir + "/repo"}
	lines := [][]string{
		{"run", "file://" + dir + "/repo"},
		{"config", "show", "--repo", "file:///x"},
		{"config", "validate", "-o", "json"},
		{"restore", "--into", dir + "/x", "--yes"},
		{"backup", "--wait"},
		{"wal", "fetch", "--ahead", "2", "000000010000000000000001", dir + "/out"},
		{"version"},
	}
	acted := []string{"clusters.main", "\"valid\"", "pgark devel", "error:"}
	for _, line := range lines {
		for cut := range len(line) + 1 {
			for _, last := range []string{"", "-", "--", "--t", "--output", "-o"} {
				words := append([]string{}, line[:cut]...)
				if last != "" {
					words = append(words, last)
				}
				stdout, stderr, code := call(t, environment, append(words, completionFlag)...)
				for _, sign := range acted {
					if strings.Contains(stdout+stderr, sign) {
						t.Errorf("%q TAB acted:\n%s%s", words, stdout, stderr)
					}
				}
				if code != exitOK && (len(words) < 2 || words[0] != "wal") {
					t.Errorf("%q TAB exited %d: %s", words, code, stderr)
				}
			}
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("TAB wrote: %v, %v", entries, err)
	}
}

func TestTabCompletes(t *testing.T) {
	for _, test := range []struct {
		words []string
		want  string
	}{
		{nil, "restore"},
		{[]string{"wal"}, "fetch"},
		{[]string{"restore", "--t"}, "--to-lsn"},
		{[]string{"restore", "--into", "x", "--"}, "--dry-run"},
		{[]string{"completion"}, "fish"},
		{[]string{"-"}, "--config"},
	} {
		stdout, _, _ := call(t, nil, append(test.words, completionFlag)...)
		if !strings.Contains(stdout, test.want) {
			t.Errorf("%q: got %q, want %s among it", test.words, stdout, test.want)
		}
	}
}

// TestCommonFlagsOnBothSides: --output before and after the command's name; the innermost counts.
func TestCommonFlagsOnBothSides(t *testing.T) {
	for _, test := range []struct {
		args []string
		json bool
	}{
		{[]string{"version"}, false},
		{[]string{"-o", "json", "version"}, true},
		{[]string{"version", "-o", "json"}, true},
		{[]string{"-o", "json", "version", "-o", "text"}, false},
		{[]string{"-o", "text", "version", "--output=json"}, true},
		{[]string{"-o", "json", "config", "show", "--repo", "file:///x"}, true},
		{[]string{"config", "-o", "json", "show", "--repo", "file:///x"}, true},
		{[]string{"config", "--repo", "file:///x", "show", "-o", "json"}, true},
	} {
		stdout, stderr, code := call(t, nil, test.args...)
		if code != exitOK || strings.HasPrefix(stdout, "{") != test.json {
			t.Errorf("%q: exit %d, json %v wanted\n%s%s", test.args, code, test.json, stdout, stderr)
		}
	}
}

// TestConfigVariableAndFlag: PGARK_CONFIG is read by the app's flag, and a flag is stronger.
func TestConfigVariableAndFlag(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "file:///a", "b": "file:///b"} {
		if err := os.WriteFile(dir+"/"+name, []byte("clusters: { main: { repo: \""+text+"\" } }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PGARK_CONFIG", dir+"/a")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"config", "show"}, "file:///a"},
		{[]string{"config", "show", "-c", dir + "/b"}, "file:///b"},
		{[]string{"-c", dir + "/b", "config", "show"}, "file:///b"},
	} {
		stdout, stderr, _ := call(t, os.Environ(), test.args...)
		if !strings.Contains(stdout, "repo.url: "+test.want) {
			t.Errorf("%q: got %s%s, want %s", test.args, stdout, stderr, test.want)
		}
	}
}

// TestEveryCommandRefusesLateFlags: a flag after an argument would be ignored silently.
func TestEveryCommandRefusesLateFlags(t *testing.T) {
	for _, name := range []string{"run", "backup", "list", "ls", "backups", "status", "check", "restore", "completion", "verify", "version", "wal fetch", "wal ls", "wal cat", "config show", "config validate"} {
		args := append(strings.Fields(name), "x", "--yes")
		_, stderr, code := call(t, nil, args...)
		if want := exitUsage; !strings.Contains(stderr, "put flags before arguments") || code != want && name != "wal fetch" || name == "wal fetch" && code != exitFetchUnknown {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
	}
}

// TestWalFetchNeverExitsLow: whatever is wrong with the call, PostgreSQL must not take it for the
// end of WAL; and only a file in place gives 0.
func TestWalFetchNeverExitsLow(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"wal", "fetch"},
		{"wal", "fetch", "a"},
		{"wal", "fetch", "a", "b", "c"},
		{"wal", "fetch", "--help"},
		{"wal", "fetch", "--bogus", "a", "b"},
		{"wal", "--bogus", "fetch", "a", "b"},
		{"--bogus", "wal", "fetch", "a", "b"},
		{"--version", "wal", "fetch", "a", "b"},
		{"wal", "fetch", "--until", "junk", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "--segment-size", "3", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "--timeout", "5", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "--repo", "file://" + dir + "/none", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "--repo", "http://x", "000000010000000000000001", dir + "/f"},
		{"wal", "fetch", "-c", dir + "/none.yml", "000000010000000000000001", dir + "/f"},
		{"--", "wal", "fetch", "a", "b"},
	} {
		if _, stderr, code := call(t, nil, args...); code != exitFetchUnknown {
			t.Errorf("%q: exit %d, want 200: %s", args, code, stderr)
		} else if strings.Contains(stderr, "code ") && !strings.Contains(stderr, "code 200") {
			t.Errorf("%q: exits 200 and prints another code: %s", args, stderr)
		}
	}
}

// TestCrashOfWalFetchIsNoEndOfWAL: a panic in any goroutine ends by a signal, not by exit code 2.
func TestCrashOfWalFetchIsNoEndOfWAL(t *testing.T) {
	self, err := exec.LookPath("crash")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none")
	err = cmd.Run()
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // Run returns it as it is
	if !ok {
		t.Fatalf("got %v", err)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("ended with %v, want SIGABRT", exit)
	}
}

func TestRedactor(t *testing.T) {
	r := newRedactor([]string{"PGPASSWORD=correct horse", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI", "PATH=/bin", "PGSSLPASSWORD=a", "OTEL_EXPORTER_OTLP_HEADERS=x-tenant=a,authorization=Bearer%20hunter22"})
	for in, want := range map[string]string{
		"postgres://ark:s3cr:et@db/x?sslpassword=abc":             "postgres://ark:***@db/x?sslpassword=***",
		"host=db password=hunter2 user=ark":                       "host=db password=*** user=ark",
		"host=db password = 'it''s a \\' secret' user=ark":        "host=db password = *** user=ark",
		`{"password":"x","user":"y"}`:                             `{"password":***,"user":"y"}`,
		"the correct horse and wJalrXUtnFEMI":                     "the *** and ***",
		"401: no tenant a for Bearer hunter22, Bearer%20hunter22": "401: no tenant a for ***, ***",
		"GET https://b.s3/x?X-Amz-Signature=abc&X-Amz-Date=1":     "GET https://b.s3/x?X-Amz-Signature=***&X-Amz-Date=1",
		"aws_secret_access_key = abc":                             "aws_secret_access_key = ***",
		"key AKIAIOSFODNN7EXAMPLE is unknown":                     "key *** is unknown",
		"password authentication failed for user \"ark\"":         "password authentication failed for user \"ark\"",
		"s3://acme-pg/main?region=eu-west-1 at 10:36:54 for a b":  "s3://acme-pg/main?region=eu-west-1 at 10:36:54 for a b",
	} {
		if got := r.redact(in); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got, want)
		}
	}
}
