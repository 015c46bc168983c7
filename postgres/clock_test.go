package postgres_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestClock asks for the server's clock behind a base backup, as a role that may do nothing else, and that is named as a synchronous standby: no commit is
// confirmed by that.
func TestClock(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		c.Exec(t, "create role ark login replication")
		c.WriteFile(t, "pg_hba.conf", "local replication ark trust\nlocal all postgres trust\n")
		c.Exec(t, "alter system set synchronous_standby_names = 'ark'")
		c.Exec(t, "alter system set synchronous_commit = 'local'")
		c.Exec(t, "select pg_reload_conf()")
		conn := connect(t, "host="+c.SocketDir+" port="+strconv.Itoa(c.Port)+" user=ark application_name=ark")
		take(deadline(t), t, conn, postgres.BackupOptions{Fast: true})
		var before, after time.Time
		c.Scan(t, "select clock_timestamp()", &before)
		got, err := conn.Clock(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Scan(t, "select clock_timestamp()", &after)
		if got.Go().Before(before) || got.Go().After(after) {
			t.Errorf("got %s, between %s and %s", got, before, after)
		}
		if said := c.Text(t, "select count(flush_lsn) || ' ' || count(*) filter (where state = 'streaming') from pg_stat_replication"); said != "0 0" {
			t.Errorf("it told the server of WAL that it holds, or streams on: %s", said)
		}
		if _, err := conn.System(deadline(t)); err != nil {
			t.Errorf("the connection is of no use any more: %v", err)
		}
	})
}
