// Package otlptest is a receiver of OTLP over HTTP, for tests: it takes spans and lines of the log as a collector does, and tells what came.
package otlptest

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pgark/pgark/telemetry"
)

// Span is one that came.
type Span struct {
	Name       string
	ID, Parent string // Parent is empty for one that begins a trace
	Trace      string
	Took       time.Duration
	Attributes map[string]string
	Failed     bool
	Status     string
	Resource   map[string]string
}

// Line is a line of the log that came.
type Line struct {
	Text, Severity string
	Attributes     map[string]string
	Trace          string
}

// Receiver takes what is exported. Its methods are safe for concurrent use.
type Receiver struct {
	// URL is for OTEL_EXPORTER_OTLP_ENDPOINT.
	URL string

	mu      sync.Mutex
	spans   []Span
	lines   []Line
	raw     [][]byte
	headers []http.Header
	hangs   chan struct{} // nil: it answers
	asked   int
}

// NewReceiver starts one that stops with the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.await(request.Context())
		if err := r.take(request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Hang has it answer nothing until the function that it returns is called, at the latest when the test ends.
func (r *Receiver) Hang(t testing.TB) (release func()) {
	t.Helper()
	hangs := make(chan struct{})
	r.mu.Lock()
	r.hangs = hangs
	r.mu.Unlock()
	release = sync.OnceFunc(func() { close(hangs) })
	t.Cleanup(release) // before the server is closed, which waits for its answers
	return release
}

// await returns when it does not hang, or its client is gone.
func (r *Receiver) await(ctx context.Context) {
	r.mu.Lock()
	r.asked++
	hangs := r.hangs
	r.mu.Unlock()
	if hangs == nil {
		return
	}
	select {
	case <-hangs:
	case <-ctx.Done():
	}
}

// Asked is how many requests came, those among them that are not answered.
func (r *Receiver) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *Receiver) take(request *http.Request) error {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = unpacked
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.headers = append(r.raw, raw), append(r.headers, request.Header.Clone())
	switch request.URL.Path {
	case "/v1/traces":
		var got coltrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(raw, &got); err != nil {
			return err
		}
		for _, of := range got.GetResourceSpans() {
			for _, scope := range of.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					r.spans = append(r.spans, spanOf(span, texts(of.GetResource().GetAttributes())))
				}
			}
		}
	case "/v1/logs":
		var got collogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(raw, &got); err != nil {
			return err
		}
		for _, of := range got.GetResourceLogs() {
			for _, scope := range of.GetScopeLogs() {
				for _, line := range scope.GetLogRecords() {
					r.lines = append(r.lines, lineOf(line))
				}
			}
		}
	default:
		return fmt.Errorf("nothing is taken at %s", request.URL.Path)
	}
	return nil
}

func spanOf(s *trace.Span, resource map[string]string) Span {
	return Span{
		Name: s.GetName(), ID: string(s.GetSpanId()), Parent: string(s.GetParentSpanId()), Trace: fmt.Sprintf("%x", s.GetTraceId()),
		Took: time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()), Attributes: texts(s.GetAttributes()),
		Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Status: s.GetStatus().GetMessage(), Resource: resource,
	}
}

func lineOf(l *logs.LogRecord) Line {
	return Line{
		Text: text(l.GetBody()), Severity: l.GetSeverityText(), Attributes: texts(l.GetAttributes()), Trace: fmt.Sprintf("%x", l.GetTraceId()),
	}
}

func texts(list []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, one := range list {
		all[one.GetKey()] = text(one.GetValue())
	}
	return all
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	}
	return fmt.Sprint(v)
}

// Spans are those that came, in their order.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Of is a receiver with what came of one trace, in hexadecimal digits.
func (r *Receiver) Of(trace string) *Receiver {
	return &Receiver{spans: slices.DeleteFunc(r.Spans(), func(s Span) bool { return s.Trace != trace })}
}

// Named are the spans of one name.
func (r *Receiver) Named(name telemetry.Name) []Span {
	return slices.DeleteFunc(r.Spans(), func(s Span) bool { return s.Name != string(name) })
}

// Below are the names of the spans right below one, in the order of their end.
func (r *Receiver) Below(above Span) []string {
	var names []string
	for _, s := range r.Spans() {
		if s.Parent == above.ID && s.Trace == above.Trace {
			names = append(names, s.Name)
		}
	}
	return names
}

// Lines are those of the log that came.
func (r *Receiver) Lines() []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// Raw is all that came, as it came.
func (r *Receiver) Raw() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.raw...)
}

// Headers are those of each request.
func (r *Receiver) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.headers)
}

// Strays are the spans and attributes that came and are in no list: docs/TELEMETRY.md would not have them.
func (r *Receiver) Strays() []string {
	known := map[string]telemetry.Kind{}
	for _, k := range telemetry.Spans() {
		known[string(k.Name)] = k
	}
	var strays []string
	spans := r.Spans()
	for _, s := range spans {
		k, ok := known[s.Name]
		if !ok {
			strays = append(strays, "span "+s.Name)
		}
		for key := range s.Attributes {
			if key != string(telemetry.ErrorType) && !slices.Contains(k.Has, telemetry.Key(key)) {
				strays = append(strays, "attribute "+key+" of "+s.Name)
			}
		}
		above := slices.IndexFunc(spans, func(a Span) bool { return a.ID == s.Parent && a.Trace == s.Trace })
		if above >= 0 && spans[above].Name != string(k.Parent) && k.Parent != "" {
			strays = append(strays, s.Name+" below "+spans[above].Name)
		}
	}
	return strays
}
