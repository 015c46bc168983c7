package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Pulse is how a server stands at one moment.
type Pulse struct {
	// Walsenders are those that are taken, whoever has them.
	Walsenders int
	// Ahead is how far the server's clock lies before this host's, give or take Within. It is behind where Ahead is negative.
	Ahead, Within time.Duration
}

// pulseSQL asks for walsenders and microseconds since 1970. Any role sees a row for each walsender in pg_stat_replication, though little in it
// (https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW). The clock is read last.
const pulseSQL = "select n, (extract(epoch from clock_timestamp()) * 1000000)::bigint from (select count(*) as n from pg_stat_replication offset 0) s"

// AskPulse asks over an ordinary connection. The errors are those of Query.
func AskPulse(ctx context.Context, conn string) (Pulse, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	pg, err := connectSQL(ctx, conn)
	if err != nil {
		return Pulse{}, err
	}
	defer pg.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	began := time.Now()
	rows, err := query(ctx, pg, pulseSQL)
	took := time.Since(began)
	if err != nil {
		return Pulse{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return Pulse{}, fmt.Errorf("ask for walsenders and clock: got %d rows, want 1 of 2 columns", len(rows))
	}
	var p Pulse
	if p.Walsenders, err = strconv.Atoi(rows[0][0]); err != nil {
		return Pulse{}, fmt.Errorf("walsenders: %w", err)
	}
	at, err := strconv.ParseInt(rows[0][1], 10, 64)
	if err != nil {
		return Pulse{}, fmt.Errorf("clock: %w", err)
	}
	p.Ahead, p.Within = time.UnixMicro(at).Sub(began.Add(took/2)), took/2
	return p, nil
}
