package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// smallWAL is a server that keeps no WAL beyond what a slot asks for.
func smallWAL() postgrestest.Options {
	return postgrestest.Options{SegmentSize: 1 << 20, Settings: map[string]string{
		"wal_keep_size": "0", "min_wal_size": "2MB", "max_wal_size": "2MB", "shared_buffers": "32MB", "autovacuum": "off", "checkpoint_timeout": "1h",
	}}
}

// loseWAL writes some segments and has the server remove all that no slot keeps. It returns where the WAL begins that is left.
func loseWAL(t testing.TB, c *postgrestest.Cluster) wal.LSN {
	t.Helper()
	for range 2 {
		c.Exec(t, "insert into filler select 9, g, repeat(md5(g::text), 8) from generate_series(1, 15000) g")
		c.Exec(t, "select pg_switch_wal()")
		c.Exec(t, "checkpoint")
	}
	return oldestWAL(t, c)
}

// dropSlot drops the agent's slot, once the server has seen that its client is gone.
func dropSlot(t testing.TB, c *postgrestest.Cluster) {
	t.Helper()
	eventually(t, time.Minute, "the slot to be free", func() bool {
		return c.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and not active") == "1"
	})
	c.Exec(t, "select pg_drop_replication_slot('pgark')")
}

// oldestWAL is the start of the oldest segment in pg_wal.
func oldestWAL(t testing.TB, c *postgrestest.Cluster) wal.LSN {
	t.Helper()
	const size = wal.SegmentSize(1 << 20)
	oldest := ^wal.LSN(0)
	files, err := os.ReadDir(filepath.Join(c.DataDir, "pg_wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if id, err := size.ParseFileName(f.Name()); err == nil {
			oldest = min(oldest, size.Start(id.Number))
		}
	}
	return oldest
}

// recorded returns the gap records and the spans of WAL on a timeline.
func recorded(t testing.TB, store storage.Store, tli wal.TimelineID) ([]repository.Gap, []wal.Range) {
	t.Helper()
	ctx := t.Context()
	r, err := repository.Open(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := r.Clusters(ctx)
	if err != nil || len(ids) != 1 {
		t.Fatalf("clusters: %v, %v", ids, err)
	}
	gaps, err := r.Cluster(ids[0]).Gaps(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Cluster(ids[0]).Coverage(ctx, tli, 0)
	if err != nil {
		t.Fatal(err)
	}
	gaps = slices.DeleteFunc(gaps, func(g repository.Gap) bool { return g.Timeline != tli })
	return gaps, v.Spans
}

// explained checks that the gaps are exactly the holes between the spans: none is silent, and none is recorded where WAL is (I2).
func explained(t testing.TB, gaps []repository.Gap, spans []wal.Range) {
	t.Helper()
	var lost repository.Coverage
	for _, g := range gaps {
		lost.Add(g.Range)
		for _, s := range spans {
			if g.Range.Start < s.End && s.Start < g.Range.End {
				t.Errorf("gap %s is recorded, and %s is archived", g.Range, s)
			}
		}
	}
	for i := 1; i < len(spans); i++ {
		if hole := (wal.Range{Start: spans[i-1].End, End: spans[i].Start}); !lost.Covers(hole) {
			t.Errorf("hole %s is not recorded: %v", hole, lost.Spans)
		}
	}
}

// slotKeeps waits until the server keeps WAL for the slot again.
func slotKeeps(t testing.TB, c *postgrestest.Cluster) {
	t.Helper()
	eventually(t, time.Minute, "the slot to keep WAL", func() bool {
		return c.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and active and wal_status in ('reserved', 'extended') and restart_lsn is not null") == "1"
	})
}

// TestGapSlotDropped guards I2, I10, P10: the slot is dropped while the agent is away. As long as the server has the WAL nothing is lost; when it
// has removed some, exactly that is recorded and archiving goes on.
func TestGapSlotDropped(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := postgrestest.Start(t, v, smallWAL())
			a := newArchiving(c, newFileStore(t))
			a.start(t)
			c.Exec(t, fillerTable)
			a.awaitAll(t, c)
			a.finish(t)

			// Its WAL is there still.
			dropSlot(t, c)
			c.Exec(t, "insert into filler values (1, 1, 'there')")
			a.start(t)
			a.awaitAll(t, c)
			slotKeeps(t, c)
			end := a.awaitAll(t, c)
			a.finish(t)
			if gaps, spans := recorded(t, a.store, 1); len(gaps) != 0 || len(spans) != 1 {
				t.Fatalf("nothing was removed: got gaps %+v, WAL %v", gaps, spans)
			}

			dropSlot(t, c)
			left := loseWAL(t, c)
			if left <= end {
				t.Fatalf("the server still has WAL from %s on, the archive ends at %s", left, end)
			}
			a.start(t)
			a.awaitAll(t, c)
			slotKeeps(t, c)
			c.Exec(t, "insert into filler values (2, 2, 'after')")
			a.awaitAll(t, c)
			a.finish(t)
			gaps, spans := recorded(t, a.store, 1)
			explained(t, gaps, spans)
			if len(gaps) != 1 || gaps[0].Range.Start < end || gaps[0].Range.End != left || gaps[0].Cause != repository.CauseSlotDropped {
				t.Errorf("got %+v, want one from %s to %s", gaps, end, left)
			}
		})
	}
}

// TestGapSlotLost guards I2, I10, I11, P10: the store hangs until the server gives the slot up (max_slot_wal_keep_size). The flush that it is told
// never passes what is durable; then what is lost is recorded, and the slot keeps WAL again.
func TestGapSlotLost(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			o := smallWAL()
			o.Settings["max_slot_wal_keep_size"] = "2MB"
			c := postgrestest.Start(t, v, o)
			store := memory.New()
			a := newArchiving(c, store)
			a.options.Buffer = 1 // the least: the rest stays on the server
			a.start(t)
			c.Exec(t, fillerTable)
			held := a.awaitAll(t, c)
			release := store.Hang(memory.Put, "*/wal/*")
			lost := func() bool {
				return c.Text(t, "select count(*) from pg_replication_slots where slot_name = 'pgark' and wal_status = 'lost'") == "1"
			}
			sawLost := false
			for range 20 {
				c.Exec(t, "insert into filler select 3, g, repeat(md5(random()::text), 8) from generate_series(1, 15000) g")
				c.Exec(t, "checkpoint")
				if sawLost = sawLost || lost() || strings.Contains(c.Log(), "invalidating"); sawLost {
					break
				}
			}
			if !sawLost {
				t.Fatalf("the server did not give the slot up")
			}
			if at := c.Text(t, "select coalesce(max(flush_lsn), '0/0') from pg_stat_replication"); at != "0/0" {
				if flush, err := wal.ParseLSN(at); err != nil || flush > held+1<<20 {
					t.Errorf("the server was told %s, %v; nothing behind %s is durable", at, err, held)
				}
			}
			eventually(t, 2*time.Minute, "the archiver to meet the loss", func() bool {
				return strings.Contains(a.log.String(), "WAL is lost") || strings.Contains(a.log.String(), "it is made anew") || v.Major == 14
			})
			release()
			a.awaitAll(t, c)
			slotKeeps(t, c)
			c.Exec(t, "insert into filler values (2, 2, 'after')")
			a.awaitAll(t, c)
			a.finish(t)
			gaps, spans := recorded(t, store, 1)
			explained(t, gaps, spans)
			if len(gaps) == 0 || len(spans) < 2 {
				t.Errorf("got gaps %+v, WAL %v, want a gap", gaps, spans)
			}
			for _, g := range gaps {
				if v.Major > 14 && g.Cause != repository.CauseSlotLost {
					t.Errorf("cause: got %s", g.Cause)
				}
			}
			t.Logf("lost %+v", gaps)
		})
	}
}

// TestGapPromotion guards I9: a standby takes over while the agent is away, and no longer has all of the old timeline's WAL.
func TestGapPromotion(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			first := postgrestest.Start(t, postgrestest.Need(t, major), smallWAL())
			a := newArchiving(first, newFileStore(t))
			a.start(t)
			first.Exec(t, fillerTable)
			a.awaitAll(t, first) // so that the slot is there to be copied
			second := coldStandbyOf(t, first)
			dropSlot(t, second) // which the copy has: a standby made otherwise has none
			end := a.awaitAll(t, first)
			a.finish(t)
			for range 5 { // restartpoints of the standby remove its WAL
				loseWAL(t, first)
				_, at := flushOf(t, first)
				eventually(t, time.Minute, "the standby to replay", func() bool {
					return second.Value(t, "select pg_last_wal_replay_lsn() >= '"+at.String()+"'") == true
				})
				second.Exec(t, "checkpoint")
				if oldestWAL(t, second) > end {
					break
				}
			}
			first.Stop(t, postgrestest.Immediate)
			second.Promote(t)
			left := oldestWAL(t, second)
			if left <= end {
				t.Fatalf("the promoted server has WAL from %s on, the archive ends at %s: nothing is lost", left, end)
			}
			second.Exec(t, "insert into filler select 2, g, repeat('y', 500) from generate_series(1, 3000) g")
			a.connectTo(second)
			a.start(t)
			last := a.awaitAll(t, second)
			a.finish(t)
			gaps, spans := recorded(t, a.store, 1)
			explained(t, gaps, spans)
			switched, err := wal.ParseHistory(2, second.ReadFile(t, "pg_wal/00000002.history"))
			if err != nil {
				t.Fatal(err)
			}
			at, _ := switched.SwitchOf(1)
			if len(gaps) != 1 || gaps[0].Range.Start < end || gaps[0].Range.End != min(left, at) || gaps[0].Cause != repository.CauseFailover {
				t.Errorf("got %+v, want one from %s to %s", gaps, end, min(left, at))
			}
			if left < at && spans[len(spans)-1].End != at {
				t.Errorf("timeline 1 is archived to %v, it was left at %s", spans, at)
			}
			gaps, spans = recorded(t, a.store, 2)
			if len(gaps) != 0 || len(spans) != 1 || spans[0].End < last {
				t.Errorf("timeline 2: gaps %+v, WAL %v, want all to %s", gaps, spans, last)
			}
		})
	}
}

// gapReport is what `status -o json` says of gaps.
type gapReport struct {
	Verdict string `json:"verdict"`
	Backups []struct {
		Restorable bool `json:"restorable"`
	} `json:"backups"`
	Gaps []struct {
		From, Until time.Time
		Start       string `json:"start_lsn"`
		End         string `json:"end_lsn"`
		Cause       string `json:"cause"`
		Detail      string `json:"detail"`
	} `json:"gaps"`
	OpenGap *struct {
		Cause string `json:"cause"`
	} `json:"open_gap"`
}

func (s *site) gapReport(t testing.TB) gapReport {
	t.Helper()
	var r gapReport
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "status", "-o", "json", s.url)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAgentEndsGap guards I2, I10, I21: WAL is lost while the agent is away. It is AT RISK until the base backup that the agent takes by itself; a restore
// into the gap is refused with the cause and what is near, and what was written after it is restored.
func TestAgentEndsGap(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, postgrestest.Need(t, major), onFile, smallWAL())
			s.server.Exec(t, fillerTable+"; create table told (at timestamptz)")
			agent := s.tool.start(t, "run", s.url)
			s.waitBackup(t)
			s.server.Exec(t, "insert into told values (now())")
			s.waitArchived(t)
			agent.stop(t)

			dropSlot(t, s.server)
			s.server.Exec(t, "insert into told values (now())")
			lost := s.server.Text(t, "select to_char(now() at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")
			loseWAL(t, s.server)

			// The server is made so slow to copy that the gap stands open for a while.
			config := filepath.Join(postgrestest.TempDir(t), "pgark.yml")
			text := fmt.Sprintf("clusters:\n  main:\n    repo: %s\n    backup: { max_rate: 100kB/s }\n", s.url)
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			agent = s.tool.start(t, "run", "--config", config)
			eventually(t, time.Minute, "the gap to be recorded", func() bool { return strings.Contains(agent.output(), "WAL is lost") })
			eventually(t, time.Minute, "the base backup to begin", func() bool { return strings.Contains(agent.output(), "base backup begins") })
			if r := s.gapReport(t); r.Verdict != "at_risk" || r.OpenGap == nil || r.OpenGap.Cause != "slot-dropped" || len(r.Backups) != 1 {
				t.Errorf("before the base backup: got %+v", r)
			}
			if out := s.tool.must(t.Context(), t, "list", s.url); !strings.Contains(out, "→ now   WAL ") || !strings.Contains(out, "slot dropped") {
				t.Errorf("list:\n%s", out)
			}
			// Killed in the middle of it, and started again: the base backup is still due.
			agent.kill()
			agent = s.tool.start(t, "run", s.url)
			eventually(t, 2*time.Minute, "the base backup that ends the gap", func() bool { return len(s.backups(t)) == 2 })
			s.server.Exec(t, "insert into told values (now())")
			s.waitArchived(t)

			r := s.gapReport(t)
			if r.Verdict != "protected" || r.OpenGap != nil || len(r.Gaps) != 1 || r.Gaps[0].Cause != "slot-dropped" || r.Gaps[0].Detail == "" {
				t.Errorf("after the base backup: got %+v", r)
			}
			if out := s.tool.must(t.Context(), t, "status", s.url); !strings.Contains(out, "1 gap, ") || !strings.Contains(out, "(slot dropped; a new base backup ended it)") {
				t.Errorf("status:\n%s", out)
			}
			// What is recorded as lost is no damage.
			if v := s.verify(t, 0, "--deep", "--no-record", "--repo", s.url); v.Verdict != "sound" || len(v.Notes)+len(v.Risks) != 0 {
				t.Errorf("verify: got %+v", v)
			}
			into := filepath.Join(postgrestest.TempDir(t), "into")
			o := s.tool.run(t.Context(), "restore", "--to", lost, "--into", into, "--yes", s.url)
			if o.code != 4 || !strings.Contains(o.stderr, "slot dropped") || !strings.Contains(o.stderr, "nearest before") || !strings.Contains(o.stderr, "nearest after") {
				t.Errorf("restore into the gap: exit %d\n%s", o.code, o.stderr)
			}
			back, o := s.restore(t.Context(), t)
			if o.code != 0 {
				t.Fatalf("restore: exit %d\n%s", o.code, o.stderr)
			}
			if got := query(t, back.conn, "select count(*)::text from told"); got != "3" {
				t.Errorf("restored %s rows, want 3", got)
			}
			agent.stop(t)
		})
	}
}
