package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracer begins spans.
type tracer struct {
	tracer trace.Tracer
	redact func(string) string
	class  func(error) string
}

type tracerKey struct{}

// On reports whether spans are begun below ctx.
func On(ctx context.Context) bool { return of(ctx) != nil }

func of(ctx context.Context) *tracer {
	t, _ := ctx.Value(tracerKey{}).(*tracer)
	return t
}

// Span is a piece of work on its way. A nil one takes everything and tells nobody. It is safe for concurrent use.
type Span struct {
	tracer *tracer
	span   trace.Span
}

// Begin begins a span below the one of ctx, and returns the context of what it is made of. Where nothing is exported it returns ctx and nil. Who begins a
// span ends it.
func Begin(ctx context.Context, name Name, attributes ...Attribute) (context.Context, *Span) {
	t := of(ctx)
	if t == nil {
		return ctx, nil
	}
	ctx, span := t.tracer.Start(ctx, string(name), trace.WithSpanKind(kindOf(name)))
	s := &Span{t, span}
	s.Set(attributes...)
	return ctx, s
}

// kindOf says that a span is a request to another program.
func kindOf(name Name) trace.SpanKind {
	if name == Put {
		return trace.SpanKindClient
	}
	return trace.SpanKindInternal
}

// Set adds attributes, without the secrets in their text.
func (s *Span) Set(attributes ...Attribute) {
	if s == nil || !s.span.IsRecording() {
		return
	}
	for _, a := range attributes {
		if a.Value.Type() == attribute.STRING {
			a = a.Key.String(s.tracer.redact(a.Value.AsString()))
		}
		s.span.SetAttributes(a)
	}
}

// Done adds a span below s that is over: it took so long and ended now, with err. It may come when s has ended.
func (s *Span) Done(ctx context.Context, name Name, took time.Duration, err error, attributes ...Attribute) {
	if s == nil {
		return
	}
	ctx = trace.ContextWithSpan(ctx, s.span)
	_, span := s.tracer.tracer.Start(ctx, string(name), trace.WithSpanKind(kindOf(name)), trace.WithTimestamp(time.Now().Add(-took)))
	below := &Span{s.tracer, span}
	below.Set(attributes...)
	below.End(err)
}

// End ends the span: well, or with err, whose class it has as ErrorType and whose words as its status.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil && s.span.IsRecording() {
		s.span.SetStatus(codes.Error, s.tracer.redact(err.Error()))
		if class := s.tracer.class(err); class != "" {
			s.span.SetAttributes(ErrorType.String(class))
		} else {
			s.span.SetAttributes(ErrorType.String(other))
		}
	}
	s.span.End()
}

// other is the type of an error that has no class, as semantic conventions call it.
const other = "_OTHER"
