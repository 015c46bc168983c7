package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Query opens an ordinary connection, runs one SQL command and returns the
// rows of its answer as text, NULL as the empty string. conn is a connection
// string or URL as ParseConfig reads it; where there is no database of the name in
// it, which a replication connection passes over, nor of the role's name, it is
// postgres. The errors are those of Connect.
func Query(ctx context.Context, conn, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return LongQuery(ctx, conn, sql)
}

// LongQuery is Query for a command that may take any time: only ctx ends it.
func LongQuery(ctx context.Context, conn, sql string) ([][]string, error) {
	pg, err := connectSQL(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer pg.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	return query(ctx, pg, sql)
}

// connectSQL opens an ordinary connection.
func connectSQL(ctx context.Context, conn string) (*pgconn.PgConn, error) {
	cfg, err := parse(conn)
	if err != nil {
		return nil, err
	}
	shareTime(ctx, cfg)
	// What is asked here must not wait for a synchronous standby, least of all
	// the command that ends such waits.
	cfg.RuntimeParams["synchronous_commit"] = "local"
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if cfg.Database != "postgres" && elsewhere(cfg, err) {
		cfg.Database = "postgres"
		pg, err = pgconn.ConnectConfig(ctx, cfg)
	}
	if err != nil {
		return nil, connectError(ctx, &Config{pg: cfg}, err)
	}
	return pg, nil
}

// elsewhere reports whether a connection may do better to the database postgres: the one that was tried is not there, or nobody named it, so that it is called
// after the user, and pg_hba.conf, which is asked first, knows nothing of it.
func elsewhere(cfg *pgconn.Config, err error) bool {
	var p *pgconn.PgError
	if !errors.As(err, &p) {
		return false
	}
	return p.Code == "3D000" || // invalid_catalog_name
		p.Code == "28000" && (cfg.Database == "" || cfg.Database == cfg.User) // invalid_authorization_specification
}

func query(ctx context.Context, pg *pgconn.PgConn, sql string) ([][]string, error) {
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
