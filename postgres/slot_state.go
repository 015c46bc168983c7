package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/pgark/pgark/wal"
)

// SlotState is what a server says of a physical slot over an ordinary
// connection: more than READ_REPLICATION_SLOT tells, and from PostgreSQL 14 on
// (the views pg_replication_slots and pg_stat_replication).
type SlotState struct {
	SystemID wal.SystemID
	Exists   bool
	Active   bool // a connection receives from it
	// WALStatus is reserved, extended, unreserved or lost; "" if the slot keeps
	// no WAL.
	WALStatus  string
	RestartLSN wal.LSN
	// Retained is how many bytes of WAL lie between RestartLSN and the end of
	// what the server has flushed, or a standby received.
	Retained int64
	// Safe is how many bytes the server may write before the slot is in danger
	// of being invalidated (safe_wal_size); nil if it cannot be, or is.
	Safe *int64
	// Limit is max_slot_wal_keep_size in bytes, -1 for none.
	Limit int64
	// ActiveSince is when the connection that receives began; nil if there is
	// none, or if the role is another and no monitor. InactiveSince is when the
	// last one ended; nil before PostgreSQL 17.
	ActiveSince, InactiveSince *time.Time
	// DataDirectory is "" unless the role may read it (pg_read_all_settings).
	DataDirectory string
	// Local says that the server runs on this host, or as good as: the
	// connection is a Unix socket, or has one address at both ends.
	Local bool
}

// slotSQL asks for a SlotState, one row whether or not there is a slot. to_jsonb
// lets one text serve majors with and without inactive_since. The setting is in MB.
const slotSQL = `select c.system_identifier, s.slot_name is not null, coalesce(s.active, false), s.wal_status, s.restart_lsn,
  case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_flush_lsn() end - s.restart_lsn,
  s.safe_wal_size,
  (select case when setting = '-1' then -1 else setting::bigint * 1048576 end from pg_settings where name = 'max_slot_wal_keep_size'),
  extract(epoch from r.backend_start), extract(epoch from (to_jsonb(s)->>'inactive_since')::timestamptz),
  (select setting from pg_settings where name = 'data_directory'),
  inet_server_addr() is null or inet_server_addr() = inet_client_addr()
from pg_control_system() c left join pg_replication_slots s on s.slot_name = '%s' left join pg_stat_replication r on r.pid = s.active_pid`

// AskSlot asks for the state of a slot over an ordinary connection. The errors
// are those of Query.
func AskSlot(ctx context.Context, conn, name string) (SlotState, error) {
	if err := checkSlotName(name); err != nil {
		return SlotState{}, fmt.Errorf("ask for slot: %w", err)
	}
	rows, err := Query(ctx, conn, fmt.Sprintf(slotSQL, name))
	if err != nil {
		return SlotState{}, fmt.Errorf("ask for slot %s: %w", name, err)
	}
	if len(rows) != 1 || len(rows[0]) != 12 {
		return SlotState{}, fmt.Errorf("ask for slot %s: got %d rows, want 1 of 12 columns", name, len(rows))
	}
	s, err := parseSlotState(rows[0])
	if err != nil {
		return SlotState{}, fmt.Errorf("ask for slot %s: %w", name, err)
	}
	return s, nil
}

// parseSlotState reads a row of slotSQL; a NULL is empty.
func parseSlotState(row []string) (SlotState, error) {
	s := SlotState{
		Exists: row[1] == "t", Active: row[2] == "t", WALStatus: row[3],
		ActiveSince: parseEpoch(row[8]), InactiveSince: parseEpoch(row[9]), DataDirectory: row[10], Local: row[11] == "t",
	}
	var err error
	if s.SystemID, err = wal.ParseSystemID(row[0]); err != nil {
		return SlotState{}, err
	}
	if row[4] != "" {
		if s.RestartLSN, err = wal.ParseLSN(row[4]); err != nil {
			return SlotState{}, err
		}
	}
	if row[5] != "" {
		if s.Retained, err = strconv.ParseInt(row[5], 10, 64); err != nil {
			return SlotState{}, fmt.Errorf("read distance: %w", err)
		}
		s.Retained = max(0, s.Retained) // of another timeline
	}
	if row[6] != "" {
		safe, err := strconv.ParseInt(row[6], 10, 64)
		if err != nil {
			return SlotState{}, fmt.Errorf("read safe_wal_size: %w", err)
		}
		s.Safe = &safe
	}
	if s.Limit, err = strconv.ParseInt(row[7], 10, 64); err != nil {
		return SlotState{}, fmt.Errorf("read max_slot_wal_keep_size: %w", err)
	}
	return s, nil
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
