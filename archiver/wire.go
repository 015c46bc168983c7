package archiver

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// Server answers questions before WAL is streamed. *postgres.Conn is one; its
// errors are those of package postgres.
type Server interface {
	Address() string
	System(ctx context.Context) (postgres.System, error)
	Setting(ctx context.Context, name string) (string, error)
	TimelineHistory(ctx context.Context, tli wal.TimelineID) (wal.History, []byte, error)
}

// Slots keep WAL for the archiver.
type Slots interface {
	Slot(ctx context.Context, name string) (postgres.Slot, bool, error)
	CreateSlot(ctx context.Context, name string) error
	DropSlot(ctx context.Context, name string) error
}

// Sender streams WAL. SendStatus is called while Receive runs.
type Sender interface {
	StartReplication(ctx context.Context, s postgres.Start) error
	Receive(ctx context.Context) (postgres.Message, error)
	SendStatus(ctx context.Context, s postgres.Status) error
	Close(ctx context.Context) error
}

// Conn is a replication connection. The archiver closes it.
type Conn interface {
	Server
	Slots
	Sender
}

var (
	// errFinish hangs up in good order: the last status is sent.
	errFinish = errors.New("archiver is stopping")
	// errHungUp hangs up a server that shuts down and waits for us.
	errHungUp = errors.New("server shuts down and the repository does not answer in time")
)

// timelineEndError is the end of the stream where the server's history leaves the
// timeline.
type timelineEndError struct{ postgres.EndOfTimeline }

func (e *timelineEndError) Error() string {
	return fmt.Sprintf("timeline ended at %s, timeline %d follows", e.At, e.Next)
}

// ended reports whether err is the end of a timeline.
func ended(err error) bool {
	var end *timelineEndError
	return errors.As(err, &end)
}

// wire is the live side of a stream: what is told and heard.
type wire struct {
	conn    Conn
	flushed atomic.Uint64 // the LSN to tell the server; 0 until the stream is verified
	ask     atomic.Bool   // ask for a reply with the next status
	report  chan struct{} // one element when a status is to be sent at once
	mute    atomic.Bool   // what comes now is dropped
}

// newWire returns a wire that tells the server at once where we are: until
// then a primary with synchronous commits lets nobody go on.
func newWire(conn Conn) *wire {
	w := &wire{conn: conn, report: make(chan struct{}, 1)}
	w.tell()
	return w
}

// tell sends a status soon.
func (w *wire) tell() {
	select {
	case w.report <- struct{}{}:
	default:
	}
}

// status is what the server is told: nothing but what is durable, and never
// that WAL was applied. Nobody can read here what a commit under
// synchronous_commit = remote_apply wrote, so that such a commit must not
// return on our word (docs/decisions/0005-remote-apply.md).
func (w *wire) status() postgres.Status {
	lsn := wal.LSN(w.flushed.Load())
	return postgres.Status{Write: lsn, Flush: lsn}
}

// run receives and reports until one of them fails or ctx ends, and closes
// the connection. It returns the cause.
func (w *wire) run(ctx context.Context, s *stream) error {
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return s.receive(both) })
	g.Go(func() error { return w.send(both) })
	err := g.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	if errors.Is(err, errFinish) {
		_ = w.conn.SendStatus(end, w.status()) // the server may be gone already
	}
	_ = w.conn.Close(end) // nothing depends on it
	return err
}

// send sends a status whenever one is wanted, and every second: the walsender
// reads them also while its own output is blocked, so that a stream that is
// not read stays alive (ProcessRepliesIfAny, src/backend/replication/walsender.c).
func (w *wire) send(ctx context.Context) error {
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.report:
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		status := w.status()
		status.RequestReply = w.ask.Swap(false)
		if err := w.sendOne(ctx, status); err != nil {
			return err
		}
	}
}

func (w *wire) sendOne(ctx context.Context, status postgres.Status) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return w.conn.SendStatus(ctx, status)
}

// receive reads the stream into the window. It waits for room there, for the
// reading that follows close behind, and for nothing else.
func (s *stream) receive(ctx context.Context) error {
	at := s.from.start
	for {
		if err := s.window.wait(ctx); err != nil {
			return err
		}
		m, err := s.wire.conn.Receive(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if s.wire.mute.Load() {
			continue
		}
		switch m := m.(type) {
		case *postgres.Data:
			if m.Start != at {
				return fmt.Errorf("server sends WAL from %s, want from %s", m.Start, at)
			}
			if err := s.take(ctx, m); err != nil {
				return err
			}
			at += wal.LSN(len(m.Bytes))
		case *postgres.Keepalive:
			s.news.keepalive(m)
			if m.ReplyRequested {
				s.wire.tell()
			}
		case *postgres.EndOfTimeline:
			return &timelineEndError{*m}
		}
	}
}

// take puts the bytes of a message into the window, hands full slots to the
// encoders, and all to the reading. No part crosses a segment, or the end of
// what was durable when the stream began.
func (s *stream) take(ctx context.Context, d *postgres.Data) error {
	at, b := d.Start, d.Bytes
	for len(b) > 0 {
		end := s.size.End(s.size.Number(at))
		if at < s.from.durable {
			end = min(end, s.from.durable)
		}
		n := min(len(b), int(end-at))
		for _, p := range s.window.add(at, b[:n]) {
			s.feed(p)
			select {
			case s.parts <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		at += wal.LSN(n)
		b = b[n:]
	}
	s.news.data(d)
	if confirmOnReceive {
		s.wire.flushed.Store(uint64(at))
	}
	return nil
}

// feed gives a slot that is full to the encoder of its segment, beginning the
// segment with its first byte.
func (s *stream) feed(p part) {
	n := s.size.Number(p.at)
	bytes := s.size.Range(n)
	if bytes.Start < s.whole {
		return
	}
	if p.at == bytes.Start {
		s.current = newSegment(wal.SegmentID{Timeline: s.from.timeline, Number: n}, s.size)
		s.news.change(func(now *snapshot) { now.opened = append(now.opened, s.current) })
	}
	if !p.full {
		return
	}
	s.current.slots <- p.slot // has room for all slots of a segment
	if p.slot.start+frameSize == bytes.End {
		close(s.current.slots)
	}
}
