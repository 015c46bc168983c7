package integration_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestBucketHangs guards I11, I12, I14, I44 and S5: the bucket answers nothing any more while the database works on. The agent's memory stays bounded and the
// WAL waits on the server; status on any host tells of it; the server stops in good order all the same; and once the bucket is back all
// that was written meanwhile is archived, without a hole.
//
// The long form measures the database beside it: make hang DURATION=10m. Throughput and latency are figures of docs/BENCHMARKS.md, nothing that fails here.
func TestBucketHangs(t *testing.T) {
	t.Parallel()
	length := soakDuration(t, 15*time.Second)
	rate := int(soakNumber(t, "RATE", 300))
	settings := ledgerSettings()
	settings["max_wal_size"], settings["wal_keep_size"] = "16GB", "0"
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{Settings: settings})
	proxy := storagetest.StartProxy(t, s.s3)
	through := proxy.URL("pgark", "main")
	bench := pgbench{t: t, server: s.server, rate: rate}
	bench.fill(5)
	agent := s.tool.start(t, "run", through)
	s.waitBackup(t)
	s.waitArchived(t)
	calm := bench.run(max(length/10, 3*time.Second))
	s.waitArchived(t)
	quick := s.stopTime(t)
	s.server.Start(t)
	s.waitArchived(t)

	release := proxy.Add(storagetest.Rule{Name: "hang", Fault: storagetest.Hang()})
	began, from := time.Now(), s.flushed(t)
	var group errgroup.Group
	var hung figures
	group.Go(func() error { hung = bench.run(length); return nil })
	// status.RPOTarget is 30 s, from the last byte that was durable; the look itself takes time too.
	eventually(t, 45*time.Second, "status on another host to say that the cluster is not protected", func() bool {
		code := s.tool.run(t.Context(), "status", "--exit-code", s.url).code
		return code == exitAtRisk || code == exitUnprotected
	})
	told := time.Since(began)
	asked := time.Now()
	if o := s.tool.run(t.Context(), "status", "--timeout", "10s", through); o.code == 0 || !strings.Contains(o.stderr, "gave up after 10s") {
		t.Errorf("status of the bucket that hangs: exit %d after %v\n%s%s", o.code, time.Since(asked), o.stdout, o.stderr)
	}
	s.server.Exec(t, "create table bulk as select g, repeat(md5(random()::text), 8) from generate_series(1, 600000) g")
	_ = group.Wait() // bench.run fails the test itself
	backlog := s.flushed(t) - from
	if backlog < 160<<20 {
		t.Errorf("only %d MiB were written during the hang: more than the agent holds was to wait on the server", backlog>>20)
	}
	stop := s.stopTime(t)
	if stop-quick > 10*time.Second {
		t.Errorf("a fast stop took %v while the bucket hung, %v before", stop, quick)
	}
	s.server.Start(t)
	peak := peakMemory(t, strconv.Itoa(agent.cmd.Process.Pid))
	if peak > 320 {
		t.Errorf("the agent used %.0f MiB", peak)
	}
	release()
	released := time.Now()
	at := s.flushed(t)
	eventually(t, 10*time.Minute, "the backlog to be archived", func() bool {
		return s.server.Text(t, "select count(*) from pg_stat_replication where application_name like 'pgark%' and flush_lsn >= '"+at.String()+"'") == "1"
	})
	t.Logf("calm %v: %s", calm.length, calm)
	t.Logf("hung %v: %s; backlog %d MiB archived in %v; agent's peak %.0f MiB; status told after %v; fast stop %v, before %v",
		hung.length, hung, backlog>>20, time.Since(released).Round(time.Second), peak, told.Round(time.Second),
		stop.Round(100*time.Millisecond), quick.Round(100*time.Millisecond))
	select {
	case <-agent.done:
		t.Errorf("the agent ended:\n%s", agent.output())
	default:
	}
	const sums = `select (select count(*) || '/' || sum(delta) || '/' || sum(aid::bigint) from pgbench_history) || '/' || (select count(*) from bulk)`
	want := s.server.Text(t, sums)
	s.waitArchived(t)
	agent.stop(t)
	s.server.Remove(t)
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, sums); got != want {
		t.Errorf("restored pgbench_history and bulk sum up to %s, want %s", got, want)
	}
}

// Exit codes of status (docs/EXIT-CODES.md).
const (
	exitAtRisk      = 3
	exitUnprotected = 4
)

// stopTime stops the server in fast mode and returns how long that took.
func (s *site) stopTime(t *testing.T) time.Duration {
	t.Helper()
	s.server.Exec(t, "checkpoint") // its own work is not to be measured
	began := time.Now()
	s.server.Stop(t, postgrestest.Fast)
	return time.Since(began)
}

// pgbench is the stock load, at a rate (transactions a second).
type pgbench struct {
	t      *testing.T
	server *postgrestest.Cluster
	rate   int
}

// figures are what pgbench measured.
type figures struct {
	length    time.Duration
	tps       float64
	latencies []time.Duration // from the moment a transaction was due, ascending
}

func (f figures) String() string {
	at := func(p int) time.Duration {
		return f.latencies[min(len(f.latencies)-1, len(f.latencies)*p/100)].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%.1f tps, latency p50 %v, p99 %v", f.tps, at(50), at(99))
}

func (p pgbench) command(args ...string) []byte {
	p.t.Helper()
	args = append([]string{"-h", p.server.SocketDir, "-p", strconv.Itoa(p.server.Port), "-U", p.server.Superuser}, args...)
	cmd := exec.CommandContext(p.t.Context(), postgrestest.Client(p.t, "pgbench"), append(args, "postgres")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Errorf("pgbench: %v\n%s", err, out)
	}
	return out
}

func (p pgbench) fill(scale int) { p.command("-i", "-q", "-s", strconv.Itoa(scale)) }

// run measures for a length of time. It may be called from any goroutine.
func (p pgbench) run(length time.Duration) figures {
	f := figures{length: length}
	dir := p.t.TempDir()
	out := p.command("-n", "-c", "8", "-j", "2", "-T", strconv.Itoa(int(length.Seconds())), "--rate", strconv.Itoa(p.rate),
		"-l", "--log-prefix", filepath.Join(dir, "log"), "--sampling-rate", "0.25")
	_, rest, _ := strings.Cut(string(out), "tps = ")
	if _, err := fmt.Sscanf(rest, "%g", &f.tps); err != nil {
		p.t.Errorf("pgbench says no tps: %v\n%s", err, out)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil || len(logs) == 0 {
		p.t.Errorf("pgbench wrote no log: %v", err)
	}
	for _, name := range logs {
		raw, err := os.ReadFile(name)
		if err != nil {
			p.t.Error(err)
		}
		for lines := bufio.NewScanner(strings.NewReader(string(raw))); lines.Scan(); {
			// client_id transaction_no time script_no time_epoch time_us schedule_lag (pgbench, Per-Transaction Logging)
			if columns := strings.Fields(lines.Text()); len(columns) > 2 {
				us, err := strconv.ParseInt(columns[2], 10, 64)
				if err != nil {
					continue // "skipped" or "failed"
				}
				f.latencies = append(f.latencies, time.Duration(us)*time.Microsecond)
			}
		}
	}
	if len(f.latencies) == 0 {
		p.t.Error("pgbench measured no transaction")
		f.latencies = []time.Duration{0}
	}
	slices.Sort(f.latencies)
	return f
}
