package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestConfigNotify: who set targets finds out whether messages arrive there, without what is secret of a URL in any output.
func TestConfigNotify(t *testing.T) {
	secret := canary()
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.Header.Get("X-Pgark-Event"))
		if strings.HasSuffix(r.URL.Path, "/no") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	good, bad := "webhook+"+server.URL+"/"+secret, "webhook+"+server.URL+"/"+secret+"/no"
	for _, test := range []struct {
		to   string
		code int
		want string
	}{
		{good, exitOK, "took a test message"},
		{bad, exitFailed, "it answered 404 Not Found"},
		{"", exitUsage, "tells nobody"},
	} {
		for _, format := range []string{"text", "json"} {
			environment := []string{"PGARK_REPO=file:///r", "PGARK_NOTIFY_TO=" + test.to}
			stdout, stderr, code := call(t, environment, "config", "notify", "-o", format)
			if all := stdout + stderr; code != test.code || strings.Contains(all, secret) || format == "text" && !strings.Contains(all, test.want) {
				t.Errorf("%q in %s: exit %d\n%s", test.to, format, code, all)
			}
		}
	}
	if want := "POST test"; len(got) != 4 || got[0] != want {
		t.Errorf("the server got %v", got)
	}
}
