package integration_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestBandwidth counts at the store what an agent's base backup sends, and a restore reads, against what their limits allow in the time that they took, and sees commits
// become durable while the base backup waits for room.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 17), onS3, postgrestest.Options{})
	proxy := storagetest.StartProxy(t, s.s3)
	through := proxy.URL("pgark", "main")
	s.server.Exec(t, "create table bulk as select g, sha512(g::text::bytea) || sha512((-g)::text::bytea) as b from generate_series(1, 160000) g") // 20 MB that no codec makes smaller
	s.server.Exec(t, "create table told(n int)")
	// passed returns the bytes of the calls since began, and when the last of them ended.
	passed := func(began time.Time, of func(storagetest.Call) int64) (sum int64, last time.Time) {
		for _, c := range proxy.Calls() {
			if n := of(c); n > 0 && c.Began.After(began) {
				sum, last = sum+n, c.Ended
			}
		}
		return sum, last
	}
	allowed := func(rate int64, took time.Duration) int64 { return int64(float64(rate) * (took.Seconds() + 1)) }

	const upload = 4_000_000
	began := time.Now()
	limited := s.tool.with("PGARK_LIMITS_UPLOAD=4MB/s")
	agent := limited.start(t, "run", through)
	commits := 0
	for eventually(t, time.Minute, "the agent", func() bool { return proxy.Count(storagetest.Begin, "") > 0 }); len(s.backups(t)) == 0; {
		s.server.Exec(t, "insert into told values (1)")
		s.waitArchived(t)
		commits++
	}
	sent, last := passed(began, func(c storagetest.Call) int64 {
		if c.Op == storagetest.Part && c.Status == 200 {
			return c.Sent
		}
		return 0
	})
	most := allowed(upload, last.Sub(began))
	if sent > most {
		t.Errorf("the base backup sent %d bytes where 4 MB/s allow %d", sent, most)
	}
	if sent < 18_000_000 {
		t.Errorf("the base backup sent %d bytes in parts: too few to be limited", sent)
	}
	if commits < 5 {
		t.Errorf("only %d commits became durable, one after the other, while the base backup was sent", commits)
	}
	t.Logf("base backup: %d bytes, %.2f of what the limit allows; %d commits durable meanwhile", sent, float64(sent)/float64(most), commits)
	if out := s.tool.with("PGARK_LIMITS_UPLOAD=4MB/s").run(t.Context(), "check", "--only", "storage", through); !strings.Contains(out.stdout, "uploads limited to 4.0 MB/s") {
		t.Errorf("check does not tell of the limit:\n%s%s", out.stdout, out.stderr)
	}
	agent.stop(t)

	const read = 5_000_000
	began = time.Now()
	// What is configured is not for a restore; what it is told is.
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	s.tool.with("PGARK_LIMITS_READ=100kB/s").must(t.Context(), t, "restore", "--rate-limit", "5MB/s", "--to", "latest", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes", through)
	most = allowed(read, time.Since(began)) // what waits in the sockets has passed the proxy already
	got, _ := passed(began, func(c storagetest.Call) int64 {
		if c.Op == storagetest.Get && strings.Contains(c.Path, "/backups/") {
			return c.Got
		}
		return 0
	})
	if got > most || got < 18_000_000 {
		t.Errorf("the restore read %d bytes of the base backup where 5 MB/s allow %d", got, most)
	}
	t.Logf("restore: %d bytes, %.2f of what the limit allows", got, float64(got)/float64(most))
}
