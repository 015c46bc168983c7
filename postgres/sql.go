package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Query opens an ordinary connection, runs one SQL command and returns the
// rows of its answer as text, NULL as the empty string. conn is a connection
// string or URL as ParseConfig reads it. The errors are those of Connect.
func Query(ctx context.Context, conn, sql string) ([][]string, error) {
	cfg, err := pgconn.ParseConfig(conn)
	if err != nil {
		return nil, fmt.Errorf("parse connection string: %w", redact(err))
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(ctx, &Config{pg: cfg}, err)
	}
	defer pg.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	results, err := pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, queryError(err)
	}
	var rows [][]string
	for _, result := range results {
		for _, row := range result.Rows {
			text := make([]string, len(row))
			for i, value := range row {
				text[i] = string(value)
			}
			rows = append(rows, text)
		}
	}
	return rows, nil
}

// queryError makes a *ServerError of what the server said, ErrUnreachable of
// the rest.
func queryError(err error) error {
	var p *pgconn.PgError
	if errors.As(err, &p) {
		return fmt.Errorf("query: %w", fromPgError(p))
	}
	return fmt.Errorf("query: %w: %w", ErrUnreachable, plain(err))
}
