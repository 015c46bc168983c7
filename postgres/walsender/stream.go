package walsender

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/wal"
)

const (
	// maxData is the most WAL in one message, that of a walsender (MAX_SEND_SIZE, walsender.c).
	maxData     = 128 << 10
	dataHeader  = 25 // 'w', start, end, time
	statusBytes = 34 // 'r', write, flush, apply, time, reply
)

// errCopyDone says that the client ended the stream.
var errCopyDone = errors.New("client ended the stream")

// replicate streams until the timeline ends, the client has enough, or something fails. The error is that
// of the connection, or of ctx.
func (c *session) replicate(ctx context.Context, command startReplication) error {
	if command.timeline == 0 {
		system, err := c.server.source.Identify(ctx)
		if err != nil {
			return c.failWith(err)
		}
		command.timeline = system.Timeline
	}
	source, err := c.server.source.Open(ctx, command.timeline, command.start)
	var end *EndError
	if errors.As(err, &end) {
		return c.endTimeline(end) // nothing to stream: no copy is begun (StartReplication, walsender.c)
	}
	if err != nil {
		return c.failWith(err)
	}
	c.wire.Send(&pgproto3.CopyBothResponse{})
	if err := c.flush(); err != nil {
		return err
	}
	c.server.note(c, func(k *Client) { k.Timeline, k.Sent = command.timeline, command.start })

	inner, cancel := context.WithCancel(ctx)
	asked := make(chan struct{}, 1) // the client wants to hear from us
	left := make(chan error, 1)     // why the client says no more
	go func() { left <- c.listen(asked) }()
	out := outbound{session: c, at: command.start, asked: asked}
	err, gone := out.send(inner, source, left)
	cancel()
	switch {
	case ctx.Err() != nil:
		if !gone {
			_ = await(left) // ended by the read deadline
		}
		return ctx.Err()
	case errors.Is(err, errCopyDone):
		c.wire.Send(&pgproto3.CopyDone{})
		return c.complete("START_STREAMING")
	case gone:
		return err
	}
	if errors.As(err, &end) {
		c.wire.Send(&pgproto3.CopyDone{})
		if err := c.flush(); err != nil {
			return errors.Join(err, c.hangUp(left))
		}
		// Whatever it still reports comes before its own CopyDone.
		if err := await(left); !errors.Is(err, errCopyDone) {
			return err
		}
		return c.endTimeline(end)
	}
	// An error ends the copy, and here the session with it: a walreceiver begins anew.
	var fault *sendError
	if errors.As(err, &fault) {
		return errors.Join(fault.err, c.hangUp(left))
	}
	c.wire.Send(response(err))
	return errors.Join(err, c.flush(), c.hangUp(left))
}

// await returns when listen has ended, and why.
func await(left <-chan error) error { return <-left }

// hangUp closes the connection and waits for listen.
func (c *session) hangUp(left <-chan error) error {
	err := c.conn.Close()
	_ = await(left)
	return err
}

// endTimeline tells where the WAL goes on.
func (c *session) endTimeline(e *EndError) error {
	c.row([]column{{"next_tli", int8OID}, {"next_tli_startpos", textOID}}, fmt.Sprint(uint32(e.Next)), e.At.String())
	return c.complete("START_STREAMING")
}

// listen reads what the client says while it streams, until its CopyDone (errCopyDone) or the end of the
// connection.
func (c *session) listen(asked chan<- struct{}) error {
	for {
		m, err := c.wire.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.CopyDone:
			return errCopyDone
		case *pgproto3.Terminate:
			return errLeft
		case *pgproto3.CopyFail:
			return fmt.Errorf("client gave up: %s", m.Message)
		case *pgproto3.CopyData:
			p, reply, ok := parseStatus(m.Data)
			if !ok {
				continue // feedback of a hot standby: nothing here waits for its queries
			}
			c.server.note(c, func(k *Client) {
				k.Write, k.Flush, k.Replay, k.Reported = p.write, p.flush, p.apply, time.Now()
			})
			if reply {
				select {
				case asked <- struct{}{}:
				default:
				}
			}
		default:
			return fmt.Errorf("unexpected message %T in a stream", m)
		}
	}
}

// parseStatus reads a standby status update.
func parseStatus(b []byte) (p position, reply, ok bool) {
	if len(b) != statusBytes || b[0] != 'r' {
		return p, false, false
	}
	u := binary.BigEndian.Uint64
	return position{wal.LSN(u(b[1:])), wal.LSN(u(b[9:])), wal.LSN(u(b[17:]))}, b[33] != 0, true
}

// sendError is an error of the connection while WAL was sent.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// outbound sends a stream.
type outbound struct {
	*session
	at    wal.LSN
	asked <-chan struct{}
	buf   []byte
}

// send sends what source gives until its error, which it returns, or until the client says no more: then
// gone is true.
func (o *outbound) send(ctx context.Context, source Stream, left <-chan error) (err error, gone bool) {
	ctx, cancel := context.WithCancel(ctx)
	type read struct {
		b   []byte
		err error
	}
	next, taken, ended := make(chan read), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			b, err := source.Next(ctx)
			select {
			case next <- read{b, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			select {
			case <-taken:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()
	tick := time.NewTicker(o.server.options.Keepalive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err(), false
		case err := <-left:
			return err, true
		case <-o.asked:
			err = o.keepalive()
		case <-tick.C:
			err = o.keepalive()
		case r := <-next:
			if r.err != nil {
				return r.err, false
			}
			if err = o.data(r.b); err == nil {
				select {
				case taken <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}
		if err != nil {
			return &sendError{err}, false
		}
	}
}

// data sends b, which begins at o.at.
func (o *outbound) data(b []byte) error {
	end := o.at + wal.LSN(len(b))
	for len(b) > 0 {
		part := b[:min(len(b), maxData)]
		o.buf = append(o.buf[:0], 'w')
		o.buf = binary.BigEndian.AppendUint64(o.buf, uint64(o.at))
		o.buf = binary.BigEndian.AppendUint64(o.buf, uint64(end))
		o.buf = binary.BigEndian.AppendUint64(o.buf, uint64(wal.FromGo(time.Now())))
		o.wire.Send(&pgproto3.CopyData{Data: append(o.buf, part...)})
		if err := o.flush(); err != nil {
			return err
		}
		o.at += wal.LSN(len(part))
		b = b[len(part):]
	}
	o.server.note(o.session, func(k *Client) { k.Sent = o.at })
	return nil
}

func (o *outbound) keepalive() error {
	b := append(o.buf[:0], 'k')
	b = binary.BigEndian.AppendUint64(b, uint64(o.at))
	b = binary.BigEndian.AppendUint64(b, uint64(wal.FromGo(time.Now())))
	o.wire.Send(&pgproto3.CopyData{Data: append(b, 0)})
	return o.flush()
}
