package syncmode_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/syncmode"
	"github.com/pgark/pgark/wal"
)

// world is a server and its archive as looks find them, a second apart.
type world struct {
	watch    *syncmode.Watch
	now      time.Time
	settings syncmode.Settings
	flushed  syncmode.Position
	durable  syncmode.Position
	away     bool // the archive does not receive
}

func newWorld(p syncmode.Policy, names string) *world {
	at := syncmode.Position{Timeline: 1, LSN: 0x1000}
	return &world{
		watch: syncmode.NewWatch(p), now: time.Unix(1_000_000, 0), flushed: at, durable: at,
		settings: syncmode.Settings{Names: names, Commit: "on", Application: "pgark"},
	}
}

// look looks once, a second later, and does what was decided.
func (w *world) look() syncmode.Decision {
	w.now = w.now.Add(time.Second)
	d := w.watch.Look(syncmode.Look{At: w.now, Settings: w.settings, Flushed: w.flushed, Durable: w.durable, Streaming: !w.away})
	switch d.Step {
	case syncmode.StepOut:
		w.settings.Names = ""
	case syncmode.StepIn:
		w.settings.Names = "pgark"
	case syncmode.Stay:
	}
	return d
}

// until looks until there is a step, and returns after how many seconds that was; 0 if none came within a day.
func (w *world) until(step syncmode.Step) time.Duration {
	from := w.now
	for w.now.Sub(from) < 24*time.Hour {
		if d := w.look(); d.Step == step {
			return w.now.Sub(from)
		}
	}
	return 0
}

// write makes WAL that is durable so many bytes late.
func (w *world) write(lag wal.LSN) {
	w.flushed.LSN += 100
	w.durable.LSN = w.flushed.LSN - lag
}

var degrading = syncmode.Policy{Names: "pgark", DegradeAfter: 30 * time.Second}

func TestWatchStepsOutAndIn(t *testing.T) {
	w := newWorld(degrading, "pgark")
	for range 100 {
		w.write(50)
		if d := w.look(); d.Step != syncmode.Stay || d.State != syncmode.In || !d.OnDemand {
			t.Fatalf("all is well: got %+v", d)
		}
	}
	w.durable = w.flushed
	w.look()
	w.flushed.LSN += 100
	if took := w.until(syncmode.StepOut); took != 31*time.Second {
		t.Errorf("stepped out after %s, want 30s from the first look at it", took)
	}
	if d := w.look(); d.State != syncmode.Out || d.Step != syncmode.Stay || d.OnDemand {
		t.Errorf("while out: got %+v", d)
	}
	w.flushed.LSN += 1 << 30
	for range 1000 {
		if d := w.look(); d.Step != syncmode.Stay {
			t.Fatalf("nothing is durable: got %+v", d)
		}
	}
	w.durable = w.flushed
	if took := w.until(syncmode.StepIn); took != 11*time.Second {
		t.Errorf("stepped in after %s, want 10s of all well", took)
	}
	if d := w.look(); d.State != syncmode.In {
		t.Errorf("in again: got %+v", d)
	}
}

// TestWatchStays is the table of what is no reason to step out or in.
func TestWatchStays(t *testing.T) {
	hang := func(w *world) { w.flushed.LSN += 100 }
	for _, test := range []struct {
		name   string
		policy syncmode.Policy
		names  string
		change func(*world)
		each   func(*world)
	}{
		{"no policy, the store hangs", syncmode.Policy{}, "pgark", hang, nil},
		{"wait for ever, the store hangs", syncmode.Policy{Names: "pgark"}, "pgark", hang, nil},
		{"idle", degrading, "pgark", nil, nil},
		{"busy, a little late", degrading, "pgark", nil, func(w *world) { w.write(90) }},
		{"slow: each commit takes 20 s", degrading, "pgark", nil, func(w *world) { w.write(1900) }},
		{"others are named too", degrading, "2 (pgark, s1)", hang, nil},
		{"out, others were named", degrading, "s1", nil, nil},
		{"out, no policy", syncmode.Policy{}, "", nil, nil},
		{"out, nothing received", degrading, "", func(w *world) { w.away = true }, nil},
		{"out, always behind", degrading, "", hang, func(w *world) { w.write(1900) }},
		{"out, remote_apply", degrading, "", func(w *world) { w.settings.Commit = "remote_apply" }, nil},
		{"commits do not wait", degrading, "pgark", func(w *world) { hang(w); w.settings.Commit = "local" }, nil},
		{"a standby", degrading, "pgark", func(w *world) { hang(w); w.settings.Standby = true }, nil},
		{"names that cannot be read", degrading, "a b", hang, nil},
	} {
		w := newWorld(test.policy, test.names)
		w.look()
		if test.change != nil {
			test.change(w)
		}
		for range 3600 {
			if test.each != nil {
				test.each(w)
			}
			if d := w.look(); d.Step != syncmode.Stay {
				t.Errorf("%s: got %+v", test.name, d)
				break
			}
		}
	}
}

func TestWatchSaysWhyItStays(t *testing.T) {
	w := newWorld(degrading, "2 (pgark, s1)")
	w.flushed.LSN += 100
	for range 40 {
		w.look()
	}
	if d := w.look(); !strings.Contains(d.Blocked, "names others too") || d.Waiting < 40*time.Second {
		t.Errorf("got %+v", d)
	}
	w.settings.Names = "a b"
	if d := w.look(); d.Err == nil || d.OnDemand {
		t.Errorf("got %+v", d)
	}
}

// A new agent finds commits that wait: it knows of them from its first look on.
func TestWatchStepsOutWithoutAnArchive(t *testing.T) {
	w := newWorld(degrading, "pgark")
	w.away, w.durable = true, syncmode.Position{}
	if took := w.until(syncmode.StepOut); took != 31*time.Second {
		t.Errorf("stepped out after %s", took)
	}
}

func TestWatchStepsOutUnderRemoteApply(t *testing.T) {
	w := newWorld(degrading, "pgark")
	w.look()
	w.settings.Commit = "remote_apply"
	if d := w.look(); d.State != syncmode.Refused || !d.OnDemand {
		t.Errorf("got %+v", d)
	}
	if took := w.until(syncmode.StepOut); took != 30*time.Second {
		t.Errorf("stepped out after %s", took)
	}
	w.settings.Commit = "on"
	if took := w.until(syncmode.StepIn); took == 0 {
		t.Error("never stepped in")
	}
}

// What could not be done is decided again at the next look.
func TestWatchDecidesAgain(t *testing.T) {
	w := newWorld(degrading, "pgark")
	w.flushed.LSN += 100
	w.until(syncmode.StepOut)
	w.settings.Names = "pgark"
	for range 5 {
		if d := w.look(); d.Step != syncmode.StepOut {
			t.Fatalf("got %+v", d)
		}
		w.settings.Names = "pgark"
	}
}

// A store that comes and goes: the agent waits longer each time before it steps in, up to five minutes.
func TestWatchDoesNotFlap(t *testing.T) {
	w := newWorld(degrading, "pgark")
	var waits []time.Duration
	for range 8 {
		w.flushed.LSN += 100
		w.until(syncmode.StepOut)
		w.durable = w.flushed
		waits = append(waits, w.until(syncmode.StepIn))
	}
	if waits[0] != 11*time.Second || waits[1] != 21*time.Second || waits[2] != 41*time.Second || waits[7] != 301*time.Second {
		t.Errorf("stepped in after %v", waits)
	}
	for range 7200 {
		w.look()
	}
	w.flushed.LSN += 100
	w.until(syncmode.StepOut)
	w.durable = w.flushed
	if took := w.until(syncmode.StepIn); took != 11*time.Second {
		t.Errorf("after two good hours: stepped in after %s", took)
	}
}

// A promotion: what was flushed on the old timeline is durable when the archive has left it.
func TestWatchFollowsATimeline(t *testing.T) {
	w := newWorld(degrading, "pgark")
	w.flushed.LSN += 1000
	w.look()
	w.flushed = syncmode.Position{Timeline: 2, LSN: w.flushed.LSN - 500}
	if d := w.look(); d.Waiting == 0 {
		t.Errorf("got %+v", d)
	}
	w.durable = w.flushed
	if d := w.look(); d.Waiting != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestPolicyCheck(t *testing.T) {
	for _, test := range []struct {
		policy syncmode.Policy
		want   string
	}{
		{syncmode.Policy{}, ""},
		{syncmode.Policy{Names: "2 (pgark, s1)"}, ""},
		{syncmode.Policy{Names: "ANY 1 (PGARK)", DegradeAfter: time.Second}, ""},
		{syncmode.Policy{DegradeAfter: time.Second}, "without sync.standby_names"},
		{syncmode.Policy{Names: "s1"}, "does not name this agent"},
		{syncmode.Policy{Names: "a b"}, "want a comma"},
		{syncmode.Policy{Names: "2 (pgark, s1)", DegradeAfter: time.Second}, "would drop the others"},
		{syncmode.Policy{Names: "*", DegradeAfter: time.Second}, "would drop the others"},
	} {
		err := test.policy.Check("pgark")
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: got %v, want %q", test.policy, err, test.want)
		}
	}
}
