package config

// Telemetry says what is told to OpenTelemetry.
type Telemetry struct {
	// OTLP is ByEnvironment or Off.
	OTLP string
}

// ByEnvironment has OpenTelemetry's own variables decide: without them nothing is exported.
const ByEnvironment = "env"

func defaultTelemetry() Telemetry { return Telemetry{OTLP: ByEnvironment} }

func telemetryKeys() []Key {
	return []Key{{
		Path: "telemetry.otlp", Env: "PGARK_TELEMETRY_OTLP",
		Doc: "env (default): spans and lines of the log are exported where OpenTelemetry's variables, OTEL_*, ask for it ([TELEMETRY.md](TELEMETRY.md)); or off, whatever they say",
		set: func(c *Config, _ *Cluster, v string) error { return oneOf(&c.Telemetry.OTLP, v, ByEnvironment, Off) },
		get: func(c Config, _ Cluster) string { return c.Telemetry.OTLP },
	}}
}
