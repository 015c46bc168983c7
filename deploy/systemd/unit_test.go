// Package systemd_test keeps the units to what systemd itself says of them.
package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mostExposed is the exposure that a unit may have at most, in tenths: systemd-analyze security calls up to 2.0 of 10 OK, and calls nearly all
// services that are not confined 9.6.
const mostExposed = "20"

// systemdAnalyze returns the program's path.
func systemdAnalyze(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("part missing: systemd-analyze: %v", err)
		}
		t.Skipf("part missing: systemd-analyze: %v", err)
	}
	return program
}

// units copies the units to a folder of their own, with a program that is there in place of pgark, and returns their paths.
func units(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for _, pattern := range []string{"*.service", "*.timer"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no unit %s: %v", pattern, err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte("/usr/bin/pgark"), []byte("/bin/true")), 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
	}
	return paths
}

// TestUnitsAreUnderstood fails on any word of systemd-analyze verify: a misspelt key, which a running systemd passes over, is only a warning to it, and it
// exits 0.
func TestUnitsAreUnderstood(t *testing.T) {
	program := systemdAnalyze(t)
	for _, path := range units(t) {
		out, err := exec.CommandContext(t.Context(), program, "verify", path).CombinedOutput()
		if err != nil || len(out) != 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", filepath.Base(path), err, out)
		}
	}
}

// TestMisspeltUnit shows that the test above can fail.
func TestMisspeltUnit(t *testing.T) {
	program := systemdAnalyze(t)
	for _, path := range units(t) {
		if filepath.Base(path) != "pgark.service" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte("NoNewPrivileges="), []byte("NoNewPriviliges=")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.CommandContext(t.Context(), program, "verify", path).CombinedOutput()
		if !bytes.Contains(out, []byte("NoNewPriviliges")) {
			t.Errorf("systemd-analyze verify said nothing of a misspelt key:\n%s", out)
		}
	}
}

func TestUnitsAreConfined(t *testing.T) {
	program := systemdAnalyze(t)
	for _, path := range units(t) {
		if filepath.Ext(path) != ".service" {
			continue
		}
		out, err := exec.CommandContext(t.Context(), program, "security", "--offline=true", "--no-pager", "--threshold="+mostExposed, path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Overall exposure level") {
			t.Errorf("%s: exposed more than %s tenths: %v\n%s", filepath.Base(path), mostExposed, err, out)
		}
	}
}

// TestHungAgentIsStartedAnew ends a Go program as the watchdog of systemd does, by SIGABRT, in the agent's environment: how it ends must be none of the ways
// after which the unit is left alone (systemd.service(5), RestartPreventExitStatus=).
func TestHungAgentIsStartedAnew(t *testing.T) {
	if os.Getenv("PGARK_TEST_HANG") != "" {
		_, _ = os.Stdout.WriteString("hangs\n")
		<-time.After(time.Hour)
	}
	text, err := os.ReadFile("pgark.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "-test.run=^TestHungAgentIsStartedAnew$")
	command.Env = append(os.Environ(), "PGARK_TEST_HANG=1")
	for _, found := range regexp.MustCompile(`(?m)^Environment=(\S+)$`).FindAllStringSubmatch(string(text), -1) {
		command.Env = append(command.Env, found[1])
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, len("hangs\n"))); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	left := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.+)$`).FindSubmatch(text)
	if left == nil {
		t.Fatal("after no code is the unit left alone")
	}
	if code := strconv.Itoa(command.ProcessState.ExitCode()); slices.Contains(strings.Fields(string(left[1])), code) {
		t.Errorf("ended by the watchdog, it exits with %s, after which it is not started anew", code)
	}
}

// TestAgentUnit holds what the agent relies on, or promises to systemd.
func TestAgentUnit(t *testing.T) {
	text, err := os.ReadFile("pgark.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Type=notify", "WatchdogSec=60s", "TimeoutStopSec=120s", "Restart=always", "StartLimitIntervalSec=0", "User=pgark", "StateDirectory=pgark",
		// The server that a drill starts is not to be asked to end by systemd, but by the agent.
		"KillMode=mixed",
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want) + `$`).Match(text) {
			t.Errorf("pgark.service lacks %s", want)
		}
	}
}
