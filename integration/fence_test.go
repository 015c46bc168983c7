package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// at returns the tool with another server.
func (p tool) at(c *postgrestest.Cluster) tool {
	p.env = append(p.env[:len(p.env):len(p.env)], "PGHOST="+c.SocketDir, fmt.Sprint("PGPORT=", c.Port), "PGTARGETSESSIONATTRS=any")
	return p
}

const numbers = "create table n (id int primary key, who text)"

// insert commits rows [from, to) one by one.
func insert(t *testing.T, c *postgrestest.Cluster, who string, from, to int) {
	t.Helper()
	c.Exec(t, fmt.Sprintf("do $$ begin for i in %d..%d loop insert into n values (i, '%s'); commit; end loop; end $$", from, to-1, who))
}

// kept restores the end of the archive and returns how many rows of whom it holds.
func (s *site) kept(t *testing.T, flags ...string) string {
	t.Helper()
	r, o := s.restore(t.Context(), t, append([]string{"--to", "latest"}, flags...)...)
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s", o.code, o.stderr)
	}
	defer r.stop(t)
	return query(t, r.conn, "select coalesce(string_agg(who || ' ' || c, ', ' order by who), '') from (select who, count(*) c from n group by who) x")
}

// TestServerSetBack guards I7 and P7: a snapshot of the data directory is put back. The agent stops, writes nothing, and stops at each start; also when the server has
// written past the end of the archive, so that its bytes alone tell. What the archive holds stays whole.
func TestServerSetBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	insert(t, s.server, "before", 0, 50)
	s.waitArchived(t)
	s.server.Stop(t, postgrestest.Fast)
	snapshot := filepath.Join(postgrestest.TempDir(t), "snapshot")
	copyFolder(t, s.server.DataDir, snapshot)
	s.server.Start(t)
	insert(t, s.server, "lost", 50, 120)
	end := s.waitArchived(t)
	agent.stop(t)
	s.server.Kill(t)
	if err := os.RemoveAll(s.server.DataDir); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, snapshot, s.server.DataDir)
	s.server.Start(t)
	staysFenced(t, s, s.tool, 11, "was set back", "server "+s.server.SocketDir, "the archive up to", "pgark restore --timeline 1")

	for s.flushed(t) < end+1<<20 {
		s.server.Exec(t, "create table if not exists f (x text); insert into f select repeat(md5(g::text), 10) from generate_series(1, 5000) g")
	}
	insert(t, s.server, "other", 50, 120)
	staysFenced(t, s, s.tool, 11, "sends other WAL on timeline 1 at", "server "+s.server.SocketDir, "a repository of its own")
	s.server.Restart(t)
	s.server.Exec(t, "select pg_drop_replication_slot('pgark')")
	s.server.Exec(t, "checkpoint")
	staysFenced(t, s, s.tool, 11, "sends other WAL on timeline 1 at")
	if got := s.kept(t); got != "before 50, lost 70" {
		t.Errorf("restored: %s", got)
	}
}

// TestClone guards I4, I5 and P6: a copy of the server is started with the configuration of its source, and its agent is fenced; that of the source goes on.
func TestClone(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	clone := s.clone(t)
	insert(t, s.server, "source", 0, 60)
	end := s.waitArchived(t)
	fenced := func(says ...string) {
		t.Helper()
		resume := agent.pause() // an agent at work writes beats, so that what is written now is written by the clone's
		defer resume()
		staysFenced(t, s, s.tool.at(clone), 11, append(says, "server "+clone.SocketDir)...)
	}
	fenced("was set back")
	for {
		clone.Exec(t, "create table if not exists f (x text); insert into f select repeat(md5(g::text), 10) from generate_series(1, 3000) g")
		if _, at := flushOf(t, clone); at > end {
			break
		}
	}
	fenced("sends other WAL on timeline 1 at", "clone")
	insert(t, s.server, "source", 60, 100)
	s.waitArchived(t)
	agent.stop(t)
	if got := s.kept(t); got != "source 100" {
		t.Errorf("restored: %s", got)
	}
}

// TestServerSetBackWithNothingToCompare: the same, when the archive ends on a segment's border, the slot is gone, and the server has removed the segment before: then the first record past
// the border tells that it does not go on from the archived one.
func TestServerSetBackWithNothingToCompare(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "32MB", "autovacuum": "off"}
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{Settings: settings})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	insert(t, s.server, "before", 0, 50)
	s.waitArchived(t)
	s.server.Stop(t, postgrestest.Fast)
	snapshot := filepath.Join(postgrestest.TempDir(t), "snapshot")
	copyFolder(t, s.server.DataDir, snapshot)
	s.server.Start(t)
	insert(t, s.server, "lost", 50, 120)
	s.server.Exec(t, "select pg_switch_wal()")
	s.waitArchived(t)
	agent.kill()
	end := s.toBorder(t)
	s.server.Kill(t)
	if err := os.RemoveAll(s.server.DataDir); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, snapshot, s.server.DataDir)
	s.server.Start(t)
	s.server.Exec(t, "select pg_drop_replication_slot('pgark')")
	insert(t, s.server, "other", 50, 120)
	s.server.Exec(t, "select pg_switch_wal()")
	insert(t, s.server, "other", 120, 140)
	s.server.Exec(t, "checkpoint") // its redo lies past the border
	if _, err := os.Stat(filepath.Join(s.server.DataDir, "pg_wal", s.segmentSize.FileName(s.segmentSize.Segment(1, end-1)))); err == nil {
		t.Fatalf("the server keeps the segment before %s", end)
	}
	s.tool.private = true // the link to the segment before has no proof: docs/decisions/0014-encryption.md
	staysFenced(t, s, s.tool, 11, "sends other WAL on timeline 1 at", "server "+s.server.SocketDir)
	if got := s.kept(t); got != "before 50, lost 70" {
		t.Errorf("restored: %s", got)
	}
}

// toBorder removes the pieces of the open segment from the archive, as if the agent had died before it put them, and returns where the archive ends now.
func (s *site) toBorder(t *testing.T) wal.LSN {
	t.Helper()
	pieces, err := filepath.Glob(filepath.Join(s.folder, "*", "wal", "*", "*.part"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := filepath.Glob(filepath.Join(s.folder, "*", "wal", "*", stored("*.zst")))
	if err != nil || len(whole) == 0 {
		t.Fatalf("no whole segment: %v", err)
	}
	id, err := s.segmentSize.ParseFileName(strings.TrimSuffix(filepath.Base(whole[len(whole)-1]), stored(".zst")))
	if err != nil {
		t.Fatal(err)
	}
	return s.segmentSize.End(id.Number)
}

// clone starts a copy of the site's server, made while that was stopped.
func (s *site) clone(t *testing.T) *postgrestest.Cluster {
	t.Helper()
	s.server.Stop(t, postgrestest.Fast)
	dir := filepath.Join(postgrestest.TempDir(t), "clone")
	copyFolder(t, s.server.DataDir, dir)
	s.server.Start(t)
	c := postgrestest.StartFrom(t, s.server.Version, dir)
	c.WaitReady(t)
	return c
}

// TestCloneAtOnce: a clone whose agent begins when nothing tells it from its source. Both write, both agents put pieces; one at least finds out and stops, and no
// restore ever mixes the rows of the two.
func TestCloneAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	first := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.waitArchived(t)
	first.stop(t)
	clone := s.clone(t)
	source, copied := s.tool.start(t, "run", s.url), s.tool.at(clone).start(t, "run", s.url)
	ends := func() bool {
		for _, p := range []*process{source, copied} {
			select {
			case <-p.done:
				return true
			default:
			}
		}
		return false
	}
	at := 0
	eventually(t, 2*time.Minute, "an agent to be fenced", func() bool {
		insert(t, s.server, "source", at, at+3)
		insert(t, clone, "clone", at, at+3)
		at += 3
		wait(t.Context(), 200*time.Millisecond)
		return ends()
	})
	for _, p := range []*process{source, copied} {
		p.kill()
	}
	if said := source.output() + copied.output(); !strings.Contains(said, "code 11") {
		t.Errorf("no agent was fenced:\n%s", said)
	}
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Logf("restore: exit %d: %s", o.code, tailOf(o.stderr, 3))
		return
	}
	defer r.stop(t)
	if n := query(t, r.conn, "select count(distinct who)::text from n"); n != "0" && n != "1" {
		t.Errorf("restored rows of %s servers", n)
	}
}

// TestAnotherCluster guards I6 and P9: initdb anew behind the same address. It is refused until it is adopted, and then archived beside the old one.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	v := postgrestest.Need(t, 15)
	s := newSite(t, v, onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	insert(t, s.server, "old", 0, 10)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.waitArchived(t)
	agent.stop(t)
	oldID := s.server.Text(t, "select system_identifier from pg_control_system()")
	fresh := postgrestest.Start(t, v, postgrestest.Options{Settings: map[string]string{"wal_keep_size": "1GB"}})
	newID := fresh.Text(t, "select system_identifier from pg_control_system()")
	staysFenced(t, s, s.tool.at(fresh), 5, "system identifier "+newID, oldID, "--adopt "+newID)

	fresh.Exec(t, numbers)
	insert(t, fresh, "new", 0, 20)
	agent = s.tool.at(fresh).start(t, "run", "--adopt", newID, s.url)
	eventually(t, 2*waitLong, "a backup of the new cluster", func() bool {
		found, err := filepath.Glob(filepath.Join(s.folder, newID, "backups", "*", "record.json"))
		return err == nil && len(found) > 0
	})
	agent.stop(t)
	if got := s.kept(t, "--system-id", newID); got != "new 20" {
		t.Errorf("restored of the new cluster: %s", got)
	}
	if got := s.kept(t, "--system-id", oldID); got != "old 10" {
		t.Errorf("restored of the old cluster: %s", got)
	}
}

// TestRestoredServerIsNotArchived guards I27: a restored cluster is started with the agent's configuration of its source. It stops, and writes nothing, until it is adopted; then it
// goes on, and every start after that needs no more words.
func TestRestoredServerIsNotArchived(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	insert(t, s.server, "source", 0, 30)
	at := s.waitArchived(t)
	insert(t, s.server, "mistake", 30, 50)
	s.waitArchived(t)
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	s.tool.must(t.Context(), t, "restore", "--to-lsn", at.String(), "--before", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes", s.url)
	restored := postgrestest.StartFrom(t, s.server.Version, dir)
	restored.WaitReady(t)
	eventually(t, waitLong, "the restored server to open", func() bool { return restored.Value(t, "select pg_is_in_recovery()") == false })
	id := restored.Text(t, "select system_identifier from pg_control_system()")
	agent.stop(t)
	staysFenced(t, s, s.tool.at(restored), 5, "server was restored: its timeline 2 left timeline 1 at", "--adopt "+id)

	s.server.Stop(t, postgrestest.Fast)
	s.server = restored
	s.tool = s.tool.at(restored)
	for _, adopt := range [][]string{{"run", "--adopt", id, s.url}, {"run", s.url}} {
		agent = s.tool.start(t, adopt...)
		s.server.Exec(t, "insert into n select coalesce(max(id), 0) + 1000, 'after' from n")
		s.waitArchived(t)
		agent.stop(t)
	}
	if got := s.kept(t); got != "after 2, source 30" {
		t.Errorf("restored: %s", got)
	}
	if got := s.kept(t, "--timeline", "1"); got != "mistake 20, source 30" {
		t.Errorf("restored on timeline 1: %s", got)
	}
}

// TestTwoAgents guards I5, A2, A3 and A9: two agents with one configuration, under load. The second one waits; it takes over when the first is killed, or sleeps for longer than the server
// waits for it; and the one that wakes finds the slot taken. A third with a slot of its own does no harm. All that was committed is there once.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	settings := ledgerSettings()
	settings["wal_sender_timeout"] = "2s"
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{Settings: settings})
	s.server.Exec(t, fillerTable)
	s.server.Exec(t, numbers)
	first := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	load, endLoad := context.WithCancel(t.Context())
	g := new(errgroup.Group)
	g.Go(func() error { return fillRows(load, s.server.ConnString(), 1) })

	second := s.tool.start(t, "run", s.url)
	eventually(t, waitLong, "the second agent to be told that the slot is taken", func() bool { return strings.Contains(second.output(), "is active for PID") })
	resume := first.pause()
	insert(t, s.server, "asleep", 0, 50)
	s.waitArchived(t) // by the second
	resume()
	eventually(t, waitLong, "the first agent to find the slot taken", func() bool { return strings.Contains(first.output(), "is active for PID") })
	second.kill()
	insert(t, s.server, "woken", 50, 90)
	s.waitArchived(t) // by the first again
	third := s.tool.start(t, "run", "--slot", "other", s.url)
	insert(t, s.server, "both", 90, 120)
	eventually(t, waitLong, "both to receive", func() bool {
		return s.server.Text(t, "select count(*) from pg_stat_replication where application_name like 'pgark%' and state = 'streaming'") == "2"
	})
	endLoad()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	third.stop(t)
	s.waitArchived(t)
	first.stop(t)
	if got := s.kept(t); got != "asleep 50, both 30, woken 40" {
		t.Errorf("restored: %s", got)
	}
}

// TestSlotHeldByAnotherProgram guards P11 and P15: pg_receivewal holds the slot, and later the role may not replicate any more. Each time the agent says so, keeps trying, and goes on
// by itself.
func TestSlotHeldByAnotherProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	s.server.Exec(t, "create role archivist login replication")
	s.tool.env = append(s.tool.env, "PGUSER=archivist")
	s.server.Exec(t, "select pg_create_physical_replication_slot('pgark', true)")
	dir := postgrestest.TempDir(t)
	receiver := postgrestest.AsServer(t, exec.CommandContext(t.Context(), postgrestest.Client(t, "pg_receivewal"),
		"-h", s.server.SocketDir, "-p", fmt.Sprint(s.server.Port), "-U", "archivist", "-S", "pgark", "-D", dir))
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, waitLong, "pg_receivewal to hold the slot", func() bool {
		return s.server.Text(t, "select active::text from pg_replication_slots where slot_name = 'pgark'") == "true"
	})
	agent := s.tool.start(t, "run", s.url)
	eventually(t, waitLong, "the agent to say that the slot is taken", func() bool { return strings.Contains(agent.output(), "is active for PID") })
	if err := receiver.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = receiver.Wait() // killed
	s.waitBackup(t)
	insert(t, s.server, "a", 0, 20)
	s.waitArchived(t)

	s.server.Exec(t, "alter role archivist noreplication")
	s.server.Exec(t, "select pg_terminate_backend(pid) from pg_stat_replication")
	eventually(t, 30*time.Second, "the agent to say that it may not replicate", func() bool {
		return strings.Contains(agent.output(), "42501") || strings.Contains(agent.output(), "28000")
	})
	insert(t, s.server, "b", 20, 40)
	s.server.Exec(t, "alter role archivist replication")
	s.waitArchived(t)
	agent.stop(t)
	if got := s.kept(t); got != "a 20, b 20" {
		t.Errorf("restored: %s", got)
	}
}

// TestAnotherRepository guards A10: the configuration names a new repository, after a failover. It gets the history files and a base backup by itself; until then nothing says that it
// could be restored.
func TestAnotherRepository(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	agent.stop(t)
	f := &family{site: s}
	f.promoteAgain(t)
	insert(t, s.server, "second", 0, 20)
	s.url, s.folder, _, _ = newRepository(t, onFile)
	if o := s.tool.run(t.Context(), "list", s.url); o.code != 10 {
		t.Errorf("list of an empty repository: exit %d\n%s", o.code, o.stdout)
	}
	agent = s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	insert(t, s.server, "third", 20, 40)
	s.waitArchived(t)
	agent.stop(t)
	if got := s.kept(t); got != "second 20, third 20" {
		t.Errorf("restored: %s", got)
	}
	if found, err := filepath.Glob(filepath.Join(s.folder, "*", "wal", "00000002.history")); err != nil || len(found) != 1 {
		t.Errorf("history files: %v, %v", found, err)
	}
}

// TestSplitBrain guards P6: a standby is promoted while the old primary lives on, each with an agent. The new one is archived; the agent of the old one finds out while it streams, stops,
// and stops at each start. What the old primary wrote meanwhile stays as a branch.
func TestSplitBrain(t *testing.T) {
	t.Parallel()
	f := newFamily(t, postgrestest.Need(t, 15))
	old := f.server
	f.agent.stop(t)
	ofOld := f.tool.at(old).start(t, "run", f.url)
	f.write(t, 60)
	f.caughtUp(t, f.nodes[1])
	cutOff(t, f.nodes[1])
	f.write(t, 60)
	f.waitArchived(t)
	f.promote(t, f.nodes[1])
	ofNew := f.tool.at(f.server).start(t, "run", f.url)
	f.write(t, 60)
	f.waitArchived(t)
	select {
	case <-ofOld.done:
	case <-time.After(2 * waitLong):
		t.Fatal("the agent of the old primary goes on beside the new one")
	}
	if said := ofOld.output(); !strings.Contains(said, "code 11") || !strings.Contains(said, "the archive is on timeline 2 already") {
		t.Errorf("the agent of the old primary said:\n%s", said)
	}
	ofNew.stop(t)
	staysFenced(t, f.site, f.tool.at(old), 11, "the archive is on timeline 2 already")
	f.holds(t, "the end", 2, toTheEnd(), "--to", "latest")
	f.holds(t, "the branch", 1, toTheEnd(), "--timeline", "1", "--to", "latest")
	f.unmixed(t)
}

// TestCrashWithinARecord guards P1: the server crashes again and again while records of megabytes are written, so that its WAL ends within one that spans pages, and the next life begins with an
// overwritten continuation. The archive holds every byte of pg_wal, and a restore all that was committed.
func TestCrashWithinARecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 17), onFile, postgrestest.Options{})
	s.server.Exec(t, numbers)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	for round := range 4 {
		insert(t, s.server, "committed", round*10, round*10+10)
		ctx, cancel := context.WithCancel(t.Context())
		g := new(errgroup.Group)
		for range 2 {
			g.Go(func() error {
				c, err := pgx.Connect(ctx, s.server.ConnString())
				for err == nil {
					_, err = c.Exec(ctx, "select pg_logical_emit_message(true, 'x', repeat('y', 5000000))")
				}
				return nil // the crash
			})
		}
		wait(t.Context(), 300*time.Millisecond)
		s.server.Stop(t, postgrestest.Immediate)
		cancel()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		s.server.Start(t)
	}
	insert(t, s.server, "committed", 40, 50)
	s.waitArchived(t)
	agent.stop(t)
	f := &family{site: s, wal: map[wal.TimelineID]string{1: filepath.Join(s.server.DataDir, "pg_wal")}}
	f.unmixed(t)
	if got := s.kept(t); got != "committed 50" {
		t.Errorf("restored: %s", got)
	}
}
