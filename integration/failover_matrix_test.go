package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// waitLong bounds what happens within seconds.
const waitLong = time.Minute

// TestFailover guards I8, I9, P3, P4, P5 and P8: whatever way a standby takes over, the archive follows by itself; restores before, at and after each switch are exact, and no byte
// of two histories is mixed. The short form runs on two majors; the long one, make failover, on all.
func TestFailover(t *testing.T) {
	versions := []postgrestest.Version{postgrestest.Need(t, 15), postgrestest.Need(t, 17)}
	if long() {
		versions = postgrestest.Versions(t)
	}
	for _, v := range versions {
		for _, way := range []struct {
			name string
			run  func(t *testing.T, v postgrestest.Version)
		}{
			{"caught-up standby, and the old primary comes back", failoverCaughtUp},
			{"lagging standby", failoverLagging},
			{"agent down", failoverUnseen},
			{"three promotions while the agent is down", failoverThrice},
			{"old primary back by pg_rewind", failoverRewound},
		} {
			t.Run(v.String()+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				way.run(t, v)
			})
		}
	}
}

// long tells whether the long form was asked for.
func long() bool { return os.Getenv("PGARK_TEST_FAILOVER") == "all" }

func failoverCaughtUp(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	old := f.server
	f.write(t, 300)
	f.caughtUp(t, f.nodes[1])
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.write(t, 90)
	f.waitArchived(t)
	f.holdsAround(t, 2)
	f.holds(t, "the end", 2, toTheEnd(), "--to", "latest")
	f.unmixed(t)
	if orphans := f.orphans(t); len(orphans) != 0 {
		t.Errorf("orphans: got %+v, want none", orphans)
	}
	f.agent.stop(t)

	// The old primary comes back as it was, and the agent beside it too: it stops, and stays stopped.
	old.Start(t)
	old.Exec(t, "insert into t values (-1, 'beside the history')")
	alone := f.tool
	alone.env = append(alone.env[:len(alone.env):len(alone.env)], "PGHOST="+old.SocketDir, fmt.Sprint("PGPORT=", old.Port))
	f.staysFenced(t, alone, "is on timeline 1", "the archive is on timeline 2 already", "which left timeline 1 at "+f.history(t, 2).Parents[0].At.String(), old.SocketDir)
	if n := old.Text(t, "select count(*) from pg_replication_slots where slot_name <> 'pgark'"); n != "0" {
		t.Errorf("slots on the old primary: %s", n)
	}
	old.Kill(t)

	f.start(t)
	f.write(t, 30)
	f.waitArchived(t)
	f.agent.stop(t)
	f.unmixed(t)
}

// staysFenced starts an agent three times. Each time it must end by itself with code 11, say what is asked for, and have written nothing.
func (f *family) staysFenced(t *testing.T, agent tool, says ...string) {
	t.Helper()
	staysFenced(t, f.site, agent, 11, says...)
}

func staysFenced(t *testing.T, s *site, agent tool, code int, says ...string) {
	t.Helper()
	before := listing(t, s.folder)
	for range 3 {
		o := agent.run(t.Context(), "run", s.url)
		if o.code != code {
			t.Fatalf("agent: exit %d, want %d\n%s", o.code, code, o.stderr)
		}
		for _, want := range append(says, "cause", "fix") {
			if !strings.Contains(o.stderr, want) {
				t.Errorf("agent does not say %q:\n%s", want, o.stderr)
			}
		}
	}
	if after := listing(t, s.folder); after != before {
		t.Errorf("a fenced agent wrote:\n%s\nbefore:\n%s", after, before)
	}
}

// listing is every file below a folder with its size.
func listing(t *testing.T, folder string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(folder, func(name string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			fmt.Fprintln(&b, name, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// orphanFact is what `pgark list -o json` says of WAL beside the history.
type orphanFact struct {
	Timeline wal.TimelineID `json:"timeline"`
	Start    wal.LSN        `json:"start_lsn"`
	End      wal.LSN        `json:"end_lsn"`
	Commits  *int           `json:"commits"`
}

func (f *family) orphans(t *testing.T) []orphanFact {
	t.Helper()
	var report struct {
		Orphans []orphanFact `json:"orphans"`
	}
	if err := json.Unmarshal([]byte(f.tool.must(t.Context(), t, "list", "-o", "json", f.url)), &report); err != nil {
		t.Fatal(err)
	}
	return report.Orphans
}

func failoverLagging(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	f.write(t, 300)
	f.caughtUp(t, f.nodes[1])
	cutOff(t, f.nodes[1])
	f.write(t, 60)
	end := f.waitArchived(t)
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.write(t, 90)
	f.waitArchived(t)
	at := f.history(t, 2).Parents[0].At
	if at >= end {
		t.Fatalf("switch at %s, archive to %s: the standby did not lag", at, end)
	}
	f.holdsAround(t, 2)
	f.holds(t, "the end", 2, toTheEnd(), "--to", "latest")
	f.holds(t, "the orphan tail", 1, toTheEnd(), "--timeline", "1", "--to", "latest")
	f.unmixed(t)

	commits := 0
	for _, e := range f.truth(t, 1) {
		if e.start >= at && e.commit {
			commits++
		}
	}
	orphans := f.orphans(t)
	if len(orphans) != 1 || orphans[0].Timeline != 1 || orphans[0].Start != at || orphans[0].End < end || orphans[0].Commits == nil || *orphans[0].Commits != commits || commits < 60 {
		t.Errorf("orphans: got %+v, want timeline 1 from %s to %s with %d commits", orphans, at, end, commits)
	}
	for _, command := range []string{"list", "status"} {
		out := f.tool.run(t.Context(), command, f.url).stdout
		if !strings.Contains(out, fmt.Sprintf("%d commits", commits)) || !strings.Contains(out, "pgark restore --timeline 1") {
			t.Errorf("%s does not tell of %d commits beside the history:\n%s", command, commits, out)
		}
	}
	// An agent with public keys alone cannot read what it archived: headers tell it of no fewer.
	told := regexp.MustCompile(`"commits":(\d+),"exact":(true|false)`).FindStringSubmatch(f.agent.output())
	if told == nil || told[2] != strconv.FormatBool(!encrypting()) {
		t.Fatalf("the agent's log does not tell of %d commits:\n%s", commits, f.agent.output())
	}
	if n, _ := strconv.Atoi(told[1]); n < commits || n > commits && !encrypting() {
		t.Errorf("the agent tells of %d commits beside the history, want %d", n, commits)
	}
	f.agent.stop(t)
}

func failoverUnseen(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	f.write(t, 150)
	f.waitArchived(t)
	f.agent.stop(t)
	f.write(t, 150) // the new primary alone has it
	f.caughtUp(t, f.nodes[1])
	f.fail(t)
	f.server.Remove(t)
	f.promote(t, f.nodes[1])
	f.write(t, 90)
	f.start(t)
	f.waitArchived(t)
	f.holdsAround(t, 2)
	f.holds(t, "the end", 2, toTheEnd(), "--to", "latest")
	f.unmixed(t)
	f.agent.stop(t)
}

func failoverThrice(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	f.write(t, 150)
	f.waitArchived(t)
	f.caughtUp(t, f.nodes[1])
	f.agent.stop(t)
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.write(t, 60)
	f.promoteAgain(t)
	f.write(t, 60)
	f.promoteAgain(t)
	f.write(t, 60)
	f.start(t)
	f.waitArchived(t)
	if long() {
		f.holdsAround(t, 2)
	}
	f.holdsAround(t, 3)
	f.holdsAround(t, 4)
	f.holds(t, "the end", 4, toTheEnd(), "--to", "latest")
	f.unmixed(t)
	f.agent.stop(t)
}

func failoverRewound(t *testing.T, v postgrestest.Version) {
	f := newFamily(t, v)
	old := f.server
	f.write(t, 150)
	f.caughtUp(t, f.nodes[1])
	cutOff(t, f.nodes[1])
	f.write(t, 30)
	f.waitArchived(t)
	f.fail(t)
	f.promote(t, f.nodes[1])
	f.write(t, 60)
	f.waitArchived(t)
	f.rewind(t, old)
	again := f.follow(t, old.DataDir)
	f.nodes[0] = again
	f.write(t, 60)
	f.caughtUp(t, again)
	f.waitArchived(t)
	f.agent.stop(t)
	f.know(t)
	f.start(t)
	f.waitArchived(t)
	f.fail(t)
	f.promote(t, again)
	f.write(t, 60)
	f.waitArchived(t)
	f.holdsAround(t, 2)
	f.holdsAround(t, 3)
	f.holds(t, "the end", 3, toTheEnd(), "--to", "latest")
	f.holds(t, "the orphan tail", 1, toTheEnd(), "--timeline", "1", "--to", "latest")
	f.unmixed(t)
	f.agent.stop(t)
}

// rewind makes the killed server one that can follow the primary: with pg_rewind, or, where this major's is not at hand, by a copy.
func (f *family) rewind(t *testing.T, old *postgrestest.Cluster) {
	t.Helper()
	program := filepath.Join(old.Version.BinDir, "pg_rewind")
	if _, err := os.Stat(program); err != nil {
		f.server.Stop(t, postgrestest.Fast)
		if err := os.RemoveAll(old.DataDir); err != nil {
			t.Fatal(err)
		}
		copyFolder(t, f.server.DataDir, old.DataDir)
		f.server.Start(t)
		return
	}
	f.server.Exec(t, "checkpoint") // before 16 pg_rewind reads the source's timeline from its control file
	old.Start(t)                   // crash recovery first
	old.Stop(t, postgrestest.Fast)
	command := exec.CommandContext(t.Context(), program, "-D", old.DataDir, "--no-sync",
		fmt.Sprintf("--source-server=host=%s port=%d user=postgres dbname=postgres", f.server.SocketDir, f.server.Port))
	if out, err := postgrestest.AsServer(t, command).CombinedOutput(); err != nil {
		t.Fatalf("pg_rewind: %v\n%s", err, out)
	}
}
