package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pgark/pgark/wal"
)

// Promotable is what a server says of itself, over an ordinary connection, to who may promote it.
type Promotable struct {
	SystemID   wal.SystemID
	InRecovery bool
	// Replayed is the end of the last record that was replayed; of a server that is not in recovery of what it has flushed.
	Replayed wal.LSN
	Paused   bool // replay was paused, by somebody or by the server
	// DataDirectory is "" unless the role may read it (pg_read_all_settings).
	DataDirectory string
	Role          string
	MayPromote    bool // the role may execute pg_promote
}

// promotableSQL asks for a Promotable in one row. pg_get_wal_replay_pause_state refuses outside of recovery.
const promotableSQL = `select c.system_identifier, pg_is_in_recovery(),
  case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_flush_lsn() end,
  case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() <> 'not paused' else false end,
  (select setting from pg_settings where name = 'data_directory'), quote_ident(current_user),
  has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE')
from pg_control_system() c`

// AskPromotable asks a server whether it can be promoted. The errors are those of Query.
func AskPromotable(ctx context.Context, conn string) (Promotable, error) {
	rows, err := Query(ctx, conn, promotableSQL)
	if err != nil {
		return Promotable{}, fmt.Errorf("ask the standby: %w", err)
	}
	if len(rows) != 1 || len(rows[0]) != 7 {
		return Promotable{}, fmt.Errorf("ask the standby: got %d rows, want 1 of 7 columns", len(rows))
	}
	row := rows[0]
	id, errID := strconv.ParseInt(row[0], 10, 64) // the column is signed
	at, errLSN := wal.ParseLSN(row[2])
	if err := errors.Join(errID, errLSN); err != nil {
		return Promotable{}, fmt.Errorf("ask the standby: %w", err)
	}
	return Promotable{
		SystemID: wal.SystemID(id), InRecovery: row[1] == "t", Replayed: at, Paused: row[3] == "t",
		DataDirectory: row[4], Role: row[5], MayPromote: row[6] == "t",
	}, nil
}

// Promote has a standby promoted (pg_promote, src/backend/access/transam/xlogfuncs.c) and waits that long for the end of its recovery. It returns false if it had not ended by then: the
// request stands. ErrPrivilege if the role may not.
func Promote(ctx context.Context, conn string, wait time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+commandTimeout)
	defer cancel()
	rows, err := LongQuery(ctx, conn, fmt.Sprintf("select pg_promote(true, %d)", max(1, int(wait.Seconds()))))
	if err != nil {
		return false, fmt.Errorf("promote: %w", privilegeError(err))
	}
	return len(rows) == 1 && len(rows[0]) == 1 && rows[0][0] == "t", nil
}
