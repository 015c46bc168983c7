package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
)

// TestLogLines holds what programs that read the log go by: seconds, UTC, and the class of an error under a key of its own.
func TestLogLines(t *testing.T) {
	p := &program{interrupted: func() os.Signal { return nil }}
	codeOf := func(err error) int { return p.explain(err).Code }
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("", 3600))
	var b bytes.Buffer
	log := newLog(&b, slog.LevelInfo, "json", codeOf).With("cluster", "main")
	log.Info("storage call failed", "err", fmt.Errorf("put x: %w", storage.ErrDenied), "dur", 1500*time.Millisecond+3*time.Microsecond, "began", began)
	log.Info("nobody knows why", "err", errors.New("out of luck"))
	log.Info("in words", "err", "out of luck")
	log.Debug("not said")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %q", lines)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"level": "INFO", "msg": "storage call failed", "cluster": "main", "dur": 1.5, "began": "2026-11-22T09:00:00Z", "code": float64(exitDenied)} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v in %s", key, got[key], want, lines[0])
		}
	}
	if at, ok := got["time"].(string); !ok || !strings.HasSuffix(at, "Z") {
		t.Errorf("time: got %v, want UTC", got["time"])
	}
	for _, line := range lines[1:] {
		if strings.Contains(line, `"code"`) {
			t.Errorf("an error of no class has one: %s", line)
		}
	}
	b.Reset()
	newLog(&b, slog.LevelInfo, "text", codeOf).Info("x", "err", storage.ErrUnavailable, "dur", time.Minute)
	if got := b.String(); !strings.Contains(got, " dur=60 ") || !strings.HasSuffix(got, " code=14\n") {
		t.Errorf("as text: got %q", got)
	}
}
