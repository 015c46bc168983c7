package metrics_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// promtool returns Prometheus's own tool, which parses and evaluates rules as a server does. It is a part of the suite: without it the test is skipped, and fails
// under REQUIRE_ALL=1.
func promtool(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: no programs of others")
	}
	path, err := exec.LookPath("../.parts/promtool")
	if err != nil {
		path, err = exec.LookPath("promtool")
	}
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("part missing: promtool: integration/parts.sh promtool: %v", err)
		}
		t.Skipf("part missing: promtool: %v", err)
	}
	return path
}

// ask runs promtool on a file with this text, and returns what it says.
func ask(t *testing.T, text string, words ...string) (string, error) {
	t.Helper()
	tool, file := promtool(t), filepath.Join(t.TempDir(), "asked.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, append(words, file)...).CombinedOutput()
	return string(out), err
}
