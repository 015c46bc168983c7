package postgrestest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// queryTimeout bounds each of the statements below.
const queryTimeout = 2 * time.Minute

// Conn opens a session that is closed with the test.
func (c *Cluster) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), queryTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx) // the server may be gone
	})
	return conn
}

// Exec runs one statement, or several without arguments, in a session of its
// own.
func (c *Cluster) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	c.session(t, func(ctx context.Context, conn *pgx.Conn) error {
		if len(args) == 0 {
			_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
			return err
		}
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// Value returns the first column of the first row.
func (c *Cluster) Value(t testing.TB, sql string, args ...any) any {
	t.Helper()
	var v any
	c.session(t, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, args...).Scan(&v)
	})
	return v
}

// Scan reads the one row that the query gives.
func (c *Cluster) Scan(t testing.TB, sql string, into ...any) {
	t.Helper()
	c.session(t, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql).Scan(into...)
	})
}

// Text returns the first column of the first row as PostgreSQL prints it, so
// that LSNs and other types can be compared.
func (c *Cluster) Text(t testing.TB, sql string) string {
	t.Helper()
	var text string
	c.session(t, func(ctx context.Context, conn *pgx.Conn) error {
		results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		if err == nil && len(results) > 0 && len(results[0].Rows) > 0 {
			text = string(results[0].Rows[0][0])
		}
		return err
	})
	return text
}

// session runs do in a session and fails the test when it fails. It outlives
// the test's context, so that it works in clean-ups too.
func (c *Cluster) session(t testing.TB, do func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), queryTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }() // what matters was answered
	if err := do(ctx, conn); err != nil {
		t.Fatal(err)
	}
}

// ping opens and closes a session.
func (c *Cluster) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.ConnString())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
