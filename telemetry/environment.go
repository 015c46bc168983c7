package telemetry

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// wishes are what the environment asks for, by the variables of OpenTelemetry's specification
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and …/protocol/exporter/). A variable that is empty counts as
// not set, as it says.
type wishes struct {
	traces, logs bool
	// refused says what is asked for and is not in this program, a sentence each.
	refused []string
}

// variables are an environment in the form of os.Environ.
type variables []string

// first returns the first of these variables that is set, and its name.
func (v variables) first(names ...string) (name, value string) {
	for _, name := range names {
		for _, entry := range slices.Backward(v) {
			if is, value, _ := strings.Cut(entry, "="); is == name {
				if value = strings.TrimSpace(value); value != "" {
					return name, value
				}
				break
			}
		}
	}
	return "", ""
}

// wishesOf reads an environment. Without an endpoint and without the name of an exporter nothing is exported: the specification would have every
// program send to a collector on its host, which pgark does not do unasked.
func wishesOf(environment []string) wishes {
	v := variables(environment)
	var w wishes
	if _, disabled := v.first("OTEL_SDK_DISABLED"); strings.EqualFold(disabled, "true") {
		return w
	}
	w.traces = w.signal(v, "TRACES", "http/protobuf", "http/json")
	w.logs = w.signal(v, "LOGS", "http/protobuf")
	if name, list := v.first("OTEL_METRICS_EXPORTER"); slices.Contains(strings.Split(list, ","), otlp) {
		w.refuse("%s=%s: metrics are not exported by OTLP; /metrics has them for Prometheus, or for a collector that asks there", name, list)
	}
	return w
}

const otlp = "otlp"

// signal reports whether a signal is exported.
func (w *wishes) signal(v variables, signal string, protocols ...string) bool {
	endpointName, endpoint := v.first(endpoints(signal)...)
	name, exporters := v.first("OTEL_" + signal + "_EXPORTER")
	wanted := name == "" && endpoint != ""
	for one := range strings.SplitSeq(exporters, ",") {
		switch one = strings.TrimSpace(one); one {
		case "", "none":
		case otlp:
			wanted = true
		default:
			w.refuse("%s=%s: this program exports to %s alone, or to none", name, one, otlp)
		}
	}
	if !wanted {
		return false
	}
	if name, protocol := v.first("OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); name != "" && !slices.Contains(protocols, protocol) {
		w.refuse("%s=%s: this program speaks http/protobuf; collectors take it on port 4318", name, protocol)
		return false
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		w.refuse("%s is no URL like http://localhost:4318", endpointName) // which may hold a password
		return false
	}
	return true
}

// unnamed is where a signal goes for which no endpoint is named: to a collector on this host, in clear. The exporters by themselves would want TLS there,
// which the specification does not. Empty where an endpoint is named.
func unnamed(environment []string, signal string) string {
	if _, endpoint := variables(environment).first(endpoints(signal)...); endpoint != "" {
		return ""
	}
	return "http://localhost:4318/v1/" + strings.ToLower(signal)
}

// endpoints are the variables with the endpoint of a signal, the stronger one first.
func endpoints(signal string) []string {
	return []string{"OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
}

func (w *wishes) refuse(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.refused, text) {
		w.refused = append(w.refused, text)
	}
}
