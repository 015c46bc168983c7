package walsender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/wal"
)

const (
	// startTimeout is how long a client may take to say what it wants.
	startTimeout = 30 * time.Second
	// writeTimeout is how long a client may not read; wal_sender_timeout is a minute by default.
	writeTimeout = time.Minute
	// maxMessage bounds what a client may send at once: commands and status updates are short.
	maxMessage = 64 << 10
)

// SQLSTATEs, of src/backend/utils/errcodes.txt.
const (
	codeUnsupported = "0A000"
	codeSyntax      = "42601"
	codeRemoved     = "58P01" // undefined_file, as walsender.c says of a removed segment
	codeInternal    = "XX000"
	codeShutdown    = "57P01"
	codeProtocol    = "08P01"
)

// session is one connection.
type session struct {
	server *Server
	conn   net.Conn
	wire   *pgproto3.Backend // written to by one goroutine, read by another
	name   string
}

// serve talks to one client until it leaves or ctx ends.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	// A session is broken by closing its connection under it: reads know no context.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &session{server: s, conn: conn, wire: pgproto3.NewBackend(conn, conn)}
	c.wire.SetMaxBodyLen(maxMessage)
	err := c.talk(ctx)
	s.forget(c)
	log := s.options.Logger
	switch {
	case ctx.Err() != nil:
		c.refuse(codeShutdown, "terminating connection: the WAL follower shuts down")
	case c.name == "" && err != nil: // it only looked whether somebody listens
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errLeft):
		log.InfoContext(ctx, "standby left", "standby", c.name)
	case err != nil:
		log.WarnContext(ctx, "standby was dropped", "standby", c.name, "err", err)
	}
}

// errLeft says that the client ended the session.
var errLeft = errors.New("client left")

// talk answers until the session ends.
func (c *session) talk(ctx context.Context) error {
	if err := c.start(ctx); err != nil {
		return err
	}
	c.server.options.Logger.InfoContext(ctx, "standby connected", "standby", c.name)
	for {
		m, err := c.wire.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.Terminate:
			return errLeft
		case *pgproto3.Query:
			err = c.answer(ctx, m.String)
		case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
			continue // a status update that was under way when the stream ended
		default:
			err = c.fail(codeProtocol, fmt.Sprintf("unexpected message %T: only replication commands are understood", m))
		}
		if err != nil {
			return err
		}
	}
}

// start does what comes before the first command.
func (c *session) start(ctx context.Context) error {
	_ = c.conn.SetReadDeadline(time.Now().Add(startTimeout))
	for {
		m, err := c.wire.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := c.conn.Write([]byte{'N'}); err != nil {
				return err
			}
		case *pgproto3.StartupMessage:
			return c.accept(ctx, m)
		default:
			return errLeft // a request to cancel: nothing here can be cancelled
		}
	}
}

// accept lets a client in that wants physical replication.
func (c *session) accept(ctx context.Context, m *pgproto3.StartupMessage) error {
	c.name = m.Parameters["application_name"]
	switch strings.ToLower(m.Parameters["replication"]) {
	case "true", "on", "yes", "1": // as parse_bool reads it; "database" is logical replication
	default:
		const words = "this is a WAL follower, not a database: it serves physical replication only"
		c.refuse(codeUnsupported, words)
		return errors.New(words)
	}
	if m.ProtocolVersion != pgproto3.ProtocolVersion30 {
		c.wire.Send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: pgproto3.ProtocolVersion30})
	}
	c.wire.Send(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{
		{"server_version", c.server.options.Version},
		{"server_encoding", "UTF8"},
		{"client_encoding", "UTF8"},
		{"integer_datetimes", "on"},
		{"standard_conforming_strings", "on"},
		{"in_hot_standby", "on"},
	} {
		c.wire.Send(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
	}
	c.wire.Send(&pgproto3.BackendKeyData{SecretKey: make([]byte, 4)})
	c.server.note(c, func(k *Client) { k.Name, k.Since = c.name, time.Now() })
	if err := c.ready(); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return ctx.Err() // the deadline that ends the session may just have been taken back
}

// answer carries out one command. The error is that of the connection.
func (c *session) answer(ctx context.Context, text string) error {
	command, err := parseCommand(text)
	if err != nil {
		code := codeSyntax
		if errors.Is(err, errUnsupported) {
			code = codeUnsupported
		}
		return c.fail(code, fmt.Sprintf("command %q: %v", text, err))
	}
	switch command := command.(type) {
	case identifySystem:
		system, err := c.server.source.Identify(ctx)
		if err != nil {
			return c.failWith(err)
		}
		c.row([]column{{"systemid", textOID}, {"timeline", int4OID}, {"xlogpos", textOID}, {"dbname", textOID}},
			system.ID.String(), fmt.Sprint(uint32(system.Timeline)), system.End.String(), nil)
		return c.complete("IDENTIFY_SYSTEM")
	case timelineHistory:
		raw, err := c.server.source.History(ctx, command.timeline)
		if err != nil {
			return c.failWith(fmt.Errorf("history of timeline %d: %w", uint32(command.timeline), err))
		}
		c.row([]column{{"filename", textOID}, {"content", textOID}}, command.timeline.HistoryFileName(), raw)
		return c.complete("TIMELINE_HISTORY")
	case startReplication:
		return c.replicate(ctx, command)
	}
	return nil
}

// OIDs of pg_type.
const (
	int8OID = 20
	int4OID = 23
	textOID = 25
)

type column struct {
	name string
	oid  uint32
}

// row sends a result of one row; a value is a string, a []byte, or nil for NULL.
func (c *session) row(columns []column, values ...any) {
	fields := make([]pgproto3.FieldDescription, len(columns))
	data := make([][]byte, len(values))
	for i, one := range columns {
		fields[i] = pgproto3.FieldDescription{Name: []byte(one.name), DataTypeOID: one.oid, DataTypeSize: -1, TypeModifier: -1}
		switch v := values[i].(type) {
		case string:
			data[i] = []byte(v)
		case []byte:
			data[i] = v
		}
	}
	c.wire.Send(&pgproto3.RowDescription{Fields: fields})
	c.wire.Send(&pgproto3.DataRow{Values: data})
}

func (c *session) complete(tag string) error {
	c.wire.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	return c.ready()
}

func (c *session) ready() error {
	c.wire.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return c.flush()
}

func (c *session) flush() error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.wire.Flush()
}

// failWith tells the client of a source's error; the session goes on.
func (c *session) failWith(err error) error {
	c.wire.Send(response(err))
	return c.ready()
}

// response puts a source's error into PostgreSQL's words and codes, which tell a walreceiver, or another pgark, what it is.
func response(err error) *pgproto3.ErrorResponse {
	r := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: codeInternal, Message: err.Error()}
	var fork *ForkError
	var ahead *AheadError
	switch {
	case errors.Is(err, ErrRemoved):
		r.Code = codeRemoved
	case errors.As(err, &ahead):
		r.Routine = "StartReplication"
	case errors.As(err, &fork):
		r.Routine = "StartReplication"
		r.Detail = fmt.Sprintf("This server's history forked from timeline %d at %s.", uint32(fork.Timeline), fork.At)
	}
	return r
}

// fail ends a command with an error; the session goes on.
func (c *session) fail(code, message string) error {
	c.wire.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message})
	return c.ready()
}

// refuse says why the session ends, to whoever still listens.
func (c *session) refuse(code, message string) {
	c.wire.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message})
	_ = c.flush()
}

// position is what a status update says.
type position struct{ write, flush, apply wal.LSN }
