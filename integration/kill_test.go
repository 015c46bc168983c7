package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/wal"
)

// TestAgentKilled guards A1, I1, I2 and the promise of two seconds: the agent is killed with -9 at random under load, again and again;
// then the host is lost. The repository alone gives back every commit acknowledged more than two seconds before, without a hole; and never was the
// server told of a flush that the repository did not hold at that very moment.
// The long form: make soak KILLS=200.
func TestAgentKilled(t *testing.T) {
	seed := seed(t)
	kills := int(soakNumber(t, "KILLS", 20))
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	judge := &flushJudge{t: t, site: s}
	proxy := newWire(t, fmt.Sprintf("127.0.0.1:%d", s.server.Port), judge.observe)
	direct := s.tool
	s.tool.env = append(s.tool.env[:len(s.tool.env):len(s.tool.env)], "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", proxy.port()), "PGSSLMODE=disable")

	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	l := newLedger(t.Context(), t, s.server.ConnString(), 4, seed)
	load, endLoad := context.WithCancel(t.Context())
	group := new(errgroup.Group)
	group.Go(func() error { return l.run(load) })

	during := 0 // commits while no agent ran
	for i := range kills {
		wait(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
		agent.kill()
		before := len(l.entries())
		wait(t.Context(), time.Duration(rng.IntN(400))*time.Millisecond)
		during += len(l.entries()) - before
		agent = s.tool.start(t, "run", s.url)
		if i%5 == 4 { // now and then it gets far enough to send the whole backlog
			s.waitArchived(t)
		}
	}
	s.waitArchived(t)
	wait(t.Context(), 4*time.Second) // steady state before the end
	if during == 0 {
		t.Error("no commit happened while the agent was away: the kills tested nothing")
	}

	// The agent goes first, so that nothing the dying server still sends counts.
	agent.kill()
	lost := time.Now()
	s.server.Kill(t)
	endLoad()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	ends := truthFromFiles(t, s.server.DataDir, 1<<62)
	s.server.Remove(t)

	s.tool = direct
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	got, err := readState(t.Context(), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.sound(); err != nil {
		t.Error(err)
	}
	judgeLoss(t, l.entries(), got, lost)
	judgePrefix(t, ends, got)
	if n := judge.count(); n < kills {
		t.Errorf("judged %d status updates in %d lives of the agent: the proxy saw too little", n, kills+1)
	}
}

// judgeLoss compares what clients were told with what is there: nothing acknowledged more than two seconds before the loss may be missing.
func judgeLoss(t *testing.T, log []transfer, got state, lost time.Time) {
	t.Helper()
	var worst time.Duration
	ackedN, missing := 0, 0
	for _, tr := range log {
		if tr.class != acked || tr.after.After(lost) {
			continue
		}
		ackedN++
		if _, ok := got.rows[rowKey{tr.worker, tr.seq}]; ok {
			continue
		}
		missing++
		age := lost.Sub(tr.after)
		worst = max(worst, age)
		if age > 2*time.Second {
			t.Errorf("commit %d/%d acknowledged %v before the loss is missing", tr.worker, tr.seq, age)
			return
		}
	}
	t.Logf("%d commits acknowledged, %d of the last %v lost", ackedN, missing, worst.Round(time.Millisecond))
	if ackedN < 500 {
		t.Errorf("only %d commits acknowledged: the load was no load", ackedN)
	}
}

// judgePrefix checks that what is there is a prefix of the server's WAL: after the first commit that is missing, none is there.
func judgePrefix(t *testing.T, ends []txEnd, got state) {
	t.Helper()
	there := make(map[uint32]bool, len(got.rows))
	for _, xid := range got.rows {
		there[uint32(xid)] = true
	}
	last := -1
	for i, e := range ends {
		if e.commit && there[e.xid] {
			last = i
		}
	}
	if last < 0 {
		t.Fatal("nothing was restored")
	}
	found := 0
	for _, e := range ends[:last+1] {
		if there[e.xid] {
			found++
		}
	}
	if found != len(got.rows) {
		t.Errorf("restored %d rows, of which the server's WAL up to there made %d", len(got.rows), found)
	}
}

// flushJudge holds every status update against the repository at the moment it is sent (I1).
type flushJudge struct {
	t    testing.TB
	site *site

	mu     sync.Mutex
	judged int
	known  wal.LSN // held by the repository as seen by an earlier look
	anchor wal.LSN // where archiving began: told while the repository was empty
}

func (j *flushJudge) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.judged
}

func (j *flushJudge) observe(u statusUpdate) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.judged++
	told := max(u.flush, u.apply)
	if u.flush == 0 {
		// PostgreSQL takes flush 0 for "nothing", and the write position in its place when it shuts down (WalSndDone).
		told = max(told, u.write)
	}
	if j.judged == 1 && told%wal.LSN(wal.DefaultSegmentSize) == 0 {
		// Archiving begins here, at a segment's start: what lies before is nobody's promise.
		j.anchor, j.known = told, told
	}
	if told == 0 || told <= j.known {
		return
	}
	held, err := j.held()
	if err == nil && told > held {
		// A listing may fall between a segment's creation and the end of its pieces and see neither: look once more.
		held, err = j.held()
	}
	switch {
	case err != nil:
		j.t.Errorf("read the repository: %v", err)
	case told > held:
		j.t.Errorf("the server is told flush %s, apply %s when the repository holds WAL up to %s only", u.flush, u.apply, held)
	default:
		j.known = held
	}
}

// held returns the end of what the repository holds without a hole.
func (j *flushJudge) held() (wal.LSN, error) {
	ctx := context.WithoutCancel(j.t.Context())
	store, err := file.Open(j.site.folder)
	if err != nil {
		return 0, err
	}
	defer func() { _ = store.Close() }() // only read
	r, err := repository.Open(ctx, store)
	if err != nil {
		return 0, err
	}
	ids, err := r.Clusters(ctx)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	c, err := r.Cluster(ids[0]).Coverage(ctx, 1, 0)
	if err != nil || len(c.Spans) == 0 {
		return 0, err
	}
	if c.Spans[0].Start > j.anchor {
		return 0, fmt.Errorf("WAL in the repository begins at %s, archiving at %s", c.Spans[0].Start, j.anchor)
	}
	// A hole may be there for a moment while several uploads are under way: what lies behind it does not count.
	return c.Spans[0].End, nil
}
