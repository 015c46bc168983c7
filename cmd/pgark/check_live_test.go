package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
)

// TestAskLive holds what an engine that asks by `check --only live` takes for alive: a 503 is not, and neither is nobody.
func TestAskLive(t *testing.T) {
	answer := func(code int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text + "\n"))
		})
	}
	for _, test := range []struct {
		name    string
		handler http.Handler
		tls     bool
		file    string
		want    string
		fault   string
	}{
		{name: "alive", handler: answer(200, "ALIVE"), want: "ALIVE"},
		{name: "stuck", handler: answer(503, "STUCK the archiver's loop stands still"), fault: "STUCK"},
		{name: "TLS", handler: answer(200, "ALIVE"), tls: true, file: "web.yml", want: "ALIVE"},
		{name: "a password alone", handler: answer(401, "Unauthorized"), file: "web.yml", want: "ALIVE behind a password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(test.handler)
			if test.tls {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			got, err := askLive(t.Context(), config.HTTP{Listen: server.Listener.Addr().String(), WebConfigFile: test.file})
			if got != test.want || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got %q, %v; want %q, %q", got, err, test.want, test.fault)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		server := httptest.NewServer(nil)
		address := server.Listener.Addr().String()
		server.Close()
		if got, err := askLive(t.Context(), config.HTTP{Listen: address}); err == nil {
			t.Errorf("nobody listens, and got %q", got)
		}
	})
}
