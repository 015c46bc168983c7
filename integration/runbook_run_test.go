package integration_test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgark/pgark/docs/runbooks"
)

// runbookTests says which test runs the scripts of which runbook. Those that no test can run are marked in the text, by hand.
func runbookTests() map[string]map[string]string {
	return map[string]map[string]string{
		"TestRunbooksOfTheAgent": {
			"agent-down": "look, live, start, sure, proof", "slot-near-limit": "look, server, raise, let go, sure",
			"migration": "begin, both, compare, prove, switch, sure", "damage": "anew",
		},
		"TestRunbooksOfRestores": {
			"point-in-time": "commits, plan, beside, adopt, in place, sure", "single-instance-lost": "look, restore, adopt, sure",
			"bucket-lost": "refill, sure",
		},
		"TestRunbookOfAZone":            {"zone-lost": "look, take over, sure"},
		"TestRunbookOfAnUpgrade":        {"major-upgrade": "before, prove, dump and restore, id, adopt, sure, back"},
		"TestRegionLoss":                {"region-lost": "look, take over, sure, rewind, make anew, go back, fence by hand, lift"},
		"TestKeyLost":                   {"key-lost": "opens, replace, rotate, both"},
		"TestBucketTamperedWith":        {"bucket-lost": "look, restore, lost, undelete"},
		"TestDroppedTableInTwoCommands": {"accidental-drop": "drops, export, load, copy"},
		"TestVerifyRepairs":             {"damage": "look, repair, trust"},
		"TestDrill":                     {"drill": "drills, show, again"},
	}
}

// perMajor are scripts that only some of a test's cases run: where the suite has a major's server alone there is no pg_rewind.
var perMajor = []string{"region-lost rewind", "region-lost make anew"}

// shellOf is the script with which each runbook begins, and which stands before every other.
const shellOf = "this shell"

// TestRunbooksAreRun: every script of every runbook is run by a test that is there, and no table names one that is not.
func TestRunbooksAreRun(t *testing.T) {
	t.Parallel()
	sources, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, file := range sources {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	run := map[string]bool{}
	for test, pages := range runbookTests() {
		if !strings.Contains(code.String(), "\nfunc "+test+"(t *testing.T)") {
			t.Errorf("there is no %s", test)
		}
		for page, names := range pages {
			for name := range strings.SplitSeq(names, ", ") {
				run[page+" "+name] = true
			}
		}
	}
	for _, r := range runbooks.All() {
		for _, s := range runbooks.Scripts(r.Text) {
			key := r.Name + " " + s.Name
			if !s.ByHand && s.Name != shellOf && !run[key] {
				t.Errorf("no test runs %s", key)
			}
			delete(run, key)
		}
	}
	for key := range run {
		t.Errorf("there is no script %s", key)
	}
}

// ran are the scripts that were run, and printed the runbooks as pgark prints them.
var ran, printed sync.Map

// runsRunbooks has a test fail that does not run all scripts that it is there for. Where parts are missing and need not be there, it may have run none.
func runsRunbooks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		some := os.Getenv("REQUIRE_ALL") == "1"
		var left []string
		for page, names := range runbookTests()[t.Name()] {
			for name := range strings.SplitSeq(names, ", ") {
				_, ok := ran.Load(t.Name() + " " + page + " " + name)
				if some = some || ok; !ok && !slices.Contains(perMajor, page+" "+name) {
					left = append(left, name+" of "+page)
				}
			}
		}
		if some && len(left) > 0 {
			t.Errorf("not run: %q", left)
		}
	})
}

// given returns the tool with flags that a command of a runbook gets besides, such as restore: what only a test must say.
func (p tool) given(command, flags string) tool {
	more := map[string]string{command: flags}
	for old, have := range p.flags {
		more[old] = cmp.Or(more[old], have)
	}
	p.flags = more
	return p
}

// runbook is a runbook as pgark prints it for this tool: with the names of its cluster.
func (p tool) runbook(t *testing.T, page string) string {
	t.Helper()
	key := fmt.Sprint(page, p.env)
	if text, ok := printed.Load(key); ok {
		return fmt.Sprint(text)
	}
	text := p.must(t.Context(), t, "runbook", page)
	printed.Store(key, text)
	return text
}

var commandWords = regexp.MustCompile(`(?m)^pgark((?: [a-z]+)+)`)

// page runs a script of a runbook as the tool's user, with pgark in the path, and the programs in a folder, where it is given.
func (p tool) page(t *testing.T, page, name, programs string, env ...string) outcome {
	t.Helper()
	cmd := p.script(t, page, name, programs, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its exit code is the outcome
	planted().look("the output of "+name+" in "+page, append(stdout.Bytes(), stderr.Bytes()...))
	return outcome{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// did is page of a script that has to end well.
func (p tool) did(t *testing.T, page, name, programs string, env ...string) string {
	t.Helper()
	o := p.page(t, page, name, programs, env...)
	if o.code != 0 {
		t.Fatalf("%s, %s: exit %d\n%s%s", page, name, o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// script is the command that runs a script of a runbook.
func (p tool) script(t *testing.T, page, name, programs string, env ...string) *exec.Cmd {
	t.Helper()
	root, _, _ := strings.Cut(t.Name(), "/")
	if !slices.Contains(strings.Split(runbookTests()[root][page], ", "), name) {
		t.Fatalf("runbookTests does not say that %s runs %s of %s", root, name, page)
	}
	ran.Store(root+" "+page+" "+name, true)
	lines := ""
	for _, s := range runbooks.Scripts(p.runbook(t, page)) {
		if s.Name == shellOf || s.Name == name {
			lines += s.Lines
		}
	}
	lines = commandWords.ReplaceAllStringFunc(lines, func(command string) string {
		return strings.TrimSpace(command + " " + p.flags[strings.TrimPrefix(command, "pgark ")])
	})
	like := p.command(t.Context(), "run")
	cmd := exec.Command("/bin/sh", "-euc", lines) //nolint:noctx // what it begins may outlive the test's context; whoever starts it ends it
	cmd.Env = append(append(slices.Clone(like.Env), "PATH="+filepath.Dir(p.bin)+":"+programs+":/usr/bin:/bin"), env...)
	if programs != "" { // which show their environment to whoever looks
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool {
			return strings.HasPrefix(v, "PGPASSWORD=") || strings.HasPrefix(v, "PGSSLPASSWORD=") || strings.HasPrefix(v, "OTEL_EXPORTER_OTLP_HEADERS=")
		})
	}
	cmd.Dir, cmd.SysProcAttr = like.Dir, like.SysProcAttr
	return cmd
}

// startPage begins a script that runs on, such as the agent.
func (p tool) startPage(t *testing.T, page, name, programs string, env ...string) *process {
	t.Helper()
	cmd := p.script(t, page, name, programs, env...)
	cmd.Args[2] = strings.Replace(cmd.Args[2], "\npgark ", "\nexec pgark ", 1) // so that a signal is the agent's
	return begin(t, cmd, page+", "+name)
}
