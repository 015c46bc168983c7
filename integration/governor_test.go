package integration_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/notify"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// boundedSite is a site whose server keeps little WAL beyond what the slot asks for, and whose store can hang.
func boundedSite(t *testing.T, major int, settings map[string]string, env ...string) *syncSite {
	t.Helper()
	o := postgrestest.Options{SegmentSize: 1 << 20, Settings: map[string]string{
		"wal_keep_size": "0", "min_wal_size": "2MB", "max_wal_size": "16MB", "shared_buffers": "32MB", "autovacuum": "off", "checkpoint_timeout": "1h",
	}}
	for name, value := range settings {
		o.Settings[name] = value
	}
	s := &syncSite{site: newSite(t, postgrestest.Need(t, major), onS3, o)}
	s.proxy = storagetest.StartProxy(t, s.s3)
	s.url = s.proxy.URL("pgark", "main")
	s.tool.env = append(s.tool.env, env...)
	s.server.Exec(t, "create table kept (id int primary key)")
	return s
}

// hangAll lets no call of the store return until heal is called.
func (s *syncSite) hangAll() (heal func()) {
	return s.proxy.Add(storagetest.Rule{Fault: storagetest.Hang()})
}

// writeMegabytes commits so many megabytes of WAL, and lets the server remove what nobody keeps.
func (s *syncSite) writeMegabytes(t testing.TB, n int) {
	t.Helper()
	s.server.Exec(t, fmt.Sprintf("select count(pg_logical_emit_message(true, 'pgark', repeat('x', 1000000))) from generate_series(1, %d)", n))
	s.server.Exec(t, "checkpoint")
}

// slots counts the agent's slot in the states that SQL names.
func (s *syncSite) slots(t testing.TB, where string) string {
	t.Helper()
	return s.server.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and "+where)
}

// pgWAL is the size of pg_wal in megabytes.
func (s *syncSite) pgWAL(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(s.server.Text(t, "select (sum(size) / 1000000)::int from pg_ls_waldir()"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// boundReport is what `pgark status` says of the slot.
type boundReport struct {
	Verdict string `json:"verdict"`
	Causes  []struct {
		What string `json:"what"`
	} `json:"causes"`
	Server struct {
		Slot struct {
			Exists   bool   `json:"exists"`
			Retained int64  `json:"retained_bytes"`
			KeepMax  int64  `json:"keep_max_bytes"`
			OnLimit  string `json:"on_limit"`
			Bound    *struct {
				By    string `json:"by"`
				Limit int64  `json:"limit_bytes"`
				Left  int64  `json:"left_bytes"`
			} `json:"bound"`
		} `json:"slot"`
	} `json:"server"`
}

// direct reads the status past the proxy: the store that hangs is there for others.
func (s *syncSite) direct(t testing.TB) boundReport {
	t.Helper()
	var r boundReport
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "status", "-o", "json", s.s3.URL("pgark", "main"))), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSlotLimitDrop guards I11: the store hangs, and at slot.keep_max the agent drops the slot, so that the server writes on and pg_wal stays
// bounded; no slot is made while the store hangs. When it is back, what was lost is recorded and a base backup ends it; people are told of both.
func TestSlotLimitDrop(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			inbox := newInbox(t)
			s := boundedSite(t, major, nil, append(inbox.environment("gap"), "PGARK_SLOT_KEEP_MAX=100MB", "PGARK_SLOT_ON_LIMIT=drop")...)
			agent := s.tool.start(t, "run", s.url)
			s.waitBackup(t)
			s.server.Exec(t, "insert into kept values (1)")
			durable := s.waitArchived(t)

			heal := s.hangAll()
			s.server.Exec(t, "insert into kept values (2)")
			written := 0
			eventually(t, 3*time.Minute, "the slot to be dropped", func() bool {
				if written < 1000 {
					s.writeMegabytes(t, 10)
					written += 10
				}
				return s.slots(t, "true") == "0"
			})
			if at := s.server.Text(t, "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication where application_name = 'pgark'"); at != "0/0" {
				t.Errorf("a connection is left that was told %s; %s is durable", at, durable)
			}
			out := agent.output()
			for _, want := range []string{"has reached its limit", "replication slot was dropped", "slot.keep_max"} {
				if !strings.Contains(out, want) {
					t.Errorf("the log lacks %q", want)
				}
			}

			// The server writes on: its WAL goes, and nothing keeps it for a store that takes nothing.
			s.writeMegabytes(t, 150)
			s.writeMegabytes(t, 20)
			if n := s.slots(t, "true"); n != "0" {
				t.Errorf("a slot was made while the store hangs")
			}
			if mb := s.pgWAL(t); mb > 100 {
				t.Errorf("pg_wal holds %d MB: the WAL was kept", mb)
			}

			// The store is back: what is lost is recorded, and ended by a base backup; nothing that is there was lost with it.
			heal()
			eventually(t, 2*time.Minute, "a slot to be made anew", func() bool { return s.slots(t, "active") == "1" })
			eventually(t, 2*time.Minute, "the base backup that ends the gap", func() bool { return len(s.backups(t)) == 2 })
			s.server.Exec(t, "insert into kept values (3)")
			s.waitArchived(t)
			r := s.gapReport(t)
			if r.OpenGap != nil || len(r.Gaps) != 1 || r.Gaps[0].Cause != "slot-dropped" {
				t.Errorf("after the base backup: got %+v", r)
			}
			eventually(t, waitLong, "people to be told that the gap has ended", func() bool { return inbox.has(notify.Gap, notify.Ended) })
			if m := inbox.once(t, notify.Gap); len(r.Gaps) == 1 && !strings.Contains(m.Text, "WAL "+r.Gaps[0].Start+" to "+r.Gaps[0].End+" on timeline 1 was lost (slot dropped)") {
				t.Errorf("told of the gap: %+v", m)
			}
			back, o := s.restore(t.Context(), t, "--to", "latest")
			if o.code != 0 {
				t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
			}
			if got := query(t, back.conn, "select string_agg(id::text, ' ' order by id) from kept"); got != "1 2 3" {
				t.Errorf("restored %q, want all rows", got)
			}
			agent.stop(t)
		})
	}
}

// TestSlotLimitAlert guards I11: with on_limit alert, the default, the agent tells in log and status before the limit and at it, keeps the slot, and
// nothing is lost when the store is back.
func TestSlotLimitAlert(t *testing.T) {
	t.Parallel()
	s := boundedSite(t, 15, nil, "PGARK_SLOT_KEEP_MAX=100MB")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	if r := s.direct(t); r.Server.Slot.KeepMax != 100_000_000 || r.Server.Slot.Bound == nil || r.Server.Slot.Bound.By != "slot.keep_max" {
		t.Errorf("before: got %+v", r.Server.Slot)
	}
	heal := s.hangAll()
	s.writeMegabytes(t, 85)
	eventually(t, time.Minute, "the log to tell that the limit comes near", func() bool { return strings.Contains(agent.output(), "comes near its limit") })
	s.writeMegabytes(t, 25)
	eventually(t, time.Minute, "the log to tell that the limit is reached", func() bool { return strings.Contains(agent.output(), "has reached its limit") })
	r := s.direct(t)
	told := false
	for _, c := range r.Causes {
		told = told || strings.Contains(c.What, "has reached slot.keep_max (100 MB)")
	}
	if r.Verdict != "at_risk" || !told || r.Server.Slot.Bound.Left != 0 {
		t.Errorf("at the limit: got %+v", r)
	}
	if s.slots(t, "active") != "1" {
		t.Error("the slot is not held any more")
	}
	for _, line := range []string{"comes near its limit", "has reached its limit"} {
		if n := strings.Count(agent.output(), line); n != 1 {
			t.Errorf("the log says %q %d times", line, n)
		}
	}
	heal()
	s.server.Exec(t, "insert into kept values (1)")
	s.waitArchived(t)
	eventually(t, time.Minute, "the log to tell that all is well", func() bool { return strings.Contains(agent.output(), "within its limit") })
	agent.stop(t)
}

// TestSlotLimitOfServer guards I10: when the store hangs until the server gives the slot up (max_slot_wal_keep_size), the agent has said before that
// this comes, and says at once that it came.
func TestSlotLimitOfServer(t *testing.T) {
	t.Parallel()
	s := boundedSite(t, 18, map[string]string{"max_slot_wal_keep_size": "100MB"})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	heal := s.hangAll()
	defer heal()
	s.writeMegabytes(t, 90)
	eventually(t, time.Minute, "the log to tell that the limit comes near", func() bool { return strings.Contains(agent.output(), "comes near its limit") })
	for range 10 {
		s.writeMegabytes(t, 10)
	}
	eventually(t, time.Minute, "the log to tell that the slot is lost", func() bool { return strings.Contains(agent.output(), "replication slot is lost") })
	if n := strings.Count(agent.output(), "replication slot is lost"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	agent.kill()
}
