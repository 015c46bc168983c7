//go:build peers

package integration_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/storage/storagetest"
)

var syncSeconds = flag.Int("seconds", 5, "length of one run of the sync scenario")

// commitTimes is what one run of pgbench saw.
type commitTimes struct {
	tps            float64
	mean, p50, p99 float64 // milliseconds
}

// syncBench measures what it costs a commit to wait: for nobody, for pg_receivewal on the local disk, and for pgark with a store whose PUT
// takes so much longer. The load is pgbench -N, whose transactions hardly ever wait for each other.
type syncBench struct {
	*bench

	proxy   *storagetest.Proxy
	env     []string
	results map[string]map[int][]commitTimes
	order   []string
}

// putDelays are added to each PUT of WAL.
var putDelays = []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}

func (b *bench) sync() {
	s := &syncBench{bench: b, results: map[string]map[int][]commitTimes{}}
	server := storagetest.StartServer(b.t)
	server.CreateBucket(b.t, "bench")
	s.proxy, s.env = storagetest.StartProxy(b.t, server), server.Env()
	b.run(debianBin+"pgbench", "-i", "-q", "-s", "10")
	stop := s.start()
	b.waitFor("the first base backup", func() bool {
		found, _ := filepath.Glob(filepath.Join(server.Dir(), "bench", "sync", "*", "backups", "*", "record.json"))
		return len(found) > 0
	})
	stop()
	for range *rounds {
		s.measure("local commit, nobody waited for")
		s.receivewal()
		s.pgark()
	}
	s.report()
}

// start starts an agent on the store behind the proxy.
func (s *syncBench) start() (stop func() figure) {
	return s.agentWith(s.env, s.proxy.URL("bench", "sync"))
}

// names sets synchronous_standby_names without waiting for anybody.
func (s *syncBench) names(names string) {
	s.run(debianBin+"psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", "set synchronous_commit = local", "-c",
		"alter system set synchronous_standby_names = '"+names+"'", "-c", "select pg_reload_conf()")
}

// standby waits until the server counts on a standby.
func (s *syncBench) standby(name string) {
	s.waitFor(name+" to be a synchronous standby", func() bool {
		return s.ask("select count(*) = 1 from pg_stat_replication where application_name = '" + name + "' and sync_state = 'sync' and flush_lsn >= pg_current_wal_flush_lsn()")
	})
}

func (s *syncBench) receivewal() {
	cmd := s.command(debianBin+"pg_receivewal", "-D", s.folder("receivewal"), "--synchronous", "--no-loop")
	s.must(cmd.Start())
	s.names("pg_receivewal")
	s.standby("pg_receivewal")
	s.measure("`pg_receivewal --synchronous`, local disk")
	s.names("")
	s.must(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // it was told to end
}

func (s *syncBench) pgark() {
	stop := s.start()
	s.names("pgark")
	s.waitFor("the agent to know that commits wait", func() bool {
		log, err := os.ReadFile(filepath.Join(s.dir, "agent.log"))
		return err == nil && strings.Contains(string(log), "no commit returns before")
	})
	s.standby("pgark")
	for _, d := range putDelays {
		remove := s.proxy.Add(storagetest.Rule{Op: storagetest.Put, Path: "*/wal/*", Fault: storagetest.Delay(d)})
		s.measure(fmt.Sprintf("**pgark**, PUT + %d ms", d.Milliseconds()))
		remove()
	}
	s.names("")
	stop()
}

// measure runs the load with one client and with sixteen.
func (s *syncBench) measure(contender string) {
	if s.results[contender] == nil {
		s.results[contender] = map[int][]commitTimes{}
		s.order = append(s.order, contender)
	}
	for _, clients := range []int{1, 16} {
		l := s.load(clients)
		s.results[contender][clients] = append(s.results[contender][clients], l)
		s.t.Logf("%-45s %2d clients: %8.1f tps, mean %6.2f p50 %6.2f p99 %6.2f ms", contender, clients, l.tps, l.mean, l.p50, l.p99)
	}
}

// load runs pgbench and reads the log of its transactions.
func (s *syncBench) load(clients int) commitTimes {
	folder := s.folder("pgbench")
	defer func() { s.must(os.RemoveAll(folder)) }()
	s.run(debianBin+"pgbench", "-n", "-N", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(*syncSeconds),
		"-l", "--log-prefix", filepath.Join(folder, "log"))
	logs, err := filepath.Glob(filepath.Join(folder, "log*"))
	s.must(err)
	var all []float64
	for _, name := range logs {
		all = append(all, s.times(name)...)
	}
	if len(all) == 0 {
		s.t.Fatal("pgbench logged no transaction")
	}
	slices.Sort(all)
	sum := 0.0
	for _, ms := range all {
		sum += ms
	}
	at := func(q float64) float64 { return all[int(q*float64(len(all)-1))] }
	return commitTimes{tps: float64(len(all)) / float64(*syncSeconds), mean: sum / float64(len(all)), p50: at(0.5), p99: at(0.99)}
}

// times are the milliseconds that each transaction in a log took: its third column is in microseconds.
func (s *syncBench) times(name string) []float64 {
	f, err := os.Open(name)
	s.must(err)
	defer func() { _ = f.Close() }() // only read
	var all []float64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		us, err := strconv.ParseFloat(fields[2], 64)
		s.must(err)
		all = append(all, us/1000)
	}
	s.must(lines.Err())
	return all
}

// report prints the table of docs/BENCHMARKS.md: medians of the rounds; the ratio is the tps over those of a local commit in the same round.
func (s *syncBench) report() {
	fmt.Printf("\n### sync\n\n| commits wait for | 1 client: p50, p99 ms | tps | ratio | 16 clients: p50, p99 ms | tps | ratio |\n|---|---:|---:|---:|---:|---:|---:|\n")
	middle := func(ls []commitTimes, of func(commitTimes) float64) float64 {
		var v []float64
		for _, l := range ls {
			v = append(v, of(l))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	for _, contender := range s.order {
		line := "| " + contender
		for _, clients := range []int{1, 16} {
			ls, local := s.results[contender][clients], s.results[s.order[0]][clients]
			var ratios []commitTimes
			for i, l := range ls {
				ratios = append(ratios, commitTimes{tps: l.tps / local[i].tps})
			}
			tps := func(l commitTimes) float64 { return l.tps }
			line += fmt.Sprintf(" | %.1f, %.1f | %.0f | %.3f", middle(ls, func(l commitTimes) float64 { return l.p50 }),
				middle(ls, func(l commitTimes) float64 { return l.p99 }), middle(ls, tps), middle(ratios, tps))
		}
		fmt.Println(line + " |")
	}
}
