package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Config says how to reach a server. Make one with ParseConfig. It is never
// changed afterwards and is safe for concurrent use.
type Config struct {
	pg    *pgconn.Config
	attrs sessionAttrs
}

const (
	connectTimeout = 10 * time.Second
	// readBuffer lets several of the server's messages of about 32 kB arrive
	// with one system call.
	readBuffer = 256 << 10
)

// ParseConfig reads a connection string, a URL or libpq's key=value form, and
// fills in what is missing from the PG… environment, the service file and the
// password file as libpq does. Several hosts, target_session_attrs and the
// parameters of TCP are honoured. application_name is "pgark" unless it is given,
// the connect timeout 10 s for each host. The error never holds the connection
// string.
func ParseConfig(conn string) (*Config, error) {
	pg, err := parse(conn)
	if err != nil {
		return nil, err
	}
	c := &Config{pg: pg, attrs: attrsOf(pg.ValidateConnect)}
	pg.ValidateConnect = nil
	pg.RuntimeParams["replication"] = "true"
	if pg.RuntimeParams["application_name"] == "" {
		pg.RuntimeParams["application_name"] = "pgark"
	}
	pg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, readBuffer), w)
	}
	pg.BuildContextWatcherHandler = func(p *pgconn.PgConn) ctxwatch.Handler { return readDeadline{p.Conn()} }
	pg.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool { return !fatal(fromPgError(e)) }
	return c, nil
}

// parse reads a connection string of any kind of connection.
func parse(conn string) (*pgconn.Config, error) {
	pg, err := pgconn.ParseConfig(conn)
	if err != nil {
		return nil, fmt.Errorf("parse connection string: %w", redact(err))
	}
	if pg.ConnectTimeout == 0 {
		pg.ConnectTimeout = connectTimeout
	}
	d, err := dialer(pg.RuntimeParams)
	if err != nil {
		return nil, fmt.Errorf("parse connection string: %w", err)
	}
	pg.DialFunc = d.DialContext
	return pg, nil
}

// ApplicationName is the application_name of connections, as it is sent. The server
// may shorten it and change bytes that are not ASCII.
func (c *Config) ApplicationName() string { return c.pg.RuntimeParams["application_name"] }

// fatal reports whether the server closes the connection after this error.
func fatal(e *ServerError) bool { return e.Severity == "FATAL" || e.Severity == "PANIC" }

// readDeadline ends a wait for the server when a context ends. It leaves the
// write side alone: a status update may be on its way from another goroutine,
// and half a message would break the conversation.
type readDeadline struct{ conn net.Conn }

// HandleCancel makes the read under way return.
func (h readDeadline) HandleCancel(context.Context) {
	_ = h.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// HandleUnwatchAfterCancel lets the next read wait again.
func (h readDeadline) HandleUnwatchAfterCancel() {
	_ = h.conn.SetReadDeadline(time.Time{}) // fails only on a closed connection
}

// redact keeps the reason of a parse error and drops the connection string
// that pgconn prints with it.
func redact(err error) error {
	var p *pgconn.ParseConfigError
	if !errors.As(err, &p) {
		return errors.New("invalid connection string")
	}
	text := p.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	if text == "" || p.ConnString != "" && strings.Contains(text, p.ConnString) {
		text = "invalid connection string"
	}
	return errors.New(text)
}

// Servers returns a configuration for each server of c, in their order, without session attributes.
func (c *Config) Servers() []*Config {
	first := &pgconn.FallbackConfig{Host: c.pg.Host, Port: c.pg.Port, TLSConfig: c.pg.TLSConfig}
	var servers []*Config
	for _, h := range append([]*pgconn.FallbackConfig{first}, c.pg.Fallbacks...) {
		if n := len(servers); n > 0 && servers[n-1].pg.Host == h.Host && servers[n-1].pg.Port == h.Port {
			servers[n-1].pg.Fallbacks = append(servers[n-1].pg.Fallbacks, h) // the same host once with and once without TLS
			continue
		}
		pg := c.pg.Copy()
		pg.Host, pg.Port, pg.TLSConfig, pg.Fallbacks = h.Host, h.Port, h.TLSConfig, nil
		servers = append(servers, &Config{pg: pg, attrs: attrsAny})
	}
	return servers
}

// String names user and servers, "user@host:5432,host2:5432", and no secret.
func (c *Config) String() string { return c.pg.User + "@" + strings.Join(addresses(c.pg), ",") }
