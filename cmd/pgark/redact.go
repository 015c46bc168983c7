package main

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const redacted = "***"

// redactor takes secrets out of text on its way out: by their form, and by their value where the
// environment holds it.
type redactor struct {
	values *strings.Replacer
	forms  []form
}

type form struct {
	pattern *regexp.Regexp
	replace string
}

// secretVariables hold values that must not be printed.
func secretVariables() []string {
	return []string{"PGPASSWORD", "PGSSLPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "PGARK_NOTIFY_SECRET"}
}

func newRedactor(environment []string) *redactor {
	var pairs []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		for _, secret := range secretVariables() {
			// A value of a few letters would black out ordinary words.
			if name == secret && len(value) >= 6 {
				pairs = append(pairs, value, redacted)
			}
		}
		for _, header := range headersOf(name, value) {
			if len(header) >= 6 {
				pairs = append(pairs, header, redacted)
			}
		}
	}
	return &redactor{
		values: strings.NewReplacer(pairs...),
		forms: []form{
			// postgres://user:password@host; a password may hold anything but / and a space. Where it holds those too the URL is wrong, and all up to the last @ goes.
			{regexp.MustCompile(`(postgres(?:ql)?://[^\s/@:]*):.*@`), "$1:" + redacted + "@"},
			{regexp.MustCompile(`(\w+://[^\s/@:]*):[^\s/]*@`), "$1:" + redacted + "@"},
			// Keywords: password=x, password = 'it''s', "password":"x"; or with a quote that is not closed.
			{regexp.MustCompile(`(?i)((?:ssl)?password["']?\s*[=:]\s*)('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|['"].*|[^\s&"']+)`), "${1}" + redacted},
			{regexp.MustCompile(`(?i)((?:aws_)?(?:secret_access_key|session_token|secret_key)["']?\s*[=:]\s*["']?)[^\s&"']+`), "${1}" + redacted},
			// What stands in a URL for what it does not take: ?token=x; & is \u0026 in JSON.
			{regexp.MustCompile(`(?i)((?:[?&]|\\u0026)[^=&\s"'\\]*(?:secret|token|passw|credential|signature)[^=&\s"'\\]*=)[^&\s"'\\]+`), "${1}" + redacted},
			// Pre-signed requests.
			{regexp.MustCompile(`(?i)(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s"']+`), "${1}" + redacted},
			{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b`), redacted},
		},
	}
}

// headersOf are the values in a variable with headers that spans are exported with: name=value, name=value, with %20 for what a header may not hold
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
func headersOf(name, value string) []string {
	if !strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || !strings.HasSuffix(name, "HEADERS") {
		return nil
	}
	var values []string
	for pair := range strings.SplitSeq(value, ",") {
		_, v, _ := strings.Cut(pair, "=")
		values = append(values, strings.TrimSpace(v))
		if plain, err := url.PathUnescape(v); err == nil {
			values = append(values, strings.TrimSpace(plain))
		}
	}
	return values
}

func (r *redactor) redact(s string) string {
	s = r.values.Replace(s)
	for _, f := range r.forms {
		s = f.pattern.ReplaceAllString(s, f.replace)
	}
	return s
}

// redactingWriter redacts each piece that is written, and keeps from the terminal what would steer it; callers write whole lines.
type redactingWriter struct {
	to       io.Writer
	redactor *redactor
}

// Write implements io.Writer.
func (w *redactingWriter) Write(p []byte) (int, error) {
	text := string(p)
	if !steers(text) {
		rest, cleared := strings.CutPrefix(text, clearLine)
		text = visible(w.redactor.redact(rest))
		if cleared {
			text = clearLine + text
		}
	}
	if _, err := io.WriteString(w.to, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sequences of our own that move the cursor or clear the screen (ECMA-48). They are written alone, so that none can come from a repository.
const (
	clearScreen = "\x1b[2J"
	cursorHome  = "\x1b[H"
	clearBelow  = "\x1b[J"
	clearRight  = "\x1b[K" // at the end of a line, which is harmless
)

func steers(text string) bool {
	return text == clearScreen || text == cursorHome || text == clearBelow
}

// harmless are line breaks, tabs, and the colours of paint.
var harmless = regexp.MustCompile(`^(?:[\n\t]|\x1b\[(?:[012]|3[1-6]|1;31)m|\x1b\[K\n)`)

// visible returns text with every character that steers a terminal, or turns the direction of what is read, as JSON escapes it: names and notes in a repository
// are whatever somebody wrote there.
func visible(text string) string {
	if !strings.ContainsFunc(text, unruly) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		if kept := harmless.FindString(text); kept != "" {
			b.WriteString(kept)
			text = text[len(kept):]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unruly(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		text = text[n:]
	}
	return b.String()
}

// unruly reports whether a character is a control character, one that changes the direction of text, or no character.
func unruly(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == utf8.RuneError
}
