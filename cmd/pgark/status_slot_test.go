package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// TestSlotOfEachMajor asks real servers about a slot that is not there, left, held and lost; as a role that
// may only replicate, and whose name no database has.
func TestSlotOfEachMajor(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t, v, postgrestest.Options{})
			server.Exec(t, "create role ark login replication")
			conn := server.ConnString() + " user=ark dbname=ark"
			c := config.Cluster{Slot: "pgark", Postgres: conn}
			ask := func() status.Slot {
				t.Helper()
				slot, err := askSlot(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				return slot
			}
			if slot := ask(); slot.Exists || slot.Name != "pgark" {
				t.Errorf("before it is made: got %+v", slot)
			}
			server.Exec(t, "select pg_create_physical_replication_slot('pgark', true)")
			slot := ask()
			if !slot.Exists || slot.Receiving() || slot.Active == nil || slot.Restart == 0 || slot.Lost() || slot.ActiveSince != nil {
				t.Errorf("left: got %+v", slot)
			}
			if slot.Limit == nil || *slot.Limit != status.NoLimit {
				t.Errorf("limit: got %v, want none", slot.Limit)
			}
			receive(t, conn, slot.Restart, func() {
				if slot := ask(); !slot.Receiving() || slot.ActiveSince == nil || time.Since(*slot.ActiveSince) > time.Minute {
					t.Errorf("held: got %+v", slot)
				}
			})
			server.Exec(t, "alter system set max_slot_wal_keep_size = '1MB'")
			server.Exec(t, "select pg_reload_conf()")
			for range 5 {
				server.Exec(t, "select pg_logical_emit_message(false, 'pgark', repeat('x', 1000000))")
				server.Exec(t, "select pg_switch_wal()")
			}
			awaitFree(t, server)
			server.Exec(t, "checkpoint")
			if slot := ask(); !slot.Lost() || slot.WALStatus != "lost" || slot.Limit == nil || *slot.Limit != 1<<20 {
				t.Errorf("lost: got %+v", slot)
			}
		})
	}
}

// receive holds the slot over a replication connection while during runs.
func receive(t *testing.T, conn string, from wal.LSN, during func()) {
	t.Helper()
	parsed, err := postgres.ParseConfig(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := postgres.Connect(t.Context(), parsed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	if err := c.StartReplication(t.Context(), postgres.Start{Slot: "pgark", Timeline: 1, LSN: from}); err != nil {
		t.Fatal(err)
	}
	during()
}

// awaitFree waits until the server has seen that the receiver is gone: a held slot is not invalidated.
func awaitFree(t *testing.T, server *postgrestest.Cluster) {
	t.Helper()
	for server.Text(t, "select active::text from pg_replication_slots") == "true" {
		if t.Context().Err() != nil {
			t.Fatal("the slot stays held")
		}
	}
}

// TestSlotThatCannotBeAsked: what a replication connection told stays, and the reason is in the report.
func TestSlotThatCannotBeAsked(t *testing.T) {
	r := status.Report{Server: &status.Server{Slot: &status.Slot{Name: "pgark", Exists: true, Restart: 5}}}
	lookAtSlot(t.Context(), config.Cluster{Slot: "pgark", Postgres: "host=/nonexistent user=ark password=hunter22"}, &r)
	if r.Server.Slot.Restart != 5 || r.Server.Slot.Active != nil || !strings.Contains(r.Server.SlotError, "unreachable") || strings.Contains(r.Server.SlotError, "hunter22") {
		t.Errorf("got %+v, %s", r.Server.Slot, r.Server.SlotError)
	}
	away := status.Report{ServerError: "connection refused"}
	lookAtSlot(t.Context(), config.Cluster{}, &away)
	if away.Server != nil {
		t.Errorf("a server that did not answer: got %+v", away.Server)
	}
}

func TestWithDatabase(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "dbname=postgres",
		"host=db user=ark":                "host=db user=ark dbname=postgres",
		"postgres://ark@db":               "postgres://ark@db/postgres",
		"postgresql://ark@db:5433/x?a=b":  "postgresql://ark@db:5433/postgres?a=b",
		"postgres:///?host=/run&dbname=x": "postgres:///postgres?host=%2Frun",
	} {
		if got := withDatabase(in, "postgres"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestBesides(t *testing.T) {
	for in, want := range map[string]string{
		"s3://acme-pg/main?region=eu-west-1": "s3://acme-pg/main-20261120?region=eu-west-1",
		"s3://acme-pg":                       "s3://acme-pg/20261120",
		"s3://acme-pg/?region=x":             "s3://acme-pg/20261120?region=x",
		"file:///srv/pg/":                    "file:///srv/pg-20261120",
	} {
		if got := besides(in, day(20, "10:00:00")); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
