package archiver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

const (
	systemID wal.SystemID    = 7423474350493388827
	segSize  wal.SegmentSize = 1 << 20
)

// server is a PostgreSQL server as an archiver sees it: it sends the WAL it has,
// answers status updates and obeys the rules of walsender.c that matter here. It
// stands in for time that passes and for faults at chosen moments; what real
// servers do is tested in integration.
type server struct {
	t testing.TB

	mu         sync.Mutex
	system     postgres.System
	histories  map[wal.TimelineID]wal.History
	raw        map[wal.TimelineID][]byte
	removed    wal.LSN          // WAL before it is gone
	seed       map[wal.LSN]byte // changed bytes
	noise      bool             // the WAL cannot be compressed
	slot       bool
	restart    wal.LSN // of the slot; 0 if it keeps nothing
	invalid    bool    // the slot cannot be used, as PostgreSQL 18 says
	created    int     // slots
	failDrop   error   // of DropSlot
	syncNames  string  // synchronous_standby_names
	standby    bool
	refuse     error // of Connect
	stopping   bool  // shutting down: the stream ends when all is confirmed
	failStart  error // of the next StartReplication
	cutAfter   int   // the connection breaks after so many messages; 0 never
	mute       bool  // the stream sends nothing more
	changed    chan struct{}
	conns      []*conn
	connects   int
	lastStatus time.Time
	maxSilence time.Duration // longest time between two statuses of a stream

	log *conversation
}

func newServer(t testing.TB, log *conversation) *server {
	return &server{
		t: t, log: log, changed: make(chan struct{}), seed: make(map[wal.LSN]byte),
		histories: make(map[wal.TimelineID]wal.History), raw: make(map[wal.TimelineID][]byte),
		system: postgres.System{ID: systemID, Timeline: 1, Flush: 0x300000, SegmentSize: segSize, VersionNum: 150000},
	}
}

// bytes is the server's WAL: a number that says where it is every 256 bytes, and
// zeros, which cost the race detector little; or such numbers all over, which do
// not compress.
func (s *server) bytes(from, to wal.LSN) []byte {
	every := wal.LSN(256)
	if s.noise {
		every = 8
	}
	b := make([]byte, to-from+2*every)
	first := from &^ (every - 1)
	for at := first; at < to; at += every {
		binary.LittleEndian.PutUint64(b[at-first:], uint64(at+every)*0x9E3779B97F4A7C15)
	}
	b = b[from-first:]
	b = b[:to-from]
	for at, c := range s.seed {
		if at >= from && at < to {
			b[at-from] = c
		}
	}
	return b
}

func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// write appends n bytes of WAL.
func (s *server) write(n wal.LSN) {
	s.change(func() { s.system.Flush += n })
}

func (s *server) end() wal.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.system.Flush
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connects
}

// promote begins timeline tli at the LSN at, its parent the present one.
func (s *server) promote(tli wal.TimelineID, at wal.LSN) {
	s.change(func() {
		parents := slices.Clone(s.histories[s.system.Timeline].Parents)
		parents = append(parents, wal.Switch{Timeline: s.system.Timeline, At: at, Reason: "no recovery target specified"})
		s.histories[tli] = wal.History{Timeline: tli, Parents: parents}
		s.raw[tli] = historyFile(s.histories[tli])
		s.system.Timeline = tli
		s.system.Flush = max(s.system.Flush, at+64)
	})
}

// historyFile is written as a server does (writeTimeLineHistory, src/backend/access/transam/timeline.c).
func historyFile(h wal.History) []byte {
	var raw []byte
	for i, p := range h.Parents {
		if i > 0 {
			raw = append(raw, '\n')
		}
		raw = fmt.Appendf(raw, "%d\t%s\t%s\n", p.Timeline, p.At, p.Reason)
	}
	return raw
}

// kill breaks all connections.
func (s *server) kill() {
	s.change(func() {
		for _, c := range s.conns {
			c.broken = true
		}
		s.conns = nil
	})
}

func (s *server) connect(context.Context) (archiver.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connects++
	if s.refuse != nil {
		return nil, s.refuse
	}
	if s.stopping {
		return nil, postgres.ErrShuttingDown
	}
	c := &conn{server: s}
	s.conns = append(s.conns, c)
	return c, nil
}

// shutDown is pg_ctl stop -m fast: a checkpoint, and then it waits.
func (s *server) shutDown() {
	s.change(func() {
		s.system.Flush += 120
		s.stopping = true
	})
}

// awaitStopped returns how long the server took to stop.
func (s *server) awaitStopped(from time.Time) time.Duration {
	for {
		s.mu.Lock()
		open, changed := 0, s.changed
		for _, c := range s.conns {
			if c.streaming && !c.closed {
				open++
			}
		}
		s.mu.Unlock()
		if open == 0 {
			return time.Since(from)
		}
		<-changed
	}
}

// conn is one connection to the server.
type conn struct {
	server *server

	streaming bool
	slot      bool
	timeline  wal.TimelineID
	sent      wal.LSN
	status    postgres.Status
	replies   int
	messages  int
	broken    bool
	closed    bool
	ended     bool
}

var errBroken = fmt.Errorf("%w: connection reset", postgres.ErrUnreachable)

func (c *conn) Address() string { return "127.0.0.1:5432" }

func (c *conn) System(context.Context) (postgres.System, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.broken {
		return postgres.System{}, errBroken
	}
	return c.server.system, nil
}

func (c *conn) Setting(_ context.Context, name string) (string, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if name == "in_hot_standby" && c.server.standby {
		return "on", nil
	}
	if name == "synchronous_standby_names" {
		return c.server.syncNames, nil
	}
	return "off", nil
}

func (c *conn) TimelineHistory(_ context.Context, tli wal.TimelineID) (wal.History, []byte, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	h, ok := c.server.histories[tli]
	if !ok {
		return wal.History{}, nil, postgres.ErrNoHistory
	}
	return h, c.server.raw[tli], nil
}

func (c *conn) Slot(context.Context, string) (postgres.Slot, bool, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return postgres.Slot{Exists: c.server.slot, RestartLSN: c.server.restart, Timeline: c.server.system.Timeline}, true, nil
}

func (c *conn) CreateSlot(context.Context, string) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.slot {
		return postgres.ErrSlotExists
	}
	c.server.slot, c.server.restart = true, c.server.system.Flush
	c.server.created++
	return nil
}

func (c *conn) DropSlot(context.Context, string) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.server.slot {
		return postgres.ErrNoSlot
	}
	if c.server.failDrop != nil {
		return c.server.failDrop
	}
	c.server.dropSlot()
	return nil
}

// dropSlot is called with mu held.
func (s *server) dropSlot() { s.slot, s.restart, s.invalid = false, 0, false }

func (c *conn) StartReplication(_ context.Context, start postgres.Start) error {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failStart; err != nil {
		s.failStart = nil
		return err
	}
	if c.broken {
		return errBroken
	}
	if start.Timeline == s.system.Timeline && start.LSN > s.system.Flush {
		return postgres.ErrAheadOfServer
	}
	if start.Slot != "" && !s.slot {
		return postgres.ErrNoSlot
	}
	if start.Slot != "" && s.invalid {
		return postgres.ErrSlotInvalidated
	}
	c.streaming, c.timeline, c.sent, c.slot = true, start.Timeline, start.LSN, start.Slot != ""
	if c.slot {
		s.log.stream(start.Timeline, start.LSN)
	}
	s.lastStatus = time.Now()
	return nil
}

// limit is how far this stream may be sent. Called with mu held.
func (c *conn) limit() (end wal.LSN, historic bool) {
	s := c.server
	if at, ok := s.histories[s.system.Timeline].SwitchOf(c.timeline); ok {
		return at, true
	}
	return s.system.Flush, false
}

func (c *conn) Receive(ctx context.Context) (postgres.Message, error) {
	for {
		c.server.mu.Lock()
		m, err := c.next()
		changed := c.server.changed
		c.server.mu.Unlock()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// next is called with mu held.
func (c *conn) next() (postgres.Message, error) {
	s := c.server
	end, historic := c.limit()
	switch {
	case c.broken:
		return nil, errBroken
	case s.mute:
		return nil, nil
	case c.sent < s.removed:
		return nil, postgres.ErrWALRemoved
	case c.sent < end:
		c.messages++
		if s.cutAfter > 0 && c.messages > s.cutAfter {
			c.broken = true
			return nil, errBroken
		}
		to := min(end, c.sent+128<<10)
		d := &postgres.Data{Start: c.sent, Bytes: s.bytes(c.sent, to), ServerEnd: end, ServerTime: wal.FromGo(time.Now())}
		c.sent = to
		return d, nil
	case historic:
		c.ended = true
		for _, p := range append(s.histories[s.system.Timeline].Parents, wal.Switch{Timeline: s.system.Timeline}) {
			if p.Timeline > c.timeline {
				return &postgres.EndOfTimeline{Next: p.Timeline, At: end}, nil
			}
		}
		return nil, errors.New("no timeline follows")
	case s.stopping && c.status.Flush == c.sent:
		c.closed = true
		close(s.changed)
		s.changed = make(chan struct{})
		return nil, postgres.ErrShuttingDown
	case c.replies > 0:
		c.replies--
		return &postgres.Keepalive{End: c.sent, ServerTime: wal.FromGo(time.Now())}, nil
	}
	return nil, nil
}

func (c *conn) SendStatus(_ context.Context, status postgres.Status) error {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.broken || c.closed {
		return errBroken
	}
	c.status = status
	if c.slot && status.Flush != 0 && s.restart != 0 {
		s.restart = status.Flush
	}
	if status.RequestReply {
		c.replies++
	}
	now := time.Now()
	s.maxSilence = max(s.maxSilence, now.Sub(s.lastStatus))
	s.lastStatus = now
	s.log.status(c.timeline, status)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (c *conn) Close(context.Context) error {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	c.closed = true
	s.conns = slices.DeleteFunc(s.conns, func(o *conn) bool { return o == c })
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}
