package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// progress is how far a job is, in bytes. A total of 0 is not known.
type progress struct {
	phase       string
	done, total int64
	// text replaces the numbers where they say little.
	text string
}

// meter shows progress on standard error: a bar that is redrawn, a line now and then, JSON lines, or
// nothing. It is safe for concurrent use.
type meter struct {
	session *session
	mu      sync.Mutex
	phase   string
	began   time.Time // of the phase
	shown   time.Time
	drawn   bool // a bar stands on the line
}

// Pauses between two lines, and between two drawings of a bar.
const (
	plainEvery = 10 * time.Second
	barEvery   = 200 * time.Millisecond
)

func (s *session) newMeter() *meter { return &meter{session: s} }

// show shows p, if enough time has passed since it last showed something.
func (m *meter) show(p progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.session.program.now()
	fresh := p.phase != m.phase
	if fresh {
		m.clear()
		m.phase, m.began, m.shown = p.phase, now, time.Time{}
	}
	every := plainEvery
	if m.session.progress == "bar" {
		every = barEvery
	}
	if now.Sub(m.shown) < every {
		return
	}
	m.shown = now
	switch m.session.progress {
	case "bar":
		_, _ = fmt.Fprintf(m.session.stderr, "\r\x1b[K  %s", m.line(p, now))
		m.drawn = true
	case "plain":
		_, _ = fmt.Fprintf(m.session.stderr, "%s\n", strings.TrimRight(m.line(p, now), " "))
	case "json":
		b, err := json.Marshal(map[string]any{"time": now.UTC(), "phase": p.phase, "done": p.done, "total": p.total, "text": p.text})
		if err == nil {
			_, _ = m.session.stderr.Write(append(b, '\n'))
		}
	}
}

// end removes a bar from the line.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
}

func (m *meter) clear() {
	if m.drawn {
		_, _ = fmt.Fprint(m.session.stderr, "\r\x1b[K")
		m.drawn = false
	}
}

const barWidth = 28

// line is one line of progress without its end.
func (m *meter) line(p progress, now time.Time) string {
	name := fmt.Sprintf("%-8s", p.phase)
	if p.text != "" {
		return name + p.text
	}
	took := now.Sub(m.began)
	rate := ""
	if took > time.Second && p.done > 0 {
		rate = "   " + size(int64(float64(p.done)/took.Seconds())) + "/s"
	}
	if p.total <= 0 {
		if p.done == 0 {
			return strings.TrimRight(name, " ")
		}
		return name + size(p.done) + rate
	}
	part := min(1, float64(p.done)/float64(p.total))
	bar := ""
	if m.session.progress == "bar" {
		full, empty := "█", "░"
		if !m.session.unicode {
			full, empty = "#", "."
		}
		n := int(part * barWidth)
		bar = strings.Repeat(full, n) + strings.Repeat(empty, barWidth-n) + "  "
	}
	eta := ""
	if rate != "" && part > 0 && part < 1 {
		eta = "   eta " + elapsed(time.Duration(float64(took)*(1-part)/part))
	}
	return fmt.Sprintf("%s%s%3.0f %%   %s of %s%s%s", name, bar, 100*part, size(p.done), size(p.total), rate, eta)
}
