package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/syncmode"
)

// syncSite is a site whose store is an S3 server behind a proxy that can hang.
type syncSite struct {
	*site

	proxy *storagetest.Proxy
}

func newSyncSite(t *testing.T, major int) *syncSite {
	t.Helper()
	s := &syncSite{site: newSite(t, postgrestest.Need(t, major), onS3, postgrestest.Options{})}
	s.proxy = storagetest.StartProxy(t, s.s3)
	s.url = s.proxy.URL("pgark", "main")
	s.server.Exec(t, "create table kept (id int primary key)")
	return s
}

// set changes a setting of the server as an operator does who waits for nobody.
func (s *syncSite) set(t testing.TB, name, value string) {
	t.Helper()
	s.session(t, func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "alter system set "+name+" = '"+value+"'"); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "select pg_reload_conf()")
		return err
	})
}

// ask returns the one value that sql gives, without waiting for a standby.
func (s *syncSite) ask(t testing.TB, sql string) (value string) {
	t.Helper()
	s.session(t, func(ctx context.Context, c *pgx.Conn) error { return c.QueryRow(ctx, sql).Scan(&value) })
	return value
}

func (s *syncSite) session(t testing.TB, do func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.server.ConnString()+" options='-c synchronous_commit=local'")
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(ctx, c)
	if err := do(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// waitSync waits until the server takes the agent for a synchronous standby.
func (s *syncSite) waitSync(t testing.TB) {
	t.Helper()
	eventually(t, time.Minute, "the agent to be a synchronous standby", func() bool {
		return s.ask(t, "select count(*)::text from pg_stat_replication where application_name = 'pgark' and sync_state in ('sync', 'quorum')") == "1"
	})
}

// hang lets every put of WAL wait until heal is called.
func (s *syncSite) hang() (heal func()) {
	return s.proxy.Add(storagetest.Rule{Op: storagetest.Put, Path: "*/wal/*", Fault: storagetest.Hang()})
}

// commitOutcome is what a client saw of one INSERT.
type commitOutcome struct {
	warned bool
	err    error
}

// insert commits a row in a session of its own; the channel gets what came of it.
func (s *syncSite) insert(t testing.TB, id int, settings string) <-chan commitOutcome {
	t.Helper()
	done := make(chan commitOutcome, 1)
	config, err := pgx.ParseConfig(s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	var o commitOutcome
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		o.warned = o.warned || n.SeverityUnlocalized == "WARNING" && n.Code == "01000"
	}
	if settings != "" {
		config.RuntimeParams["options"] = settings
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		defer hangUp(ctx, c)
		_, o.err = c.Exec(ctx, "insert into kept values ($1)", id)
		done <- o
	}()
	return done
}

// waitWaiting waits until so many sessions wait for a synchronous standby.
func (s *syncSite) waitWaiting(t testing.TB, n string) {
	t.Helper()
	eventually(t, 30*time.Second, n+" sessions to wait for the archive", func() bool {
		return s.ask(t, "select count(*)::text from pg_stat_activity where wait_event = 'SyncRep'") == n
	})
}

// returned fails the test unless a commit returns soon, and says what came of it.
func returned(t testing.TB, done <-chan commitOutcome) commitOutcome {
	t.Helper()
	select {
	case o := <-done:
		if o.err != nil {
			t.Fatal(o.err)
		}
		return o
	case <-time.After(60 * time.Second):
		t.Fatal("a commit does not return")
	}
	return commitOutcome{}
}

// waits fails the test if the commit has returned.
func waits(t testing.TB, done <-chan commitOutcome) {
	t.Helper()
	select {
	case o := <-done:
		t.Fatalf("a commit returned before it was durable: %+v", o)
	default:
	}
}

// TestSyncCommitsWait: commits wait while the store hangs and while no agent runs, and return when they are durable; a wait that is cancelled gives
// a warning; and what returned without one is there when server and host are lost at that moment (I13).
func TestSyncCommitsWait(t *testing.T) {
	t.Parallel()
	s := newSyncSite(t, 15)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.set(t, "synchronous_standby_names", "ANY 1 (pgark)")
	s.waitSync(t)
	if o := returned(t, s.insert(t, 1, "")); o.warned {
		t.Error("a commit was warned though all is well")
	}

	heal := s.hang()
	waiting := s.insert(t, 2, "")
	s.waitWaiting(t, "1")
	cancelled := s.insert(t, 3, "")
	s.waitWaiting(t, "2")
	s.ask(t, "select pg_cancel_backend(pid)::text from pg_stat_activity where wait_event = 'SyncRep' and query like 'insert%' order by query_start desc limit 1")
	if o := returned(t, cancelled); !o.warned {
		t.Error("a commit whose wait was cancelled returned without a warning")
	}
	if o := returned(t, s.insert(t, 4, "-c synchronous_commit=local")); o.warned {
		t.Error("a session that does not wait was warned")
	}
	waits(t, waiting)
	heal()
	if o := returned(t, waiting); o.warned {
		t.Error("a commit was warned when the store was back")
	}

	// kill -9: what waits meanwhile returns when an agent is back, also if it waited before that connected.
	agent.kill()
	waiting = s.insert(t, 5, "")
	s.waitWaiting(t, "1")
	agent = s.tool.start(t, "run", s.url)
	returned(t, waiting)

	// The host is lost while one commit waits. Those that returned without a warning are there.
	s.waitSync(t)
	last := s.insert(t, 6, "")
	returned(t, last)
	heal = s.hang()
	waiting = s.insert(t, 7, "")
	s.waitWaiting(t, "1")
	agent.kill()
	s.server.Kill(t)
	s.server.Remove(t)
	if o := <-waiting; o.err == nil {
		t.Errorf("a commit that was not durable returned when the server died: %+v", o)
	}
	heal()
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select string_agg(id::text, ' ' order by id) from kept where id in (1, 2, 5, 6)"); got != "1 2 5 6" {
		t.Errorf("of what was acknowledged there is %q", got)
	}
}

// syncReport is what `pgark status` says of synchronous mode.
type syncReport struct {
	Verdict string `json:"verdict"`
	Causes  []struct {
		What  string     `json:"what"`
		Since *time.Time `json:"since"`
		Fix   string     `json:"fix"`
	} `json:"causes"`
	Sync *struct {
		State syncmode.State `json:"state"`
		Since *time.Time     `json:"since"`
		Cause string         `json:"cause"`
	} `json:"sync"`
}

func (s *syncSite) status(t testing.TB) syncReport {
	t.Helper()
	var r syncReport
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "status", "-o", "json", s.url)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// records are the names of the records of synchronous mode, oldest first.
func (s *syncSite) records(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.folder, "*", "sync", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = strings.TrimSuffix(filepath.Base(found[i])[len("20060102T150405Z-"):], ".json")
	}
	return found
}

// agentRole makes a role that may no more than an agent needs, and an environment for it.
func (s *syncSite) agentRole(t testing.TB, with ...string) tool {
	t.Helper()
	for _, command := range append([]string{"create role agent login replication"}, with...) {
		s.session(t, func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, command)
			return err
		})
	}
	role := s.tool
	role.env = append(role.env[:len(role.env):len(role.env)], "PGUSER=agent", "PGARK_SYNC_STANDBY_NAMES=ANY 1 (pgark)", "PGARK_SYNC_DEGRADE_AFTER=5s")
	return role
}

// TestSyncDegrade: with sync.standby_names the agent steps in by itself, out when commits wait for longer than they may, and in again; log, status and
// repository tell of it; an agent killed while it is out goes on as if it had not been.
func TestSyncDegrade(t *testing.T) {
	t.Parallel()
	s := newSyncSite(t, 15)
	s.tool = s.agentRole(t, "grant alter system on parameter synchronous_standby_names to agent", "grant execute on function pg_reload_conf() to agent")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.waitSync(t)
	if got := s.ask(t, "show synchronous_standby_names"); got != "ANY 1 (pgark)" {
		t.Errorf("stepped in with %q", got)
	}
	eventually(t, 30*time.Second, "the record of stepping in", func() bool { return len(s.records(t)) == 1 })
	if r := s.status(t); r.Sync == nil || r.Sync.State != syncmode.In || r.Sync.Since == nil || r.Verdict != "protected" {
		t.Errorf("while in: %+v", r)
	}
	if out := s.tool.must(t.Context(), t, "check", "--only", "postgres", s.url); !strings.Contains(out, "no commit returns before it is durable") {
		t.Errorf("check says:\n%s", out)
	}

	heal := s.hang()
	waiting := s.insert(t, 1, "")
	s.waitWaiting(t, "1")
	if o := returned(t, waiting); o.warned {
		t.Error("PostgreSQL warns of a wait that ended by a reload: say so in the documentation")
	}
	if got := s.ask(t, "show synchronous_standby_names"); got != "" {
		t.Errorf("a commit returned while the store hangs and synchronous_standby_names = %q", got)
	}
	returned(t, s.insert(t, 2, ""))
	eventually(t, 10*time.Second, "the log to say so", func() bool { return strings.Contains(agent.output(), "stepped out of synchronous mode") })
	r := s.status(t)
	if r.Verdict != "at_risk" || r.Sync == nil || r.Sync.State != syncmode.Out || len(r.Causes) == 0 || !strings.Contains(r.Causes[0].What, "commits do not wait") {
		t.Errorf("while out: %+v", r)
	}
	if n := strings.Count(agent.output(), "stepped out of synchronous mode"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}

	// A new agent knows nothing of it but what it finds. While the store hangs it does not step in.
	agent.kill()
	agent = s.tool.start(t, "run", s.url)
	wait(t.Context(), 15*time.Second)
	if got := s.ask(t, "show synchronous_standby_names"); got != "" {
		t.Errorf("stepped in while the store hangs: %q", got)
	}
	heal()
	s.waitSync(t)
	eventually(t, 30*time.Second, "the records of stepping out and in", func() bool { return strings.Join(s.records(t), " ") == "in out in" })
	eventually(t, 30*time.Second, "status to say so", func() bool { return s.status(t).Verdict == "protected" })

	// The same again with the agent alive throughout: the record says why.
	heal = s.hang()
	returned(t, s.insert(t, 3, ""))
	heal()
	eventually(t, 30*time.Second, "the record of stepping out", func() bool { return strings.Join(s.records(t), " ") == "in out in out" })
	if r := s.status(t); r.Sync == nil || r.Sync.Since == nil || !strings.Contains(r.Sync.Cause, "no confirmation for") {
		t.Errorf("while out: %+v", r.Sync)
	}
	agent.stop(t)
}

// TestSyncWithoutGrant: check says which GRANT is missing, and the agent says aloud that it cannot step in; nothing else suffers.
func TestSyncWithoutGrant(t *testing.T) {
	for _, major := range []int{14, 15} {
		t.Run(postgrestest.Need(t, major).String(), func(t *testing.T) {
			t.Parallel()
			s := newSyncSite(t, major)
			s.tool = s.agentRole(t)
			agent := s.tool.start(t, "run", s.url)
			s.waitBackup(t)
			eventually(t, time.Minute, "the log to say so", func() bool { return strings.Contains(agent.output(), "step in: alter system") })
			o := s.tool.run(t.Context(), "check", "--only", "postgres", s.url)
			want := map[int]string{14: "ALTER ROLE agent SUPERUSER;", 15: "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO agent; GRANT EXECUTE ON FUNCTION pg_reload_conf() TO agent;"}[major]
			if o.code == 0 || !strings.Contains(o.stdout, want) {
				t.Errorf("check: exit %d\n%s", o.code, o.stdout)
			}
			if n := strings.Count(agent.output(), "step in: alter system"); n != 1 {
				t.Errorf("the log says it %d times", n)
			}
			if r := s.status(t); r.Sync == nil || r.Sync.State != syncmode.Out || r.Verdict != "at_risk" {
				t.Errorf("status: %+v", r)
			}
			agent.stop(t)
		})
	}
}

// TestSyncRemoteApply: under remote_apply a commit never returns on the agent's word, and everyone says why.
func TestSyncRemoteApply(t *testing.T) {
	t.Parallel()
	s := newSyncSite(t, 15)
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.set(t, "synchronous_standby_names", "pgark")
	s.waitSync(t)
	s.set(t, "synchronous_commit", "remote_apply")
	eventually(t, 30*time.Second, "the log to say so", func() bool { return strings.Contains(agent.output(), "remote_apply") })
	waiting := s.insert(t, 1, "")
	s.waitWaiting(t, "1")
	if o := returned(t, s.insert(t, 2, "-c synchronous_commit=on")); o.warned {
		t.Error("a commit that asks for what an archive can give was warned")
	}
	waits(t, waiting)
	r := s.status(t)
	if r.Verdict != "at_risk" || r.Sync == nil || r.Sync.State != syncmode.Refused || len(r.Causes) == 0 || !strings.Contains(r.Causes[0].Fix, "ALTER SYSTEM SET synchronous_commit = on") {
		t.Errorf("status: %+v", r)
	}
	if o := s.tool.run(t.Context(), "check", "--only", "postgres", s.url); o.code == 0 || !strings.Contains(o.stdout, "remote_apply") {
		t.Errorf("check: exit %d\n%s", o.code, o.stdout)
	}
	waits(t, waiting)
	s.ask(t, "select pg_cancel_backend(pid)::text from pg_stat_activity where wait_event = 'SyncRep'")
	if o := returned(t, waiting); !o.warned {
		t.Error("a commit whose wait was cancelled returned without a warning")
	}
	agent.stop(t)
}

// TestSyncNamesAsTheServerReadsThem compares the parser with PostgreSQL's own.
func TestSyncNamesAsTheServerReadsThem(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := postgrestest.Start(t, v, postgrestest.Options{})
			conn := c.Conn(t)
			for _, text := range []string{
				"pgark", "a, b", "a,", "a b", "2 (a, b)", "2(a)", "2", "2, b", "2a", "FIRST 1 (a)", "first (a)", "any 1 (*)", "ANY", "anyone", `"any"`, `"a""b"`, `"a`, "a-b",
				"0 (a)", "ANY 0 (a)", "*", "**", "a(b)", "_$", "$a", "Ä", " \t a ", "(a)", "1 (a) b", "1 (a),", `""`, "9 (a)", "01 (a)", "1 1 (a)", "any, b", "-1 (a)", "1 ()", "a.b",
			} {
				_, err := conn.Exec(t.Context(), "alter system set synchronous_standby_names = '"+text+"'")
				var refused *pgconn.PgError
				if err != nil && !errors.As(err, &refused) {
					t.Fatal(err)
				}
				if _, ours := syncmode.ParseNames(text); (ours == nil) != (err == nil) {
					t.Errorf("%q: PostgreSQL says %v, we say %v", text, err, ours)
				}
			}
		})
	}
}
