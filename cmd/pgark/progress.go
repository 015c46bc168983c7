package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress is how far a job is, in bytes. A total of 0 is not known.
type progress struct {
	phase       string
	done, total int64
	// text replaces the numbers where they say little, place only the sizes.
	text, place string
	over        bool // the phase came to its end
}

// meter shows progress on standard error: a bar that is redrawn, a line now and then, JSON lines, or
// nothing. A phase begins with the first show of its name and ends, at its end, with that of another
// or with finish. It is safe for concurrent use.
type meter struct {
	session *session
	every   time.Duration
	stop    chan struct{}
	stopped sync.WaitGroup

	mu    sync.Mutex
	last  progress
	began time.Time       // of the phase
	moved time.Time       // when it last came on
	past  map[string]bool // phases that are over
	ended bool
}

// screen is standard error with a bar that may stand on its last line. What is written otherwise, such
// as by the log, replaces the bar. It is safe for concurrent use.
type screen struct {
	mu  sync.Mutex
	to  io.Writer
	bar bool
}

// clearLine takes the cursor back to the first column and removes what the line holds.
const clearLine = "\r\x1b[K"

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove()
	return s.to.Write(p)
}

// also has what is written from now on go to w too, without secrets.
func (s *screen) also(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to, ok := s.to.(*redactingWriter); ok {
		s.to = &redactingWriter{io.MultiWriter(w, to.to), to.redactor}
	}
}

// draw replaces the bar.
func (s *screen) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar = true
	_, _ = io.WriteString(s.to, clearLine+line)
}

// clear removes the bar.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove()
}

func (s *screen) remove() {
	if s.bar {
		_, _ = io.WriteString(s.to, clearLine)
		s.bar = false
	}
}

// Pauses between two lines, and between two drawings of a bar.
const (
	plainEvery = 10 * time.Second
	barEvery   = 200 * time.Millisecond
)

// newMeter begins to show progress. The caller ends it.
func (s *session) newMeter() *meter {
	m := &meter{session: s, every: plainEvery, stop: make(chan struct{}), past: map[string]bool{}}
	if s.progress == "bar" {
		m.every = barEvery
	}
	m.stopped.Go(m.redraw)
	return m
}

// redraw shows how far the phase is again and again, also while nothing moves.
func (m *meter) redraw() {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			m.mu.Lock()
			if m.last.phase != "" && !m.ended {
				m.draw()
			}
			m.mu.Unlock()
		}
	}
}

// show notes how far the job is. Goroutines may come late: what lies behind what was said already
// does not count.
func (m *meter) show(p progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended || m.past[p.phase]:
		return
	case p.phase != m.last.phase:
		m.close()
		m.last, m.began = p, m.session.program.now()
		m.moved = m.began
		if p.total <= 0 || p.done < p.total {
			m.draw()
		}
	case p.done >= m.last.done:
		if p.done > m.last.done {
			m.moved = m.session.program.now()
		}
		m.last = p
	}
}

// finish ends the phase, at its end.
func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close()
}

func (m *meter) close() {
	if m.last.phase == "" {
		return
	}
	if p := &m.last; p.text == "" && (p.total > 0 || p.done > 0) {
		p.done, p.over = max(p.done, p.total), true
		m.draw()
	} else {
		m.session.stderr.clear()
	}
	m.past[m.last.phase] = true
	m.last = progress{}
}

// end stops showing. A bar that has not come to its end is removed from the line.
func (m *meter) end() {
	m.mu.Lock()
	if !m.ended {
		m.ended = true
		close(m.stop)
		m.session.stderr.clear()
	}
	m.mu.Unlock()
	m.stopped.Wait()
}

// draw shows the phase; the line of one that is over stays.
func (m *meter) draw() {
	now := m.session.program.now()
	p, v := m.last, m.last.pace(now.Sub(m.began), now.Sub(m.moved))
	switch m.session.progress {
	case "bar":
		line := "  " + m.line(p, v)
		if p.over {
			_, _ = fmt.Fprintln(m.session.stderr, line)
			return
		}
		m.session.stderr.draw(line)
	case "plain":
		_, _ = fmt.Fprintf(m.session.stderr, "%s\n", m.line(p, v))
	case "json":
		document := map[string]any{
			"time": now.UTC(), "phase": p.phase, "done": p.done, "total": p.total, "text": p.text + p.place, "ended": p.over,
		}
		maps.Copy(document, v.json())
		b, err := json.Marshal(document)
		if err == nil {
			_, _ = m.session.stderr.Write(append(b, '\n'))
		}
	}
}

// pace is what was measured in a phase so far. 0 is not known.
type pace struct {
	took time.Duration
	rate float64       // bytes a second
	left time.Duration // at that rate
	idle time.Duration // since it last came on; then there is no telling what is left
}

const (
	// paceAfter is how long a phase runs before its rate means something.
	paceAfter = time.Second
	// idleAfter is how long nothing comes before that is said.
	idleAfter = 10 * time.Second
)

func (p progress) pace(took, idle time.Duration) pace {
	v := pace{took: took}
	if took >= paceAfter && p.done > 0 {
		v.rate = float64(p.done) / took.Seconds()
	}
	switch {
	case p.over || p.total <= 0:
	case idle >= idleAfter:
		v.idle = idle
	case v.rate > 0 && p.done < p.total:
		v.left = time.Duration(float64(p.total-p.done) / v.rate * float64(time.Second))
	}
	return v
}

func (v pace) json() map[string]any {
	document := map[string]any{}
	if v.rate > 0 {
		document["bytes_per_second"] = int64(v.rate)
	}
	if v.left > 0 {
		document["eta_seconds"] = v.left.Seconds()
	}
	if v.idle > 0 {
		document["idle_seconds"] = v.idle.Seconds()
	}
	return document
}

const barWidth = 28

// line is one line of progress without its end. On a terminal it is no wider than that: a line that
// wraps could not be drawn over.
func (m *meter) line(p progress, v pace) string {
	name := fmt.Sprintf("%-8s", p.phase)
	if p.text != "" {
		return cut(name+p.text, m.width())
	}
	said := []string{}
	if p.total > 0 {
		said = append(said, fmt.Sprintf("%3d %%", min(100, 100*p.done/p.total)))
	}
	switch {
	case p.place != "":
		said = append(said, p.place)
	case p.over:
		said = append(said, size(p.done))
	case p.total > 0:
		said = append(said, size(p.done)+" of "+size(p.total))
	case p.done > 0:
		said = append(said, size(p.done))
	}
	if v.rate > 0 {
		said = append(said, size(int64(v.rate))+"/s")
	}
	switch {
	case p.over:
		said = append(said, "in "+elapsed(v.took))
	case v.idle > 0:
		said = append(said, "nothing new for "+elapsed(v.idle))
	case v.left > 0:
		said = append(said, "eta "+elapsed(v.left))
	}
	bar := ""
	if m.session.progress == "bar" && p.total > 0 {
		full, empty := "█", "░"
		if !m.session.unicode {
			full, empty = "#", "."
		}
		n := int(min(barWidth, barWidth*p.done/p.total))
		bar = strings.Repeat(full, n) + strings.Repeat(empty, barWidth-n) + "  "
	}
	rest, width := strings.Join(said, "   "), m.width()
	if utf8.RuneCountInString(name+bar+rest) > width {
		bar = ""
	}
	return cut(name+bar+rest, width)
}

// width is how many characters a line may have: all, unless a bar is drawn on a terminal.
func (m *meter) width() int {
	if f, ok := m.session.program.stderr.(*os.File); ok && m.session.progress == "bar" {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 3 {
			return columns - 3 // two blanks before it, and none where the cursor would wrap
		}
	}
	return math.MaxInt
}

// cut shortens a line to width characters.
func cut(line string, width int) string {
	line = strings.TrimRight(line, " ")
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}
