package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// TestSyncHostDeaths guards I13: server, disks and agent are lost at one time, at random, while one of two repositories misbehaves, waits are cancelled
// and the agent is killed now and then. Every commit that returned without a warning is restored from the one repository alone, and from the
// other alone. The long form: make deaths DEATHS=100 SEED=1.
func TestSyncHostDeaths(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	v := postgrestest.Need(t, 15)
	d := &deaths{version: v, faults: map[string]int{}}
	for i, name := range []string{"a", "b"} {
		server := storagetest.StartServer(t)
		_, d.env = newBucket(t, server, "pgark", "")
		d.servers[i], d.proxies[i], d.names[i] = server, storagetest.StartProxy(t, server), name
	}
	count := int(soakNumber(t, "DEATHS", 5))
	for i := range count {
		if !t.Run(fmt.Sprintf("%03d", i), func(t *testing.T) { d.die(t, i, rand.New(rand.NewPCG(seed, uint64(i)))) }) {
			return
		}
	}
	t.Logf("%d deaths, %d commits acknowledged without a warning, all restored twice; %d with a warning, %d unknown; faults met: %v",
		count, d.acked, d.warned, d.unknown, d.faults)
	if d.acked < 20*count {
		t.Errorf("only %d commits in %d lives: the load was no load", d.acked, count)
	}
	if len(d.faults) == 0 {
		t.Error("no request met a fault")
	}
}

// deaths is what all lives of TestSyncHostDeaths share: two regions, and what was seen in all.
type deaths struct {
	version postgrestest.Version
	servers [2]*storagetest.Server
	proxies [2]*storagetest.Proxy
	names   [2]string
	env     []string

	acked, warned, unknown int
	faults                 map[string]int
}

// trouble is what one of the repositories has.
func trouble(rng *rand.Rand) storagetest.Rule {
	all := []storagetest.Rule{
		{Name: "slow down", Op: storagetest.Put, Percent: 20, Fault: storagetest.Answer(503, "SlowDown")},
		{Name: "answer lost", Op: storagetest.Put, Percent: 15, Fault: storagetest.Lose()},
		{Name: "connection cut", Percent: 15, Fault: storagetest.Cut()},
		{Name: "slow", Op: storagetest.Put, Fault: storagetest.Delay(50 * time.Millisecond)},
		{Name: "error in 200", Op: storagetest.Put, Percent: 20, Fault: storagetest.Answer(200, "InternalError")},
		{Name: "hang", Op: storagetest.Put, Path: "*/wal/*", Fault: storagetest.Hang()},
	}
	return all[rng.IntN(len(all))]
}

// die is one life: a new server and a new agent, load, trouble, the end, and what is left of it.
func (d *deaths) die(t *testing.T, life int, rng *rand.Rand) {
	prefix := fmt.Sprintf("life%03d", life)
	s := &site{server: postgrestest.Start(t, d.version, postgrestest.Options{Settings: ledgerSettings()}), segmentSize: wal.DefaultSegmentSize}
	s.tool = newTool(t, append(append(d.servers[0].Env(), d.env...), "PGHOST="+s.server.SocketDir, fmt.Sprintf("PGPORT=%d", s.server.Port), "PGUSER=postgres")...)
	urls := [2]string{d.proxies[0].URL("pgark", prefix), d.proxies[1].URL("pgark", prefix)}
	both := s.tool
	both.env = append(both.env[:len(both.env):len(both.env)], "PGARK_REPO="+urls[0], "PGARK_COPIES=b="+urls[1], "PGARK_REQUIRED=all")
	agent := both.start(t, "run")
	for _, server := range d.servers {
		s.folder = filepath.Join(server.Dir(), "pgark", prefix)
		s.waitBackup(t)
	}
	l := newLedger(t.Context(), t, s.server.ConnString(), 6, rng.Uint64())
	direct := s.server.Conn(t)
	for _, command := range []string{"set synchronous_commit = local", "alter system set synchronous_standby_names = 'pgark'", "select pg_reload_conf()"} {
		if _, err := direct.Exec(t.Context(), command); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, "the agent to know that commits wait", func() bool { return strings.Contains(agent.output(), "no commit returns before") })

	load, endLoad := context.WithCancel(t.Context())
	group := new(errgroup.Group)
	group.Go(func() error { return l.run(load) })
	faulty := d.proxies[rng.IntN(2)]
	wait(t.Context(), time.Duration(200+rng.IntN(1000))*time.Millisecond)
	rule := trouble(rng)
	heal := faulty.Add(rule)
	for range rng.IntN(3) {
		wait(t.Context(), time.Duration(rng.IntN(500))*time.Millisecond)
		if rng.IntN(2) == 0 {
			agent.kill()
			agent = both.start(t, "run")
			continue
		}
		if _, err := direct.Exec(t.Context(), "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep' order by random() limit 2"); err != nil {
			t.Fatal(err)
		}
	}
	wait(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)

	// The end, in either order: what the agent still puts without its server, or the server still writes without its agent, is nobody's promise.
	if rng.IntN(2) == 0 {
		agent.kill()
		s.server.Kill(t)
	} else {
		s.server.Kill(t)
		agent.kill()
	}
	endLoad()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	s.server.Remove(t)
	heal()
	d.count(t, l, faulty, rule.Name)
	for i, url := range urls {
		cutOther := d.proxies[1-i].Add(storagetest.Rule{Fault: storagetest.Cut()})
		d.survived(t, s, url, fmt.Sprintf("from %s alone, %q in one of them", d.names[i], rule.Name), l)
		cutOther()
	}
}

// nearestLSN is how a refusal names the end of what can be restored.
var nearestLSN = regexp.MustCompile(`--to-lsn [0-9A-F]+/[0-9A-F]+`)

// count keeps what happened in a life.
func (d *deaths) count(t *testing.T, l *ledger, faulty *storagetest.Proxy, trouble string) {
	t.Helper()
	ofClass := map[class]int{}
	for _, tr := range l.entries() {
		ofClass[tr.class]++
	}
	t.Logf("%q: %d commits acknowledged, %d with a warning, %d unknown", trouble, ofClass[acked], ofClass[warned], ofClass[unknown])
	d.acked, d.warned, d.unknown = d.acked+ofClass[acked], d.warned+ofClass[warned], d.unknown+ofClass[unknown]
	seen := map[string]int{}
	for _, call := range faulty.Calls() {
		if call.Fault != "" {
			seen[call.Fault]++
		}
	}
	for name, n := range seen {
		d.faults[name] = max(d.faults[name], n)
	}
}

// survived restores from one repository and looks for what was acknowledged.
func (d *deaths) survived(t *testing.T, s *site, url, how string, l *ledger) {
	t.Helper()
	s.url = url
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if at := nearestLSN.FindString(o.stderr); o.code == 4 && at != "" {
		// Pieces go up in any order. Where one was still on its way, those behind it lie behind a hole: nobody was told that they are safe.
		r, o = s.restore(t.Context(), t, "--to-lsn", strings.TrimPrefix(at, "--to-lsn "))
	}
	defer r.stop(t)
	if o.code != 0 {
		t.Fatalf("%s: restore: exit %d\n%s%s", how, o.code, o.stdout, o.stderr)
	}
	got, err := readState(t.Context(), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.sound(); err != nil {
		t.Errorf("%s: %v", how, err)
	}
	for _, tr := range l.entries() {
		if _, there := got.rows[rowKey{tr.worker, tr.seq}]; tr.class == acked && !there {
			t.Errorf("%s: commit %d/%d, acknowledged without a warning, is missing", how, tr.worker, tr.seq)
		}
	}
}
