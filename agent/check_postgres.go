package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/postgres"
)

func (k *check) postgres(ctx context.Context) {
	conn, err := k.server.connect(ctx)
	if err != nil {
		k.bad(SectionPostgres, err)
		return
	}
	defer hangUp(ctx, conn)
	k.system, err = conn.System(ctx)
	if err != nil {
		k.bad(SectionPostgres, err)
		return
	}
	settings := map[string]string{}
	for _, name := range []string{
		"server_version", "wal_level", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size",
		"full_page_writes", "fsync", "in_hot_standby", "data_checksums",
	} {
		if settings[name], err = conn.Setting(ctx, name); err != nil {
			k.bad(SectionPostgres, fmt.Errorf("show %s: %w", name, err))
			return
		}
	}
	k.asked = true
	role := "primary"
	if settings["in_hot_standby"] == "on" {
		role = "standby"
	}
	k.good(SectionPostgres, "%s %s, system id %s, timeline %d, wal_level %s", settings["server_version"], role, k.system.ID,
		uint32(k.system.Timeline), settings["wal_level"])
	k.good(SectionPostgres, "%s may replicate", k.server.config)
	k.settings(settings)
	k.pulse(ctx, number(settings["max_wal_senders"]))
	k.slot(ctx, conn)
	k.sync(ctx, conn)
	k.standbys(ctx)
}

// settings judges the server's settings.
func (k *check) settings(s map[string]string) {
	// alter is what a reload brings in force.
	alter := func(name, value string) []string {
		return []string{"ALTER SYSTEM SET " + name + " = " + value + ";", "SELECT pg_reload_conf();"}
	}
	for _, rule := range []struct {
		broken  bool
		verdict Verdict
		text    string
		fix     string
		sql     []string
	}{
		{
			s["wal_level"] == "minimal", Bad, "wal_level = minimal: WAL does not hold enough to recover from",
			"ALTER SYSTEM SET wal_level = 'replica'   and restart PostgreSQL", nil,
		},
		{
			number(s["max_wal_senders"]) < 2, Bad, "max_wal_senders = " + s["max_wal_senders"] + ": the agent needs one, and a base backup one more",
			"ALTER SYSTEM SET max_wal_senders = 10   and restart PostgreSQL", nil,
		},
		{
			number(s["max_replication_slots"]) < 1, Bad, "max_replication_slots = 0: the agent needs one",
			"ALTER SYSTEM SET max_replication_slots = 10   and restart PostgreSQL", nil,
		},
		{
			s["fsync"] == "off", Warning, "fsync = off: a crash of the host may leave the archive ahead of the server",
			"", alter("fsync", "on"),
		},
		{
			s["full_page_writes"] == "off", Warning, "full_page_writes = off: base backups may hold torn pages",
			"", alter("full_page_writes", "on"),
		},
		{
			s["max_slot_wal_keep_size"] == "-1" && k.cluster.Keep.Max == 0, Warning, "max_slot_wal_keep_size = -1: a long outage of the repository could fill the disk",
			"   or slot.keep_max in the configuration", alter("max_slot_wal_keep_size", "'64GB'"),
		},
		{
			s["data_checksums"] == "off", Warning, "data_checksums = off: a damaged page goes into the backup unseen",
			"pg_checksums --enable   while PostgreSQL is stopped", nil,
		},
	} {
		if rule.broken {
			k.report(Finding{Section: SectionPostgres, Verdict: rule.verdict, Text: rule.text, Fix: strings.Join(rule.sql, " ") + rule.fix, SQL: rule.sql})
		}
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func (k *check) slot(ctx context.Context, conn *postgres.Conn) {
	slot, known, err := conn.Slot(ctx, k.cluster.Slot)
	switch {
	case err != nil:
		k.bad(SectionPostgres, err)
	case !known:
	case !slot.Exists:
		k.report(Finding{Section: SectionPostgres, Verdict: Pending, Text: "no slot " + k.cluster.Slot + " yet: pgark run makes it"})
	case slot.RestartLSN == 0:
		k.report(Finding{
			Section: SectionPostgres, Verdict: Bad, Text: "slot " + k.cluster.Slot + " keeps no WAL: it was invalidated",
			Fix: "SELECT pg_drop_replication_slot('" + k.cluster.Slot + "');   then pgark run makes a new one",
		})
	default:
		k.good(SectionPostgres, "slot %s keeps WAL from %s", k.cluster.Slot, slot.RestartLSN)
	}
}
