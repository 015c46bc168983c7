package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// TestSlotsOnStandbys guards I9 and I10: the agent keeps its slot on the standbys among its hosts. It is away while the server writes and both
// standbys forget what they need not keep; then the server is lost. The one it knew is promoted and still has all that the archive lacks: the
// archive goes on without a hole. Another standby, that it did not know, has it no more.
func TestSlotsOnStandbys(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			testSlotsOnStandbys(t, postgrestest.Need(t, major))
		})
	}
}

func testSlotsOnStandbys(t *testing.T, v postgrestest.Version) {
	s := newSite(t, v, onFile, postgrestest.Options{SegmentSize: 1 << 20, Settings: map[string]string{
		"wal_keep_size": "0", "min_wal_size": "2MB", "max_wal_size": "4MB", "log_checkpoints": "on", "timezone": "UTC",
	}})
	known, unknown := coldStandbyOf(t, s.server), coldStandbyOf(t, s.server)
	s.server.Exec(t, "alter system set wal_keep_size = '1GB'") // for the standbys, which stream without slots
	s.server.Exec(t, "select pg_reload_conf()")
	s.knowStandby(known)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table kept (n int, pad text)")
	fill := func(c *postgrestest.Cluster, n int) {
		t.Helper()
		c.Exec(t, fmt.Sprintf("insert into kept select %d, repeat('x', 1000) from generate_series(1, 3000)", n))
		c.Exec(t, "checkpoint")
	}
	// follow waits until a standby has replayed all, and makes a restart point there.
	follow := func(n int) {
		t.Helper()
		for _, c := range []*postgrestest.Cluster{known, unknown} {
			eventually(t, time.Minute, "the standby to replay", func() bool {
				return c.Text(t, fmt.Sprintf("select count(*) from kept where n = %d", n)) == "3000"
			})
			c.Exec(t, "checkpoint")
		}
	}
	slotAt := func() wal.LSN {
		t.Helper()
		at, err := wal.ParseLSN(known.Text(t, "select coalesce(max(restart_lsn), '0/0')::text from pg_replication_slots where slot_name = 'pgark'"))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	fill(s.server, 1)
	durable := s.waitArchived(t)
	eventually(t, time.Minute, "the slot on the standby to be where the archive is", func() bool { return slotAt() >= durable })
	out := s.tool.must(t.Context(), t, "check", "--only", "postgres", s.url)
	if v.Major > 14 && !strings.Contains(out, "standby ") {
		t.Errorf("check does not tell of the slot on the standby:\n%s", out)
	}
	agent.kill()
	durable = slotAt()

	for i := range 8 {
		fill(s.server, 2+i)
		follow(2 + i)
	}
	if at := slotAt(); at != durable {
		t.Errorf("while no agent ran the slot moved from %s to %s", durable, at)
	}
	lacks := s.segmentSize.FileName(s.segmentSize.Segment(1, durable))
	has := func(c *postgrestest.Cluster) bool {
		_, err := os.Stat(filepath.Join(c.DataDir, "pg_wal", lacks))
		return err == nil
	}
	if !has(known) {
		t.Errorf("the standby with the slot has removed %s, which the archive lacks", lacks)
	}
	if has(unknown) {
		t.Errorf("the standby without the slot still has %s: the test shows nothing", lacks)
	}
	s.server.Kill(t)
	known.Promote(t)
	fill(known, 100)
	agent = s.tool.start(t, "run", s.url)
	end := known.Text(t, "select pg_current_wal_flush_lsn()")
	eventually(t, time.Minute, "the promoted server to be archived", func() bool {
		return known.Text(t, "select count(*) from pg_stat_replication where application_name like 'pgark%' and flush_lsn >= '"+end+"'") == "1"
	})
	agent.stop(t)
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*)::text || ' ' || count(distinct n) from kept"); got != "30000 10" {
		t.Errorf("restored %s rows and writers, want 30000 10", got)
	}
}

// knowStandby names the server and a standby to the tools; the standby first, so that the session attributes have to be heeded.
func (s *site) knowStandby(standby *postgrestest.Cluster) {
	s.tool.env = append(s.tool.env, "PGHOST="+standby.SocketDir+","+s.server.SocketDir, fmt.Sprintf("PGPORT=%d,%d", standby.Port, s.server.Port),
		"PGTARGETSESSIONATTRS=read-write")
}

// TestSlotOnStandbyIdle guards I10: PostgreSQL 18 has invalidated the slot on the standby while no agent ran, and shows a position of it all the same.
// The agent makes it anew.
func TestSlotOnStandbyIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 18), onFile, postgrestest.Options{SegmentSize: 1 << 20})
	standby := coldStandbyOf(t, s.server)
	s.knowStandby(standby)
	standby.Exec(t, "select pg_create_physical_replication_slot('pgark', true)")
	standby.Exec(t, "alter system set idle_replication_slot_timeout = '1s'")
	standby.Exec(t, "select pg_reload_conf()")
	slots := func(where string) string {
		return standby.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and restart_lsn is not null and "+where)
	}
	eventually(t, time.Minute, "the slot to be invalidated", func() bool {
		s.server.Exec(t, "checkpoint") // which a restart point needs
		standby.Exec(t, "checkpoint")
		return slots("invalidation_reason = 'idle_timeout'") == "1"
	})
	standby.Exec(t, "alter system reset idle_replication_slot_timeout")
	standby.Exec(t, "select pg_reload_conf()")
	agent := s.tool.start(t, "run", s.url)
	eventually(t, time.Minute, "a slot that keeps WAL", func() bool { return slots("invalidation_reason is null") == "1" })
	agent.stop(t)
}

// TestSlotLimitOnStandby guards I11: the store hangs, and slot.on_limit drop frees the WAL on the standby as on the primary. When the store is back
// the standby has a slot again.
func TestSlotLimitOnStandby(t *testing.T) {
	for _, major := range []int{14, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := boundedSite(t, major, nil, "PGARK_SLOT_KEEP_MAX=100MB", "PGARK_SLOT_ON_LIMIT=drop")
			standby := coldStandbyOf(t, s.server)
			s.server.Exec(t, "select pg_create_physical_replication_slot('standby', true)")
			standby.Exec(t, "alter system set primary_slot_name = 'standby'")
			standby.Exec(t, "select pg_reload_conf()")
			s.knowStandby(standby)
			slot := func() string {
				return standby.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark'")
			}
			agent := s.tool.start(t, "run", s.url)
			s.waitBackup(t)
			eventually(t, time.Minute, "the slot on the standby", func() bool { return slot() == "1" })
			heal := s.hangAll()
			written := 0
			eventually(t, 3*time.Minute, "the slot on the standby to be dropped", func() bool {
				if written < 400 {
					s.writeMegabytes(t, 10)
					written += 10
				}
				return slot() == "0"
			})
			eventually(t, time.Minute, "the log to tell of it", func() bool { return strings.Contains(agent.output(), "slot.on_limit drops it there too") })
			heal()
			eventually(t, 2*time.Minute, "the slot on the standby to be made anew", func() bool { return slot() == "1" })
			agent.kill()
		})
	}
}
