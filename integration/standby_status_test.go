package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// standbyFacts is what `pgark standby status` says.
type standbyFacts struct {
	State   string `json:"state"`
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason"`
	Streams bool   `json:"streams"`
	Bytes   uint64 `json:"behind_bytes"`
	Promote *struct {
		Seconds float64 `json:"seconds"`
	} `json:"promotion"`
}

// TestStandbyStatus guards I31 and R48 with a real server: in each of these states the standby runs, answers queries and replays nothing, and status tells them apart.
func TestStandbyStatus(t *testing.T) {
	t.Parallel()
	v := postgrestest.Need(t, 17)
	f := newFamily(t, v)
	way := filepath.Join(postgrestest.TempDir(t), "way")
	if err := os.Symlink(f.folder, way); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	there := f.tool.with("PGARK_REPO=file://"+way, "PGARK_STANDBY_SOCKET_DIR="+socket, "PGTARGETSESSIONATTRS=any")
	there.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", v.BinDir, "--yes")
	far := postgrestest.StartFrom(t, v, dir)
	far.WaitReady(t)
	there = there.with("PGHOST="+far.SocketDir, fmt.Sprintf("PGPORT=%d", far.Port))
	reaches := func(state string, code int) standbyFacts {
		t.Helper()
		var got standbyFacts
		var last outcome
		eventually(t, waitLong, "the state "+state, func() bool {
			last = there.run(t.Context(), "standby", "status", "--exit-code", "-o", "json", "--timeout", "5s")
			got = standbyFacts{}
			return json.Unmarshal([]byte(last.stdout), &got) == nil && got.State == state
		})
		if ready := state == "at-end" || state == "behind"; last.code != code || got.Ready != ready || (got.Reason == "") != ready {
			t.Errorf("%s: exit %d, want %d\n%s", state, last.code, code, last.stdout)
		}
		return got
	}
	fetch := far.Text(t, "show restore_command")
	cut := func(command string) { // the standby's way to the archive
		far.Exec(t, "alter system set restore_command = '"+command+"'")
		far.Exec(t, "select pg_reload_conf()")
	}
	f.write(t, 30)
	f.waitArchived(t)
	reaches("at-end", 0)
	follower := there.start(t, "standby", "follow", "--interval", "300ms")
	eventually(t, waitLong, "the standby to stream", func() bool { return far.Text(t, "select count(*) from pg_stat_wal_receiver") == "1" })
	f.write(t, 30)
	f.waitArchived(t)
	if got := reaches("at-end", 0); !got.Streams || got.Promote == nil || got.Promote.Seconds <= 0 {
		t.Errorf("a standby that streams: %+v", got)
	}

	far.Exec(t, "select pg_wal_replay_pause()")
	f.write(t, 30)
	f.waitArchived(t)
	reaches("paused", 3)
	far.Exec(t, "select pg_wal_replay_resume()")
	reaches("at-end", 0)

	if err := os.Rename(way, way+"-away"); err != nil {
		t.Fatal(err)
	}
	reaches("unknown", 3)
	if err := os.Rename(way+"-away", way); err != nil {
		t.Fatal(err)
	}

	// It has no way to the archive, which goes on: a fork of the primary is kept for later.
	follower.kill()
	cut("/bin/false")
	eventually(t, waitLong, "the stream to end", func() bool { return far.Text(t, "select count(*) from pg_stat_wal_receiver") == "0" })
	f.caughtUp(t, f.nodes[1])
	cutOff(t, f.nodes[1])
	f.write(t, 30)
	f.waitArchived(t)
	if got := reaches("behind", 0); got.Bytes == 0 {
		t.Errorf("a standby without a way to the archive is behind by %d bytes", got.Bytes)
	}
	// A segment is lost behind its place.
	f.server.Exec(t, "select pg_switch_wal()")
	f.write(t, 30)
	lost := f.server.Text(t, "select pg_walfile_name(pg_current_wal_lsn())")
	f.server.Exec(t, "select pg_switch_wal()")
	f.write(t, 30)
	f.waitArchived(t)
	var hidden map[string]string
	eventually(t, waitLong, "the segment to be whole in the archive", func() bool {
		hidden = map[string]string{}
		found, err := filepath.Glob(filepath.Join(f.folder, "*", "wal", "*", lost+"*"))
		for _, path := range found {
			hidden[path] = filepath.Join(f.folder, "..", "hidden-"+filepath.Base(path))
		}
		return err == nil && len(hidden) == 1
	})
	move := func(back bool) {
		for from, to := range hidden {
			if back {
				from, to = to, from
			}
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	move(false)
	cut(fetch)
	reaches("at-gap", 4)
	if o := there.run(t.Context(), "standby", "status"); o.code != 0 || !contains(o.stdout, "STUCK AT A GAP", "pgark standby create", "primary last seen") {
		t.Errorf("exit %d\n%s", o.code, o.stdout)
	}
	move(true)
	reaches("at-end", 0)

	// The archive goes on from before its place.
	f.agent.kill()
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.start(t)
	f.write(t, 30)
	reaches("foreign", 4)
	far.Promote(t)
	reaches("primary", 3)
}

func contains(text string, words ...string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
