package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// faultEvery is the least time between two lines about what could not be exported.
	faultEvery = 5 * time.Minute
	// mostSaid is how much of an error is told, in bytes: a collector may answer with a whole page.
	mostSaid = 500
)

// faults tells the log what goes wrong with exporting: the first at once, then one in a while. It is the error handler of OpenTelemetry.
type faults struct {
	logger *slog.Logger
	redact func(string) string

	mu   sync.Mutex
	seen int
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (f *faults) Handle(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if f.seen > 1 && time.Since(f.last) < faultEvery {
		return
	}
	f.last = time.Now()
	text := f.redact(err.Error())
	if len(text) > mostSaid {
		text = text[:mostSaid] + "…"
	}
	f.logger.Warn("spans or lines of the log could not be exported; nothing else is affected", "err", text, "attempt", f.seen)
}

// sdkLines takes what OpenTelemetry's own code logs: errors and warnings of its settings, and what it dropped. What it tells beside its words and the error is
// left out, because it tells the text that it could not read: a header, which may be a password.
type sdkLines struct{ faults *faults }

// Enabled implements slog.Handler. A warning is one level below slog.LevelInfo there (logr.FromSlogHandler, and V(1) in
// go.opentelemetry.io/otel/internal/global).
func (l sdkLines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo-1 }

// Handle implements slog.Handler.
func (l sdkLines) Handle(_ context.Context, r slog.Record) error {
	err := error(lineError(r.Message))
	r.Attrs(func(a slog.Attr) bool {
		if cause, ok := a.Value.Any().(error); ok && a.Key == "err" {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return true
	})
	l.faults.Handle(err)
	return nil
}

// WithAttrs implements slog.Handler.
func (l sdkLines) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l sdkLines) WithGroup(string) slog.Handler { return l }

// lineError is a line of OpenTelemetry's own code.
type lineError string

func (e lineError) Error() string { return "OpenTelemetry: " + string(e) }
