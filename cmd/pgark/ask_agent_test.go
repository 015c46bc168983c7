package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/file"
)

// TestSince: of a server that is away, and of a repository that refuses, an error tells since when, as the agent on this host knows it, how often it tried, and
// what is durable; in text and in JSON. An agent that says nothing, and one that has nothing to do with what was asked, change nothing.
func TestSince(t *testing.T) {
	const trouble = `{"cluster":"main","server_away":{"since":"2026-11-20T10:36:55Z","tries":251,"error":"x"},"last_durable_commit":"2026-11-20T10:36:54.871Z",` +
		`"repositories":[{"name":"primary","refusing":{"since":"2026-11-20T10:40:07Z","tries":1}}],"jobs":[],"ended_jobs":[]}`
	const since = "  since   2026-11-20 10:36:55Z (4m 12s ago, 251 tries); last durable commit 2026-11-20 10:36:54.871Z\n"
	answer := func(code int, text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/live" || r.URL.Query().Get("cluster") != "main" {
				t.Errorf("asked for %s", r.URL)
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	dir := t.TempDir()
	for _, name := range []string{"repo", "other"} {
		store, err := file.Open(filepath.Join(dir, name))
		if err == nil {
			_, err = repository.Create(t.Context(), store)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = store.Close()
	}
	configured := func(listen string) string {
		name := filepath.Join(dir, "pgark.yml")
		text := "http: { listen: \"" + listen + "\" }\nclusters: { main: { postgres: \"host=" + dir + " user=ark\", repo: \"file://" + dir + "/repo\" } }\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	backup := []string{"backup", "-c"}
	known := configured(answer(200, trouble))
	stdout, stderr, code := call(t, nil, append(backup, known)...)
	if code != exitPostgres || !strings.Contains(stderr, since) {
		t.Errorf("exit %d, want %q\n%s%s", code, since, stdout, stderr)
	}
	if _, stderr, _ = call(t, nil, append([]string{"-o", "json"}, append(backup, known)...)...); !strings.Contains(stderr, `"since":"2026-11-20 10:36:55Z (`) {
		t.Errorf("in JSON: %s", stderr)
	}
	if stdout, _, _ = call(t, nil, "check", "--only", "postgres", "-c", known); !strings.Contains(stdout, "            since  2026-11-20 10:36:55Z (4m 12s ago, 251 tries)") {
		t.Errorf("check: %s", stdout)
	}
	if _, stderr, _ = call(t, nil, append(backup, known, "file://"+dir+"/other")...); strings.Contains(stderr, "since") {
		t.Errorf("another repository: %s", stderr)
	}
	for name, listen := range map[string]string{"closed": answer(403, "the page is closed"), "well": answer(200, `{"cluster":"main","repositories":[]}`), "not JSON": answer(200, "<html>"), "nobody": "127.0.0.1:1"} {
		if _, stderr, code := call(t, nil, append(backup, configured(listen))...); code != exitPostgres || strings.Contains(stderr, "since") {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
	}
}
