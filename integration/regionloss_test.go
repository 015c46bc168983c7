package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// page runs a script of a page in docs as the tool's user, with pgark in the path, and the programs in a folder, where it is given.
func (p tool) page(t *testing.T, page, name, programs string, env ...string) outcome {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n# " + name + ":[^\n]*\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("%s has no script %q", page, name)
	}
	like := p.command(t.Context(), "version")
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-euc", string(block[1]))
	cmd.Env = append(append(slices.Clone(like.Env), "PATH="+filepath.Dir(p.bin)+":"+programs+":/usr/bin:/bin"), env...)
	if programs != "" { // which show their environment to whoever looks
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool {
			return strings.HasPrefix(v, "PGPASSWORD=") || strings.HasPrefix(v, "PGSSLPASSWORD=")
		})
	}
	cmd.Dir, cmd.SysProcAttr = like.Dir, like.SysProcAttr
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its exit code is the outcome
	planted().look("the output of "+name+" in "+page, append(stdout.Bytes(), stderr.Bytes()...))
	return outcome{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

const regionLoss = "RUNBOOK-REGION-LOSS.md"

// writers commit rows, each in a transaction of its own, and note when each was acknowledged.
type writers struct {
	mu    sync.Mutex
	next  int
	acked map[int]time.Time
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// startWriters has sessions write into a server until it dies, or they are stopped.
func startWriters(t *testing.T, c *postgrestest.Cluster, sessions, from int) *writers {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &writers{next: from, acked: map[int]time.Time{}, stop: stop}
	for range sessions {
		w.done.Go(func() {
			conn, err := pgx.Connect(ctx, c.ConnString())
			if err != nil {
				return
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for {
				w.mu.Lock()
				w.next++
				id := w.next
				w.mu.Unlock()
				if _, err := conn.Exec(ctx, "insert into n values ($1, repeat('x', 200))", id); err != nil {
					return
				}
				w.mu.Lock()
				w.acked[id] = time.Now()
				w.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { stop(); w.done.Wait() })
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// missing returns how many of the rows that were acknowledged before an instant a server lacks.
func (w *writers) missing(t *testing.T, c *postgrestest.Cluster, before time.Time) (lost int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), waitLong)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(ctx, conn)
	rows, err := conn.Query(ctx, "select id from n")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	there := map[int]bool{}
	for _, id := range ids {
		there[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range w.acked {
		if at.Before(before) && !there[id] {
			lost++
		}
	}
	return lost
}

// takeoverFact is what pgark standby promote -o json says.
type takeoverFact struct {
	From       int     `json:"old_timeline"`
	To         int     `json:"timeline"`
	Archived   bool    `json:"archived"`
	Resumed    bool    `json:"resumed"`
	Writable   float64 `json:"writable_seconds"`
	Seconds    float64 `json:"seconds"`
	LastCommit *struct {
		LSN string `json:"lsn"`
		XID uint32 `json:"xid"`
	} `json:"last_commit"`
	Hooks []struct {
		Error  string `json:"error"`
		Output string `json:"output"`
	} `json:"hooks"`
	Phases []struct {
		Phase   string  `json:"phase"`
		Seconds float64 `json:"seconds"`
	} `json:"phases"`
}

// commitMode says whether commits wait for both repositories.
type commitMode string

const (
	commitsWait commitMode = "commits that wait"
	commitsGo   commitMode = "commits that do not"
)

// twoRegions is a primary with its repository at home, a copy far away, and a standby there that knows nothing but the copy.
type twoRegions struct {
	*site

	far       *postgrestest.Cluster
	home, dr  tool // of each region's host
	farURL    string
	farFolder string
	socket    string // of the follower far away
	agent     *process
	follower  *process
}

func newTwoRegions(t *testing.T, major int, mode commitMode) *twoRegions {
	t.Helper()
	settings := ledgerSettings()
	settings["wal_log_hints"] = "on"
	r := &twoRegions{site: newSite(t, postgrestest.Need(t, major), onFile, postgrestest.Options{Settings: settings})}
	var env []string
	r.farURL, r.farFolder, _, env = newRepository(t, onFile)
	both := append([]string{"PGARK_COPIES=dr=" + r.farURL, "PGARK_REPO=" + r.url}, env...)
	if mode == commitsWait {
		both = append(both, "PGARK_REQUIRED=all", "PGARK_SYNC_STANDBY_NAMES=ANY 1 (pgark)")
	}
	r.home = r.tool.with(both...)
	r.server.Exec(t, "create table n (id int primary key, pad text)")
	r.server.Stop(t, postgrestest.Fast)
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	copyFolder(t, r.server.DataDir, dir)
	r.server.Start(t)
	r.agent = r.home.start(t, "run")
	r.waitBackup(t)
	if mode == commitsWait {
		eventually(t, time.Minute, "commits to wait for both repositories", func() bool {
			return r.server.Text(t, "select count(*) from pg_stat_replication where application_name = 'pgark' and sync_state in ('sync', 'quorum')") == "1"
		})
	}
	r.socket = filepath.Join(postgrestest.TempDir(t), "s")
	if err := os.Remove(filepath.Join(dir, "postgresql.auto.conf")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "standby.signal"), "")
	writeFile(t, filepath.Join(dir, "postgresql.auto.conf"), fmt.Sprintf("primary_conninfo = 'host=%s port=5432'\nrestore_command = '%s'\nwal_retrieve_retry_interval = '500ms'\n",
		r.socket, r.restoreCommand(r.farURL)))
	r.far = postgrestest.StartFrom(t, r.server.Version, dir)
	r.far.WaitReady(t)
	r.dr = r.tool.with(append([]string{
		"PGARK_REPO=" + r.farURL, "PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR=" + r.socket,
		"PGHOST=" + r.far.SocketDir, fmt.Sprint("PGPORT=", r.far.Port), "PGTARGETSESSIONATTRS=any",
	}, env...)...)
	r.follower = r.dr.start(t, "run")
	eventually(t, waitLong, "the standby to stream", func() bool { return r.far.Text(t, "select count(*) from pg_stat_wal_receiver") == "1" })
	return r
}

func (r *twoRegions) restoreCommand(url string) string {
	return fmt.Sprintf("%s %s wal fetch --repo %s %%f %%p", strings.Join(r.tool.keys(), " "), r.tool.bin, url)
}

// promote runs the page's script until the primary has been silent for long enough.
func (r *twoRegions) promote(t *testing.T, host tool, script string, env ...string) takeoverFact {
	t.Helper()
	var o outcome
	eventually(t, waitLong, "the standby to take over", func() bool {
		o = host.page(t, regionLoss, script, "", append(env, "FLAGS=--silence 3s -o json")...)
		return o.code != 5
	})
	var f takeoverFact
	if err := json.Unmarshal([]byte(o.stdout), &f); o.code != 0 || err != nil {
		t.Fatalf("exit %d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	return f
}

// TestRegionLoss guards I5, I7, P3 and P8, and runs docs/RUNBOOK-REGION-LOSS.md: primary, agent and the first bucket are gone at one instant. A standby that knows the copy alone takes over: every commit is
// there that was acknowledged while commits waited for both repositories, and of those that did not wait every one acknowledged 3 s before. The old primary comes back, is fenced, commits there wait;
// it is rewound, follows, and takes over again.
func TestRegionLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 0))
	t.Parallel()
	rounds := soakNumber(t, "TAKEOVERS", 1)
	for n := range rounds {
		majors := []int{15, 18, 14, 17, 16}
		for _, mode := range []commitMode{commitsWait, commitsGo} {
			commits := 300 + random.IntN(3000)*int(min(n, 1))
			t.Run(fmt.Sprintf("%d/%s", n, mode), func(t *testing.T) {
				if rounds == 1 {
					t.Parallel()
				}
				testRegionLoss(t, majors[n%uint64(len(majors))], mode, commits)
			})
		}
	}
}

func testRegionLoss(t *testing.T, major int, mode commitMode, commits int) {
	r := newTwoRegions(t, major, mode)
	w := startWriters(t, r.server, 4, 0)
	eventually(t, waitLong, "commits", func() bool { return w.count() > commits })
	if o := r.dr.page(t, regionLoss, "take over", "", "FLAGS="); o.code != 5 || !strings.Contains(o.stderr, "primary is alive") {
		t.Fatalf("while the primary lives: exit %d, want 5\n%s%s", o.code, o.stdout, o.stderr)
	}

	// All of one region at one instant.
	gone := r.folder + ".gone"
	lost := time.Now()
	r.agent.kill()
	if err := os.Rename(r.folder, gone); err != nil {
		t.Fatal(err)
	}
	r.server.Kill(t)
	w.stop()
	w.done.Wait()

	hook := fmt.Sprintf(`PGARK_STANDBY_HOOKS=[{"run":["%s","-c","env; echo $0","moved"]}]`, "/bin/sh")
	f := r.promote(t, r.dr.with(hook), "take over")
	if f.From != 1 || f.To != 2 || !f.Archived || f.LastCommit == nil {
		t.Errorf("takeover: %+v", f)
	}
	if len(f.Hooks) != 1 || f.Hooks[0].Error != "" || !strings.Contains(f.Hooks[0].Output, "PGARK_TIMELINE=2") || !strings.Contains(f.Hooks[0].Output, "moved") ||
		strings.Contains(f.Hooks[0].Output, "PGARK_REPO") {
		t.Errorf("hooks: %+v", f.Hooks)
	}
	before := lost.Add(-3 * time.Second)
	if mode == commitsWait {
		before = lost.Add(time.Hour)
	}
	if n := w.missing(t, r.far, before); n > 0 {
		t.Errorf("%d of %d commits are lost", n, w.count())
	}
	t.Logf("%d commits acknowledged; writable after %.2f s, all done after %.2f s: %+v", w.count(), f.Writable, f.Seconds, f.Phases)

	// The old region comes back as it was.
	if err := os.Rename(gone, r.folder); err != nil {
		t.Fatal(err)
	}
	r.server.Start(t)
	for range 2 {
		o := r.home.run(t.Context(), "run")
		if o.code != 11 || !strings.Contains(o.stderr, "was fenced in dr by the standby in "+r.far.DataDir) || !strings.Contains(o.stderr, "pg_rewind") {
			t.Fatalf("the old primary's agent: exit %d, want 11\n%s", o.code, o.stderr)
		}
	}
	if mode == commitsWait {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := pgx.Connect(t.Context(), r.server.ConnString())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "insert into n values (-1, 'old')"); ctx.Err() == nil {
			t.Errorf("a commit on the old primary returned: %v", err)
		}
		_ = conn.Close(t.Context())
	}
	r.failBack(t, w, before)
}

// failBack makes the old primary a standby of the new one, and then the primary again.
func (r *twoRegions) failBack(t *testing.T, w *writers, before time.Time) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(r.server.Version.BinDir, "pg_rewind")); err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("REQUIRE_ALL=1: pg_rewind is missing: %v", err)
		}
		t.Skipf("pg_rewind is not at hand: %v", err)
	}
	r.follower.stop(t)
	r.follower = r.dr.with("PGARK_COPIES=home="+r.url, "PGARK_REQUIRED=all").start(t, "run")
	r.far.Exec(t, "insert into n select -g, 'far' from generate_series(10, 19) g")
	r.far.Exec(t, "checkpoint") // before 16 pg_rewind reads the source's timeline from its control file
	r.server.Stop(t, postgrestest.Fast)
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	appendFile(t, filepath.Join(r.server.DataDir, "postgresql.conf"), "restore_command = '"+r.restoreCommand(r.farURL)+"'\n")
	o := r.home.page(t, regionLoss, "rewind", r.server.Version.BinDir, "OLD="+r.server.DataDir, "SOCKET="+socket, "RESTORE="+r.restoreCommand(r.url),
		fmt.Sprintf("SOURCE=host=%s port=%d user=postgres dbname=postgres", r.far.SocketDir, r.far.Port))
	if o.code != 0 {
		t.Fatalf("rewind: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	appendFile(t, filepath.Join(r.server.DataDir, "postgresql.auto.conf"), fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\nsynchronous_standby_names = ''\n", r.server.Port, r.server.SocketDir))
	r.server.Start(t)
	home := r.home.with("PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR="+socket, "PGTARGETSESSIONATTRS=any", "PGARK_SYNC_STANDBY_NAMES=")
	agent := home.start(t, "run")
	eventually(t, waitLong, "the old primary to follow", func() bool {
		return r.server.Text(t, "select count(*) from n where pad = 'far'") == "10"
	})

	r.far.Exec(t, "insert into n values (-100, 'last')")
	r.far.Stop(t, postgrestest.Fast)
	r.follower.stop(t)
	f := r.promote(t, home, "go back")
	if f.From != 2 || f.To != 3 || !f.Archived {
		t.Errorf("going back: %+v", f)
	}
	if got := r.server.Text(t, "select count(*) from n where pad in ('far', 'last')"); got != "11" {
		t.Errorf("after going back there are %s of 11 rows", got)
	}
	if n := w.missing(t, r.server, before); n > 0 {
		t.Errorf("%d commits are lost", n)
	}
	// Called again it says the same, and a fence of a timeline that was left stays.
	if again := r.promote(t, home, "go back"); !again.Resumed || again.To != 3 {
		t.Errorf("again: %+v", again)
	}
	if o := home.page(t, regionLoss, "lift", ""); o.code != 5 {
		t.Errorf("lift: exit %d, want 5\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := home.page(t, regionLoss, "fence by hand", ""); o.code != 0 {
		t.Errorf("fence: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	r.server.Exec(t, "insert into n values (-101, 'fenced')")
	eventually(t, waitLong, "the fenced agent to end", func() bool {
		select {
		case <-agent.done:
			return true
		default:
			return false
		}
	})
	if code := agent.cmd.ProcessState.ExitCode(); code != 11 {
		t.Errorf("the fenced agent: exit %d, want 11", code)
	}
	lifted := home.page(t, regionLoss, "lift", "")
	if lifted.code != 0 || !strings.Contains(lifted.stdout, "in primary, dr") {
		t.Fatalf("lift: exit %d, want it in both repositories\n%s%s", lifted.code, lifted.stdout, lifted.stderr)
	}
	agent = home.start(t, "run")
	eventually(t, waitLong, "archiving to go on", func() bool { return strings.Contains(agent.output(), "archiving goes on") })
	agent.stop(t)
}
