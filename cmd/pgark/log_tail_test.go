package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogTail: the newest lines are kept, whole, and no more than there is room for.
func TestLogTail(t *testing.T) {
	var tail logTail
	for i := range 20_000 {
		if _, err := fmt.Fprintf(&tail, "%d a line of a log that says what happened\n", i); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(tail.String(), "\n"), "\n")
	if got := len(tail.String()); got > tailBytes || got < tailBytes/2 || !strings.HasPrefix(lines[len(lines)-1], "19999 ") {
		t.Errorf("%d bytes of %d lines, the last %q", got, len(lines), lines[len(lines)-1])
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprint(20_000-len(lines)+i, " ")) || !strings.HasSuffix(line, "happened") {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	_, _ = tail.Write([]byte(strings.Repeat("x", tailBytes+1) + "\n"))
	if got := tail.String(); len(got) > tailBytes || !strings.HasSuffix(got, "(a line too long to be kept)\n") {
		t.Errorf("a line that is too long: %d bytes", len(got))
	}
}

// TestDiagnoseHoldsTheAgentsLog: the bundle holds the last of what the running agent logged, without secrets, and otherwise says why it does not and
// where the log is.
func TestDiagnoseHoldsTheAgentsLog(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/log" {
			_, _ = fmt.Fprintln(w, "level=WARN msg=\"archiver lost the server\" error=\"host=db password=hunter22\"")
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		http string
		want []string
		told bool // that it is not there
	}{
		"at work":      {"http: { listen: \"" + strings.TrimPrefix(server.URL, "http://") + "\" }\n", []string{"archiver lost the server", "password=***"}, false},
		"nobody":       {"http: { listen: \"127.0.0.1:1\" }\n", []string{"refused", "journalctl -u pgark"}, true},
		"nothing open": {"", []string{"http.listen is not set", "journalctl -u pgark"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, bundle := filepath.Join(dir, "pgark.yml"), filepath.Join(dir, "bundle.tar.gz")
			text := test.http + "clusters: { main: { postgres: \"host=" + dir + "\", repo: \"file://" + dir + "/repo\" } }\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := call(t, nil, "diagnose", "--file", bundle, "--timeout", "1s", "-c", file)
			if code != exitOK {
				t.Fatalf("exit %d\n%s", code, stderr)
			}
			log := unpack(t, bundle)["agent.log"]
			for _, want := range test.want {
				if !strings.Contains(log, want) {
					t.Errorf("agent.log lacks %q: %s", want, log)
				}
			}
			if strings.Contains(log, "hunter22") || strings.Contains(stdout, "log is not in it") != test.told {
				t.Errorf("%s\n%s", stdout, log)
			}
		})
	}
}
