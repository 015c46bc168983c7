package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// family is a cluster of several servers of which one is the primary, and an agent that looks for that one by itself.
type family struct {
	*site // server is the primary

	nodes []*postgrestest.Cluster
	agent *process
	// wal is the pg_wal of who wrote a timeline, and ends how far it wrote.
	wal  map[wal.TimelineID]string
	ends map[wal.TimelineID]wal.LSN

	mu   sync.Mutex
	next int
	rows map[int]origin
}

// origin says which transaction made a row.
type origin struct {
	timeline wal.TimelineID
	xid      uint32
}

// branchEnd is a transaction end on a branch.
type branchEnd struct {
	txEnd

	timeline wal.TimelineID
}

// newFamily starts a primary with a standby that streams from it, and an agent, and waits for the first base backup.
func newFamily(t *testing.T, v postgrestest.Version) *family {
	t.Helper()
	return familyOf(t, newSite(t, v, onFile, postgrestest.Options{}))
}

// familyOf is newFamily with the server of a site, whose URL the agent archives to.
func familyOf(t *testing.T, s *site) *family {
	t.Helper()
	f := &family{site: s, rows: map[int]origin{}, wal: map[wal.TimelineID]string{}, ends: map[wal.TimelineID]wal.LSN{}}
	f.server.Exec(t, "create table t (id int primary key, pad text)")
	f.nodes = []*postgrestest.Cluster{f.server, f.standby(t)}
	f.know(t)
	f.start(t)
	f.waitBackup(t)
	return f
}

// standby is coldStandbyOf the primary.
func (f *family) standby(t *testing.T) *postgrestest.Cluster {
	t.Helper()
	return coldStandbyOf(t, f.server)
}

// follow starts a standby of the primary on a data directory.
func (f *family) follow(t *testing.T, dir string) *postgrestest.Cluster {
	t.Helper()
	return follow(t, f.server, dir)
}

// coldStandbyOf copies a server while it is stopped, which works alike with every major, and lets the copy follow it.
func coldStandbyOf(t *testing.T, c *postgrestest.Cluster) *postgrestest.Cluster {
	t.Helper()
	c.Stop(t, postgrestest.Fast)
	dir := filepath.Join(postgrestest.TempDir(t), "standby")
	copyFolder(t, c.DataDir, dir)
	c.Start(t)
	return follow(t, c, dir)
}

// follow starts a standby of a primary on a data directory.
func follow(t *testing.T, primary *postgrestest.Cluster, dir string) *postgrestest.Cluster {
	t.Helper()
	writeFile(t, filepath.Join(dir, "standby.signal"), "")
	appendFile(t, filepath.Join(dir, "postgresql.auto.conf"),
		fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=postgres'\n", primary.SocketDir, primary.Port))
	s := postgrestest.StartFrom(t, primary.Version, dir)
	s.WaitReady(t)
	return s
}

// know names all nodes to the tools of the site.
func (f *family) know(t *testing.T) {
	t.Helper()
	var hosts, ports []string
	for _, n := range f.nodes {
		hosts, ports = append(hosts, n.SocketDir), append(ports, fmt.Sprint(n.Port))
	}
	f.tool.env = append(f.tool.env, "PGHOST="+strings.Join(hosts, ","), "PGPORT="+strings.Join(ports, ","), "PGTARGETSESSIONATTRS=read-write")
}

func (f *family) start(t *testing.T) {
	t.Helper()
	f.agent = f.tool.start(t, "run", f.url)
}

// timeline is the primary's.
func (f *family) timeline(t *testing.T) wal.TimelineID {
	t.Helper()
	tli, _ := flushOf(t, f.server)
	return tli
}

// write commits n rows, each in a transaction of its own, from three sessions, and rolls back some beside them.
func (f *family) write(t *testing.T, n int) {
	t.Helper()
	tli := f.timeline(t)
	g, ctx := errgroup.WithContext(t.Context())
	for range 3 {
		g.Go(func() error {
			c, err := pgx.Connect(ctx, f.server.ConnString())
			if err != nil {
				return err
			}
			defer hangUp(ctx, c)
			for range n / 3 {
				f.mu.Lock()
				f.next++
				id := f.next
				f.mu.Unlock()
				if id%10 == 0 {
					if _, err := c.Exec(ctx, fmt.Sprintf("begin; insert into t values (%d, 'gone'); rollback", -id)); err != nil {
						return err
					}
				}
				var xid string
				if err := c.QueryRow(ctx, "insert into t values ($1, repeat('x', 700)) returning pg_current_xact_id()::xid::text", id).Scan(&xid); err != nil {
					return err
				}
				o := origin{timeline: tli}
				if _, err := fmt.Sscan(xid, &o.xid); err != nil {
					return err
				}
				f.mu.Lock()
				f.rows[id] = o
				f.mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	f.note(t)
}

// caughtUp waits until a standby has all that the primary has.
func (f *family) caughtUp(t *testing.T, s *postgrestest.Cluster) {
	t.Helper()
	at := f.flushed(t)
	eventually(t, waitLong, "the standby to replay up to "+at.String(), func() bool {
		return s.Value(t, "select pg_last_wal_replay_lsn() >= '"+at.String()+"'") == true
	})
}

// cutOff ends the replication of a standby, so that it lags from now on.
func cutOff(t *testing.T, s *postgrestest.Cluster) {
	t.Helper()
	s.Exec(t, "alter system set primary_conninfo = ''")
	s.Exec(t, "select pg_reload_conf()")
	eventually(t, waitLong, "the standby to stop receiving", func() bool { return s.Text(t, "select count(*) from pg_stat_wal_receiver") == "0" })
}

// fail kills the primary and keeps what it wrote.
func (f *family) fail(t *testing.T) {
	t.Helper()
	tli := f.timeline(t)
	f.server.Kill(t)
	kept := filepath.Join(postgrestest.TempDir(t), "pg_wal")
	copyFolder(t, filepath.Join(f.server.DataDir, "pg_wal"), kept)
	f.wal[tli] = kept
}

// promote makes a standby the primary.
func (f *family) promote(t *testing.T, s *postgrestest.Cluster) {
	t.Helper()
	s.Promote(t)
	f.server = s
}

// promoteAgain begins another timeline on the primary itself: it becomes a standby of nobody for a moment.
func (f *family) promoteAgain(t *testing.T) {
	t.Helper()
	f.server.Stop(t, postgrestest.Fast)
	writeFile(t, filepath.Join(f.server.DataDir, "standby.signal"), "")
	f.server.Start(t)
	f.promote(t, f.server)
}

// history is that of timeline tli, as the primary has it.
func (f *family) history(t *testing.T, tli wal.TimelineID) wal.History {
	t.Helper()
	if tli == 1 {
		return wal.History{Timeline: 1}
	}
	h, err := wal.ParseHistory(tli, f.server.ReadFile(t, filepath.Join("pg_wal", tli.HistoryFileName())))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// truth reads the transaction ends of the branch that ends in timeline tip from the servers' own WAL.
func (f *family) truth(t *testing.T, tip wal.TimelineID) []branchEnd {
	t.Helper()
	h := f.history(t, tip)
	var ends []branchEnd
	for _, tli := range slices.Sorted(maps.Keys(f.wal)) {
		own, ok := h.RangeOf(tli)
		if !ok {
			continue
		}
		own.End = min(own.End, f.ends[tli])
		for _, e := range endsIn(t, f.wal[tli], tli, own) {
			ends = append(ends, branchEnd{e, tli})
		}
	}
	return ends
}

// endsIn reads the transaction ends in a part of a timeline from a folder of WAL with our own decoder, which TestDecodeRealWAL holds against PostgreSQL's.
func endsIn(t *testing.T, folder string, tli wal.TimelineID, r wal.Range) []txEnd {
	t.Helper()
	size := wal.DefaultSegmentSize
	files, err := filepath.Glob(filepath.Join(folder, tli.String()+"????????????????"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no WAL of timeline %s in %s: %v", tli, folder, err)
	}
	slices.Sort(files)
	var ends []txEnd
	var d *wal.Decoder
	for _, name := range files {
		id, err := size.ParseFileName(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		start := size.Start(id.Number)
		if size.End(id.Number) <= r.Start || start >= r.End {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			d = wal.NewDecoder(size, start, wal.EventsOnly)
		}
		if err := d.Write(raw[:min(len(raw), int(r.End-start))]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for rec, ok := d.Next(); ok; rec, ok = d.Next() {
			if e, ok := rec.Event.(*wal.TransactionEnd); ok && e.Start >= r.Start {
				ends = append(ends, txEnd{
					start: e.Start, end: e.End, xid: uint32(e.XID), time: e.Time.Go(), commit: e.Kind == wal.Commit || e.Kind == wal.CommitPrepared,
				})
			}
		}
	}
	return ends
}

// holds restores and compares: the ids that are there must be exactly those that the branch committed before stop.
func (f *family) holds(t *testing.T, name string, tip wal.TimelineID, stop cut, flags ...string) {
	t.Helper()
	want := map[int]bool{}
	byOrigin := map[origin]int{}
	for id, o := range f.rows {
		byOrigin[o] = id
	}
	for _, e := range f.truth(t, tip) {
		if over, _ := stop(e.txEnd); over {
			break
		}
		if id, ok := byOrigin[origin{e.timeline, e.xid}]; ok && e.commit {
			want[id] = true
		}
	}
	r, o := f.restore(t.Context(), t, flags...)
	if o.code != 0 {
		t.Errorf("%s: restore %v: exit %d\n%s%s", name, flags, o.code, o.stdout, o.stderr)
		return
	}
	defer r.stop(t)
	var got []int
	if err := json.Unmarshal([]byte(query(t, r.conn, "select coalesce(json_agg(id order by id), '[]')::text from t")), &got); err != nil {
		t.Fatal(err)
	}
	extra := 0
	for _, id := range got {
		if !want[id] {
			extra++
		}
		delete(want, id)
	}
	if extra > 0 || len(want) > 0 || len(got) == 0 {
		t.Errorf("%s: restore %v: %d rows, %d too many, %d missing (%v)", name, flags, len(got), extra, len(want), slices.Sorted(maps.Keys(want)))
	}
	t.Logf("%s: %v: %d rows", name, flags, len(got))
}

// holdsAround restores before, at and after the switch to timeline next, by LSN; in the long form also by time.
func (f *family) holdsAround(t *testing.T, next wal.TimelineID) {
	t.Helper()
	h := f.history(t, next)
	at := h.Parents[len(h.Parents)-1].At
	ends := f.truth(t, next)
	first := slices.IndexFunc(ends, func(e branchEnd) bool { return e.timeline == next })
	if first < 12 || first+3 > len(ends) {
		t.Fatalf("timeline %d: %d transaction ends before the switch, %d after it: too few to tell", next, first, len(ends)-first)
	}
	branch := fmt.Sprint("--timeline=", uint32(next))
	before, after := ends[first-10].end, ends[first+1].end
	if long() {
		f.holds(t, "just before the switch", next, beforeLSN(ends[first-1].start), "--to-lsn", ends[first-1].start.String(), "--before", branch)
		last := ends[first-1].time
		f.holds(t, "the last commit before the switch", next, untilTime(last), "--to", utcStamp(last), branch)
		moment := ends[first].time
		f.holds(t, "the first commit after the switch", next, untilTime(moment), "--to", utcStamp(moment), branch)
	}
	f.holds(t, "before the switch", next, beforeLSN(before), "--to-lsn", before.String(), "--before", branch)
	f.holds(t, "at the switch", next, beforeLSN(at), "--to-lsn", at.String(), "--before", branch)
	f.holds(t, "after the switch", next, beforeLSN(after), "--to-lsn", after.String(), "--before", branch)
}

// archived opens the repository and returns what it has of the cluster.
func (f *family) archived(t *testing.T) *repository.Cluster {
	t.Helper()
	store, err := agent.OpenStore(t.Context(), f.url, agent.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	r, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := r.Clusters(t.Context())
	if err != nil || len(ids) != 1 {
		t.Fatalf("clusters: %v, %v", ids, err)
	}
	return r.With(opening(t)).Cluster(ids[0])
}

// unmixed compares every archived byte of every timeline with the WAL of the server that wrote it, and every history file with the primary's: no byte of
// two histories is mixed (I4), and the histories are all there (I8). pgark verify finds nothing wrong with any of it, nor anything that lacks (I2).
func (f *family) unmixed(t *testing.T) {
	t.Helper()
	if v := f.verify(t, 0, "--deep", "--no-record", "--repo", f.url); v.Verdict != "sound" || len(v.Notes) != 0 {
		t.Errorf("verify: got %+v", v)
	}
	cluster := f.archived(t)
	timelines, err := cluster.Timelines(t.Context())
	if err != nil || len(timelines) != len(f.wal) {
		t.Fatalf("archived timelines: got %v, %v, want %v", timelines, err, slices.Sorted(maps.Keys(f.wal)))
	}
	for _, tli := range timelines {
		if tli > 1 {
			if _, raw, err := cluster.History(t.Context(), tli); err != nil || !bytes.Equal(raw, f.server.ReadFile(t, filepath.Join("pg_wal", tli.HistoryFileName()))) {
				t.Errorf("history of timeline %d: %v\n%s", tli, err, raw)
			}
		}
		for e, err := range cluster.ListWAL(t.Context(), tli, 0) {
			if err != nil {
				t.Fatal(err)
			}
			got, err := cluster.ReadWAL(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			id := f.segmentSize.Segment(tli, e.Range.Start)
			want, err := os.ReadFile(filepath.Join(f.wal[tli], f.segmentSize.FileName(id)))
			if err != nil {
				t.Fatal(err)
			}
			from := uint64(f.segmentSize.Offset(e.Range.Start))
			if !bytes.Equal(got, want[from:from+e.Range.Len()]) {
				t.Errorf("%s differs from the WAL of who wrote timeline %d", e.Key, tli)
			}
		}
	}
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	postgrestest.Own(t, name)
}

func appendFile(t *testing.T, name, text string) {
	t.Helper()
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, string(old)+text)
}
