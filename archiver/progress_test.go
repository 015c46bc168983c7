package archiver

import (
	"log/slog"
	"testing"
)

// TestStoppingStays: the uploads of the tail, which end while the archiver stops, change no state.
func TestStoppingStays(t *testing.T) {
	for _, later := range []State{Streaming, CatchingUp} {
		p := newProgress(slog.New(slog.DiscardHandler), "slot")
		p.enter(Streaming, nil)
		p.enter(Stopping, nil)
		p.enter(later, nil)
		if got := p.status.State; got != Stopping {
			t.Errorf("state after %s during the stop: got %s, want %s", later, got, Stopping)
		}
		p.enter(Connecting, nil)
		p.enter(later, nil)
		if got := p.status.State; got != later {
			t.Errorf("state of the next connection: got %s, want %s", got, later)
		}
	}
}
