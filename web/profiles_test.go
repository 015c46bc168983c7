package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/web"
)

// TestProfiles asks for profiles as `go tool pprof` does, from a server that cuts an answer off before a profile is made.
func TestProfiles(t *testing.T) {
	server := httptest.NewUnstartedServer(web.Profiles())
	server.Config.WriteTimeout = 500 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	for path, want := range map[string]int{
		"":                       http.StatusOK,
		"goroutine?debug=1":      http.StatusOK,
		"heap":                   http.StatusOK,
		"profile?seconds=1":      http.StatusOK,
		"trace?seconds=0.01":     http.StatusOK,
		"cmdline":                http.StatusNotFound,
		"nothing":                http.StatusNotFound,
		"profile?seconds=100000": http.StatusBadRequest,
		"profile?seconds=NaN":    http.StatusBadRequest,
		"profile?seconds=-1":     http.StatusBadRequest,
		"trace?seconds=x":        http.StatusBadRequest,
	} {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+web.ProfilesPath+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Errorf("cut off: %v", err)
			}
			if answer.StatusCode != want {
				t.Errorf("got %d, want %d: %.200q", answer.StatusCode, want, body)
			}
		})
	}
}
