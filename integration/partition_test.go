package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestPartition guards I1, I2, I11, I44 and the promise of two seconds: under load the network between the agent and the server is gone, then the one between
// the agent and the store, without a word and for longer than the agent waits for an answer. It leaves the dead connection, status tells
// of it, the database works on, and when packets pass again the agent goes on by itself, without a hole.
//
// The short form sets libpq's tcp_user_timeout and connect_timeout; the long one leaves the agent its own times: make chaos DURATION=30m.
func TestPartition(t *testing.T) {
	t.Parallel()
	long := soakDuration(t, 0) > 0
	network := newNetwork(t)
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	recording := archivertest.NewRecording(s.segmentSize, "main")
	proxy := storagetest.StartProxyAt(t, s.s3, network.store.host)
	direct, straight := s.tool, s.url
	elsewhere := direct.with("PGHOST=" + filepath.Join(s.server.DataDir, "nowhere"))
	s.tool, s.url = s.throughWire(newWireAt(t, network.server.host, s.address(), recording)).in(network), proxy.URL("pgark", "main")
	if !long {
		s.tool = s.tool.with("PGARK_POSTGRES=connect_timeout=2 tcp_user_timeout=3000")
	}
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	l := newLedger(t.Context(), t, s.server.ConnString(), 2, 1)
	load, endLoad := context.WithCancel(t.Context())
	defer endLoad()
	group := new(errgroup.Group)
	group.Go(func() error { return l.run(load) })
	s.waitArchived(t)
	unprotected := func() float64 {
		var report struct {
			Unprotected float64 `json:"unprotected_seconds"`
		}
		if err := json.Unmarshal([]byte(elsewhere.must(t.Context(), t, "status", "-o", "json", straight)), &report); err != nil {
			t.Fatal(err)
		}
		return report.Unprotected
	}
	// parted lets something come to pass while a link is parted, and waits until the agent has caught up.
	parted := func(name string, link *link, await func()) {
		t.Helper()
		began, before := time.Now(), len(l.entries())
		link.part()
		await()
		eventually(t, time.Minute, "status on another host to tell of it", func() bool { return unprotected() >= 5 })
		if len(l.entries()) == before {
			t.Errorf("parted from the %s: no commit happened meanwhile", name)
		}
		length, lost := time.Since(began), link.mend()
		if lost == 0 {
			t.Errorf("parted from the %s: no packet of the agent vanished", name)
		}
		mended := time.Now()
		s.waitArchived(t)
		t.Logf("parted from the %s for %v: %d packets vanished, %d commits; archived again after %v",
			name, length.Round(time.Millisecond), lost, len(l.entries())-before, time.Since(mended).Round(time.Millisecond))
	}

	parted("server", network.server, func() {
		said := len(agent.output())
		eventually(t, 2*time.Minute, "the agent to leave the dead connection, and to try another", func() bool {
			return strings.Count(agent.output()[said:], "archiver lost the server") > 1
		})
	})
	parted("store", network.store, func() {
		if o := s.tool.run(t.Context(), "status", "--timeout", "2s", s.url); o.code == 0 || !strings.Contains(o.stderr, "gave up after 2s") {
			t.Errorf("status beside the agent: exit %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		if long { // for longer than one try to reach the store takes
			eventually(t, time.Minute, "status on another host to say that the cluster is at risk", func() bool {
				return elsewhere.run(t.Context(), "status", "--exit-code", straight).code != 0 && unprotected() > 45
			})
		}
	})

	wait(t.Context(), 2500*time.Millisecond) // steady state before the end
	agent.kill()
	lost := time.Now()
	s.server.Kill(t)
	endLoad()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	ends := truthFromFiles(t, s.server.DataDir, 1<<62)
	s.server.Remove(t)
	recordStore(recording, "main", proxy, "pgark")
	judgeWires(t, recording, 2) // one before and one after the server was away
	s.tool, s.url = direct, straight
	s.judgeLatest(t, l, ends, lost)
}

// TestLeaderVanishes guards I9 and I11: the host of the leader, the first in the connection string, is gone without a word, and the standby on the second
// is promoted. The agent follows, and all that looks at the server by itself reaches the new leader too.
func TestLeaderVanishes(t *testing.T) {
	t.Parallel()
	network := newNetwork(t)
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	standby := standbyOf(t, s.server)
	if hardened() { // no folder
		s.url = storagetest.StartProxyAt(t, s.s3, network.store.host).URL("pgark", "main")
	}
	first := newWireAt(t, network.server.host, s.address(), nil).at()
	second := newWireAt(t, network.store.host, (&site{server: standby}).address(), nil).at() // the store is a folder
	s.tool = s.tool.in(network).with(fmt.Sprintf("PGHOST=%s,%s", first.Addr(), second.Addr()), fmt.Sprintf("PGPORT=%d,%d", first.Port(), second.Port()),
		"PGARK_POSTGRES=sslmode=disable target_session_attrs=read-write tcp_user_timeout=6000")
	s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table ledger as select generate_series(1, 1000) g")
	s.waitArchived(t)

	network.server.part()
	s.server.Kill(t)
	standby.Promote(t)
	s.server = standby
	s.server.Exec(t, "insert into ledger select generate_series(1001, 2000)")
	s.waitArchived(t)
	var report struct {
		Server struct {
			Timeline int
			Slot     struct{ Active bool }
		}
	}
	out := s.tool.must(t.Context(), t, "status", "-o", "json", s.url)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Server.Timeline != 2 || !report.Server.Slot.Active {
		t.Errorf("status does not see the slot of the new leader in use:\n%s", out)
	}
	if network.server.mend() == 0 {
		t.Error("the agent sent nothing to the host that had vanished")
	}
}
