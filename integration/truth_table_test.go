package integration_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestNoClusterOpensShort guards I22 with a real server: whatever happens to the store, the objects or the helper in the middle of a
// recovery, the server either reaches its target or does not open. The control shows that a restore_command that fails like most
// programs do, with exit code 1, does open it short: so the test would notice.
func TestNoClusterOpensShort(t *testing.T) {
	w := newShortWorld(t)
	for _, c := range []struct {
		name   string
		harm   func(w *shortWorld, t *testing.T) // before the server starts
		opens  bool                              // at its target
		wal    string                            // what the restore_command is, if not wal fetch
		during func(w *shortWorld, t *testing.T) // while it recovers
	}{
		{name: "nothing wrong", opens: true},
		{name: "slow store", opens: true, harm: w.rule(storagetest.Rule{Fault: storagetest.Delay(300 * time.Millisecond)})},
		{name: "every third request 503", opens: true, harm: w.rule(storagetest.Rule{Percent: 33, Fault: storagetest.Answer(503, "SlowDown")})},
		{name: "store down", harm: w.rule(storagetest.Rule{Fault: storagetest.Cut()})},
		{name: "store hangs", harm: w.rule(storagetest.Rule{Fault: storagetest.Hang()})},
		{name: "503", harm: w.rule(storagetest.Rule{Fault: storagetest.Answer(503, "SlowDown")})},
		{name: "403", harm: w.rule(storagetest.Rule{Fault: storagetest.Answer(403, "AccessDenied")})},
		{name: "404 for everything", harm: w.rule(storagetest.Rule{Fault: storagetest.Answer(404, "NoSuchKey")})},
		{name: "WAL objects answer 404 though they are listed", harm: w.rule(storagetest.Rule{Op: storagetest.Get, Path: "*/wal/*", Fault: storagetest.Answer(404, "NoSuchKey")})},
		{name: "corrupt on the way", harm: w.rule(storagetest.Rule{Op: storagetest.Get, Path: "*/wal/*", Fault: storagetest.FlipBit(1000)})},
		{name: "corrupt object", harm: (*shortWorld).corrupt},
		{name: "truncated object", harm: (*shortWorld).truncate},
		{name: "helper killed", harm: w.rule(storagetest.Rule{Op: storagetest.Get, Path: "*/wal/*", Fault: storagetest.Hang()}), during: (*shortWorld).killHelpers},
		{name: "helper gone", wal: "/nonexistent/pgark wal fetch %f %p"},
		{name: "helper terminated by timeout(1)", wal: "TIMEOUT", harm: w.rule(storagetest.Rule{Op: storagetest.Get, Path: "*/wal/*", Fault: storagetest.Hang()})},
	} {
		t.Run(c.name, func(t *testing.T) {
			opened, rows := w.recover(t, c.wal, c.harm, c.during)
			switch {
			case opened && rows != w.want:
				t.Errorf("the server opened short of its target: got %d rows, want %d", rows, w.want)
			case opened != c.opens:
				t.Errorf("opened: got %t, want %t", opened, c.opens)
			}
		})
	}
	t.Run("control: exit code 1 opens it short", func(t *testing.T) {
		if opened, rows := w.recover(t, "false %f %p", nil, nil); opened && rows == w.want {
			t.Error("a restore_command that always fails changed nothing: the table above proves nothing")
		}
	})
}

// shortWorld is one laid down cluster that each case copies, and its repository behind the fault proxy.
type shortWorld struct {
	site   *site
	proxy  *storagetest.Proxy
	laid   string // data directory, laid down and never started
	want   int
	remove func()
}

func newShortWorld(t *testing.T) *shortWorld {
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	w := &shortWorld{site: s, proxy: storagetest.StartProxy(t, s.s3)}
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t, 1)
	s.server.Exec(t, "create table written (n int)")
	w.want = 4000
	for range 4 { // four segments, so that faults hit the middle of recovery
		s.server.Exec(t, "insert into written select generate_series(1, 1000)")
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.waitArchived(t)
	agent.stop(t)
	w.laid = filepath.Join(postgrestest.TempDir(t), "laid")
	s.tool.must(t.Context(), t, "restore", "--into", w.laid, "--yes", s.url)
	return w
}

func (w *shortWorld) rule(r storagetest.Rule) func(*shortWorld, *testing.T) {
	return func(w *shortWorld, t *testing.T) { t.Cleanup(w.proxy.Add(r)) }
}

// segments are the stored objects of complete segments, oldest first.
func (w *shortWorld) segments(t *testing.T) []string {
	found, err := filepath.Glob(filepath.Join(w.site.folder, "*", "wal", "00000001", "*.zst"))
	if err != nil || len(found) < 4 {
		t.Fatalf("segments %q: %v", found, err)
	}
	return found
}

func (w *shortWorld) change(t *testing.T, change func([]byte) []byte) {
	path := w.segments(t)[len(w.segments(t))-2]
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { write(old) })
	write(change(bytes.Clone(old)))
}

func (w *shortWorld) corrupt(t *testing.T) {
	w.change(t, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
}

func (w *shortWorld) truncate(t *testing.T) {
	w.change(t, func(b []byte) []byte { return b[:len(b)/2] })
}

// killHelpers kills every wal fetch of the case with -9 while it waits for the store.
func (w *shortWorld) killHelpers(t *testing.T) {
	bin := w.site.tool.bin
	eventually(t, 30*time.Second, "a wal fetch to kill", func() bool {
		return exec.Command("pkill", "-9", "-f", bin+" wal fetch").Run() == nil
	})
}

// recover starts a copy of the laid down cluster and reports whether it opened, and with how many rows.
func (w *shortWorld) recover(t *testing.T, command string, harm, during func(*shortWorld, *testing.T)) (opened bool, rows int) {
	dir := filepath.Join(postgrestest.TempDir(t), "data")
	if out, err := exec.Command("cp", "-a", w.laid, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	w.aim(t, dir, command)
	if harm != nil {
		harm(w, t)
	}
	server := postgrestest.StartFrom(t, w.site.server.Version, dir)
	if during != nil {
		during(w, t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case <-server.Exited():
			return false, 0
		default:
		}
		if rows, ok := openedWith(ctx, server.ConnString()); ok {
			return true, rows
		}
		wait(ctx, 100*time.Millisecond)
	}
	t.Fatalf("the server neither opened nor ended:\n%s", server.Log())
	return false, 0
}

// openedWith reports whether the server is out of recovery, and how many rows it shows.
func openedWith(ctx context.Context, conn string) (rows int, ok bool) {
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		return 0, false
	}
	defer c.Close(ctx)
	var recovering bool
	if err := c.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&recovering); err != nil || recovering {
		return 0, false
	}
	// A cluster opened short may not even have the table.
	_ = c.QueryRow(ctx, "select count(*) from written").Scan(&rows)
	return rows, true
}

// aim points the restore_command of a laid down cluster at the proxy, with little patience, or replaces it.
func (w *shortWorld) aim(t *testing.T, dir, command string) {
	path := filepath.Join(dir, "postgresql.auto.conf")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := "env " + strings.Join(w.site.s3.Env(), " ") + " "
	bin := w.site.tool.bin
	text := strings.ReplaceAll(string(raw), w.site.url, w.proxy.URL("pgark", "main"))
	if !strings.Contains(text, bin+" wal fetch") || !strings.Contains(text, w.proxy.URL("pgark", "main")) {
		t.Fatalf("restore_command is not as expected:\n%s", raw)
	}
	switch command {
	case "":
		text = strings.ReplaceAll(text, bin+" wal fetch", env+bin+" wal fetch --timeout 4s")
	case "TIMEOUT":
		text = strings.ReplaceAll(text, bin+" wal fetch", env+"timeout -s TERM 2 "+bin+" wal fetch --timeout 60s")
	default:
		text += "\nrestore_command = '" + command + "'\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
