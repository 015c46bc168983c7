package main

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// errorKey is the key of what went wrong, and codeKey that of its class, as docs/LOGS.md has them.
const (
	errorKey = "err"
	codeKey  = "code"
)

// newLog returns a logger that writes lines in a format, text or json, at level and above. A line with an error carries the exit code that a command
// would end with because of it, as codeOf has it.
func newLog(to io.Writer, level slog.Leveler, format string, codeOf func(error) int) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: measured}
	if format == "text" {
		return slog.New(&classifying{slog.NewTextHandler(to, options), codeOf})
	}
	return slog.New(&classifying{slog.NewJSONHandler(to, options), codeOf})
}

// measured gives durations in seconds, as metrics and -o json do, and times in UTC.
func measured(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Round(time.Millisecond).Seconds())
	}
	if a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

// classifying adds the class of a line's error.
type classifying struct {
	slog.Handler

	codeOf func(error) int
}

// Handle implements slog.Handler.
func (h *classifying) Handle(ctx context.Context, r slog.Record) error {
	var code int
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == errorKey {
			code = h.codeOf(err)
		}
		return code == 0
	})
	if code > exitFailed { // which says nothing
		r = r.Clone()
		r.AddAttrs(slog.Int(codeKey, code))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *classifying) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &classifying{h.Handler.WithAttrs(attrs), h.codeOf}
}

// WithGroup implements slog.Handler.
func (h *classifying) WithGroup(name string) slog.Handler {
	return &classifying{h.Handler.WithGroup(name), h.codeOf}
}
