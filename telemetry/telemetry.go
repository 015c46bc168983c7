// Package telemetry tells others what pgark does, and how long each part takes: spans and log records by OTLP over HTTP, where the standard variables
// of OpenTelemetry ask for it (https://opentelemetry.io/docs/specs/otel/).
//
// It alone knows OpenTelemetry. It knows no other room: who composes rooms makes spans of what they say of themselves. Off is the default, and costs a
// look into a context. Where it is on, nothing that it does holds up or ends what it tells of: queues are bounded, what does not fit is dropped, and
// each wait has an end.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// service is the name of the service where the variables give none, and that of the instrumentation.
const service = "pgark"

// Options say what is exported and how. Environment is needed for anything to be; the zero value of all else is valid.
type Options struct {
	// Environment is in the form of os.Environ, and decides whether anything is exported. It is to be that of the process: the exporters read
	// endpoints, headers, certificates, timeouts and samplers from there themselves.
	Environment []string
	// Version is that of the program.
	Version string
	// Redact takes secrets out of a text. It is applied to all text that leaves. nil takes out none.
	Redact func(string) string
	// Class names the class of an error in one word, for ErrorType; nil names none.
	Class func(error) string
	// Form is applied to each attribute of a line of the log, as slog.HandlerOptions.ReplaceAttr is; nil leaves them.
	Form func(groups []string, a slog.Attr) slog.Attr
	// Logger is told, now and then, that something could not be exported. It must not lead to Handler. nil drops it.
	Logger *slog.Logger
}

// Exporter exports what a process does. A nil one exports nothing. It is safe for concurrent use.
type Exporter struct {
	tracer  *tracer // nil: no spans
	handler slog.Handler
	stops   []func(context.Context) error
}

// Start returns what exports as the environment asks, or nil where it asks for nothing. What it asks for and this program cannot do is told the log, and is
// no error: no command and no agent does less because of it. Errors of exporting are those of the whole process, and go to the Logger of the last call.
func Start(ctx context.Context, o Options) *Exporter {
	o = o.withDefaults()
	w := wishesOf(o.Environment)
	for _, text := range w.refused {
		o.Logger.WarnContext(ctx, "OpenTelemetry is asked for what this program does not do", "err", o.Redact(text))
	}
	if !w.traces && !w.logs {
		return nil
	}
	f := &faults{logger: o.Logger, redact: o.Redact}
	otel.SetErrorHandler(f)
	otel.SetLogger(logr.FromSlogHandler(sdkLines{f}))
	e := &Exporter{}
	r, err := resource.New(ctx, resource.WithHost(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", o.Version)), resource.WithFromEnv())
	if err != nil {
		f.Handle(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err))
	}
	if w.traces {
		f.Handle(e.startTraces(ctx, o, r))
	}
	if w.logs {
		f.Handle(e.startLogs(ctx, o, r))
	}
	return e
}

func (o Options) withDefaults() Options {
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.Class == nil {
		o.Class = func(error) string { return "" }
	}
	if o.Form == nil {
		o.Form = func(_ []string, a slog.Attr) slog.Attr { return a }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// startTraces begins to export spans. The sampler and the sizes of queues and batches are the variables'; a full queue drops.
func (e *Exporter) startTraces(ctx context.Context, o Options, r *resource.Resource) error {
	var where []otlptracehttp.Option
	if url := unnamed(o.Environment, "TRACES"); url != "" {
		where = append(where, otlptracehttp.WithEndpointURL(url))
	}
	to, err := otlptracehttp.New(ctx, where...)
	if err != nil {
		return fmt.Errorf("export spans: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(to), sdktrace.WithResource(r))
	e.stops = append(e.stops, provider.Shutdown)
	e.tracer = &tracer{provider.Tracer(service), o.Redact, o.Class}
	return nil
}

// startLogs begins to export lines of the log. A full queue drops the oldest.
func (e *Exporter) startLogs(ctx context.Context, o Options, r *resource.Resource) error {
	var where []otlploghttp.Option
	if url := unnamed(o.Environment, "LOGS"); url != "" {
		where = append(where, otlploghttp.WithEndpointURL(url))
	}
	to, err := otlploghttp.New(ctx, where...)
	if err != nil {
		return fmt.Errorf("export lines of the log: %w", err)
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(to)), sdklog.WithResource(r))
	e.stops = append(e.stops, provider.Shutdown)
	e.handler = &lines{otelslog.NewHandler(service, otelslog.WithLoggerProvider(provider)), o.Redact, o.Form}
	return nil
}

// Into returns a context below which Begin begins spans. A nil Exporter, and one without spans, returns ctx.
func (e *Exporter) Into(ctx context.Context) context.Context {
	if e == nil || e.tracer == nil {
		return ctx
	}
	return context.WithValue(ctx, tracerKey{}, e.tracer)
}

// Join is Into with the span above them that TRACEPARENT and TRACESTATE name (https://www.w3.org/TR/trace-context/), in the environment as
// https://opentelemetry.io/docs/specs/otel/context/env-carriers/ has them.
func (e *Exporter) Join(ctx context.Context, environment []string) context.Context {
	if e == nil || e.tracer == nil {
		return ctx
	}
	_, parent := variables(environment).first("TRACEPARENT")
	_, state := variables(environment).first("TRACESTATE")
	return e.Into(propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state}))
}

// Handler exports lines of the log, with the keys that they have; nil where none are exported.
func (e *Exporter) Handler() slog.Handler {
	if e == nil {
		return nil
	}
	return e.handler
}

// Close exports what is still held, and returns when that is done or ctx has ended: what is not exported then is lost.
func (e *Exporter) Close(ctx context.Context) {
	if e == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ends := make(chan error, len(e.stops))
		for _, stop := range e.stops {
			go func() { ends <- stop(ctx) }()
		}
		for range e.stops {
			if err := <-ends; err != nil {
				otel.Handle(err)
			}
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
