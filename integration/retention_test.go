package integration_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// retained is a race between those who restore and those who let go: the agent and another host prune all the time, with a grace of a second, while
// rows are written, backups are taken and instants of the window are restored.
type retained struct {
	*site

	near   string // the copy
	window time.Duration
	random *rand.Rand

	mu     sync.Mutex
	epochs []*epoch
	pruned int // by the other host
}

// epoch is what one cluster was told: one after the other where pg_upgrade, or initdb, makes a new one.
type epoch struct {
	id    string // system identifier
	began time.Time
	rows  []committed // row n is the nth
}

// committed is when a row was.
type committed struct{ before, after time.Time }

// TestRetention guards I32 to I34: every instant of the window is restored exactly, however much is let go meanwhile, from the primary and from the copy; what is outside of
// it goes, what is pinned stays, and nothing that is left is taken for damaged.
//
// The long form goes on for a while, with drills, and a new cluster in the middle as after pg_upgrade: make retention DURATION=2h SEED=1.
func TestRetention(t *testing.T) {
	if hardened() {
		t.Skip("this is an agent that deletes, and who archives may not: TestHardened and TestLeastPrivilege have the janitor who may")
	}
	t.Parallel()
	length := soakDuration(t, 0)
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{SegmentSize: 1 << 20})
	r := &retained{
		site: s, near: filepath.Join(postgrestest.TempDir(t), "near"), window: 6 * time.Second, random: rand.New(rand.NewPCG(seed(t), 5)),
	}
	if length > 0 {
		r.window = time.Minute
	}
	s.tool = s.tool.with("PGARK_REPO="+s.url, "PGARK_COPIES=near=file://"+r.near, "PGARK_REQUIRED=all", "PGARK_BACKUP_SCHEDULE=0 0 1 1 *",
		fmt.Sprintf("PGARK_RETAIN_WINDOW=%ds", int(r.window.Seconds())), "PGARK_RETAIN_GRACE=1s", "PGARK_RETAIN_MIN_BACKUPS=1", "PGARK_RETAIN_SCHEDULE=@every 1s")
	agent := s.tool.start(t, "run")
	s.waitBackup(t)
	pinned := s.backups(t)[0].ID
	eventually(t, time.Minute, "the backup in the copy", func() bool {
		found, err := filepath.Glob(filepath.Join(r.near, "*", "backups", pinned, "record.json"))
		return err == nil && len(found) > 0
	})
	s.tool.must(t.Context(), t, "keep", "pin", "--note", "the first", pinned)

	stop := r.load(t, s.server)
	tried := r.restores(t, 2, length/2)
	stop()
	if length > 0 {
		agent.stop(t)
		fresh := postgrestest.Start(t, s.server.Version, postgrestest.Options{SegmentSize: 1 << 20, Settings: ledgerSettings()})
		s.server, s.tool = fresh, s.tool.at(fresh)
		id := fresh.Text(t, "select system_identifier::text from pg_control_system()")
		agent = s.tool.start(t, "run", "--adopt", id)
		eventually(t, time.Minute, "a backup of the new cluster", func() bool {
			found, err := filepath.Glob(filepath.Join(s.folder, id, "backups", "*", "record.json"))
			return err == nil && len(found) > 0
		})
		stop = r.load(t, fresh)
		tried += r.restores(t, 2, length/2)
		stop()
	}
	agent.stop(t)
	r.goesOn(t)
	if strings.Contains(agent.output(), "could not be pruned") {
		t.Error("the agent could not prune")
	}
	r.ended(t, pinned)
	r.brokenOff(t)
	t.Logf("%d instants were restored; the other host pruned %d times", tried, r.pruned)
}

// load writes, takes backups and prunes until stop is called.
func (r *retained) load(t *testing.T, server *postgrestest.Cluster) (stop func()) {
	t.Helper()
	server.Exec(t, "create table t (n int primary key)")
	e := &epoch{id: server.Text(t, "select system_identifier::text from pg_control_system()"), began: time.Now()}
	r.mu.Lock()
	r.epochs = append(r.epochs, e)
	r.mu.Unlock()
	done := make(chan struct{})
	var all errgroup.Group
	until := func(every time.Duration, f func()) {
		all.Go(func() error {
			for {
				f()
				select {
				case <-done:
					return nil
				case <-time.After(every):
				}
			}
		})
	}
	n := 0
	until(20*time.Millisecond, func() {
		n++
		c := committed{before: time.Now()}
		server.Exec(t, fmt.Sprintf("insert into t values (%d)", n))
		c.after = time.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		e.rows = append(e.rows, c)
	})
	until(time.Second, func() { server.Exec(t, "select pg_switch_wal()") })
	until(r.window/4, func() { r.tool.must(t.Context(), t, "backup") })
	until(time.Second, func() {
		if o := r.tool.run(t.Context(), "prune", "--yes"); o.code == 0 {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.pruned++
		} else if !strings.Contains(o.stderr, "changed since the plan") && !strings.Contains(o.stderr, "was removed while it was read") {
			t.Errorf("prune beside the agent: exit %d\n%s%s", o.code, o.stdout, o.stderr)
		}
	})
	return func() {
		close(done)
		_ = all.Wait()
	}
}

// restores restores random instants of the window, at least so many, and for so long.
func (r *retained) restores(t *testing.T, least int, length time.Duration) int {
	t.Helper()
	r.mu.Lock()
	e := r.epochs[len(r.epochs)-1]
	r.mu.Unlock()
	eventually(t, time.Minute+r.window, "the window to be filled", func() bool { return time.Since(e.began) > r.window+3*time.Second })
	began := time.Now()
	tried := 0
	for ; tried < least || time.Since(began) < length; tried++ {
		from := []string{"primary", "near"}[tried%2]
		at := time.Now().Add(-2*time.Second - time.Duration(r.random.Int64N(int64(r.window-2*time.Second)))).Truncate(time.Microsecond)
		r.exactly(t, e, at, from)
		if length > 0 && tried%10 == 9 {
			r.drilled(t, e)
		}
	}
	return tried
}

// from is the site as one that has only the named repository.
func (r *retained) from(name string) *site {
	one := *r.site
	if name == "near" {
		one.url = "file://" + r.near
	}
	return &one
}

// exactly restores an instant, and compares the rows with those that were committed by then.
func (r *retained) exactly(t *testing.T, e *epoch, at time.Time, from string) {
	t.Helper()
	what := fmt.Sprintf("%s, %s before now, from %s", at.UTC().Format(time.RFC3339Nano), time.Since(at).Round(time.Millisecond), from)
	got, o := r.from(from).restore(t.Context(), t, "--to", at.UTC().Format(time.RFC3339Nano), "--system-id", e.id)
	if o.code != 0 {
		t.Errorf("restore to %s: exit %d\n%s%s", what, o.code, o.stdout, o.stderr)
		return
	}
	var n, sum int
	if _, err := fmt.Sscan(query(t, got.conn, "select count(*) || ' ' || coalesce(max(n), 0) from t"), &n, &sum); err != nil {
		t.Fatal(err)
	}
	got.stop(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range e.rows {
		if there := i < n; !there && c.after.Before(at) || there && c.before.After(at) {
			t.Errorf("restore to %s: %d rows, and row %d was written from %s to %s", what, n, i+1, c.before, c.after)
			break
		}
	}
	if n != sum {
		t.Errorf("restore to %s: %d rows up to row %d", what, n, sum)
	}
}

// drilled holds a drill.
func (r *retained) drilled(t *testing.T, e *epoch) {
	t.Helper()
	o := r.tool.run(t.Context(), "drill", "run", "--to", "random", "--dir", postgrestest.TempDir(t), "--bin-dir", r.server.Version.BinDir, "--system-id", e.id)
	if o.code != 0 {
		t.Errorf("drill: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// goesOn: an agent that is started anew does not take what was let go for a hole that a dead one left, which it would look for on the server.
func (r *retained) goesOn(t *testing.T) {
	t.Helper()
	agent := r.tool.with("PGARK_RETAIN_SCHEDULE=off").start(t, "run")
	r.server.Exec(t, "create table goes_on (n int)")
	r.waitArchived(t)
	agent.stop(t)
	if gaps, err := filepath.Glob(filepath.Join(r.folder, "*", "gaps", "*")); err != nil || len(gaps) > 0 {
		t.Errorf("the agent recorded what was let go as lost: %v, %v\n%s", gaps, err, agent.output())
	}
}

// ended: what is pinned can be restored, most of the backups went, and what is left is sound.
func (r *retained) ended(t *testing.T, pinned string) {
	t.Helper()
	for _, folder := range []string{r.folder, r.near} {
		records, err := filepath.Glob(filepath.Join(folder, "*", "backups", "*", "record.json"))
		if err != nil {
			t.Fatal(err)
		}
		expired, err := filepath.Glob(filepath.Join(folder, "*", "expired", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		var said string
		for _, file := range expired {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said += string(text)
		}
		if !strings.Contains(said, `"backups": [`) || strings.Contains(said, pinned) || strings.Count(said, `"from"`) == 0 {
			t.Errorf("%s: %d backups are left, and of what went it says:\n%s", folder, len(records), said)
		}
	}
	if r.pruned < 2 {
		t.Errorf("the other host pruned %d times", r.pruned)
	}
	// The window may still begin with the backup that follows the pinned one.
	eventually(t, time.Minute, "WAL to go that lies between the pinned backup and the window", func() bool {
		r.tool.must(t.Context(), t, "prune", "--yes")
		out := r.tool.must(t.Context(), t, "list", "--system-id", r.epochs[0].id)
		return strings.Contains(out, "kept until it is unpinned") && strings.Contains(out, "expired")
	})
	if got, o := r.from("near").restore(t.Context(), t, "--to-backup", pinned, "--system-id", r.epochs[0].id); o.code != 0 {
		t.Errorf("restore of the pinned backup: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	} else {
		got.stop(t)
	}
	for _, e := range r.epochs {
		if o := r.tool.run(t.Context(), "verify", "--deep", "--no-record", "--system-id", e.id); o.code != 0 {
			t.Errorf("verify: exit %d\n%s%s", o.code, o.stdout, o.stderr)
		}
	}
}

// brokenOff: no restore has left a hold that recovered, and one whose server did not come up leaves that of what it reads.
func (r *retained) brokenOff(t *testing.T) {
	t.Helper()
	holds := func() []string {
		found, err := filepath.Glob(filepath.Join(r.near, "*", "holds", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if left := holds(); len(left) > 0 {
		t.Errorf("holds are left: %v", left)
	}
	real, programs := r.server.Version.BinDir, postgrestest.TempDir(t)
	found, err := os.ReadDir(real)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range found {
		if program.Name() == "postgres" {
			script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && exec %s/postgres --version\nexit 1\n", real)
			err = os.WriteFile(filepath.Join(programs, "postgres"), []byte(script), 0o755)
		} else {
			err = os.Symlink(filepath.Join(real, program.Name()), filepath.Join(programs, program.Name()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o := r.tool.run(t.Context(), "restore", "--into", filepath.Join(postgrestest.TempDir(t), "restored"), "--bin-dir", programs, "--start", "--yes", "--system-id", r.epochs[0].id, "file://"+r.near)
	if o.code == 0 || !strings.Contains(o.stderr, "recovery did not get to its end") {
		t.Errorf("restore without a server that starts: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	left := holds()
	if len(left) != 1 {
		t.Fatalf("holds of a restore that did not recover: %v", left)
	}
	if text, err := os.ReadFile(left[0]); err != nil || !strings.Contains(string(text), `"backup": "`) || !strings.Contains(string(text), `"start_lsn": "`) {
		t.Errorf("it says %s, %v", text, err)
	}
}
