package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/telemetry"
)

const (
	// flushTime is how long the end of a command waits for what is still to be exported, and hurriedTime the end of one that was interrupted.
	flushTime   = 2 * time.Second
	hurriedTime = 500 * time.Millisecond
)

// export begins to export what the process does, where the configuration lets OpenTelemetry's variables ask for it and they do. It is called once the
// configuration is read, and counts from then on.
func (s *session) export() {
	if s.exporter != nil || s.loaded == nil || s.loaded.Telemetry.OTLP == config.Off {
		return
	}
	s.exporter = telemetry.Start(s.ctx, telemetry.Options{
		Environment: s.program.environment, Version: agent.Version(), Redact: newRedactor(s.program.environment).redact, Form: measured,
		Class:  func(err error) string { return exitWord(s.program.explain(err).Code) },
		Logger: s.log,
	})
	if h := s.exporter.Handler(); h != nil {
		s.log = slog.New(both{s.log.Handler(), &classifying{h, func(err error) int { return s.program.explain(err).Code }}})
	}
	s.ctx = s.exporter.Into(s.ctx)
}

// trace is export for a command that is done once: its spans are below the one that TRACEPARENT names, if it does.
func (s *session) trace() {
	s.export()
	s.ctx = s.exporter.Join(s.ctx, s.program.environment)
}

// flush exports what is still held, for no longer than a person would wait.
func (s *session) flush() {
	if s.exporter == nil {
		return
	}
	patience := flushTime
	if s.program.interrupted() != nil {
		patience = hurriedTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), patience)
	defer cancel()
	s.exporter.Close(ctx)
}

// exitWord is the class of an error in a word, by the exit code that a command would end with because of it: error.type of a span that failed.
func exitWord(code int) string {
	return map[int]string{
		exitFailed: "failed", exitUsage: "usage", exitDegraded: "degraded", exitNotRecoverable: "not_recoverable", exitRefused: "refused",
		exitNoRepository: "no_repository", exitLocked: "locked", exitWrongKey: "wrong_key", exitDenied: "denied", exitStorage: "storage",
		exitPostgres: "postgres", exitCancelled: "cancelled",
	}[code]
}

// both gives lines of the log to two handlers. The first says which lines there are.
type both struct{ first, second slog.Handler }

// Enabled implements slog.Handler.
func (b both) Enabled(ctx context.Context, level slog.Level) bool { return b.first.Enabled(ctx, level) }

// Handle implements slog.Handler.
func (b both) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(b.first.Handle(ctx, r.Clone()), b.second.Handle(ctx, r))
}

// WithAttrs implements slog.Handler.
func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{b.first.WithAttrs(attrs), b.second.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (b both) WithGroup(name string) slog.Handler {
	return both{b.first.WithGroup(name), b.second.WithGroup(name)}
}
