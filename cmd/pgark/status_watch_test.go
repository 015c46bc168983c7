package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestInterval(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"true": watchEvery, "false": 0, "5s": 5 * time.Second, "100ms": 100 * time.Millisecond, "1m": time.Minute,
	} {
		var got interval
		if err := got.Set(in); err != nil || got.Duration != want {
			t.Errorf("%s: got %s, %v; want %s", in, got.Duration, err, want)
		}
	}
	for _, in := range []string{"", "2", "99ms", "0s", "-5s", "often"} {
		var got interval
		if err := got.Set(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, got.Duration)
		}
	}
}

// hook calls after each write.
type hook struct {
	written strings.Builder
	after   func(written string)
}

func (h *hook) Write(p []byte) (int, error) {
	n, err := h.written.Write(p)
	h.after(h.written.String())
	return n, err
}

// watched runs status --watch on a place where there is no repository, makes one after the first look, and
// interrupts the watch after the second.
func watched(t *testing.T, environment []string, flags ...string) (stdout string, code int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repository")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out hook
	out.after = func(written string) {
		if strings.Contains(written, "nothing is archived") || strings.Count(written, "no repository here") > 10 {
			cancel()
			return
		}
		marker := `{"format":1,"repository_id":"00000000000000000000000000000000","created":"2026-11-21T02:40:00Z"}`
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pgark.json"), []byte(marker), 0o600); err != nil {
			t.Error(err)
		}
	}
	p := &program{
		stdin: strings.NewReader(""), stdout: &out, stderr: &out, environment: append(environment, "PGHOST=/nonexistent"), now: time.Now,
		interrupted: func() os.Signal {
			if ctx.Err() != nil {
				return syscall.SIGINT
			}
			return nil
		},
	}
	words := append([]string{"pgark", "status", "--watch=100ms"}, append(flags, "file://"+dir)...)
	code = p.main(ctx, words)
	return out.written.String(), code
}

// TestWatch: a look that fails does not end it, Ctrl-C does, with 130 and without a word.
func TestWatch(t *testing.T) {
	out, code := watched(t, nil)
	first, second, found := strings.Cut(out, "\n\nerror:")
	if code != exitCancelled || !found || !strings.Contains(first, "no repository here") || !strings.Contains(second, "nothing is archived") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "cancelled") {
		t.Errorf("control characters, or more than the pictures:\n%q", out)
	}
	if !strings.Contains(out, "again every 0.1 s; Ctrl-C ends") {
		t.Errorf("no word of when:\n%s", out)
	}
}

// TestWatchRedraws: on a terminal the second picture goes over the first.
func TestWatchRedraws(t *testing.T) {
	out, code := watched(t, []string{"PGARK_FORCE_TTY=1", "NO_COLOR=1"})
	frames := strings.Split(out, "\x1b[H")
	if code != exitCancelled || len(frames) != 3 || frames[0] != "\x1b[2J" || strings.Contains(frames[2], "\x1b[2J") {
		t.Errorf("exit %d, %d frames\n%q", code, len(frames)-1, out)
	}
	if !strings.HasSuffix(out, "\x1b[J") {
		t.Errorf("what was below stays: %q", out)
	}
}

// TestWatchInJSON: each look is a document, also one that failed.
func TestWatchInJSON(t *testing.T) {
	out, code := watched(t, nil, "-o", "json")
	if code != exitCancelled || strings.Count(out, `"error": {`) != 2 || strings.Contains(out, "looked") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
