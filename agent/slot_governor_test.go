package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

// governed is a server with a slot, and what was done about it.
type governed struct {
	slot status.Slot
	err  error // of each look
	deaf error // of each drop
	acts []string
	log  bytes.Buffer

	governor *governor
}

// Hold implements slotHolder.
func (g *governed) Hold(on bool) {
	g.acts = append(g.acts, map[bool]string{true: "hold", false: "release"}[on])
}

func newGoverned() *governed {
	g := &governed{}
	g.governor = &governor{
		archive: g, logger: slog.New(slog.NewTextHandler(&g.log, nil)),
		look: func(context.Context) (status.Slot, error) { return g.slot, g.err },
		drop: func(context.Context) error {
			g.acts = append(g.acts, "drop")
			if g.deaf == nil {
				g.slot = status.Slot{Name: "pgark"}
			}
			return g.deaf
		},
	}
	return g
}

// govern lets the governor look n times.
func (g *governed) govern(t *testing.T, n int) {
	t.Helper()
	for range n {
		g.governor.step(t.Context(), time.Now())
		time.Sleep(governEvery)
	}
}

func (g *governed) said(text string) int { return strings.Count(g.log.String(), text) }

// TestGovernorDrops: at the limit the archiver lets go of the slot first, then it is dropped, then the archiver may begin again. What fails
// is tried again.
func TestGovernorDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGoverned()
		g.slot = limits(kept(10), config.Drop, 64, 0, 0)
		g.govern(t, 3)
		if len(g.acts) != 0 || g.log.Len() != 0 {
			t.Errorf("far from the limit: did %v, said %s", g.acts, g.log.String())
		}
		g.slot, g.deaf = limits(kept(65), config.Drop, 64, 0, 0), errors.New("replication slot is active")
		g.govern(t, 2)
		g.deaf = nil
		g.govern(t, 3)
		want := []string{"hold", "drop", "release", "hold", "drop", "release", "hold", "drop", "release"}
		if !slices.Equal(g.acts, want) {
			t.Errorf("did %v, want %v", g.acts, want)
		}
		if g.said("has reached its limit") != 1 || g.said("was not dropped") != 2 || g.said("was dropped") != 1 {
			t.Errorf("said\n%s", g.log.String())
		}
	})
}

// TestGovernorAlerts: each change is told once, and nothing is done.
func TestGovernorAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGoverned()
		for _, gigabytes := range []float64{1, 20, 40, 60, 70, 80, 20, 1} {
			g.slot = limits(kept(gigabytes), config.Alert, 64, 0, 0)
			g.govern(t, 3)
		}
		if len(g.acts) != 0 {
			t.Errorf("did %v", g.acts)
		}
		if g.said("comes near its limit") != 1 || g.said("full_in=") == 0 || g.said("has reached its limit") != 1 || g.said("is within its limit") != 1 {
			t.Errorf("said\n%s", g.log.String())
		}
		g.slot.WALStatus = "unreserved"
		g.govern(t, 2)
		g.slot.WALStatus, g.slot.Restart = "lost", 0
		g.govern(t, 2)
		if g.said("may remove its WAL") != 1 || g.said("slot is lost") != 1 {
			t.Errorf("said\n%s", g.log.String())
		}
	})
}

// TestGovernorWithoutAnAnswer: a server that does not answer is told once, and looked at again.
func TestGovernorWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGoverned()
		g.err = errors.New("connection refused")
		g.govern(t, 3)
		if g.said("is not known") != 1 || len(g.acts) != 0 {
			t.Errorf("did %v, said\n%s", g.acts, g.log.String())
		}
		g.err, g.slot = nil, limits(kept(65), config.Drop, 64, 0, 0)
		g.govern(t, 1)
		if g.said("was dropped") != 1 {
			t.Errorf("said\n%s", g.log.String())
		}
	})
}

// TestGovernorLooksMoreOftenNearTheLimit, so that it is not passed by far.
func TestGovernorLooksMoreOftenNearTheLimit(t *testing.T) {
	for _, test := range []struct {
		gigabytes float64
		every     time.Duration
	}{{1, governEvery}, {60, governOften}} {
		synctest.Test(t, func(t *testing.T) {
			g := newGoverned()
			looks := 0
			g.governor.look = func(context.Context) (status.Slot, error) {
				looks++
				return limits(kept(test.gigabytes), config.Alert, 64, 0, 0), nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute-time.Millisecond)
			defer cancel()
			if err := g.governor.run(ctx); err != nil {
				t.Error(err)
			}
			if want := int(10 * time.Minute / test.every); looks != want {
				t.Errorf("%g GB: looked %d times, want %d", test.gigabytes, looks, want)
			}
		})
	}
}

// TestGovernorOnAServerThatHangs: a server that takes connections and says nothing holds nobody up for ever.
func TestGovernorOnAServerThatHangs(t *testing.T) {
	srv, c := serverThatHangs(t)
	if _, err := srv.slot(t.Context(), c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("look: got %v, want a deadline", err)
	}
	if err := srv.dropSlot(t.Context(), c.Slot); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drop: got %v, want a deadline", err)
	}
}

// serverThatHangs takes connections and says nothing. What asks it takes as long as a server is given to answer, so it is not for -short.
func serverThatHangs(t *testing.T) (server, config.Cluster) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes as long as the server is given to answer")
	}
	t.Parallel()
	var listen net.ListenConfig
	silent, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
		}
	}()
	_, port, err := net.SplitHostPort(silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := config.Cluster{Slot: "pgark", Postgres: "host=127.0.0.1 user=ark sslmode=disable port=" + port}
	srv, err := newServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return srv, c
}
