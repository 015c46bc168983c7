package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

const regionLoss = "region-lost"

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

// promote runs the page's script until the primary has been silent for long enough.
func (r *twoRegions) promote(t *testing.T, host tool, script string, env ...string) takeoverFact {
	t.Helper()
	var o outcome
	eventually(t, waitLong, "the standby to take over", func() bool {
		o = host.given("standby promote", "--silence 3s -o json").page(t, regionLoss, script, "", env...)
		return o.code != 5
	})
	var f takeoverFact
	if err := json.Unmarshal([]byte(o.stdout), &f); o.code != 0 || err != nil {
		t.Fatalf("exit %d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	return f
}

// takeovers are what the rounds of a run measured.
type takeovers struct {
	writable, done []time.Duration // from the call of `pgark standby promote`
	acked, gone    map[commitMode]int
	oldest         time.Duration // before the loss the oldest commit was acknowledged that is gone
}

func (a *takeovers) add(mode commitMode, f takeoverFact, acked int, lost []time.Duration) {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	a.writable, a.done = append(a.writable, seconds(f.Writable)), append(a.done, seconds(f.Seconds))
	a.acked[mode] += acked
	a.gone[mode] += len(lost)
	for _, age := range lost {
		a.oldest = max(a.oldest, age)
	}
}

func (a *takeovers) String() string {
	return fmt.Sprintf("writable %s; all done %s; of %d commits that waited %d are lost, of %d that did not %d, the oldest acknowledged %v before",
		spread(a.writable), spread(a.done), a.acked[commitsWait], a.gone[commitsWait], a.acked[commitsGo], a.gone[commitsGo], a.oldest.Round(time.Millisecond))
}

// TestRegionLoss guards I5, I7, P3 and P8, and runs docs/runbooks/region-lost.md: primary, agent and the first bucket are gone at one instant. A standby that was made from the copy, and knows it alone, takes over: every commit is
// there that was acknowledged while commits waited for both repositories, and of those that did not wait every one acknowledged 3 s before. The old primary comes back, is fenced, commits there wait;
// it is rewound, or made anew from the archive where this major's pg_rewind is not at hand, follows, and takes over again. Regions are S3 servers and folders by turns.
//
// The long form goes through all majors: make takeover ROUNDS=10 SEED=1.
func TestRegionLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 0))
	t.Parallel()
	runsRunbooks(t)
	rounds := soakNumber(t, "TAKEOVERS", 1)
	all := &takeovers{acked: map[commitMode]int{}, gone: map[commitMode]int{}}
	for n := range rounds {
		majors := []int{15, 18, 14, 17, 16}
		for i, mode := range []commitMode{commitsWait, commitsGo} {
			commits := 300 + random.IntN(3000)*int(min(n, 1))
			major, kind := majors[n%uint64(len(majors))], []storeKind{onS3, onFile}[(int(n)+i)%2]
			t.Run(fmt.Sprintf("%d/%d/%s/%s", n, major, mode, kind), func(t *testing.T) {
				if rounds == 1 {
					t.Parallel()
					testRegionLoss(t, newTwoRegions(t, major, mode, kind), mode, commits, nil)
					return
				}
				testRegionLoss(t, newTwoRegions(t, major, mode, kind), mode, commits, all)
			})
		}
	}
	if len(all.done) > 0 {
		t.Logf("%d takeovers: %s", len(all.done), all)
	}
}

func testRegionLoss(t *testing.T, r *twoRegions, mode commitMode, commits int, all *takeovers) {
	w := startWriters(t, r.server, 4, 0)
	eventually(t, waitLong, "commits, some of them so old that they must not be lost", func() bool {
		return w.count() > commits && time.Since(w.first()) > 3*time.Second
	})
	if out := r.dr.did(t, regionLoss, "look", ""); !strings.Contains(out, "primary") {
		t.Errorf("nothing is said of the primary:\n%s", out)
	}
	if o := r.dr.page(t, regionLoss, "take over", ""); o.code != 5 || !strings.Contains(o.stderr, "primary is alive") {
		t.Fatalf("while the primary lives: exit %d, want 5\n%s%s", o.code, o.stdout, o.stderr)
	}
	at, back := r.loseHome(t)
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
	eventually(t, waitLong, "the archive here to be protected", func() bool { return r.dr.page(t, regionLoss, "sure", "").code == 0 })
	lost := w.lost(t, r.far, at)
	judgeLost(t, "taken over", mode, lost, w.count())
	if all != nil {
		all.add(mode, f, w.count(), lost)
	}
	t.Logf("%d commits acknowledged, %d lost, oldest first %v; writable after %.2f s, all done after %.2f s: %+v",
		w.count(), len(lost), oldest(lost), f.Writable, f.Seconds, f.Phases)

	// The old region comes back as it was.
	back()
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
	r.failBack(t)
	judgeLost(t, "gone back", mode, w.lost(t, r.server, at), w.count())
}

// judgeLost fails if a commit is among those that are lost which was promised: each that waited, and of the others each that was acknowledged 3 s before the loss.
func judgeLost(t *testing.T, when string, mode commitMode, ages []time.Duration, of int) {
	t.Helper()
	broken := 0
	for _, age := range ages {
		if mode == commitsWait || age >= 3*time.Second {
			broken++
		}
	}
	if broken > 0 {
		t.Errorf("%s: %d of %d commits are lost against the promise, the oldest acknowledged %v before", when, broken, of, oldest(ages))
	}
}

// oldest returns the greatest of some ages.
func oldest(ages []time.Duration) time.Duration {
	if len(ages) == 0 {
		return 0
	}
	return slices.Max(ages).Round(time.Millisecond)
}

// failBack makes the old primary a standby of the new one, and then the primary again.
func (r *twoRegions) failBack(t *testing.T) {
	t.Helper()
	r.follower.stop(t)
	r.follower = r.dr.with("PGARK_COPIES=home="+r.url, "PGARK_REQUIRED=all").start(t, "run")
	r.far.Exec(t, "insert into n select -g, 'far' from generate_series(10, 19) g")
	r.server.Stop(t, postgrestest.Fast)
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	if _, err := os.Stat(filepath.Join(r.server.Version.BinDir, "pg_rewind")); err == nil {
		r.rewind(t, socket)
	} else {
		if r.server.Version.Major == 15 && os.Getenv("REQUIRE_ALL") == "1" { // of the others the suite has the server alone
			t.Fatalf("REQUIRE_ALL=1: pg_rewind is missing: %v", err)
		}
		r.makeAnew(t, socket)
	}
	home := r.home.with("PGARK_STANDBY_ROLE=follow", "PGARK_STANDBY_SOCKET_DIR="+socket, "PGTARGETSESSIONATTRS=any", "PGARK_SYNC_STANDBY_NAMES=",
		"PGHOST="+r.server.SocketDir, fmt.Sprint("PGPORT=", r.server.Port))
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
	t.Logf("gone back: writable after %.2f s, all done after %.2f s", f.Writable, f.Seconds)
	if got := r.server.Text(t, "select count(*) from n where pad in ('far', 'last')"); got != "11" {
		t.Errorf("after going back there are %s of 11 rows", got)
	}
	r.fenceAndLift(t, home, agent)
}

// rewind takes back what the old primary wrote beside the history, as the page says.
func (r *twoRegions) rewind(t *testing.T, socket string) {
	t.Helper()
	r.far.Exec(t, "checkpoint") // before 16 pg_rewind reads the source's timeline from its control file
	appendFile(t, filepath.Join(r.server.DataDir, "postgresql.conf"), "restore_command = '"+r.restoreCommand(r.farURL)+"'\n")
	o := r.home.page(t, regionLoss, "rewind", r.server.Version.BinDir, "OLD="+r.server.DataDir, "SOCKET="+socket, "RESTORE="+r.restoreCommand(r.url),
		fmt.Sprintf("SOURCE=host=%s port=%d user=postgres dbname=postgres", r.far.SocketDir, r.far.Port))
	if o.code != 0 {
		t.Fatalf("rewind: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	appendFile(t, filepath.Join(r.server.DataDir, "postgresql.auto.conf"), "synchronous_standby_names = ''\n")
	r.server.Start(t)
}

// makeAnew makes the server at home anew from the archive, as the page says.
func (r *twoRegions) makeAnew(t *testing.T, socket string) {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "home")
	o := r.home.given("standby create", "--bin-dir "+r.server.Version.BinDir).page(t, regionLoss, "make anew", "", "NEW="+dir, "SOCKET="+socket)
	if o.code != 0 {
		t.Fatalf("make anew: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	r.server = postgrestest.StartFrom(t, r.server.Version, dir)
	r.server.WaitReady(t)
}

// fenceAndLift shows what comes after a takeover that was done: called again it says the same, and a fence of a timeline that was left stays. One of the timeline that is written ends its agent, until it is lifted.
func (r *twoRegions) fenceAndLift(t *testing.T, home tool, agent *process) {
	t.Helper()
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
