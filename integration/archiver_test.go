package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/wal"
)

// archiving is an archiver in this process, between a real server and a store.
type archiving struct {
	store   storage.Store
	options archiver.Options
	conn    atomic.Pointer[string] // of the server that it connects to

	*archiver.Archiver
	stop context.CancelFunc
	done chan error
	log  lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newArchiving(server *postgrestest.Cluster, store storage.Store) *archiving {
	a := &archiving{store: store}
	a.connectTo(server)
	a.options.Logger = slog.New(slog.NewTextHandler(&a.log, nil))
	return a
}

func (a *archiving) connectTo(server *postgrestest.Cluster) {
	conn := server.ConnString()
	a.conn.Store(&conn)
}

func (a *archiving) start(t testing.TB) {
	t.Helper()
	connect := func(ctx context.Context) (archiver.Conn, error) {
		config, err := postgres.ParseConfig(*a.conn.Load())
		if err != nil {
			return nil, err
		}
		return postgres.Connect(ctx, config)
	}
	keys := opening(t)
	open := func(ctx context.Context) (*repository.Repository, error) {
		r, err := repository.Create(ctx, a.store)
		if err != nil {
			return nil, err
		}
		return r.With(keys), nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	a.Archiver, a.stop, a.done = archiver.New(connect, open, a.options), cancel, make(chan error, 1)
	running, done := a.Archiver, a.done
	go func() { done <- running.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("archiver: %+v\n%s", running.Status(), tailOf(a.log.String(), 40))
		}
	})
}

func (a *archiving) finish(t testing.TB) {
	t.Helper()
	a.stop()
	if err := <-a.done; err != nil {
		t.Fatalf("archiver: %v", err)
	}
}

func tailOf(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// flushOf returns the server's flush position and timeline now.
func flushOf(t testing.TB, c *postgrestest.Cluster) (wal.TimelineID, wal.LSN) {
	t.Helper()
	lsn, err := wal.ParseLSN(c.Text(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	tli, err := wal.ParseTimelineID(c.Text(t, "select substr(pg_walfile_name(pg_current_wal_flush_lsn() + 1), 1, 8)"))
	if err != nil {
		t.Fatal(err)
	}
	return tli, lsn
}

// awaitAll waits until everything the server has flushed by now is durable.
func (a *archiving) awaitAll(t testing.TB, c *postgrestest.Cluster) wal.LSN {
	t.Helper()
	tli, lsn := flushOf(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := a.WaitDurable(ctx, tli, lsn); err != nil {
		t.Fatal(err)
	}
	return lsn
}

// sameAsServer compares every archived byte of a timeline before end with the server's pg_wal, checks that nothing is missing, and
// counts the transaction ends that headers tell of.
func (a *archiving) sameAsServer(t testing.TB, c *postgrestest.Cluster, tli wal.TimelineID, end wal.LSN) (ends uint32) {
	t.Helper()
	ctx := t.Context()
	r, err := repository.Open(ctx, a.store)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := r.Clusters(ctx)
	if err != nil || len(ids) != 1 {
		t.Fatalf("clusters: %v, %v", ids, err)
	}
	cluster := r.With(opening(t)).Cluster(ids[0])
	size, err := cluster.SegmentSize(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cover := repository.Coverage{Timeline: tli}
	counted := wal.LSN(0)
	for e, err := range cluster.ListWAL(ctx, tli, 0) {
		if err != nil {
			t.Fatal(err)
		}
		cover.Add(e.Range)
		got, err := cluster.ReadWAL(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		id := size.Segment(tli, e.Range.Start)
		want, err := os.ReadFile(filepath.Join(c.DataDir, "pg_wal", size.FileName(id)))
		if err != nil {
			t.Fatal(err)
		}
		from := size.Offset(e.Range.Start)
		if !bytes.Equal(got, want[from:uint64(from)+e.Range.Len()]) {
			t.Fatalf("%s differs from the server's pg_wal", e.Key)
		}
		if e.Range.Start >= counted {
			h, err := cluster.ReadHeader(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			ends += h.Summary.Ends
			counted = e.Range.End
		}
	}
	if want := endsInWAL(t, c, size, tli, cover.Spans[0]); ends != want {
		t.Errorf("headers tell of %d transaction ends, pg_wal holds %d", ends, want)
	}
	if len(cover.Spans) != 1 || cover.Spans[0].End < end {
		t.Fatalf("archive of timeline %s: got %v, want one span to %s", tli, cover.Spans, end)
	}
	return ends
}

// endsInWAL counts the transaction ends in the server's pg_wal.
func endsInWAL(t testing.TB, c *postgrestest.Cluster, size wal.SegmentSize, tli wal.TimelineID, r wal.Range) (ends uint32) {
	t.Helper()
	d := wal.NewDecoder(size, r.Start, wal.EventsOnly)
	for at := r.Start; at < r.End; at = size.End(size.Number(at)) {
		b, err := os.ReadFile(filepath.Join(c.DataDir, "pg_wal", size.FileName(size.Segment(tli, at))))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(b[:min(uint64(len(b)), uint64(r.End-at))]); err != nil {
			t.Fatal(err)
		}
		for rec, ok := d.Next(); ok; rec, ok = d.Next() {
			if _, ok := rec.Event.(*wal.TransactionEnd); ok {
				ends++
			}
		}
	}
	return ends
}

// fillRows commits small and large transactions until ctx ends; a lost connection is opened again.
func fillRows(ctx context.Context, conn string, workers int) error {
	g := new(errgroup.Group)
	for w := range workers {
		g.Go(func() error {
			for ctx.Err() == nil {
				c, err := pgx.Connect(ctx, conn)
				if err != nil {
					wait(ctx, 50*time.Millisecond)
					continue
				}
				for i := 0; err == nil && ctx.Err() == nil; i++ {
					rows := 5
					if i%40 == 0 {
						rows = 3000
					}
					_, err = c.Exec(ctx, "insert into filler select $1, g, repeat(md5(random()::text), 8) from generate_series(1, $2) g", w, rows)
				}
				_ = c.Close(context.WithoutCancel(ctx))
			}
			return nil
		})
	}
	return g.Wait()
}

const fillerTable = "create table filler (w int, g int, pad text)"

// onEachStore runs a test with a repository in a folder and in a bucket.
func onEachStore(t *testing.T, run func(t *testing.T, store storage.Store)) {
	for _, kind := range []storeKind{onFile, onS3} {
		t.Run(string(kind), func(t *testing.T) {
			url, _, _, env := newRepository(t, kind)
			for _, pair := range env {
				name, value, _ := strings.Cut(pair, "=")
				t.Setenv(name, value)
			}
			store, err := agent.OpenStore(t.Context(), url, agent.StoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			run(t, store)
		})
	}
}

// TestArchiverThroughServerFaults guards P1, I2, I4: under load the walsender is terminated, the server restarted and crashed, and the
// archive holds every byte that pg_wal does.
func TestArchiverThroughServerFaults(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			if v.Major == 15 {
				onEachStore(t, func(t *testing.T, s storage.Store) { archiveThroughFaults(t, v, s, 0) })
				return
			}
			archiveThroughFaults(t, v, newFileStore(t), 0)
		})
	}
}

// TestArchiverSegmentSizes guards P13: the smallest segments that are made, and ones larger than what is held in memory.
func TestArchiverSegmentSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []wal.SegmentSize{1 << 20, 64 << 20} {
		t.Run(fmt.Sprintf("%d MB", size>>20), func(t *testing.T) {
			t.Parallel()
			archiveThroughFaults(t, postgrestest.Need(t, 15), newFileStore(t), size)
		})
	}
}

func newFileStore(t testing.TB) storage.Store {
	t.Helper()
	s, err := file.Open(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(s, retry.Options{})
}

func archiveThroughFaults(t *testing.T, v postgrestest.Version, store storage.Store, size wal.SegmentSize) {
	c := postgrestest.Start(t, v, postgrestest.Options{SegmentSize: size, Settings: map[string]string{
		"wal_keep_size": "8GB", "shared_buffers": "32MB", "min_wal_size": "128MB", "max_wal_size": "4GB",
	}})
	a := newArchiving(c, store)
	a.start(t)
	c.Exec(t, fillerTable)
	ctx, cancel := context.WithCancel(t.Context())
	g := new(errgroup.Group)
	g.Go(func() error { return fillRows(ctx, c.ConnString(), 3) })
	for round := range 3 {
		wait(t.Context(), 700*time.Millisecond)
		c.Exec(t, "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'pgark'")
		wait(t.Context(), 500*time.Millisecond)
		if round == 1 {
			c.Stop(t, postgrestest.Immediate)
			c.Start(t)
		}
	}
	c.Restart(t)
	wait(t.Context(), time.Second)
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	end := a.awaitAll(t, c)
	a.finish(t)
	ends := a.sameAsServer(t, c, 1, end)
	if rows := c.Text(t, "select count(distinct xmin::text) from filler"); ends == 0 {
		t.Errorf("headers tell of no transaction, the table of %s", rows)
	} else {
		t.Logf("archived to %s; headers tell of %d transaction ends, %s of them left rows", end, ends, rows)
	}
}

// TestArchiverAbandoned guards A1: an archiver that vanishes with uploads in flight, at any moment, and the next one goes on.
func TestArchiverAbandoned(t *testing.T) {
	t.Parallel()
	c := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{Settings: map[string]string{"wal_keep_size": "4GB"}})
	store := newFileStore(t)
	c.Exec(t, fillerTable)
	ctx, cancel := context.WithCancel(t.Context())
	g := new(errgroup.Group)
	g.Go(func() error { return fillRows(ctx, c.ConnString(), 2) })
	for i := range 12 {
		a := newArchiving(c, store)
		a.options.StopTimeout = time.Nanosecond
		a.start(t)
		wait(t.Context(), time.Duration(100+i*70)*time.Millisecond)
		a.finish(t)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	a := newArchiving(c, store)
	a.start(t)
	end := a.awaitAll(t, c)
	a.finish(t)
	a.sameAsServer(t, c, 1, end)
}

// TestFastStop guards I12: pg_ctl stop -m fast with a store that hangs takes at most ten seconds, and with one that answers hardly any time;
// then the archive holds the shutdown checkpoint too. After the hang nothing is lost.
func TestFastStop(t *testing.T) {
	t.Parallel()
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			c := postgrestest.Start(t, v, postgrestest.Options{Settings: map[string]string{"wal_keep_size": "1GB"}})
			store := memory.New()
			a := newArchiving(c, store)
			a.start(t)
			c.Exec(t, fillerTable)
			a.awaitAll(t, c)

			from := time.Now()
			c.Stop(t, postgrestest.Fast)
			if took := time.Since(from); took > 3*time.Second {
				t.Errorf("stop with a store that answers took %s", took)
			}
			stopped := a.Durable().LSN
			c.Start(t)
			c.Exec(t, "insert into filler values (1, 1, 'x')")
			if tli, lsn := flushOf(t, c); tli != 1 || lsn < stopped {
				t.Errorf("durable %s at the stop, the server is at %s on timeline %s now", stopped, lsn, tli)
			}
			a.awaitAll(t, c)

			release := store.Hang(memory.Put, "*/wal/*")
			c.Exec(t, "insert into filler select 1, g, repeat('x', 500) from generate_series(1, 20000) g")
			from = time.Now()
			c.Stop(t, postgrestest.Fast)
			took := time.Since(from)
			t.Logf("stop with a store that hangs took %s", took.Round(100*time.Millisecond))
			if took > 10*time.Second {
				t.Errorf("stop with a store that hangs took %s, want at most 10s", took)
			}
			c.Start(t)
			release()
			end := a.awaitAll(t, c)
			a.finish(t)
			a.sameAsServer(t, c, 1, end)
		})
	}
}

// TestArchiverFollowsPromotion guards P3, P4, I8, I9: a standby takes over, first one that had everything, then one that lacks what the archive
// holds already; the archive follows, with every history file.
func TestArchiverFollowsPromotion(t *testing.T) {
	t.Parallel()
	v := postgrestest.Need(t, 15)
	settings := map[string]string{"wal_keep_size": "2GB"}
	first := postgrestest.Start(t, v, postgrestest.Options{Settings: settings})
	store := newFileStore(t)
	a := newArchiving(first, store)
	a.start(t)
	first.Exec(t, fillerTable)

	second := standbyOf(t, first)
	third := standbyOf(t, first)
	first.Exec(t, "insert into filler select 1, g, repeat('x', 500) from generate_series(1, 30000) g")
	_, at := flushOf(t, first)
	for _, s := range []*postgrestest.Cluster{second, third} {
		eventually(t, time.Minute, "the standby to replay", func() bool {
			return s.Value(t, "select pg_last_wal_replay_lsn() >= '"+at.String()+"'") == true
		})
	}
	a.awaitAll(t, first)
	first.Stop(t, postgrestest.Immediate)
	second.Promote(t)
	a.connectTo(second)
	second.Exec(t, "insert into filler select 2, g, repeat('y', 500) from generate_series(1, 30000) g")
	end := a.awaitAll(t, second)
	a.sameAsServer(t, second, 2, end)

	// third never heard of timeline 2, and is promoted to a timeline of the same number: two servers share one history.
	third.Promote(t)
	a.connectTo(third)
	second.Stop(t, postgrestest.Fast)
	select {
	case err := <-a.done:
		var fence *archiver.FenceError
		if !errors.As(err, &fence) {
			t.Fatalf("archiver: got %v, want a fence", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the archiver goes on with another timeline 2")
	}
}

// standbyOf makes a streaming standby with the stock tool.
func standbyOf(t testing.TB, c *postgrestest.Cluster) *postgrestest.Cluster {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "standby")
	command := exec.CommandContext(t.Context(), postgrestest.Client(t, "pg_basebackup"),
		"-h", c.SocketDir, "-p", fmt.Sprint(c.Port), "-U", "postgres", "-D", dir, "-R", "-c", "fast", "--no-sync")
	if out, err := postgrestest.AsServer(t, command).CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	s := postgrestest.StartFrom(t, c.Version, dir)
	s.WaitReady(t)
	return s
}

// BenchmarkArchive64Segments measures how fast 64 segments of 16 MiB come from a server into a folder.
func BenchmarkArchive64Segments(b *testing.B) {
	c := postgrestest.Start(b, postgrestest.Need(b, 15), postgrestest.Options{Settings: map[string]string{
		"wal_keep_size": "8GB", "max_wal_size": "8GB", "shared_buffers": "128MB", "autovacuum": "off",
	}})
	seed := filepath.Join(b.TempDir(), "seed")
	begin := archivingInto(b, c, seed)
	begin.start(b)
	c.Exec(b, "create table filler (g bigint primary key, w int, pad text)")
	from := begin.awaitAll(b, c)
	begin.finish(b)
	for i := 0; ; i++ {
		c.Exec(b, fmt.Sprintf("insert into filler select g, g %% 100, md5(g::text) || repeat(' ', 60) from generate_series(%d, %d) g", i*100000, i*100000+99999))
		c.Exec(b, fmt.Sprintf("update filler set w = w + 1 where g %% 7 = 0 and g >= %d", i*100000))
		if _, lsn := flushOf(b, c); lsn-from > 64*16<<20 {
			break
		}
	}
	c.Exec(b, "checkpoint")
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		dir := filepath.Join(b.TempDir(), fmt.Sprintf("repo%d", i))
		if err := os.CopyFS(dir, os.DirFS(seed)); err != nil {
			b.Fatal(err)
		}
		a := archivingInto(b, c, dir)
		b.StartTimer()
		began := time.Now()
		a.start(b)
		end := a.awaitAll(b, c)
		segments := float64(end-from) / (16 << 20)
		b.ReportMetric(segments/time.Since(began).Seconds(), "segments/s")
		s := a.Status()
		b.ReportMetric(float64(s.BytesReceived)/float64(s.BytesStored), "ratio")
		a.finish(b)
	}
	b.ReportMetric(peakMemory(b, "self"), "peak-MiB")
}

// peakMemory returns the most memory a process has held, MiB.
func peakMemory(t testing.TB, pid string) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kB := 0.0
	if _, err := fmt.Sscanf(rest, "%g kB", &kB); err != nil {
		t.Fatal(err)
	}
	return kB / 1024
}

func archivingInto(b *testing.B, c *postgrestest.Cluster, dir string) *archiving {
	b.Helper()
	s, err := file.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	return newArchiving(c, retry.New(s, retry.Options{}))
}
