package postgres_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestSlotState asks real servers about a slot that is not there, left, held and lost; as a role that may
// only replicate, and where the connection string names a database that does not exist.
func TestSlotState(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		c.Exec(t, "create role ark login replication")
		conn := c.ConnString() + " user=ark dbname=ark"
		ask := func() postgres.SlotState {
			t.Helper()
			s, err := postgres.AskSlot(deadline(t), conn, "pgark")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := ask()
		if s.Exists || s.Active || s.RestartLSN != 0 || s.DataDirectory != "" || !s.Local {
			t.Errorf("before it is made: got %+v", s)
		}
		if got, want := s.SystemID.String(), c.Text(t, "select system_identifier from pg_control_system()"); got != want {
			t.Errorf("system id is %s, want %s", got, want)
		}
		c.Exec(t, "select pg_create_physical_replication_slot('pgark', true)")
		s = ask()
		if !s.Exists || s.Active || s.RestartLSN == 0 || s.WALStatus != "reserved" || s.ActiveSince != nil || s.Safe != nil || s.Limit != -1 {
			t.Errorf("left: got %+v", s)
		}
		stream := connect(t, conn)
		if err := stream.StartReplication(deadline(t), postgres.Start{Slot: "pgark", Timeline: 1, LSN: s.RestartLSN}); err != nil {
			t.Fatal(err)
		}
		if s = ask(); !s.Active || s.ActiveSince == nil || time.Since(*s.ActiveSince) > time.Minute {
			t.Errorf("held: got %+v", s)
		}
		if err := stream.Close(deadline(t)); err != nil {
			t.Fatal(err)
		}
		c.Exec(t, "alter system set max_slot_wal_keep_size = '100MB'")
		c.Exec(t, "select pg_reload_conf()")
		if s = ask(); s.Limit != 100<<20 || s.Safe == nil || *s.Safe <= 0 || *s.Safe > 200<<20 {
			t.Errorf("limited: got %+v", s)
		}
		before := s.Retained
		c.Exec(t, "alter system set max_slot_wal_keep_size = '1MB'")
		c.Exec(t, "select pg_reload_conf()")
		for range 5 {
			c.Exec(t, "select pg_logical_emit_message(false, 'pgark', repeat('x', 1000000))")
			c.Exec(t, "select pg_switch_wal()")
		}
		if s = ask(); s.Retained < before+5_000_000 {
			t.Errorf("retained: got %d, want at least %d", s.Retained, before+5_000_000)
		}
		for ask().Active { // a held slot is not invalidated
			if t.Context().Err() != nil {
				t.Fatal("the slot stays held")
			}
		}
		c.Exec(t, "checkpoint")
		if s = ask(); !s.Exists || s.WALStatus != "lost" || s.Safe != nil || s.Limit != 1<<20 {
			t.Errorf("lost: got %+v", s)
		}
		if _, err := postgres.AskSlot(deadline(t), conn, "x' or true"); err == nil {
			t.Error("a name with a quote was asked for")
		}
		s, err := postgres.AskSlot(deadline(t), c.ConnString(), "pgark")
		if err != nil || s.DataDirectory != c.DataDir {
			t.Errorf("a superuser: got data directory %q, %v, want %q", s.DataDirectory, err, c.DataDir)
		}
	})
}
