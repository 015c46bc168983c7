package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// metered runs f with a meter and returns what it showed. Time is that of the bubble.
func metered(t *testing.T, kind string, f func(*meter)) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(*testing.T) {
		p := &program{stderr: &out, now: time.Now, interrupted: func() os.Signal { return nil }}
		m := (&session{program: p, stderr: &screen{to: &out}, progress: kind, unicode: true}).newMeter()
		f(m)
		m.end()
	})
	return out.String()
}

// TestPhaseReachesItsEnd: also a phase that is over before the next line is due, and one whose last
// report came before its end.
func TestPhaseReachesItsEnd(t *testing.T) {
	short := func(m *meter) {
		m.show(progress{phase: "fetch", done: 17_000_000, total: 262_000_000})
		time.Sleep(2 * time.Second)
		m.show(progress{phase: "fetch", done: 250_000_000, total: 262_000_000})
		m.show(progress{phase: "start", text: "the server starts"})
		m.show(progress{phase: "fetch", done: 255_000_000, total: 262_000_000}) // a goroutine that comes late
		m.show(progress{phase: "replay", done: 0, total: 173_000_000, place: "0/E000028 of 0/18524AD8"})
		m.finish()
	}
	got := metered(t, "plain", short)
	want := `fetch     6 %   17 MB of 262 MB
fetch   100 %   262 MB   131 MB/s   in 2.0 s
start   the server starts
replay    0 %   0/E000028 of 0/18524AD8
replay  100 %   0/E000028 of 0/18524AD8   in 0.0 s
`
	if got != want {
		t.Errorf("plain: got\n%swant\n%s", got, want)
	}
	bars := metered(t, "bar", short)
	full := strings.Repeat("█", barWidth)
	if n := strings.Count(bars, "  "+"fetch   "+full+"  100 %   262 MB   131 MB/s   in 2.0 s\n"); n != 1 {
		t.Errorf("bar: got %q, want one full bar that stays", bars)
	}
	if !strings.HasSuffix(bars, "replay  "+full+"  100 %   0/E000028 of 0/18524AD8   in 0.0 s\n") {
		t.Errorf("bar: got %q, want the replay's bar full at the end", bars)
	}
	var last struct {
		Phase string
		Ended bool
		Done  int64
		Total int64
	}
	lines := strings.Split(strings.TrimSpace(metered(t, "json", short)), "\n")
	if err := json.Unmarshal([]byte(lines[1]), &last); err != nil || last.Phase != "fetch" || !last.Ended || last.Done != last.Total {
		t.Errorf("json: got %s, %v, want the end of fetch", lines[1], err)
	}
	if none := metered(t, "none", short); none != "" {
		t.Errorf("none: got %q", none)
	}
}

// TestPhaseOverAtOnce has one line.
func TestPhaseOverAtOnce(t *testing.T) {
	got := metered(t, "plain", func(m *meter) {
		m.show(progress{phase: "replay", done: 256, total: 256})
		m.show(progress{phase: "open", text: "the target is reached"})
	})
	if want := "replay  100 %   256 B   in 0.0 s\nopen    the target is reached\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestProgressGoesOn: while a store hangs nothing is reported, and a line still comes every ten
// seconds, with the rate measured so far; but no promise of an end.
func TestProgressGoesOn(t *testing.T) {
	got := metered(t, "plain", func(m *meter) {
		m.show(progress{phase: "fetch", total: 400_000_000})
		time.Sleep(5 * time.Second)
		m.show(progress{phase: "fetch", done: 100_000_000, total: 400_000_000})
		time.Sleep(20*time.Second + time.Millisecond)
	})
	want := `fetch     0 %   0 B of 400 MB
fetch    25 %   100 MB of 400 MB   10 MB/s   eta 30 s
fetch    25 %   100 MB of 400 MB   5.0 MB/s   nothing new for 15 s
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestCancelledBarIsGone: an unfinished bar leaves nothing on the line where the error comes.
func TestCancelledBarIsGone(t *testing.T) {
	got := metered(t, "bar", func(m *meter) {
		m.show(progress{phase: "fetch", done: 100, total: 200})
		time.Sleep(time.Second)
	})
	if !strings.HasSuffix(got, "\r\x1b[K") || strings.Contains(got, "\n") {
		t.Errorf("got %q, want the line cleared last", got)
	}
}

// TestLogBesideBar: a line of the log stands on a line of its own, and the bar comes back.
func TestLogBesideBar(t *testing.T) {
	got := metered(t, "bar", func(m *meter) {
		m.show(progress{phase: "fetch", done: 100, total: 200})
		_, _ = m.session.stderr.Write([]byte("level=WARN\n"))
		time.Sleep(barEvery + time.Millisecond)
	})
	_, after, logged := strings.Cut(got, "\r\x1b[Klevel=WARN\n")
	if !logged || !strings.Contains(after, "50 %") {
		t.Errorf("got %q, want the bar cleared before the log's line and drawn behind it", got)
	}
}

// TestCut: a line as wide as the terminal would wrap, and could not be drawn over.
func TestCut(t *testing.T) {
	if got := cut("fetch   ███   50 %", 10); got != "fetch   ██" {
		t.Errorf("got %q", got)
	}
}
