package setup

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgark/pgark/postgres"
)

// describing are the questions of Describe. None reads a table of a user, and no setting is asked for that may hold a password, as
// primary_conninfo and archive_command may.
func describing() []struct{ what, sql string } {
	return []struct{ what, sql string }{
		{"server", "select version(), pg_is_in_recovery(), pg_postmaster_start_time(), now(), current_user"},
		{"settings that matter here, and all that are not the default", "select name, setting, coalesce(unit, ''), source from pg_settings where " +
			"name in ('wal_level', 'max_wal_senders', 'max_replication_slots', 'max_slot_wal_keep_size', 'wal_keep_size', 'wal_segment_size', 'fsync', " +
			"'full_page_writes', 'data_checksums', 'synchronous_commit', 'wal_sender_timeout', 'archive_mode', 'max_wal_size', 'checkpoint_timeout', 'idle_replication_slot_timeout') " +
			"or category like 'Write-Ahead Log%' and source <> 'default' and vartype <> 'string' or category like 'Replication%' and source <> 'default' and vartype <> 'string' order by name"},
		{"slots", "select slot_name, slot_type, active, restart_lsn, wal_status, safe_wal_size from pg_replication_slots order by slot_name"},
		{"walsenders", "select pid, application_name, state, sent_lsn, write_lsn, flush_lsn, sync_state, backend_start from pg_stat_replication order by pid"},
		{"archiver", "select archived_count, failed_count, last_failed_time from pg_stat_archiver"},
		{"size of the databases in bytes", "select count(*), sum(pg_database_size(oid)) from pg_database where has_database_privilege(oid, 'connect')"},
	}
}

// Describe tells of a server in text, for somebody who helps from afar. The errors are those of postgres.Query, with what was told before.
func Describe(ctx context.Context, conn string) (string, error) {
	var b strings.Builder
	for _, one := range describing() {
		rows, err := postgres.Query(ctx, conn, one.sql)
		if err != nil {
			return b.String(), fmt.Errorf("ask for %s: %w", one.what, err)
		}
		fmt.Fprintf(&b, "%s\n", one.what)
		for _, row := range rows {
			fmt.Fprintf(&b, "  %s\n", strings.Join(row, " | "))
		}
	}
	return b.String(), nil
}
