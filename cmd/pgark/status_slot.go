package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// slotPatience is how long the server may take to answer about the slot.
const slotPatience = 5 * time.Second

// slotSQL asks what a replication connection cannot: whether a program receives, and how much WAL the
// slot may hold. inactive_since is there from PostgreSQL 17 on; a session's start shows to the same role
// and to pg_read_all_stats. max_slot_wal_keep_size is in MB.
const slotSQL = `select s.active, s.wal_status, coalesce(s.restart_lsn, '0/0'),
  case when s.restart_lsn is null then 0 when pg_is_in_recovery() then pg_last_wal_receive_lsn() - s.restart_lsn
    else pg_current_wal_flush_lsn() - s.restart_lsn end,
  (select case when setting = '-1' then -1 else setting::bigint * 1048576 end from pg_settings where name = 'max_slot_wal_keep_size'),
  extract(epoch from r.backend_start), extract(epoch from (to_jsonb(s)->>'inactive_since')::timestamptz)
from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid
where s.slot_name = '%s'`

// lookAtSlot adds to a report what the server says of the slot over an ordinary connection. If none can
// be made, the report says so, and keeps what a replication connection told.
func lookAtSlot(ctx context.Context, c config.Cluster, r *status.Report) {
	if r.Server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, slotPatience)
	defer cancel()
	slot, err := askSlot(ctx, c)
	if err != nil {
		r.Server.SlotError = err.Error()
		return
	}
	r.Server.Slot = &slot
}

func askSlot(ctx context.Context, c config.Cluster) (status.Slot, error) {
	statement := fmt.Sprintf(slotSQL, strings.ReplaceAll(c.Slot, "'", "''"))
	rows, err := postgres.Query(ctx, c.Postgres, statement)
	var refused *postgres.ServerError
	if errors.As(err, &refused) && refused.Code == "3D000" { // no database has the role's name
		rows, err = postgres.Query(ctx, withDatabase(c.Postgres, "postgres"), statement)
	}
	if err != nil {
		return status.Slot{}, err
	}
	if len(rows) == 0 {
		return status.Slot{Name: c.Slot}, nil
	}
	return parseSlot(c.Slot, rows[0])
}

// parseSlot reads a row of slotSQL.
func parseSlot(name string, row []string) (status.Slot, error) {
	active := row[0] == "t"
	restart, err := wal.ParseLSN(row[2])
	if err != nil {
		return status.Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	slot := status.Slot{Name: name, Exists: true, Active: &active, WALStatus: row[1], Restart: restart}
	if slot.Retained, err = strconv.ParseInt(row[3], 10, 64); err != nil {
		return status.Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	slot.Retained = max(0, slot.Retained)
	if limit, err := strconv.ParseInt(row[4], 10, 64); err == nil {
		slot.Limit = &limit
	}
	slot.ActiveSince, slot.InactiveSince = parseEpoch(row[5]), parseEpoch(row[6])
	return slot, nil
}

// parseEpoch reads seconds since 1970; nil for NULL.
func parseEpoch(text string) *time.Time {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil
	}
	at := time.UnixMicro(int64(seconds * 1e6)).UTC()
	return &at
}

// withDatabase returns a connection string, a URL or libpq's keywords, with another database.
func withDatabase(conn, database string) string {
	if u, err := url.Parse(conn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		query := u.Query()
		query.Del("dbname")
		u.Path, u.RawQuery = "/"+database, query.Encode()
		return u.String()
	}
	return strings.TrimSpace(conn + " dbname=" + database)
}
