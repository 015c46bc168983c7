package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// commandTimeout bounds every command that answers at once.
	commandTimeout = time.Minute
	// writeTimeout bounds the writing of one message: a send buffer that stays
	// full for so long belongs to a dead peer.
	writeTimeout = 10 * time.Second
	// maxNotices bounds what is kept of the server's notices.
	maxNotices = 200
)

// phase says what the server and we are about on a connection.
type phase int

const (
	phaseIdle      phase = iota // commands may be sent
	phaseStreaming              // between CopyBothResponse and CopyDone
	phaseEnding                 // the server said CopyDone; its result follows
	phaseEnded                  // the end of the timeline is known and not yet reported
	phaseBackup                 // a base backup is under way
	phaseBroken                 // nothing more can be done but to close
)

// Conn is one replication connection to a server. It does one thing at a time
// and is not safe for concurrent use, with one exception: SendStatus may be
// called from other goroutines while Receive runs.
//
// When the context of any method but Receive and BaseBackup's reading ends, the
// connection is lost; Close it.
type Conn struct {
	pg      *pgconn.PgConn
	phase   phase
	version int // server_version_num, 0 until it was asked

	writing sync.Mutex // held for each message written while streaming

	data      Data
	keepalive Keepalive
	end       EndOfTimeline
	hasEnd    bool

	notices []ServerError
}

// Connect opens a replication connection to the first server of the
// configuration that answers and has the session attributes asked for. Of the
// time that ctx has, each server may take an even share. Errors
// are ErrUnreachable, ErrAuth, ErrNotReplication, ErrShuttingDown and
// ErrTooManyConnections, the latter four with a *ServerError.
func Connect(ctx context.Context, c *Config) (*Conn, error) {
	conn, err := connect(ctx, c, c.attrs)
	if err != nil && c.attrs == attrsPreferStandby && errors.Is(err, errWrongServer) {
		conn, err = connect(ctx, c, attrsAny)
	}
	return conn, err
}

func connect(ctx context.Context, c *Config, attrs sessionAttrs) (*Conn, error) {
	conn := &Conn{}
	pg := c.pg.Copy()
	pg.OnNotice = conn.notice
	shareTime(ctx, pg)
	if attrs != attrsAny {
		pg.ValidateConnect = attrs.validate()
	}
	p, err := pgconn.ConnectConfig(ctx, pg)
	if err != nil {
		return nil, connectError(ctx, c, err)
	}
	conn.pg = p
	return conn, nil
}

// Address names the server at the other end: host and port, or the path of its socket.
func (c *Conn) Address() string { return c.pg.Conn().RemoteAddr().String() }

// notice keeps what the server says beside its answers.
func (c *Conn) notice(_ *pgconn.PgConn, n *pgconn.Notice) {
	if len(c.notices) < maxNotices {
		c.notices = append(c.notices, *fromPgError((*pgconn.PgError)(n)))
	}
}

// Close says goodbye to the server and closes the connection. It is never
// called while another method runs, SendStatus included.
func (c *Conn) Close(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.phase = phaseBroken
	if err := c.pg.Conn().SetWriteDeadline(deadline(ctx)); err != nil {
		return nil // closed already
	}
	if err := c.pg.Close(ctx); err != nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// deadline is when a write under ctx is given up.
func deadline(ctx context.Context) time.Time {
	limit := time.Now().Add(writeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		return d
	}
	return limit
}

// command runs one command and returns the rows of its first result. doing
// says in an error what was tried.
func (c *Conn) command(ctx context.Context, doing, sql string) ([][][]byte, error) {
	if c.phase != phaseIdle {
		return nil, fmt.Errorf("%s: connection is not idle", doing)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if err == nil {
		if len(results) == 0 {
			return nil, nil
		}
		return results[0].Rows, nil
	}
	var p *pgconn.PgError
	if errors.As(err, &p) {
		e := fromPgError(p)
		if fatal(e) {
			c.phase = phaseBroken
		}
		return nil, fmt.Errorf("%s: %w", doing, e)
	}
	c.phase = phaseBroken
	if cause := context.Cause(ctx); cause != nil {
		return nil, fmt.Errorf("%s: %w", doing, cause)
	}
	return nil, fmt.Errorf("%s: %w: %w", doing, ErrUnreachable, err)
}

// row runs a command that answers with exactly one row of at least n columns.
func (c *Conn) row(ctx context.Context, doing, sql string, n int) ([][]byte, error) {
	rows, err := c.command(ctx, doing, sql)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < n {
		return nil, fmt.Errorf("%s: got %d rows, want 1 of %d columns", doing, len(rows), n)
	}
	return rows[0], nil
}

// send writes one command whose answer is read message by message.
func (c *Conn) send(ctx context.Context, sql string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.pg.Conn().SetWriteDeadline(deadline(ctx))
	if err == nil {
		c.pg.Frontend().SendQuery(&pgproto3.Query{String: sql})
		err = c.pg.Frontend().Flush()
	}
	if err == nil {
		err = c.pg.Conn().SetWriteDeadline(time.Time{})
	}
	if err != nil {
		c.phase = phaseBroken
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return nil
}

// drain reads to the end of the answer after the server reported an error, so
// that the connection can be used again.
func (c *Conn) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	for {
		m, err := c.pg.ReceiveMessage(ctx)
		if err != nil {
			c.phase = phaseBroken
			return
		}
		if _, ready := m.(*pgproto3.ReadyForQuery); ready {
			c.phase = phaseIdle
			return
		}
	}
}
