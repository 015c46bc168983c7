package health_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/health"
)

// TestHandler holds the answers in HTTP: what checks of traffic managers, which know nothing but a status and some bytes, are told.
func TestHandler(t *testing.T) {
	one := health.Handler(map[string]health.Source{"main": func() health.Facts { return good(time.Now()) }})
	bad := health.Handler(map[string]health.Source{"main": func() health.Facts { return health.Facts{} }})
	two := health.Handler(map[string]health.Source{
		"main": func() health.Facts { return good(time.Now()) }, "other": func() health.Facts { return health.Facts{} },
	})
	tests := []struct {
		name         string
		of           http.Handler
		method, path string
		code         int
		text         string
	}{
		{"primary", one, "GET", "/primary", 200, "PRIMARY timeline=2 "},
		{"not", bad, "GET", "/primary", 503, "UNREACHABLE "},
		{"rpo", one, "GET", "/rpo", 200, "PROTECTED rpo="},
		{"rpo missed", one, "GET", "/rpo?max=500ms", 503, "AT RISK rpo="},
		{"ready", one, "GET", "/readyz", 200, "READY "},
		{"alive, whatever is away", bad, "GET", "/healthz", 200, "ALIVE\n"},
		{"head", one, "HEAD", "/primary", 200, ""},
		{"head, not", bad, "HEAD", "/primary", 503, ""},
		{"named", one, "GET", "/primary?cluster=main", 200, "PRIMARY "},

		{"post", one, "POST", "/primary", 405, "ask with"},
		{"no number", one, "GET", "/rpo?max=30", 400, "max: want a time"},
		{"none", one, "GET", "/rpo?max=", 400, "max: want a time"},
		{"negative", one, "GET", "/rpo?max=-1s", 400, "max: want a time"},
		{"zero", one, "GET", "/rpo?max=0s", 400, "max: want a time"},
		{"misspelt", one, "GET", "/rpo?maximum=1s", 400, "unknown parameter; known here: max, cluster"},
		{"of another path", one, "GET", "/primary?max=1s", 400, "unknown parameter; known here: cluster"},
		{"twice", one, "GET", "/rpo?max=1s&max=1h", 400, "a parameter is given twice"},
		{"semicolon", one, "GET", "/rpo?max=1s;cluster=main", 400, "the query cannot be read"},
		{"no such cluster", one, "GET", "/primary?cluster=x", 400, "no such cluster; cluster= main"},
		{"no such path", one, "GET", "/primary/", 404, "not found; there are /healthz /primary /readyz /rpo /standby"},
		{"the root", one, "GET", "/", 404, "not found"},
		{"no redirect, which some checks take for good", one, "GET", "//primary", 404, "not found"},
		{"nor this", one, "GET", "/x/../primary", 404, "not found"},

		{"several, one named", two, "GET", "/primary?cluster=other", 503, "UNREACHABLE "},
		{"several, none named", two, "GET", "/primary", 400, "say which cluster: cluster= main, other"},
		{"several, rpo", two, "GET", "/rpo?max=1m", 400, "say which cluster"},
		{"several, the worst", two, "GET", "/readyz", 503, "WAITING no WAL comes from the server cluster=other"},
		{"several, alive", two, "GET", "/healthz", 200, "ALIVE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.of)
			defer server.Close()
			request, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.code || !strings.HasPrefix(string(body), test.text) || test.method == http.MethodHead && len(body) > 0 {
				t.Errorf("got %d %q, want %d %q", response.StatusCode, body, test.code, test.text)
			}
			if got := response.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: got %q", got)
			}
			if got := response.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type: got %q", got)
			}
			if n := strings.Count(string(body), "\n"); n > 1 || len(body) > 200 {
				t.Errorf("more than a short line: %q", body)
			}
		})
	}
}

// TestHandlerIsBounded: facts that cannot be had, because a lock is held for good, are a bad answer, and not none.
func TestHandlerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		h := health.Handler(map[string]health.Source{"main": func() health.Facts { <-free; return good(time.Now()) }})
		got := httptest.NewRecorder()
		h.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
		if got.Code != http.StatusServiceUnavailable || !strings.HasPrefix(got.Body.String(), "STUCK") || got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %q %v", got.Code, got.Body, got.Header())
		}
		close(free)
	})
}
