package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/telemetry"
)

// session is what every command needs: its context, where it prints and how.
type session struct {
	program *program
	cli     *cli.Context
	ctx     context.Context //nolint:containedctx // a session lasts exactly as long as its context
	args    []string
	cancel  context.CancelFunc

	stdout     io.Writer
	stderr     *screen
	json       bool // a document, not text: JSON, or YAML where yaml is set too
	yaml       bool
	nagios     bool
	quiet, yes bool
	colour     bool
	unicode    bool
	progress   string
	log        *slog.Logger
	level      slog.LevelVar // of log
	exporter   *telemetry.Exporter
	bandwidth  *agent.Bandwidth // from the configuration; nil before that is read
	// loaded is the configuration that was read last; nil before.
	loaded *config.Config
	// asked is what agents on this host said, by cluster; nil of one that said nothing.
	asked map[string]*status.Live
	// memories are what was told of each cluster; nil in a command that is no agent.
	memories *memories
	// asOf is the instant of --as-of; zero without it.
	asOf time.Time
}

// open reads the common flags of a command.
func (p *program) open(c *cli.Context, args []string) (*session, error) {
	s := &session{
		program: p, cli: c, ctx: c.Context, args: args, cancel: func() {},
		stdout: &redactingWriter{p.stdout, newRedactor(p.environment)},
		stderr: &screen{to: &redactingWriter{p.stderr, newRedactor(p.environment)}},
		quiet:  set(c, "quiet"), yes: set(c, "yes"),
		unicode: p.hasUnicode(), colour: p.hasColour(p.stdout) && !set(c, "no-color"),
	}
	switch format := text(c, "output"); format {
	case "text", "json", "yaml":
		s.json, s.yaml = format != "text", format == "yaml"
	case "nagios":
		if c.Command.Name != "check" {
			return nil, usagef("output nagios is for pgark check alone")
		}
		s.nagios = true
	default:
		return nil, usagef("output %q: want text, json or yaml", format)
	}
	if err := s.setProgress(text(c, "progress")); err != nil {
		return nil, err
	}
	if timeout := text(c, "timeout"); timeout != "" {
		d, err := config.ParseDuration(timeout)
		if err != nil || d <= 0 {
			return nil, usagef("timeout %q: want a duration like 30s or 10m", timeout)
		}
		s.ctx, s.cancel = context.WithTimeoutCause(c.Context, d, &timeoutError{d})
	}
	s.setLog(config.Log{Format: "auto", Level: slog.LevelWarn})
	return s, s.setAsOf()
}

func (s *session) close() {
	s.flush()
	s.cancel()
}

// timeoutError is the cause of a context that --timeout ended.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return "timeout: gave up after " + e.after.String() }

func (s *session) setProgress(v string) error {
	switch v {
	case "auto":
		v = "plain"
		if s.program.isTerminal(s.program.stderr) {
			v = "bar"
		}
	case "bar", "plain", "json", "none":
	default:
		return usagef("progress %q: want auto, bar, plain, json or none", v)
	}
	if s.quiet && v != "json" { // which is for a program
		v = "none"
	}
	s.progress = v
	return nil
}

// setLevel sets what is logged as the configuration says; --verbose and --quiet are stronger.
func (s *session) setLevel(l config.Log) {
	switch {
	case s.quiet:
		s.level.Set(slog.LevelError)
	case set(s.cli, "verbose"):
		s.level.Set(slog.LevelDebug)
	default:
		s.level.Set(l.Level)
	}
}

// setLog makes the session's logger as the configuration says.
func (s *session) setLog(l config.Log) {
	s.setLevel(l)
	format := l.Format
	if format == "auto" {
		format = "json"
		if s.program.isTerminal(s.program.stderr) {
			format = "text"
		}
	}
	s.log = newLog(s.stderr, &s.level, format, func(err error) int { return s.program.explain(err).Code })
}

// keepLog keeps the last of what is logged from now on, for who asks the agent.
func (s *session) keepLog() *logTail {
	tail := &logTail{}
	s.stderr.also(tail)
	return tail
}

// printf prints a line of the result.
func (s *session) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.stdout, format, args...)
}

// note prints a line for a person, on standard error, unless --quiet.
func (s *session) note(format string, args ...any) {
	if !s.quiet {
		_, _ = fmt.Fprintf(s.stderr, format+"\n", args...)
	}
}

// printJSON prints a result as one document: indented JSON, or YAML, which begins with --- because another may follow.
func (s *session) printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	document := b.Bytes()
	if s.yaml {
		var err error
		if document, err = config.FromJSON(document); err != nil {
			return err
		}
		document = append([]byte("---\n"), document...)
	}
	_, err := s.stdout.Write(document)
	return err
}

// ask puts a yes-or-no question. Without a terminal, or with PGARK_NO_INPUT, only --yes is a yes.
func (s *session) ask(question string) (bool, error) {
	if s.yes {
		return true, nil
	}
	if !s.program.isTerminal(s.program.stdin) || s.program.variable("PGARK_NO_INPUT") != "" {
		return false, &codeError{code: exitRefused, cause: fmt.Errorf("nobody to ask: %s", strings.ToLower(question)), fix: "give --yes"}
	}
	_, _ = fmt.Fprintf(s.stderr, "%s [y/N] ", question)
	word, err := s.readWord()
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(word)), err
}

// sameArchive is a command line for another look at what this command read, to be pasted.
func (s *session) sameArchive(command string, flags ...string) string {
	words := []string{"pgark", command}
	for _, flag := range []string{"config", "cluster", "repo"} {
		if value := innermost(s.cli, flag); value.IsSet(flag) && value.String(flag) != "" {
			words = append(words, "--"+flag, value.String(flag))
		}
	}
	for _, flag := range []string{"from", "system-id", asOfName} {
		if s.cli.IsSet(flag) {
			words = append(words, "--"+flag, s.cli.String(flag))
		}
	}
	words = append(words, flags...)
	if url := s.argument(); url != "" {
		words = append(words, url)
	}
	for i, word := range words {
		words[i] = quoteWord(word)
	}
	return strings.Join(words, " ")
}

// readWord reads a word from the terminal, or ends with the context. The reading goroutine cannot be
// stopped; it ends with the process, which ends next.
func (s *session) readWord() (string, error) {
	answer := make(chan string, 1)
	go func() {
		var word string
		_, _ = fmt.Fscanln(s.program.stdin, &word)
		answer <- word
	}()
	select {
	case <-s.ctx.Done():
		return "", context.Cause(s.ctx)
	case word := <-answer:
		return word, nil
	}
}

// variable returns a variable of the environment, or "".
func (p *program) variable(name string) string {
	for _, entry := range slices.Backward(p.environment) {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}

// isTerminal tells whether a stream is a terminal; PGARK_FORCE_TTY makes all of them one.
func (p *program) isTerminal(stream any) bool {
	if p.variable("PGARK_FORCE_TTY") != "" {
		return true
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// hasColour follows NO_COLOR (no-color.org) and CLICOLOR_FORCE.
func (p *program) hasColour(stream any) bool {
	switch {
	case p.variable("NO_COLOR") != "":
		return false
	case p.variable("CLICOLOR_FORCE") != "" && p.variable("CLICOLOR_FORCE") != "0":
		return true
	}
	return p.isTerminal(stream) && p.variable("TERM") != "dumb"
}

// hasUnicode tells whether the locale is UTF-8, by the order of POSIX.
func (p *program) hasUnicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(p.variable(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
