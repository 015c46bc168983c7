package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Conditions that callers act on. All are matched with errors.Is; where the
// server reported one, errors.As gives the *ServerError too.
var (
	// ErrUnreachable says that no server answered: refused, timed out, name
	// not resolved, TLS not agreed, or the connection broke.
	ErrUnreachable = errors.New("server is unreachable")
	// ErrAuth says that the server refused the user's credentials.
	ErrAuth = errors.New("authentication was refused")
	// ErrNoRole says that the server let the user in and has no role of that
	// name, or that the role may not log in. It is an ErrAuth too. A server
	// that asks for a password does not tell, and says that it is wrong.
	ErrNoRole = fmt.Errorf("no role that may log in: %w", ErrAuth)
	// ErrNotReplication says that this user may not open a replication
	// connection: the REPLICATION attribute or a line in pg_hba.conf is missing.
	ErrNotReplication = errors.New("replication connection was refused")
	// ErrShuttingDown says that the server takes no connections now because it
	// starts, shuts down or recovers, or that it has just ended this one for
	// such a reason.
	ErrShuttingDown = errors.New("server is starting or shutting down")
	// ErrTooManyConnections says that all walsenders or connections are taken.
	ErrTooManyConnections = errors.New("server has no connection left")

	// ErrSlotActive says that another connection holds the slot. It may be one
	// that has gone already: try again.
	ErrSlotActive = errors.New("replication slot is active")
	// ErrSlotExists says that there is a slot of this name.
	ErrSlotExists = errors.New("replication slot exists")
	// ErrNoSlot says that there is no slot of this name.
	ErrNoSlot = errors.New("replication slot does not exist")
	// ErrSlotInvalidated says that the server invalidated the slot: it keeps no
	// WAL for it any more, and nobody can use it again. PostgreSQL 18 says so;
	// before, such a slot could be used and kept nothing.
	ErrSlotInvalidated = errors.New("replication slot was invalidated")
	// ErrSlotUnusable says that the slot is a logical one.
	ErrSlotUnusable = errors.New("replication slot cannot be used")

	// ErrWALRemoved says that the server no longer has the WAL asked for.
	ErrWALRemoved = errors.New("requested WAL was removed")
	// ErrAheadOfServer says that the start asked for lies past the server's
	// flushed WAL: the server was set back. It is a fence, not a reason to retry.
	ErrAheadOfServer = errors.New("requested start is ahead of the server's WAL")
	// ErrNotInHistory says that the timeline, or the start on it, does not
	// belong to the history of this server.
	ErrNotInHistory = errors.New("requested start is not in the server's history")
	// ErrNoHistory says that the server has no history file of a timeline.
	ErrNoHistory = errors.New("no history file of the timeline")
)

// ServerError is an error that the server reported. Only Code, Routine, File
// and the presence of Detail may decide anything: the texts may be in any
// language (lc_messages).
type ServerError struct {
	Severity string // ERROR, FATAL, PANIC, WARNING, …; never translated
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	File     string // of the server's source, e.g. walsender.c
	Routine  string // e.g. StartReplication

	kind error // what the operation made of it; nil if nothing
}

// Error returns the message with its SQLSTATE, and the detail if there is one.
func (e *ServerError) Error() string {
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the condition the error stands for, such as ErrSlotActive.
func (e *ServerError) Unwrap() error { return e.kind }

// classify names what a SQLSTATE means in any operation on an open
// connection. The codes are of src/backend/utils/errcodes.txt.
func classify(code string) error {
	switch code {
	case "55006": // object_in_use
		return ErrSlotActive
	case "42710": // duplicate_object
		return ErrSlotExists
	case "42704": // undefined_object
		return ErrNoSlot
	case "57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return ErrShuttingDown
	case "53300": // too_many_connections
		return ErrTooManyConnections
	case "42501": // insufficient_privilege
		return ErrNotReplication
	}
	return nil
}

// serverError turns a message of the server into a *ServerError.
func serverError(m *pgproto3.ErrorResponse) *ServerError {
	e := &ServerError{
		Severity: m.SeverityUnlocalized, Code: m.Code, Message: m.Message, Detail: m.Detail,
		Hint: m.Hint, File: m.File, Routine: m.Routine, kind: classify(m.Code),
	}
	if e.Severity == "" {
		e.Severity = m.Severity
	}
	return e
}

// fromPgError does the same for what pgconn made of such a message.
func fromPgError(p *pgconn.PgError) *ServerError {
	return serverError(&pgproto3.ErrorResponse{
		Severity: p.Severity, SeverityUnlocalized: p.SeverityUnlocalized, Code: p.Code, Message: p.Message,
		Detail: p.Detail, Hint: p.Hint, File: p.File, Routine: p.Routine,
	})
}

// connectError says why Connect failed.
func connectError(ctx context.Context, cfg *Config, err error) error {
	var p *pgconn.PgError
	if !errors.As(err, &p) {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, plain(err))
		}
		return fmt.Errorf("connect to %s: %w: %w", cfg, ErrUnreachable, plain(err))
	}
	e := fromPgError(p)
	switch {
	case p.Code == "28000" && p.Routine == "ClientAuthentication":
		// No line of pg_hba.conf admits a replication connection of this
		// user from here (src/backend/libpq/auth.c).
		e.kind = ErrNotReplication
	case p.Code == "28000" && p.Routine == "InitializeSessionUserId":
		// src/backend/utils/init/miscinit.c
		e.kind = ErrNoRole
	case strings.HasPrefix(p.Code, "28"):
		e.kind = ErrAuth
	}
	return fmt.Errorf("connect to %s: %w", cfg, e)
}

// plain takes pgconn's preamble, which names user and database, from an error.
func plain(err error) error {
	var c *pgconn.ConnectError
	if errors.As(err, &c) {
		return c.Unwrap()
	}
	return err
}

// receiveError says why reading from the connection failed. An error of ctx
// stays what it is: the connection goes on.
func receiveError(ctx context.Context, err error) error {
	if ctx.Err() != nil && pgconn.Timeout(err) {
		return fmt.Errorf("receive: %w", context.Cause(ctx))
	}
	var p *pgconn.PgError
	if errors.As(err, &p) {
		return fmt.Errorf("receive: %w", fromPgError(p))
	}
	return fmt.Errorf("receive: %w: %w", ErrUnreachable, err)
}
