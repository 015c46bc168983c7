package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// lines has lines of the log exported as they are printed: the same keys, the same form, no secrets.
type lines struct {
	slog.Handler

	redact func(string) string
	form   func([]string, slog.Attr) slog.Attr
}

// Handle implements slog.Handler.
func (h *lines) Handle(ctx context.Context, r slog.Record) error {
	line := slog.NewRecord(r.Time, r.Level, h.redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		line.AddAttrs(h.printed(a))
		return true
	})
	return h.Handler.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	printed := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		printed[i] = h.printed(a)
	}
	return &lines{h.Handler.WithAttrs(printed), h.redact, h.form}
}

// WithGroup implements slog.Handler.
func (h *lines) WithGroup(name string) slog.Handler {
	return &lines{h.Handler.WithGroup(name), h.redact, h.form}
}

// printed is an attribute as the log prints it: numbers and truth as they are, all else as text without secrets.
func (h *lines) printed(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	a = h.form(nil, a)
	switch a.Value.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64:
	case slog.KindGroup:
		var group []slog.Attr
		for _, one := range a.Value.Group() {
			group = append(group, h.printed(one))
		}
		a.Value = slog.GroupValue(group...)
	case slog.KindTime:
		a.Value = slog.StringValue(a.Value.Time().Format(time.RFC3339Nano))
	case slog.KindString, slog.KindAny, slog.KindDuration, slog.KindLogValuer:
		a.Value = slog.StringValue(h.redact(fmt.Sprint(a.Value.Any())))
	}
	return a
}
