package integration_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestAgentKilled guards A1, I1, I2 and the promise of two seconds: the agent is killed with -9 at random under load, again and again;
// then the host is lost. The repository alone gives back every commit acknowledged more than two seconds before, without a hole; and never was the
// server told of a flush that the repository had not acknowledged before: both wires are recorded and judged.
// The long form: make soak KILLS=200.
func TestAgentKilled(t *testing.T) {
	seed := seed(t)
	kills := int(soakNumber(t, "KILLS", 20))
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	recording := archivertest.NewRecording(s.segmentSize, "main")
	proxy := storagetest.StartProxy(t, s.s3)
	toServer := newWire(t, s.address(), recording)
	direct, straight := s.tool, s.url
	s.tool, s.url = s.throughWire(toServer), proxy.URL("pgark", "main")

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

	s.tool, s.url = direct, straight
	s.judgeLatest(t, l, ends, lost)
	recordStore(recording, "main", proxy, "pgark")
	judgeWires(t, recording, kills+1)
}

// judgeLatest restores all that the repository holds and holds it against what clients were told, and against the server's WAL.
func (s *site) judgeLatest(t *testing.T, l *ledger, ends []txEnd, lost time.Time) {
	t.Helper()
	r, o := s.restore(t.Context(), t, "--to", "latest")
	if o.code != 0 {
		t.Fatalf("restore of %s: exit %d\n%s%s", s.url, o.code, o.stdout, o.stderr)
	}
	got, err := readState(t.Context(), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.sound(); err != nil {
		t.Errorf("restored from %s: %v", s.url, err)
	}
	judgeLoss(t, l.entries(), got, lost)
	judgePrefix(t, ends, got)
	r.stop(t)
}

// judgeWires holds every status update against what the repository had acknowledged by then (I1), and checks that there was one at least in
// each life of the agent.
func judgeWires(t *testing.T, recording *archivertest.Recording, lives int) {
	t.Helper()
	v, err := archivertest.Judge(recording)
	t.Logf("judged the wires: %+v", v)
	keepRecording(t, recording)
	if err != nil {
		t.Error(err)
	}
	if v.Told < lives || v.Held == 0 || v.Advances == 0 {
		t.Errorf("too little was judged for %d lives of the agent: %+v", lives, v)
	}
}

// keepRecording writes a recording below the folder PGARK_TEST_RECORDINGS, if that is set: to look into a failure, or to replay it for ever in
// archiver/archivertest.
func keepRecording(t *testing.T, recording *archivertest.Recording) {
	t.Helper()
	dir := os.Getenv("PGARK_TEST_RECORDINGS")
	if dir == "" {
		return
	}
	f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(recording.Encode(f), f.Close()); err != nil {
		t.Fatal(err)
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
