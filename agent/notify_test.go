package agent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver"
)

// TestNotify plays systemd: its watchdog hears of an agent that works, whatever is away, and is triggered by one that stands still.
func TestNotify(t *testing.T) {
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "20000")
	now := time.Now()
	for _, test := range []struct {
		name string
		s    archiver.Status
		want string
	}{
		{"streaming", archiver.Status{State: archiver.Streaming, Turned: now}, "WATCHDOG=1\nSTATUS=" + string(archiver.Streaming) + ", durable 0/0"},
		{
			"the server is away",
			archiver.Status{State: archiver.Waiting, Error: "no route\nto host", Turned: now.Add(-time.Hour)},
			"WATCHDOG=1\nSTATUS=" + string(archiver.Waiting) + ": no route to host",
		},
		{
			"stuck",
			archiver.Status{State: archiver.Streaming, Turned: now.Add(-2 * time.Minute)},
			"WATCHDOG=trigger\nSTATUS=" + string(archiver.Streaming) + ", durable 0/0",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			socket := listenAsSystemd(t)
			ctx, cancel := context.WithCancel(t.Context())
			var kept sync.WaitGroup
			kept.Go(func() { keepWatchdog(ctx, slog.New(slog.DiscardHandler), func() pulse { return feel(test.s, now) }) })
			if got := socket.hear(t); got != test.want {
				t.Errorf("systemd was told %q, want %q", got, test.want)
			}
			cancel()
			kept.Wait()
		})
	}
	for _, test := range []struct {
		name string
		tell func()
		want []string
	}{
		{"stopping", TellStopping, []string{"STOPPING=1"}},
		{"reloading", func() { TellReloading()() }, []string{"RELOADING=1", "READY=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			socket := listenAsSystemd(t)
			test.tell()
			for _, want := range test.want {
				if got := socket.hear(t); got != want {
					t.Errorf("systemd was told %q, want %q", got, want)
				}
			}
		})
	}
}

// systemdSocket is where systemd would listen.
type systemdSocket struct{ *net.UnixConn }

func listenAsSystemd(t *testing.T) systemdSocket {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return systemdSocket{l}
}

// hear returns the next message.
func (s systemdSocket) hear(t *testing.T) string {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := s.Read(buffer)
	if err != nil {
		t.Fatalf("systemd was told nothing: %v", err)
	}
	return string(buffer[:n])
}
