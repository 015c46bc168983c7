package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestRestoreInPlace guards I20, I26, I28 and I29: a table was dropped. The running server is not touched; once it is stopped its data directory is
// restored in place to the moment before, though the restore is killed with -9 again and again: in between no server starts there. What was right is not
// fetched again, and the old WAL, which holds the drop, plays no part. Likewise a restore into a new folder. Long form: make restores KILLS=200.
func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	kills := int(soakNumber(t, "KILLS", 6))
	rng := rand.New(rand.NewPCG(seed, 4))
	s := newSite(t, postgrestest.Need(t, 17), onFile, postgrestest.Options{})
	space := postgrestest.TempDir(t)
	s.server.Exec(t, "create tablespace beside location '"+space+"'")
	s.server.Exec(t, "create table kept tablespace beside as select g, repeat('x', 200) from generate_series(1, 20000) g")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table orders as select generate_series(1, 1000) n")
	s.server.Exec(t, "insert into kept values (0, 'after the backup')")
	before := s.server.Text(t, "select now()::text")
	s.server.Exec(t, "drop table orders")
	s.server.Exec(t, "create table since as select generate_series(1, 30000) n")
	for range 13 {
		s.server.Exec(t, "select txid_current()")
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.waitArchived(t)
	s.refusedBySmallDisk(t, space)
	args := []string{
		"restore", "--to", before, "--into", s.server.DataDir, "--in-place", "--bin-dir", s.server.Version.BinDir, "--start", "--yes", "-o", "json", s.url,
	}
	if o := s.tool.run(t.Context(), args...); o.code != 5 || !strings.Contains(o.stderr, "a server runs in it") {
		t.Errorf("a running server: exit %d\n%s", o.code, o.stderr)
	}
	if n := s.server.Text(t, "select count(*) from since"); n != "30000" {
		t.Errorf("the running server has %s rows", n)
	}
	agent.stop(t)
	s.server.Kill(t)

	want := func(dir string, o outcome) (reused int64) {
		t.Helper()
		if o.code != 0 {
			t.Fatalf("exit %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		var report struct {
			Result struct {
				Socket string `json:"socket"`
				Port   int    `json:"port"`
				Reused int64  `json:"reused_bytes"`
			} `json:"result"`
		}
		if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
			t.Fatal(err)
		}
		conn := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port)
		got := query(t, conn, `select (select count(*) from orders) || ' ' || (select count(*) || ' ' || min(g) from kept) || ' ' || (to_regclass('since') is null)`)
		if got != "1000 20001 0 true" {
			t.Errorf("restored %s", got)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "pgark-restore")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		restored{dir: dir}.halt(t)
		return report.Result.Reused
	}
	starts := func(dir string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(s.server.Version.BinDir, "postgres"), "-D", dir, "-C", "data_checksums")
		postgrestest.AsServer(t, cmd)
		out, err := cmd.CombinedOutput()
		if err != nil && !strings.Contains(string(out), "pg_control") {
			t.Errorf("no server starts in %s for another reason: %s", dir, out)
		}
		return err == nil
	}
	unfinished := 0
	killed := func(args []string, dir string, most time.Duration) {
		p := s.tool.start(t, args...)
		wait(t.Context(), time.Duration(rng.Int64N(int64(most))))
		p.kill()
		restored{dir: dir}.halt(t) // it may have come as far as the server
		_, marked := os.Stat(filepath.Join(dir, "pgark-restore"))
		_, control := os.Stat(filepath.Join(dir, "global", "pg_control"))
		if marked == nil && control != nil {
			unfinished++
			if unfinished < 3 && starts(dir) {
				t.Error("a server starts in half a state")
			}
		}
	}
	for range kills {
		killed(args, s.server.DataDir, 600*time.Millisecond)
	}
	// One that ends in the middle for certain: what has to be fetched is damaged for a while.
	pack := objects(t, s.folder, "backups/*/base-*.tar.zst")[0]
	spoiled := func(b []byte) []byte {
		for at := 200; at < len(b); at += 300 {
			b[at] ^= 1
		}
		return b
	}
	spoil(t, pack, spoiled)
	if o := s.tool.run(t.Context(), args...); o.code != 1 || !strings.Contains(o.stderr, "goes on from the files that are right") || starts(s.server.DataDir) {
		t.Errorf("a damaged backup: exit %d\n%s", o.code, o.stderr)
	}
	spoil(t, pack, spoiled)
	if want(s.server.DataDir, s.tool.run(t.Context(), args...)) == 0 {
		t.Error("nothing was reused")
	}
	t.Logf("%d kills, %d of them in half a state", kills, unfinished)

	dir := filepath.Join(postgrestest.TempDir(t), "new")
	beside := filepath.Join(filepath.Dir(dir), "beside")
	into := []string{
		"restore", "--to", before, "--into", dir, "--tablespace", filepath.Base(space) + "=" + beside, "--bin-dir", s.server.Version.BinDir, "--start", "--yes",
		"-o", "json", s.url,
	}
	for range kills {
		killed(into, dir, 400*time.Millisecond)
		if _, err := os.Stat(dir); err == nil { // it was through: from the start
			_, _ = os.RemoveAll(dir), os.RemoveAll(beside)
		}
	}
	want(dir, s.tool.run(t.Context(), into...))
}

// refusedBySmallDisk guards I28: a disk of 200 MB is refused before a byte is written, with what is needed and what is free.
func (s *site) refusedBySmallDisk(t *testing.T, space string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("only root mounts a small disk")
		return
	}
	small := postgrestest.TempDir(t)
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=200m,mode=777", "tmpfs", small).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", small).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	o := s.tool.run(t.Context(), "restore", "--into", filepath.Join(small, "data"), "--tablespace", filepath.Base(space)+"="+filepath.Join(small, "beside"), "--yes", s.url)
	left, err := os.ReadDir(small)
	if o.code != 5 || !strings.Contains(o.stderr, "no space in "+small) || len(left) > 0 || err != nil {
		t.Errorf("a disk of 200 MB: exit %d, left %v, %v\n%s%s", o.code, left, err, o.stdout, o.stderr)
	}
}

// halt ends the server that runs in a restored data directory, if one does, and keeps the cluster.
func (r restored) halt(t testing.TB) {
	raw, err := os.ReadFile(filepath.Join(r.dir, "postmaster.pid"))
	if err != nil {
		return
	}
	pid := 0
	_, _ = fmt.Sscan(strings.SplitN(string(raw), "\n", 2)[0], &pid)
	p, err := os.FindProcess(pid)
	if err != nil || pid <= 1 {
		return
	}
	_ = p.Signal(os.Interrupt)
	eventually(t, 30*time.Second, "the restored server to stop", func() bool {
		_, err := os.Stat(filepath.Join(r.dir, "postmaster.pid"))
		return os.IsNotExist(err) || p.Signal(syscall.Signal(0)) != nil
	})
}
