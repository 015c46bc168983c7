package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// commitMode says whether commits wait for both repositories.
type commitMode string

const (
	commitsWait commitMode = "commits that wait"
	commitsGo   commitMode = "commits that do not"
)

// twoRegions is a primary with its repository at home, a copy far away, and a standby there that knows nothing but the copy. Each region has a store of its own.
type twoRegions struct {
	*site

	far      *postgrestest.Cluster
	home, dr tool // of each region's host
	farURL   string
	socket   string // of the follower far away
	agent    *process
	follower *process
}

func newTwoRegions(t *testing.T, major int, mode commitMode, kind storeKind) *twoRegions {
	t.Helper()
	settings := ledgerSettings()
	settings["wal_log_hints"] = "on"
	r := &twoRegions{site: newSite(t, postgrestest.Need(t, major), kind, postgrestest.Options{Settings: settings})}
	farURL, farFolder, s3, env := newRepository(t, kind)
	r.farURL = farURL
	if s3 != nil {
		letIn(t, s3)
	}
	both := append([]string{"PGARK_COPIES=dr=" + r.farURL, "PGARK_REPO=" + r.url}, env...)
	if mode == commitsWait {
		both = append(both, "PGARK_REQUIRED=all", "PGARK_SYNC_STANDBY_NAMES=ANY 1 (pgark)")
	}
	r.home = r.tool.with(both...)
	r.server.Exec(t, "create table n (id int primary key, pad text)")
	r.agent = r.home.start(t, "run")
	r.waitBackup(t)
	if mode == commitsWait {
		eventually(t, time.Minute, "commits to wait for both repositories", func() bool {
			return r.server.Text(t, "select count(*) from pg_stat_replication where application_name = 'pgark' and sync_state in ('sync', 'quorum')") == "1"
		})
	}
	r.socket = filepath.Join(postgrestest.TempDir(t), "s")
	r.dr = r.tool.with(append([]string{
		"PGARK_REPO=" + r.farURL, "PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR=" + r.socket,
		"PGHOST=/nonexistent", "PGPORT=1", "PGTARGETSESSIONATTRS=any",
	}, env...)...)
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	eventually(t, time.Minute, "the base backup to be in the second region", func() bool { return len(backupsIn(t, farFolder)) > 0 })
	r.dr.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", r.server.Version.BinDir, "--yes")
	r.far = postgrestest.StartFrom(t, r.server.Version, dir)
	r.far.WaitReady(t)
	r.dr = r.dr.with("PGHOST="+r.far.SocketDir, fmt.Sprint("PGPORT=", r.far.Port))
	r.follower = r.dr.start(t, "run")
	eventually(t, waitLong, "the standby to stream", func() bool { return r.far.Text(t, "select count(*) from pg_stat_wal_receiver") == "1" })
	return r
}

// loseHome takes all of one region at one instant, which it returns, and then what brings its store back.
func (r *twoRegions) loseHome(t *testing.T) (lost time.Time, back func()) {
	t.Helper()
	lost = time.Now()
	r.agent.kill()
	if r.s3 != nil {
		r.s3.Stop()
		back = func() {
			if err := r.s3.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		rename := func(from, to string) {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		gone := r.folder + ".gone"
		rename(r.folder, gone)
		back = func() { rename(gone, r.folder) }
	}
	r.server.Kill(t)
	return lost, back
}

func (r *twoRegions) restoreCommand(url string) string {
	return fmt.Sprintf("%s %s wal fetch --repo \"%s\" %%f %%p", strings.Join(r.tool.keys(), " "), r.tool.bin, url)
}
