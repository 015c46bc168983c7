package walsender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

const systemID wal.SystemID = 7312345678901234567

// history is that of timeline 2, which left 1 at 0/1000400.
const history = "1\t0/1000400\tno recovery target specified\n"

// archive is a source in memory: timelines that a test appends to.
type archive struct {
	mu      sync.Mutex
	logs    map[wal.TimelineID][]byte // from 0/1000000 on
	ended   map[wal.TimelineID]EndError
	newest  wal.TimelineID
	changed chan struct{}
	err     error // of every Next
}

const origin wal.LSN = 0x1000000

func newArchive() *archive {
	return &archive{logs: map[wal.TimelineID][]byte{1: nil}, ended: map[wal.TimelineID]EndError{}, newest: 1, changed: make(chan struct{})}
}

func (a *archive) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *archive) Identify(context.Context) (System, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return System{systemID, a.newest, origin + wal.LSN(len(a.logs[a.newest]))}, nil
}

func (a *archive) History(_ context.Context, tli wal.TimelineID) ([]byte, error) {
	if tli != 2 {
		return nil, fmt.Errorf("%w: no history", ErrRemoved)
	}
	return []byte(history), nil
}

func (a *archive) Open(_ context.Context, tli wal.TimelineID, start wal.LSN) (Stream, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if end, ok := a.ended[tli]; ok && start == end.At {
		return nil, &end
	} else if ok && start > end.At {
		return nil, &ForkError{Timeline: tli, Start: start, At: end.At}
	}
	return &archiveStream{archive: a, tli: tli, at: start}, nil
}

type archiveStream struct {
	archive *archive
	tli     wal.TimelineID
	at      wal.LSN
}

func (s *archiveStream) Next(ctx context.Context) ([]byte, error) {
	for {
		s.archive.mu.Lock()
		rest := s.archive.logs[s.tli][s.at-origin:]
		end, ended := s.archive.ended[s.tli]
		changed, err := s.archive.changed, s.archive.err
		s.archive.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case len(rest) > 0:
			s.at += wal.LSN(len(rest))
			return rest, nil
		case ended:
			return nil, &end
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serve starts a server of a and returns it with a client's configuration.
func serve(t *testing.T, a *archive, o Options) (*Server, *postgres.Config, func()) {
	t.Helper()
	dir := t.TempDir()
	l, err := Listen(t.Context(), dir, 5432)
	if err != nil {
		t.Fatal(err)
	}
	s := New(a, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	c, err := postgres.ParseConfig("host=" + dir + " port=5432 user=postgres application_name=far")
	if err != nil {
		t.Fatal(err)
	}
	return s, c, stop
}

// connect makes a replication connection as pgark itself does with a server.
func connect(t *testing.T, c *postgres.Config) *postgres.Conn {
	t.Helper()
	conn, err := postgres.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// receive returns the next message that is no keepalive; its bytes are copied.
func receive(t *testing.T, c *postgres.Conn) postgres.Message {
	t.Helper()
	for {
		m, err := c.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *postgres.Keepalive:
			continue
		case *postgres.Data:
			copied := *m
			copied.Bytes = bytes.Clone(m.Bytes)
			return &copied
		default:
			return m
		}
	}
}

// take receives n bytes from at on.
func take(t *testing.T, c *postgres.Conn, at wal.LSN, n int) []byte {
	t.Helper()
	var got []byte
	for len(got) < n {
		d, ok := receive(t, c).(*postgres.Data)
		if !ok || d.Start != at+wal.LSN(len(got)) {
			t.Fatalf("got %+v at %s", d, at+wal.LSN(len(got)))
		}
		got = append(got, d.Bytes...)
	}
	return got
}

// TestStream sends what is there and what comes, goes from one timeline to the next, and learns how far the standby is.
func TestStream(t *testing.T) {
	a := newArchive()
	first := bytes.Repeat([]byte("0123456789abcdef"), 40_000) // more than one message
	a.change(func() { a.logs[1] = first })
	s, config, _ := serve(t, a, Options{})
	c := connect(t, config)
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: origin}); err != nil {
		t.Fatal(err)
	}
	if got := take(t, c, origin, len(first)); !bytes.Equal(got, first) {
		t.Fatal("got other bytes")
	}
	at := origin + wal.LSN(len(first))
	a.change(func() { a.logs[1] = append(a.logs[1], "more"...) })
	if got := take(t, c, at, 4); string(got) != "more" {
		t.Fatalf("got %q", got)
	}
	at += 4
	want := Client{Name: "far", Timeline: 1, Sent: at, Write: at, Flush: at - 1, Replay: at - 2}
	if err := c.SendStatus(t.Context(), postgres.Status{Write: want.Write, Flush: want.Flush, Apply: want.Replay, RequestReply: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Receive(t.Context()); err != nil {
		t.Fatal(err)
	} else if k, ok := m.(*postgres.Keepalive); !ok || k.End != at {
		t.Errorf("got %+v, want the keepalive that was asked for at %s", m, at)
	}
	clients := s.Clients()
	if len(clients) != 1 || clients[0].Since.IsZero() || clients[0].Reported.IsZero() {
		t.Fatalf("got clients %+v", clients)
	}
	got := clients[0]
	got.Since, got.Reported = time.Time{}, time.Time{}
	if got != want {
		t.Errorf("got client %+v, want %+v", got, want)
	}

	end := EndError{Next: 2, At: at}
	a.change(func() {
		a.ended[1], a.newest = end, 2
		a.logs[2] = append(bytes.Clone(a.logs[1]), "second"...)
	})
	if e, ok := receive(t, c).(*postgres.EndOfTimeline); !ok || e.Next != 2 || e.At != at {
		t.Fatalf("got %+v, want the end of timeline 1 at %s", e, at)
	}
	h, raw, err := c.TimelineHistory(t.Context(), 2)
	if err != nil || string(raw) != history || h.Timeline != 2 {
		t.Errorf("got history %q, %v", raw, err)
	}
	// Nothing of a timeline lies past its end: the next is named without a stream.
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: at}); err != nil {
		t.Fatal(err)
	}
	if e, ok := receive(t, c).(*postgres.EndOfTimeline); !ok || e.Next != 2 {
		t.Errorf("got %+v, want the end of timeline 1", e)
	}
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 2, LSN: at}); err != nil {
		t.Fatal(err)
	}
	if got := take(t, c, at, 6); string(got) != "second" {
		t.Errorf("got %q", got)
	}
}

// TestSourceFails tells the standby in its own language, with the codes that it knows, and drops nobody else.
func TestSourceFails(t *testing.T) {
	a := newArchive()
	a.change(func() {
		a.ended[1], a.newest = EndError{Next: 2, At: origin}, 2
		a.logs[2] = make([]byte, 64)
	})
	_, config, _ := serve(t, a, Options{})
	c := connect(t, config)
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: origin + 8}); !errors.Is(err, postgres.ErrNotInHistory) {
		t.Errorf("got %v, want %v", err, postgres.ErrNotInHistory)
	}
	if _, _, err := c.TimelineHistory(t.Context(), 3); err == nil {
		t.Error("got a history that there is none of")
	}
	a.change(func() {
		delete(a.ended, 1)
		a.err = fmt.Errorf("%w: a hole at 0/1000000", ErrRemoved)
	})
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: origin}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := c.Receive(t.Context())
		if err == nil {
			continue
		}
		if !errors.Is(err, postgres.ErrWALRemoved) || !strings.Contains(err.Error(), "a hole at 0/1000000") {
			t.Errorf("got %v, want %v and where", err, postgres.ErrWALRemoved)
		}
		break
	}
	a.change(func() { a.err = nil })
	again := connect(t, config)
	if err := again.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: origin}); err != nil {
		t.Error(err)
	}
}

// TestIdle keeps an idle standby's patience, and ends its session when the server is told to stop.
func TestIdle(t *testing.T) {
	a := newArchive()
	s, config, stop := serve(t, a, Options{Keepalive: 5 * time.Millisecond})
	c := connect(t, config)
	if err := c.StartReplication(t.Context(), postgres.Start{Timeline: 1, LSN: origin}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if m, err := c.Receive(t.Context()); err != nil {
			t.Fatal(err)
		} else if k, ok := m.(*postgres.Keepalive); !ok || k.End != origin {
			t.Fatalf("got %+v, want a keepalive at %s", m, origin)
		}
	}
	stop()
	for {
		if _, err := c.Receive(t.Context()); err != nil {
			break
		}
	}
	if got := s.Clients(); len(got) != 0 {
		t.Errorf("clients are left: %+v", got)
	}
}

// TestNotADatabase refuses what is no physical replication, in words.
func TestNotADatabase(t *testing.T) {
	a := newArchive()
	_, config, _ := serve(t, a, Options{})
	c := connect(t, config)
	if _, err := c.Setting(t.Context(), "wal_segment_size"); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("got %v, want that it is not supported", err)
	}
	if err := c.StartReplication(t.Context(), postgres.Start{Slot: "pgark", Timeline: 1, LSN: origin}); err != nil {
		t.Errorf("a slot is passed over, got %v", err)
	}
}

// TestListen takes over from a process that died, and not from one that lives.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(t.Context(), filepath.Join(dir, "made"), 5432)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), filepath.Join(dir, "made"), 5432); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, syscall.EADDRINUSE)
	}
	path := filepath.Join(dir, "made", ".s.PGSQL.5432")
	for name, want := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if err := os.Rename(path, path+".kept"); err != nil { // closing it would remove it
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".kept", path); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(t.Context(), filepath.Join(dir, "made"), 5432)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	if _, err := Listen(t.Context(), filepath.Join(dir, strings.Repeat("x", 100)), 5432); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("got %v, want that the path is too long", err)
	}
}
