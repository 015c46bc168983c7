package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestChaos guards I1 to I4, I7 to I9, I22, I23 and I37, and the promise of two seconds: under load, every kind of fault of the plan befalls the
// store, the wires, the agent and the servers, in an order drawn from the seed; then all hosts are lost. Each of the two repositories alone gives
// back a prefix of the server's WAL without a hole, with every commit acknowledged more than two seconds before. Both wires were recorded: never was
// the server told of a flush that one of the repositories had not acknowledged.
//
// The long form repeats that with new seeds: make chaos DURATION=30m SEED=1.
func TestChaos(t *testing.T) {
	v := postgrestest.Need(t, 15) // the one that has pg_rewind
	seed := seed(t)
	length := soakDuration(t, 0)
	began := time.Now()
	var all losses
	for round := uint64(0); round == 0 || time.Since(began) < length; round++ {
		ok := t.Run(fmt.Sprintf("seed %d", seed+round), func(t *testing.T) {
			plan := planFaults(seed+round, min(length/3, 45*time.Second))
			all.add(newChaos(t, v, seed+round).run(plan))
		})
		if !ok {
			return
		}
	}
	t.Logf("over all deaths: %s", all)
}

// soakDuration reads the length of time that the long forms set.
func soakDuration(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	v := os.Getenv("PGARK_TEST_DURATION")
	if v == "" {
		return short
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("PGARK_TEST_DURATION: %v", err)
	}
	return d
}

// chaos is one run of the fault suite: a primary and a standby, an agent in a network of its own behind proxies, two repositories, and clients.
type chaos struct {
	*site // its server is the primary of the moment

	t         *testing.T
	standby   *postgrestest.Cluster
	recording *archivertest.Recording
	proxies   map[string]*storagetest.Proxy // by the name of the repository
	wire      *wire
	links     map[fault]*link // by what parts them
	agent     *keptUp
	load      *ledger
	alone     tool // without proxies and copies

	made    time.Time     // by when the repositories were
	hits    map[fault]int // how often each befell something
	commits map[fault]int // acknowledged while it was on
	calm    []span        // when nothing was wrong
	backups []*process
}

// span is a length of time in the recording.
type span struct{ from, to time.Duration }

// buckets of the repositories.
var buckets = map[string]string{"primary": "pgark", "dr": "pgark-dr"}

func newChaos(t *testing.T, v postgrestest.Version, seed uint64) *chaos {
	t.Helper()
	network := newNetwork(t)
	settings := ledgerSettings()
	// A connection that a stalled wire keeps from saying who it is holds up even an immediate shutdown for so long.
	settings["authentication_timeout"] = "5s"
	s := newSite(t, v, onS3, postgrestest.Options{Settings: settings})
	newBucket(t, s.s3, buckets["dr"], "main")
	c := &chaos{
		site: s, t: t, alone: s.tool, hits: map[fault]int{}, commits: map[fault]int{},
		recording: archivertest.NewRecording(s.segmentSize, "primary", "dr"),
		proxies:   map[string]*storagetest.Proxy{},
		links:     map[fault]*link{partedFromServer: network.server, partedFromStore: network.store},
	}
	for name := range buckets {
		c.proxies[name] = storagetest.StartProxyAt(t, s.s3, network.store.host)
	}
	c.wire = newWireAt(t, network.server.host, s.address(), c.recording)
	s.tool = s.throughWire(c.wire).in(network).with("PGARK_REQUIRED=all",
		"PGARK_REPO="+c.proxies["primary"].URL(buckets["primary"], "main"), "PGARK_COPIES=dr="+c.proxies["dr"].URL(buckets["dr"], "main"))
	c.standby = standbyOf(t, s.server)
	c.agent = keepUp(t, s.tool, "run")
	s.waitBackup(t)
	c.made = time.Now()
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.agent.now.cmd.Process.Pid)); err != nil || exe != s.tool.bin {
		t.Fatalf("the process to be killed and stopped is %s, %v: want %s", exe, err, s.tool.bin)
	}
	c.load = newLedger(t.Context(), t, s.server.ConnString(), 2, seed)
	return c
}

// run carries a plan out, loses the hosts, and judges what is left. It returns what was lost.
func (c *chaos) run(plan []step) losses {
	t := c.t
	load, endLoad := context.WithCancel(t.Context())
	defer endLoad()
	group := new(errgroup.Group)
	group.Go(func() error { return c.load.run(load) })
	began := time.Now()
	for i, s := range plan {
		t.Logf("%6.1fs step %d: %s", time.Since(began).Seconds(), i, s)
		c.step(s)
		if t.Failed() {
			break
		}
	}
	for _, b := range c.backups {
		<-b.done
	}
	c.waitArchived(t)
	from := c.now()
	wait(t.Context(), 4*time.Second) // steady state before the end
	c.calm = append(c.calm, span{from, c.now()})

	// The agent goes first, so that nothing the dying server still sends counts.
	c.agent.end()
	lost := time.Now()
	c.server.Kill(t)
	c.standby.Kill(t)
	endLoad()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	c.proveTrouble(plan)
	ends := truthFromFiles(t, c.server.DataDir, 1<<62)
	c.server.Remove(t)
	c.standby.Remove(t)
	for name, proxy := range c.proxies {
		recordStore(c.recording, name, proxy, buckets[name])
	}
	judgeWires(t, c.recording, 1+c.hits[agentKilled])
	for _, name := range []string{"primary", "dr"} {
		c.judgeRestore(name, ends, lost)
	}
	return c.lost(ends)
}

// now is the place in the recording.
func (c *chaos) now() time.Duration { return c.recording.Since(time.Now()) }

// step lets the faults of a step happen, and waits until the agent has got over them.
func (c *chaos) step(s step) {
	t := c.t
	from := c.now()
	wait(t.Context(), s.Pause)
	c.calm = append(c.calm, span{from, c.now()})
	before := len(c.load.entries())
	over := map[fault][]func(){}
	for _, f := range s.Faults {
		over[f] = c.begin(s, f)
	}
	end := func(kinds ...fault) {
		for _, f := range kinds {
			for _, end := range over[f] {
				end()
			}
			delete(over, f)
		}
	}
	wait(t.Context(), s.For/2)
	for _, f := range s.Faults {
		c.moment(s, f)
	}
	wait(t.Context(), s.For/2)
	c.awaitVanished(s)
	// Behind a wire that carries nothing no request comes that a fault of the store could befall.
	end(slices.Concat(wireFaults, partitions)...)
	c.awaitHits(s)
	during := len(c.load.entries()) - before
	end(storeFaults...)
	for _, f := range s.Faults {
		c.commits[f] += during
	}
	if fence := c.agent.fenced(); fence != "" {
		t.Fatalf("the agent was fenced by %s:\n%s", s, fence)
	}
	c.waitArchived(t)
}

// places are the repositories that a step's store faults befall: those of reads the one that the agent reads.
func (s step) places(f fault) []string {
	switch {
	case ofReads(f) || s.Percent%3 == 0:
		return []string{"primary"}
	case s.Percent%3 == 1:
		return []string{"dr"}
	}
	return []string{"primary", "dr"}
}

// begin starts what lasts, and returns how to end it.
func (c *chaos) begin(s step, f fault) (over []func()) {
	switch f {
	case stallToServer:
		c.hits[f]++
		return []func(){c.wire.stall(toServer)}
	case stallToAgent:
		c.hits[f]++
		return []func(){c.wire.stall(fromServer)}
	case wireDelay:
		c.hits[f]++
		c.wire.delay(s.Amount / 5)
		return []func(){func() { c.wire.delay(0) }}
	case partedFromServer, partedFromStore:
		c.links[f].part()
		return []func(){func() { c.hits[f] += c.links[f].mend() }}
	}
	for _, rule := range s.rules(f) {
		rule.Name = f
		for _, place := range s.places(f) {
			over = append(over, c.proxies[place].Add(rule))
		}
	}
	if ofReads(f) {
		// A repository that is not seen yet is none: an agent is right to stay away from it.
		wait(c.t.Context(), time.Until(c.made.Add(staleness)))
		c.agent.kill()
	}
	return over
}

// staleness is for how long an object is not seen while the store is stale.
const staleness = 5 * time.Second

// rules are what a store fault is made of.
func (s step) rules(f fault) []storagetest.Rule {
	const anyKey = ""
	of := func(op storagetest.Op, percent int, fault storagetest.Fault) []storagetest.Rule {
		return []storagetest.Rule{{Op: op, Path: anyKey, Percent: percent, Fault: fault}}
	}
	fresh := storagetest.Stale(staleness)
	switch f {
	case slowDown:
		return of(storagetest.Any, s.Percent, storagetest.Answer(503, "SlowDown"))
	case internalError:
		return of(storagetest.Any, s.Percent, storagetest.Answer(500, "InternalError"))
	case errorInside:
		return of(storagetest.Put, s.Percent, storagetest.Answer(200, "InternalError"))
	case storeHangs:
		return of(storagetest.Any, 0, storagetest.Hang())
	case resetBeforeBody:
		return of(storagetest.Get, s.Percent, storagetest.Truncate(0))
	case replyLost:
		return of(storagetest.Put, s.Percent, storagetest.Lose())
	case latency:
		return of(storagetest.Any, 0, storagetest.Delay(s.Amount))
	case bandwidth:
		return of(storagetest.Any, 0, storagetest.Rate(s.Rate))
	case expiredToken:
		return of(storagetest.Any, 0, storagetest.Answer(403, "ExpiredToken"))
	case accessDenied:
		return of(storagetest.Any, 0, storagetest.Answer(403, "AccessDenied"))
	case staleRead:
		return append(of(storagetest.Get, 0, fresh), of(storagetest.Head, 0, fresh)...)
	case staleList:
		return of(storagetest.List, 0, fresh)
	case droppedKeys:
		return of(storagetest.List, s.Percent, storagetest.HideKeys("*.part/*"))
	case truncatedBody:
		return of(storagetest.Get, s.Percent, storagetest.Truncate(s.Offset))
	case flippedBit:
		return of(storagetest.Get, s.Percent, storagetest.FlipBit(s.Offset))
	}
	return nil
}

// moment lets happen what is over at once, or cannot be ended from outside.
func (c *chaos) moment(s step, f fault) {
	t := c.t
	switch f {
	case wireCut:
		eventually(t, 30*time.Second, "a connection to cut", func() bool { return c.wire.cut() > 0 })
		c.hits[f]++
	case agentKilled:
		c.agent.kill()
		c.hits[f]++
	case agentPaused:
		resume := c.agent.pause()
		wait(t.Context(), 4*s.Amount)
		resume()
		c.hits[f]++
	case serverCrash:
		c.server.Stop(t, postgrestest.Immediate)
		c.server.Start(t)
		c.hits[f]++
	case backupMeantime:
		c.backups = append(c.backups, c.tool.start(t, "backup"))
		c.hits[f]++
	case switchover:
		c.switchOver()
		c.hits[f]++
	case serverSetBack:
		c.setBack()
		c.hits[f]++
	}
}

// hit counts the requests that met a store fault.
func (c *chaos) hit(f fault) (n int) {
	for _, p := range c.proxies {
		n += p.Met(f)
	}
	return n
}

// awaitVanished waits until packets of the agent have vanished in each network that a step parts.
func (c *chaos) awaitVanished(s step) {
	for _, f := range s.Faults {
		if link := c.links[f]; link != nil {
			eventually(c.t, 30*time.Second, "packets to vanish: "+f, func() bool { return link.vanished() > 0 })
		}
	}
}

// awaitHits waits until each store fault of a step has befallen a request since the run began more often than before.
func (c *chaos) awaitHits(s step) {
	for _, f := range s.Faults {
		if !slices.Contains(storeFaults, f) {
			continue
		}
		asked := time.Now()
		eventually(c.t, 30*time.Second, fmt.Sprintf("%q to befall a request", f), func() bool {
			if ofReads(f) && time.Since(asked) > 3*time.Second {
				c.agent.kill() // it reads when it starts
				asked = time.Now()
			}
			return c.hit(f) > c.hits[f]
		})
		c.hits[f] = c.hit(f)
	}
}

// proveTrouble checks that the run was one: each planned kind befell something, and clients committed meanwhile.
func (c *chaos) proveTrouble(plan []step) {
	planned := map[fault]int{}
	for _, s := range plan {
		for _, f := range s.Faults {
			planned[f]++
		}
	}
	var lines []string
	for _, f := range slices.Concat(storeFaults, wireFaults, partitions, moments, upheavals) {
		lines = append(lines, fmt.Sprintf("%s: %d times in %d steps, %d commits meanwhile", f, c.hits[f], planned[f], c.commits[f]))
		if c.hits[f] < planned[f] {
			c.t.Errorf("%q was planned %d times and befell something %d times", f, planned[f], c.hits[f])
		}
		if planned[f] > 0 && c.commits[f] == 0 {
			c.t.Errorf("no commit happened during %q: it tested nothing", f)
		}
	}
	c.t.Logf("befell:\n%s", strings.Join(lines, "\n"))
}

// judgeRestore restores from one repository alone, through read faults, and holds it against the truth.
func (c *chaos) judgeRestore(name string, ends []txEnd, lost time.Time) {
	t, proxy := c.t, c.proxies[name]
	defer proxy.Add(storagetest.Rule{Percent: 10, Fault: storagetest.Answer(503, "SlowDown")})()
	defer proxy.Add(storagetest.Rule{Op: storagetest.Get, Percent: 10, Fault: storagetest.Truncate(300)})()
	c.tool, c.url = c.alone, proxy.URL(buckets[name], "main")
	c.judgeLatest(t, c.load, ends, lost)
}

// keptUp is an agent that is started again whenever it ends, as systemd does.
type keptUp struct {
	tool tool
	args []string
	t    testing.TB

	mu     sync.Mutex
	now    *process
	ended  bool
	fences []string // what agents said that ended by themselves, fenced
	done   chan struct{}
}

func keepUp(t testing.TB, p tool, args ...string) *keptUp {
	t.Helper()
	k := &keptUp{tool: p, args: args, t: t, done: make(chan struct{})}
	k.now = p.start(t, args...)
	go k.keep()
	t.Cleanup(k.end)
	return k
}

func (k *keptUp) keep() {
	defer close(k.done)
	for {
		k.mu.Lock()
		now := k.now
		k.mu.Unlock()
		<-now.done
		if code := now.cmd.ProcessState.ExitCode(); code == exitFenced || code == exitOtherHistory {
			k.mu.Lock()
			k.fences = append(k.fences, now.output())
			k.mu.Unlock()
		}
		wait(k.t.Context(), 200*time.Millisecond)
		k.mu.Lock()
		if k.ended {
			k.mu.Unlock()
			return
		}
		k.now = k.tool.start(k.t, k.args...)
		k.mu.Unlock()
	}
}

// Exit codes of an agent that a person must look after (docs/EXIT-CODES.md).
const (
	exitOtherHistory = 5
	exitFenced       = 11
)

// kill ends the agent as kill -9 does; another one follows.
func (k *keptUp) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.kill()
}

// pause stops the agent until it is resumed.
func (k *keptUp) pause() (resume func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.pause()
}

// end kills the agent for good.
func (k *keptUp) end() {
	k.last().kill()
	<-k.done
}

// stop ends the agent in good order, for good.
func (k *keptUp) stop() {
	k.last().stop(k.t)
	<-k.done
}

// last returns the process that no other one follows from now on.
func (k *keptUp) last() *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	return k.now
}

// fenced returns what the last agent said that was fenced, and forgets it; "" if none was.
func (k *keptUp) fenced() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.fences) == 0 {
		return ""
	}
	last := k.fences[len(k.fences)-1]
	k.fences = nil
	return last
}

// switchOver stops the primary in good order and promotes the standby. The old primary wakes up alone, writes a branch of its own, is rewound and
// becomes the standby.
func (c *chaos) switchOver() {
	t, old, next := c.t, c.server, c.standby
	// A server that stops waits for its standbys, as far as they are connected; after a crash one comes back only seconds later.
	eventually(t, time.Minute, "the standby to stream", func() bool {
		return old.Text(t, "select count(*) from pg_stat_replication where application_name = 'walreceiver' and state = 'streaming'") == "1"
	})
	old.Stop(t, postgrestest.Fast)
	next.Promote(t)
	c.server, c.standby = next, old
	c.wire.retarget(c.address())
	c.load.move(next.ConnString())
	next.Exec(t, "checkpoint") // pg_rewind reads the new timeline from the control file

	old.Start(t)
	old.Exec(t, "create table written_by_nobody (n int); select pg_switch_wal(); checkpoint")
	old.Stop(t, postgrestest.Fast)
	rewind := exec.CommandContext(t.Context(), filepath.Join(old.Version.BinDir, "pg_rewind"),
		"--target-pgdata="+old.DataDir, "--source-server="+next.ConnString(), "--no-sync")
	if out, err := postgrestest.AsServer(t, rewind).CombinedOutput(); err != nil {
		t.Fatalf("pg_rewind: %v\n%s", err, out)
	}
	old.WriteFile(t, "standby.signal", "")
	old.Append(t, "postgresql.auto.conf", "primary_conninfo = '"+next.ConnString()+"'\n")
	old.Start(t)
}

// setBack puts an old copy of the data directory in the place of the primary's, as a snapshot of the disk does: the agent must stop, and stay
// stopped when it is started again. Then the right one comes back.
func (c *chaos) setBack() {
	t, s := c.t, c.server
	old, good := s.DataDir+".old", s.DataDir+".good"
	s.Stop(t, postgrestest.Fast)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", s.DataDir, old).CombinedOutput(); err != nil {
		t.Fatalf("copy the data directory: %v\n%s", err, out)
	}
	s.Start(t)
	n := len(c.load.entries())
	eventually(t, 30*time.Second, "some commits", func() bool { return len(c.load.entries()) > n+50 })
	c.load.gate.Lock() // what clients would write now is on no branch that lives
	defer c.load.gate.Unlock()
	c.waitArchived(t)
	// A standby that is ahead of its primary would keep that from stopping: WalSndDone waits until both are at the same place.
	c.standby.Stop(t, postgrestest.Fast)
	swap := func(out, in string) {
		s.Stop(t, postgrestest.Fast)
		for _, err := range []error{os.Rename(s.DataDir, out), os.Rename(in, s.DataDir)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		s.Start(t)
	}
	swap(good, old)
	for range 2 {
		said := ""
		eventually(t, time.Minute, "the agent to be fenced by a server that was set back", func() bool {
			said = c.agent.fenced()
			return said != ""
		})
	}
	swap(old, good)
	c.standby.Start(t)
	c.agent.fenced()
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
}
