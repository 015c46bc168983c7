package config_test

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
)

// TestHTTP holds what may stand under http.
func TestHTTP(t *testing.T) {
	for _, test := range []struct{ environment, want string }{
		{"PGARK_HTTP_LISTEN=127.0.0.1:9868", ""},
		{"PGARK_HTTP_LISTEN=[::1]:80", ""},
		{"PGARK_HTTP_LISTEN=:9868", ""},
		{"PGARK_HTTP_LISTEN=9868", "want host:port"},
		{"PGARK_HTTP_LISTEN=127.0.0.1:0", "want a port"},
		{"PGARK_HTTP_LISTEN=127.0.0.1:http", "want a port"},
		{"PGARK_HTTP_WEB_CONFIG_FILE=web.yml", "want an absolute path"},
		{"PGARK_HTTP_WEB_CONFIG_FILE=/etc/pgark/web.yml", "needs http.listen beside it"},
		{"PGARK_HTTP_PPROF=true", "http.pprof: needs http.listen beside it"},
	} {
		_, err := config.Load(config.Sources{Repo: "file:///r", Environment: []string{test.environment}})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.environment, err, test.want)
		}
	}
}

// TestTelemetry: OpenTelemetry's variables decide unless that is off.
func TestTelemetry(t *testing.T) {
	for text, want := range map[string]string{"": config.ByEnvironment, "telemetry: { otlp: env }": config.ByEnvironment, "telemetry: { otlp: off }": config.Off} {
		c, err := config.Load(config.Sources{Repo: "file:///r", Text: text})
		if err != nil || c.Telemetry.OTLP != want {
			t.Errorf("%q: got %q, %v, want %q", text, c.Telemetry.OTLP, err, want)
		}
	}
	if _, err := config.Load(config.Sources{Repo: "file:///r", Environment: []string{"PGARK_TELEMETRY_OTLP=on"}}); err == nil {
		t.Error("on was taken")
	}
}
