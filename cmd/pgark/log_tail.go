package main

import (
	"net/http"
	"strings"
	"sync"
)

// tailBytes is how much of its log an agent keeps for who asks: some hundred lines.
const tailBytes = 128 << 10

// logTail keeps the last lines of a log. What is written to it went through what takes secrets out. It is safe for concurrent use.
type logTail struct {
	mu    sync.Mutex
	lines []string
	size  int
}

// Write implements io.Writer. It takes whole lines.
func (t *logTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		if len(line) > tailBytes {
			line = "(a line too long to be kept)\n"
		}
		t.lines = append(t.lines, line)
		t.size += len(line)
	}
	drop := 0
	for t.size > tailBytes {
		t.size -= len(t.lines[drop])
		drop++
	}
	if drop > 0 {
		t.lines = append([]string(nil), t.lines[drop:]...)
	}
	return len(p), nil
}

// String returns the lines that are kept, the oldest first.
func (t *logTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "")
}

// ServeHTTP answers with them.
func (t *logTail) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(t.String())) // who asked may have gone
}
