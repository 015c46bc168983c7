package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/wal"
)

// Clock returns the server's clock. A role with LOGIN REPLICATION cannot ask for it in SQL unless pg_hba.conf lets it into a database; but each message of a
// WAL stream carries it ("Streaming Replication Protocol" in PostgreSQL's documentation), and so one is begun, without a slot, a byte before the WAL ends. The
// server is told nothing of what was received, so that no commit counts on it. The stream is ended again: a server that stops waits for those who stream.
func (c *Conn) Clock(ctx context.Context) (wal.Time, error) {
	t, err := c.clock(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the server's clock: %w", err)
	}
	return t, nil
}

func (c *Conn) clock(ctx context.Context) (wal.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	system, err := c.identify(ctx)
	if err != nil {
		return 0, err
	}
	if err := c.StartReplication(ctx, Start{Timeline: system.Timeline, LSN: system.Flush - 1}); err != nil {
		return 0, err
	}
	m, err := c.Receive(ctx)
	if err != nil {
		return 0, err
	}
	switch m := m.(type) {
	case *Keepalive:
		return m.ServerTime, c.endStream(ctx)
	case *Data:
		return m.ServerTime, c.endStream(ctx)
	case *EndOfTimeline:
	}
	return 0, errors.New("the timeline ends here")
}

// endStream has the server end a stream before its timeline does, and passes over what it sent until then. After an error the connection can only be closed.
func (c *Conn) endStream(ctx context.Context) error {
	c.phase = phaseBroken
	if err := c.write(ctx, []byte{'c', 0, 0, 0, 4}); err != nil { // CopyDone
		return err
	}
	for {
		m, err := c.pg.ReceiveMessage(ctx)
		if err != nil {
			return receiveError(ctx, err)
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			return serverError(m)
		case *pgproto3.ReadyForQuery:
			c.phase = phaseIdle
			return nil
		}
	}
}
