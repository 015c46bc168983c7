package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

const (
	// firstSegment is where the server's own WAL begins.
	firstSegment wal.SegmentNumber = 100 * repository.BlockSegments
	// fewerBlocks is how many blocks of a census there must be so that a reader relies on some: it looks at both ends of the WAL, and at eight blocks by chance.
	fewerBlocks = 12
)

// counting is a site with much WAL, whose agent runs in this process.
type counting struct {
	*syncSite

	cluster *repository.Cluster
	store   storage.Store
	config  config.Cluster
	wal     string // the folder of timeline 1
	blocks  int    // of WAL before that of the server
	oldest  wal.SegmentNumber
}

// newCounting starts a server that had written much WAL, has its first base backup taken, and puts names of segments before the ones that it archives: of these no survey
// reads more than the name.
func newCounting(t *testing.T) *counting {
	t.Helper()
	o := smallWAL()
	o.NoStart = true
	c := &counting{syncSite: &syncSite{site: newSite(t, postgrestest.Need(t, 15), onS3, o)}, blocks: int(soakNumber(t, "BLOCKS", 5))} // 15 is the one that has pg_resetwal
	size := c.segmentSize
	reset := exec.CommandContext(t.Context(), filepath.Join(c.server.Version.BinDir, "pg_resetwal"),
		"--next-wal-file="+size.FileName(wal.SegmentID{Timeline: 1, Number: firstSegment}), "--pgdata="+c.server.DataDir)
	if out, err := postgrestest.AsServer(t, reset).CombinedOutput(); err != nil {
		t.Fatalf("pg_resetwal: %v\n%s", err, out)
	}
	c.server.Start(t)
	c.s3.Setenv(t)
	c.proxy = storagetest.StartProxy(t, c.s3)
	c.url = c.proxy.URL("pgark", "main")
	first := c.tool.start(t, "run", c.url)
	c.waitBackup(t)
	c.server.Exec(t, "create table kept (id int primary key); select pg_switch_wal()")
	c.waitArchived(t)
	first.stop(t)

	found, err := filepath.Glob(filepath.Join(c.folder, "*", "wal", "00000001", "*.zst"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no WAL: %v, %v", found, err)
	}
	slices.Sort(found)
	c.wal = filepath.Dir(found[0])
	segment, err := size.ParseFileName(filepath.Base(found[0])[:24])
	if err != nil {
		t.Fatal(err)
	}
	c.oldest = segment.Number - wal.SegmentNumber(c.blocks*repository.BlockSegments)
	t.Cleanup(func() { c.remove(t, segment.Number-c.oldest) }) // nobody looks for secrets in the same bytes so often
	for n := c.oldest; n < segment.Number; n++ {
		if err := os.Link(found[0], c.name(n)); err != nil {
			t.Fatal(err)
		}
	}
	c.open(t)
	return c
}

// name is the file of a segment.
func (c *counting) name(n wal.SegmentNumber) string {
	return filepath.Join(c.wal, c.segmentSize.FileName(wal.SegmentID{Timeline: 1, Number: n})+".zst")
}

// open opens the repository in this process.
func (c *counting) open(t *testing.T) {
	t.Helper()
	loaded, err := config.Load(config.Sources{Repo: c.url})
	if err != nil {
		t.Fatal(err)
	}
	c.config = loaded.Clusters[0]
	c.config.Postgres = c.server.ConnString()
	r, store, err := agent.OpenRepository(t.Context(), c.config, agent.StoreOptions{Patience: agent.Brief})
	if c.store = store; err == nil {
		c.cluster, err = agent.SelectCluster(t.Context(), r, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
}

// archive runs an agent that looks for a census at once, until it is told to stop.
func (c *counting) archive(t *testing.T) (log *lockedBuffer, stop func()) {
	t.Helper()
	log = &lockedBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, c.config, agent.Options{FirstCensus: time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	}()
	stop = func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended with %v\n%s", err, log)
		}
		ended <- nil
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the agent logged:\n%s", log)
		}
	})
	return log, stop
}

// censuses are the keys of those in the repository.
func (c *counting) censuses(t *testing.T) []storage.Key {
	t.Helper()
	var keys []storage.Key
	for info, err := range c.store.List(t.Context(), storage.Key(c.cluster.SystemID().String()+"/census/"), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// look is what `pgark status` says of the WAL, how many lists it took, and whether it went by a census.
func (c *counting) look(t *testing.T, flags ...string) (says map[string]any, lists int, counted bool) {
	t.Helper()
	before := c.proxy.Count(storagetest.List, "*")
	text := c.tool.must(t.Context(), t, append(append([]string{"status", "-o", "json"}, flags...), c.url)...)
	if err := json.Unmarshal([]byte(text), &says); err != nil {
		t.Fatal(err)
	}
	_, counted = says["wal_listed_at"]
	kept := map[string]any{}
	for _, key := range []string{"backups", "recoverable_from", "gaps", "open_gap", "stored", "orphans", "system_id", "durable"} {
		kept[key] = says[key]
	}
	return kept, c.proxy.Count(storagetest.List, "*") - before, counted
}

// same checks that a status which may go by a census says what one says that lists everything, and takes fewer lists if it does and there is enough WAL. It returns whether
// it went by one.
func (c *counting) same(t *testing.T, when string) (counted bool) {
	t.Helper()
	began := time.Now()
	short, few, counted := c.look(t)
	whole, all, _ := c.look(t, "--whole")
	if !reflect.DeepEqual(short, whole) || counted && c.blocks >= fewerBlocks && few >= all {
		t.Errorf("%s: by a census %t; %d lists, %d of all\n%v\n%v", when, counted, few, all, short, whole)
	}
	t.Logf("%s: %d lists, %d of all, %s", when, few, all, time.Since(began).Round(time.Millisecond))
	return counted
}

// place is what a census of the repository is found by: FORMAT.md section 18.
func (c *counting) place(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"endpoint": {u.Query().Get("endpoint")}}.Encode()
	return u.String()
}

// remove takes the oldest segments out of the bucket.
func (c *counting) remove(t *testing.T, segments wal.SegmentNumber) {
	t.Helper()
	for n := c.oldest; n < c.oldest+segments; n++ {
		if err := os.Remove(c.name(n)); err != nil {
			t.Fatal(err)
		}
	}
	c.oldest += segments
}

// TestCensus: a real agent counts the WAL of a real S3 server, and pgark status says by that what it says by a listing of all, with fewer lists where there is much WAL
// (PGARK_TEST_BLOCKS=30). It replaces a census of the day before, and the
// next agent leaves its young one alone. What retention let go since is not taken from a census, and WAL that is gone without a word voids it.
func TestCensus(t *testing.T) {
	c := newCounting(t)
	yesterday := time.Now().Add(-25 * time.Hour)
	old := &repository.Census{Place: c.place(t), Began: yesterday, Ended: yesterday, SegmentSize: c.segmentSize}
	if err := c.cluster.PutCensus(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	before := c.censuses(t)
	log, stop := c.archive(t)
	eventually(t, 2*time.Minute, "the agent to replace the census", func() bool {
		now := c.censuses(t)
		return len(now) == 1 && now[0] != before[0]
	})
	stop()
	if !strings.Contains(log.String(), "the WAL was counted") {
		t.Error("the log does not tell of it")
	}
	if !c.same(t, "by the agent's") {
		t.Error("the agent's census is not gone by")
	}

	before = c.censuses(t)
	asked := c.proxy.Count(storagetest.Get, "*/census/*")
	log, stop = c.archive(t)
	eventually(t, waitLong, "the next agent to look for a census", func() bool { return c.proxy.Count(storagetest.Get, "*/census/*") > asked })
	c.server.Exec(t, "insert into kept values (1); select pg_switch_wal(); insert into kept values (2)")
	c.waitArchived(t)
	stop()
	if now := c.censuses(t); !slices.Equal(now, before) || strings.Contains(log.String(), "the WAL was counted") {
		t.Errorf("a young census was replaced: %v, then %v", before, now)
	}

	const some = repository.BlockSegments
	let := repository.Stretch{Timeline: 1, Range: wal.Range{Start: c.segmentSize.Start(c.oldest), End: c.segmentSize.Start(c.oldest + some)}}
	if err := c.cluster.PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Time: time.Now(), WAL: []repository.Stretch{let}}); err != nil {
		t.Fatal(err)
	}
	c.remove(t, some/2)
	if !c.same(t, "while retention lets WAL go") {
		t.Error("retention voids the census")
	}
	c.remove(t, some)
	if counted := c.same(t, "after WAL was deleted"); counted && c.blocks >= fewerBlocks { // of little WAL all is listed beside a census: nothing speaks against it
		t.Error("a census is gone by that counts what is gone")
	}
}
