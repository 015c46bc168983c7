package main

import (
	"fmt"
	"strings"

	"github.com/pgark/pgark/agent"
)

// Exit codes of the Monitoring Plugins Development Guidelines (https://www.monitoring-plugins.org/doc/guidelines.html), which check
// keeps to with -o nagios.
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// nagiosLine is the one line that a monitor reads: what is wrong first, then the performance data.
func (r *findings) nagiosLine() (line string, code int) {
	word, wanted := "OK", agent.Good
	switch {
	case r.errors > 0:
		word, wanted, code = "CRITICAL", agent.Bad, nagiosCritical
	case r.warnings > 0:
		word, wanted, code = "WARNING", agent.Warning, nagiosWarning
	}
	text := count(len(r.all), "finding") + ", all right"
	for _, f := range r.all {
		if f.Verdict == wanted && code != nagiosOK {
			text = f.Section + ": " + f.Text
			break
		}
	}
	data := []string{fmt.Sprintf("errors=%d;;0", r.errors), fmt.Sprintf("warnings=%d;0", r.warnings)}
	for _, f := range r.all {
		if f.Durable > 0 {
			data = append(data, fmt.Sprintf("'durable_%s'=%.3fs;;;0", strings.ReplaceAll(f.Repo, "'", ""), f.Durable.Seconds()))
		}
	}
	return fmt.Sprintf("PGARK %s - %s: %s | %s", word, r.cluster, nagiosText(text), strings.Join(data, " ")), code
}

// nagiosText makes one line of a text, without the sign that begins the performance data.
func nagiosText(text string) string {
	return strings.NewReplacer("\n", "; ", "|", "/").Replace(text)
}

func (r *findings) endForNagios() error {
	line, code := r.nagiosLine()
	r.session.printf("%s\n", line)
	if code != nagiosOK {
		return &codeError{code: code}
	}
	return nil
}

// reportUnknown prints why a check for a monitor could not be made, and returns its code.
func (p *program) reportUnknown(f failure) int {
	text := f.Message
	for _, fault := range f.Faults {
		first, _, _ := strings.Cut(fault, "\n")
		text += "; " + first
	}
	w := &redactingWriter{p.stdout, newRedactor(p.environment)}
	_, _ = fmt.Fprintf(w, "PGARK UNKNOWN - %s\n", nagiosText(text))
	return nagiosUnknown
}
