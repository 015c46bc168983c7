package main

import (
	"io"
	"regexp"
	"strings"
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
	return []string{"PGPASSWORD", "PGSSLPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
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
	}
	return &redactor{
		values: strings.NewReplacer(pairs...),
		forms: []form{
			// postgres://user:password@host; a password may hold anything but / and a space.
			{regexp.MustCompile(`(\w+://[^\s/@:]*):[^\s/]*@`), "$1:" + redacted + "@"},
			// Keywords: password=x, password = 'it''s', "password":"x".
			{regexp.MustCompile(`(?i)((?:ssl)?password["']?\s*[=:]\s*)('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|[^\s&"']+)`), "${1}" + redacted},
			{regexp.MustCompile(`(?i)((?:aws_)?(?:secret_access_key|session_token|secret_key)["']?\s*[=:]\s*["']?)[^\s&"']+`), "${1}" + redacted},
			// Pre-signed requests.
			{regexp.MustCompile(`(?i)(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s"']+`), "${1}" + redacted},
			{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b`), redacted},
		},
	}
}

func (r *redactor) redact(s string) string {
	s = r.values.Replace(s)
	for _, f := range r.forms {
		s = f.pattern.ReplaceAllString(s, f.replace)
	}
	return s
}

// redactingWriter redacts each piece that is written; callers write whole lines.
type redactingWriter struct {
	to       io.Writer
	redactor *redactor
}

// Write implements io.Writer.
func (w *redactingWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, w.redactor.redact(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
