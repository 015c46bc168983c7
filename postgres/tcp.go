package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// What finds out that an idle server has vanished without a word, within 30 s.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	// unackedTimeout is how long what was sent may stay unacknowledged. The
	// kernel sends no keepalive meanwhile, and would try for a quarter of an hour
	// by itself (tcp(7): TCP_USER_TIMEOUT, tcp_retries2).
	unackedTimeout = 30 * time.Second
)

// dialer takes libpq's parameters of TCP connections (libpq-connect in
// PostgreSQL's manual) out of what is sent to the server, and makes of them how
// to connect: keepalives, keepalives_idle and keepalives_interval in seconds,
// keepalives_count, tcp_user_timeout in milliseconds. As in libpq, zero and less
// stand for the system's default. They do not matter on a Unix-domain socket.
func dialer(params map[string]string) (*net.Dialer, error) {
	take := func(name string, unit, given time.Duration) (time.Duration, error) {
		text, ok := params[name]
		if !ok {
			return given, nil
		}
		delete(params, name)
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%s: want a whole number", name)
		}
		if n <= 0 {
			return -1, nil
		}
		return time.Duration(n) * unit, nil
	}
	var enable, idle, interval, count, unacked time.Duration
	for _, p := range []struct {
		name        string
		value       *time.Duration
		unit, given time.Duration
	}{
		{"keepalives", &enable, 1, 1},
		{"keepalives_idle", &idle, time.Second, keepAliveIdle},
		{"keepalives_interval", &interval, time.Second, keepAliveInterval},
		{"keepalives_count", &count, 1, keepAliveCount},
		{"tcp_user_timeout", &unacked, time.Millisecond, unackedTimeout},
	} {
		var err error
		if *p.value, err = take(p.name, p.unit, p.given); err != nil {
			return nil, err
		}
	}
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: enable > 0, Idle: idle, Interval: interval, Count: int(count)}}
	if enable < 0 {
		d.KeepAlive = -1 // Go's own keepalives too
	}
	d.ControlContext = func(_ context.Context, network, _ string, conn syscall.RawConn) error {
		if unacked < 0 || !strings.HasPrefix(network, "tcp") {
			return nil
		}
		return limitUnacked(conn, unacked)
	}
	return d, nil
}

// shareTime gives each server of a configuration an even share of what ctx has
// left: one that has vanished without a word must not use up the time of the
// next. ConnectTimeout counts for each.
func shareTime(ctx context.Context, pg *pgconn.Config) {
	until, bounded := ctx.Deadline()
	if n := len(addresses(pg)); bounded && n > 1 {
		pg.ConnectTimeout = min(pg.ConnectTimeout, max(1, time.Until(until)/time.Duration(n)))
	}
}

// addresses are those of a configuration's servers, each once and in their order:
// pgconn has a host twice that may be reached with and without TLS.
func addresses(pg *pgconn.Config) []string {
	var found []string
	for _, h := range append([]*pgconn.FallbackConfig{{Host: pg.Host, Port: pg.Port}}, pg.Fallbacks...) {
		address := net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
		if len(found) == 0 || found[len(found)-1] != address {
			found = append(found, address)
		}
	}
	return found
}
