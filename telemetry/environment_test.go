package telemetry

import "testing"

// TestUnnamedEndpoint: what is switched on without an endpoint goes to this host, as the specification has it.
func TestUnnamedEndpoint(t *testing.T) {
	for _, test := range []struct {
		environment []string
		signal      string
		want        string
	}{
		{[]string{"OTEL_TRACES_EXPORTER=otlp"}, "TRACES", "http://localhost:4318/v1/traces"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x:1"}, "LOGS", "http://localhost:4318/v1/logs"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x:1"}, "TRACES", ""},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:1"}, "LOGS", ""},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:1", "OTEL_EXPORTER_OTLP_ENDPOINT= "}, "LOGS", "http://localhost:4318/v1/logs"},
	} {
		if got := unnamed(test.environment, test.signal); got != test.want {
			t.Errorf("%v, %s: got %q, want %q", test.environment, test.signal, got, test.want)
		}
	}
}
