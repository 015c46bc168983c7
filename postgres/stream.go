package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/wal"
)

// Start says where streaming begins.
type Start struct {
	Slot     string // "" streams without a slot
	Timeline wal.TimelineID
	LSN      wal.LSN
}

// Message is what Receive returns: *Data, *Keepalive or *EndOfTimeline.
type Message interface{ message() }

// Data is WAL: the bytes [Start, Start+len(Bytes)). A message may begin and end
// anywhere in a record and never crosses the end of the timeline.
type Data struct {
	Start      wal.LSN
	Bytes      []byte   // valid until the next Receive
	ServerEnd  wal.LSN  // end of the server's WAL when it sent this
	ServerTime wal.Time // its clock then
}

// Keepalive says how far the server is when it has nothing, or nothing yet, to
// send. All WAL before End that was due to us has been sent.
type Keepalive struct {
	End            wal.LSN
	ServerTime     wal.Time
	ReplyRequested bool // answer with SendStatus at once
}

// EndOfTimeline says that the timeline streamed ended at At, where Next
// begins. The connection is idle again.
type EndOfTimeline struct {
	Next wal.TimelineID
	At   wal.LSN
}

func (*Data) message()          {}
func (*Keepalive) message()     {}
func (*EndOfTimeline) message() {}

// Status is a standby status update: the ends of the WAL that was received,
// is durable, and was applied. Each is sent as it is; 0 says "nothing".
type Status struct {
	Write        wal.LSN
	Flush        wal.LSN
	Apply        wal.LSN
	RequestReply bool // the server answers with a keepalive at once
}

// SQLSTATEs that mean something only where they appear.
const (
	undefinedFile    = "58P01" // the WAL or history file is gone
	internalError    = "XX000" // an error without a code of its own
	dataCorrupted    = "XX001"
	objectNotInState = "55000" // object_not_in_prerequisite_state
	startRoutine     = "StartReplication"
	timelineRoutine  = "tliSwitchPoint"
	slotAcquire      = "ReplicationSlotAcquire"
	statusLength     = 34
	copyDataHeader   = 5
)

// StartReplication begins to stream WAL from s.LSN on s.Timeline. Errors are
// ErrSlotActive (try again soon), ErrNoSlot, ErrSlotInvalidated, ErrSlotUnusable,
// ErrAheadOfServer, ErrNotInHistory and ErrWALRemoved; after each of them the connection may be
// used for other commands. Some of them the server finds only after it has
// agreed: then Receive returns them.
//
// The caller sends a status update at once: until then the server, as a
// synchronous primary, does not know how far we are.
func (c *Conn) StartReplication(ctx context.Context, s Start) error {
	doing := fmt.Sprintf("start replication at %s on timeline %d", s.LSN, s.Timeline)
	slot := ""
	if s.Slot != "" {
		if err := checkSlotName(s.Slot); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		slot = `SLOT "` + s.Slot + `" `
	}
	// PostgreSQL 14 wants to be asked who it is first. And it tells that a
	// start lies in its future only after it has begun to stream, so look here.
	system, err := c.identify(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if s.Timeline == system.Timeline && s.LSN > system.Flush {
		return fmt.Errorf("%s: %w: it ends at %s", doing, ErrAheadOfServer, system.Flush)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	c.hasEnd = false
	if err := c.send(ctx, fmt.Sprintf("START_REPLICATION %sPHYSICAL %s TIMELINE %d", slot, s.LSN, s.Timeline)); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := c.awaitStream(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// awaitStream reads the answer to START_REPLICATION: a stream, or at once the
// end of the timeline if nothing of it lies past the start.
func (c *Conn) awaitStream(ctx context.Context) error {
	for {
		m, err := c.pg.ReceiveMessage(ctx)
		if err != nil {
			c.phase = phaseBroken
			return receiveError(ctx, err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			c.phase = phaseStreaming
			return nil
		case *pgproto3.DataRow:
			if err := c.setEnd(m); err != nil {
				c.phase = phaseBroken
				return err
			}
		case *pgproto3.ErrorResponse:
			e := streamError(m)
			c.drain(ctx)
			return e
		case *pgproto3.ReadyForQuery:
			if !c.hasEnd {
				return errors.New("server neither streams nor names the next timeline")
			}
			c.phase = phaseEnded
			return nil
		}
	}
}

// streamError gives an error around START_REPLICATION its name.
// walsender.c says "ahead of the WAL flush position" and "not in this server's
// history" without SQLSTATEs of their own; the latter alone has a detail (14 to 18).
func streamError(m *pgproto3.ErrorResponse) *ServerError {
	e := serverError(m)
	switch {
	case e.Code == undefinedFile:
		e.kind = ErrWALRemoved
	case e.Code == internalError && e.Routine == timelineRoutine:
		e.kind = ErrNotInHistory
	case e.Code == internalError && e.Routine == startRoutine && e.Detail != "":
		e.kind = ErrNotInHistory
	case e.Code == internalError && e.Routine == startRoutine:
		e.kind = ErrAheadOfServer
	case e.Code == objectNotInState && e.Routine == slotAcquire:
		e.kind = ErrSlotInvalidated
	case e.Code == objectNotInState && e.Routine == startRoutine:
		e.kind = ErrSlotUnusable
	}
	return e
}

// Receive waits for the next message. What it returns is valid until the next
// call. When ctx ends, it returns the cause of that and the connection goes on:
// the next call continues where this one stopped, so a deadline may serve as a
// timer.
//
// A server that vanished without a word is found only after minutes unless the
// caller asks for a reply (Status.RequestReply) and gives up when none comes.
//
// Errors are ErrShuttingDown, ErrUnreachable, ErrWALRemoved, ErrAheadOfServer
// and others that the server reports; after each of them close the connection.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	switch c.phase {
	case phaseStreaming, phaseEnding:
	case phaseEnded:
		c.phase = phaseIdle
		return &c.end, nil
	case phaseIdle, phaseBackup, phaseBroken:
		return nil, errors.New("receive: no replication is running")
	}
	for {
		m, err := c.pg.ReceiveMessage(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.phase = phaseBroken
			}
			return nil, receiveError(ctx, err)
		}
		got, err := c.handle(ctx, m)
		if err != nil {
			c.phase = phaseBroken
			return nil, fmt.Errorf("receive: %w", err)
		}
		if got != nil {
			return got, nil
		}
	}
}

// handle takes one message of the stream and returns what there is to tell.
func (c *Conn) handle(ctx context.Context, m pgproto3.BackendMessage) (Message, error) {
	switch m := m.(type) {
	case *pgproto3.CopyData:
		return c.decode(m.Data)
	case *pgproto3.CopyDone:
		// End of the timeline: the server waits for our CopyDone. It comes
		// through the status writer's lock so that no message is cut in two.
		c.phase = phaseEnding
		return nil, c.write(ctx, []byte{'c', 0, 0, 0, 4})
	case *pgproto3.DataRow:
		return nil, c.setEnd(m)
	case *pgproto3.CommandComplete:
		if c.phase == phaseStreaming {
			// All WAL is sent and confirmed and the server stops
			// (WalSndDone in walsender.c).
			return nil, ErrShuttingDown
		}
	case *pgproto3.ReadyForQuery:
		if c.phase != phaseEnding || !c.hasEnd {
			return nil, errors.New("stream ended without the next timeline")
		}
		c.phase = phaseIdle
		return &c.end, nil
	case *pgproto3.ErrorResponse:
		return nil, streamError(m)
	}
	return nil, nil
}

// setEnd reads the row (next_tli int8, next_tli_startpos text).
func (c *Conn) setEnd(m *pgproto3.DataRow) error {
	if len(m.Values) != 2 {
		return fmt.Errorf("end of timeline: got %d columns, want 2", len(m.Values))
	}
	next, err := parseTimeline(m.Values[0])
	if err != nil {
		return fmt.Errorf("end of timeline: %w", err)
	}
	at, err := wal.ParseLSN(string(m.Values[1]))
	if err != nil {
		return fmt.Errorf("end of timeline: %w", err)
	}
	c.end, c.hasEnd = EndOfTimeline{Next: next, At: at}, true
	return nil
}

// decode reads a CopyData message of the stream. pglogrepl knows the two
// messages; what surrounds them is ours, because its status update would send
// write in place of a flush of 0, and its commands know no SLOT-less start.
func (c *Conn) decode(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, errors.New("empty message in the stream")
	}
	switch b[0] {
	case pglogrepl.XLogDataByteID:
		m, err := pglogrepl.ParseXLogData(b[1:])
		if err != nil {
			return nil, fmt.Errorf("WAL in the stream: %w", err)
		}
		c.data = Data{
			Start:      wal.LSN(m.WALStart),
			ServerEnd:  wal.LSN(m.ServerWALEnd),
			ServerTime: wal.FromGo(m.ServerTime),
			Bytes:      m.WALData,
		}
		return &c.data, nil
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		m, err := pglogrepl.ParsePrimaryKeepaliveMessage(b[1:])
		if err != nil {
			return nil, fmt.Errorf("keepalive in the stream: %w", err)
		}
		c.keepalive = Keepalive{
			End:            wal.LSN(m.ServerWALEnd),
			ServerTime:     wal.FromGo(m.ServerTime),
			ReplyRequested: m.ReplyRequested,
		}
		return &c.keepalive, nil
	}
	return nil, fmt.Errorf("message %q of %d bytes in the stream is not known", b[0], len(b))
}

// SendStatus tells the server how far we are. It writes the three LSNs as they
// are given. It is safe for concurrent use, also while Receive runs. When it
// fails, Receive may still have more to say: what the server sent before it
// left.
func (c *Conn) SendStatus(ctx context.Context, s Status) error {
	b := make([]byte, 0, copyDataHeader+statusLength)
	b = append(b, 'd')
	b = binary.BigEndian.AppendUint32(b, 4+statusLength)
	b = append(b, pglogrepl.StandbyStatusUpdateByteID)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Write))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Flush))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Apply))
	b = binary.BigEndian.AppendUint64(b, uint64(wal.FromGo(time.Now())))
	reply := byte(0)
	if s.RequestReply {
		reply = 1
	}
	if err := c.write(ctx, append(b, reply)); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

// write puts one whole message on the wire. After an error the connection is
// of no use: a part of the message may have gone.
func (c *Conn) write(ctx context.Context, b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	err := c.pg.Conn().SetWriteDeadline(deadline(ctx))
	if err == nil {
		_, err = c.pg.Conn().Write(b)
	}
	if err == nil {
		err = c.pg.Conn().SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return nil
}
