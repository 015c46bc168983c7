package restore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// drawnRecord is one record of random WAL.
type drawnRecord struct {
	span   wal.Range
	end    bool
	commit bool
	xid    wal.XID
	time   wal.Time
	name   string
}

// drawn is random WAL in a repository, with a made-up backup at its start.
type drawn struct {
	cluster *repository.Cluster
	store   *memory.Store
	inv     *restore.Inventory
	records []drawnRecord
	backup  repository.Backup
}

// draw makes some segments of WAL: commits, aborts, equal times and times
// that run backwards, records longer than a segment, restore points that
// repeat; archived as segments and pieces, cut anywhere.
func draw(t *testing.T, seed uint64) *drawn {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	d := &drawn{store: store, cluster: repo.Cluster(fakeSystem)}
	m := newWALMaker(lsn(2))
	now, xid := at(0), wal.XID(1000)
	for m.pos() < lsn(6)+wal.LSN(rng.IntN(1<<19)) {
		now += wal.Time(rng.IntN(1000))
		xid++
		r := drawnRecord{xid: xid, time: now - wal.Time(rng.IntN(3)*rng.IntN(2000))}
		switch k := rng.IntN(20); {
		case k < 8:
			r.span = m.filler(xid, rng.IntN(60_000))
		case k == 8:
			r.span = m.filler(xid, rng.IntN(1_400_000))
		case k == 9:
			r.name = fmt.Sprintf("p%d", rng.IntN(4))
			r.span = m.point(r.name, r.time)
		case k < 12:
			r.end = true
			r.span = m.end(0x20, xid, r.time)
		default:
			r.end, r.commit = true, true
			r.span = m.end(0x00, xid, r.time)
		}
		d.records = append(d.records, r)
	}
	cuts, blind := map[wal.LSN]bool{}, map[wal.LSN]bool{}
	last := mib.Floor(m.pos())
	for range 5 {
		cuts[last+wal.LSN(rng.IntN(int(m.pos()-last)+1))] = true
	}
	for n := wal.SegmentNumber(3); n < 7; n++ {
		if rng.IntN(3) == 0 {
			blind[mib.Start(n)] = true
		}
	}
	m.archive(t, d.cluster, cuts, blind)
	// The backup ends with some early record, at a time no earlier end is past.
	stop := d.records[3+rng.IntN(5)]
	stopped := at(0)
	for _, r := range d.records {
		if r.span.End <= stop.span.End && r.end {
			stopped = max(stopped, r.time)
		}
	}
	d.backup = repository.Backup{
		ID: "b", SystemID: fakeSystem, PGVersionNum: 150000, SegmentSize: mib, Timeline: 1,
		StartLSN: d.records[0].span.Start, StopLSN: stop.span.End, Stopped: stopped.Go(),
	}
	if d.inv, err = restore.Survey(t.Context(), d.cluster); err != nil {
		t.Fatal(err)
	}
	d.inv.Backups = []repository.Backup{d.backup}
	return d
}

// want is the stop by a plain walk over the records: recoveryStopsBefore and
// recoveryStopsAfter, and nothing else. found is false if no record stops it.
func (d *drawn) want(target restore.Target) (stop drawnRecord, found bool) {
	for _, r := range d.records {
		if r.span.Start < d.backup.StopLSN && target.Kind != restore.TargetTime {
			continue
		}
		var is bool
		switch target.Kind {
		case restore.TargetTime:
			is = r.end && (r.time > target.Time || target.Exclusive && r.time == target.Time)
		case restore.TargetXID:
			is = r.end && r.xid == target.XID
		case restore.TargetName:
			is = r.name == target.Name
		case restore.TargetLSN:
			is = r.span.Start >= target.LSN
		case restore.TargetLatest, restore.TargetImmediate:
		}
		if is {
			return r, true
		}
	}
	return d.records[len(d.records)-1], false
}

// check compares a plan with the plain walk.
func (d *drawn) check(t *testing.T, target restore.Target) {
	t.Helper()
	plan, err := restore.Resolve(t.Context(), d.cluster, d.inv, target)
	stop, found := d.want(target)
	if !found && (target.Kind == restore.TargetXID || target.Kind == restore.TargetName) {
		refusedOrFatal(t, err)
		return
	}
	if found && stop.span.Start < d.backup.StopLSN { // the backup holds what is past the target
		refusedOrFatal(t, err)
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	rule := restore.StopAfter
	if found && (target.Kind == restore.TargetTime || target.Exclusive) {
		rule = restore.StopBefore
	}
	if plan.Stop.Rule != rule || plan.Stop.LSN != stop.span.Start || plan.Until != stop.span.End {
		t.Fatalf("%s: got stop %s, until %s; want rule %d at %s", target, plan.Stop, plan.Until, rule, stop.span)
	}
	kept := stop.span.End
	if rule == restore.StopBefore {
		kept = stop.span.Start
	}
	d.checkProof(t, plan, kept)
}

func refusedOrFatal(t *testing.T, err error) {
	t.Helper()
	var e *restore.TargetError
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a TargetError", err)
	}
}

// checkProof compares what is to be proved from the server.
func (d *drawn) checkProof(t *testing.T, plan *restore.Plan, kept wal.LSN) {
	t.Helper()
	var commit, end *drawnRecord
	for i, r := range d.records {
		if r.span.End > kept || !r.end {
			continue
		}
		if r.commit {
			commit = &d.records[i]
		}
		if r.span.Start != plan.Stop.LSN {
			end = &d.records[i]
		}
	}
	if (commit == nil) != (plan.LastCommit == nil) || commit != nil && plan.LastCommit.XID != commit.xid {
		t.Errorf("%s: got last commit %v, want %v", plan.Target, plan.LastCommit, commit)
	}
	if (end == nil) != (plan.LastEnd == nil) || end != nil && (plan.LastEnd.XID != end.xid || plan.LastEnd.Time != end.time) {
		t.Errorf("%s: got last end %v, want %v", plan.Target, plan.LastEnd, end)
	}
}

// TestResolve holds the search through headers and pieces against a plain walk
// over all records, for random WAL and targets around every record.
func TestResolve(t *testing.T) {
	for seed := range uint64(3) {
		if testing.Short() && seed > 0 {
			break
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := draw(t, seed)
			rng := rand.New(rand.NewPCG(seed, 2))
			newest := at(0)
			for _, r := range d.records {
				if r.end {
					newest = max(newest, r.time)
				}
			}
			for range 6 {
				r := d.records[rng.IntN(len(d.records))]
				if span := wal.FromGo(d.backup.Stopped); r.time >= span && r.time <= newest {
					d.check(t, restore.Target{Kind: restore.TargetTime, Time: r.time})
					d.check(t, restore.Target{Kind: restore.TargetTime, Time: r.time, Exclusive: true})
				}
				d.check(t, restore.Target{Kind: restore.TargetXID, XID: r.xid})
				if r.span.Start >= d.backup.StopLSN {
					d.check(t, restore.Target{Kind: restore.TargetXID, XID: r.xid, Exclusive: true})
					d.check(t, restore.Target{Kind: restore.TargetLSN, LSN: r.span.Start, Exclusive: true})
					d.check(t, restore.Target{Kind: restore.TargetLSN, LSN: r.span.Start + 1})
				}
			}
			for n := range 5 {
				d.check(t, restore.Target{Kind: restore.TargetName, Name: fmt.Sprintf("p%d", n)})
			}
			d.check(t, restore.Target{})
			d.check(t, restore.Target{Kind: restore.TargetTime, Time: newest})
		})
	}
}

// A transaction that was at work at the stop and committed later is one that
// the server is asked about.
func TestResolveLater(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := repo.Cluster(fakeSystem)
	m := newWALMaker(lsn(2))
	begin := m.filler(100, 10)
	m.filler(103, 10)
	stop := m.filler(101, 10)
	m.end(0, 100, at(1))
	m.end(0, 101, at(2))
	m.filler(102, 10)
	m.end(0, 102, at(2)) // had not begun at the stop
	m.end(0x20, 103, at(2))
	m.archive(t, c, nil, nil)
	inv, err := restore.Survey(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	inv.Backups = []repository.Backup{{ID: "b", Timeline: 1, StartLSN: begin.Start, StopLSN: stop.End, SegmentSize: mib, Stopped: at(0).Go()}}
	plan, err := restore.Resolve(t.Context(), c, inv, restore.Target{Kind: restore.TargetTime, Time: at(1)})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(plan.Later); got != "[101]" || plan.LastCommit == nil || plan.LastCommit.XID != 100 {
		t.Errorf("got later %s, last commit %v; want [101], 100", got, plan.LastCommit)
	}
}

// A clock that was set back makes a time mean two states: the plan says so.
func TestResolveClockSetBack(t *testing.T) {
	for _, minutes := range []float64{0, 30} {
		store := memory.New()
		repo, err := repository.Create(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		c := repo.Cluster(fakeSystem)
		m := newWALMaker(lsn(2))
		begin := m.filler(100, 10)
		m.end(0, 101, at(60))
		stop := m.end(0, 102, at(62))
		m.end(0, 103, at(61-minutes))
		m.end(0, 104, at(63))
		m.archive(t, c, nil, nil)
		inv, err := restore.Survey(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		inv.Backups = []repository.Backup{{ID: "b", Timeline: 1, StartLSN: begin.Start, StopLSN: begin.End, SegmentSize: mib, Stopped: at(50).Go()}}
		plan, err := restore.Resolve(t.Context(), c, inv, restore.Target{Kind: restore.TargetTime, Time: at(61)})
		if err != nil {
			t.Fatal(err)
		}
		if plan.Stop.LSN != stop.Start || (len(plan.Notes) > 0) != (minutes > 0) {
			t.Errorf("set back %v minutes: got stop %s, notes %q", minutes, plan.Stop, plan.Notes)
		}
	}
}

// A record that cannot be read does not keep from using the others; a
// store that fails does.
func TestSurveyBadRecord(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	archiveRaw(t, clusterIn(t, store), 1, lsn(2), make([]byte, 100))
	key := storage.Key(fmt.Sprintf("%s/backups/20261120T130000Z/record.json", fakeSystem))
	store.Replace(key, []byte("{}"))
	store.Replace(storage.Key(fmt.Sprintf("%s/gaps/00000001-0000000000400000-0000000000500000.json", fakeSystem)), []byte("{}"))
	store.Replace(storage.Key(fmt.Sprintf("%s/beats/20261120T130000Z-00000001-0000000000200000", fakeSystem)), []byte("{"))
	inv, err := restore.Survey(t.Context(), clusterIn(t, store))
	if err != nil || len(inv.Backups) != 1 || inv.Backups[0].ID != plan.Backup.ID || inv.Beat != nil || len(inv.Notes) != 3 {
		t.Errorf("got %v, %v, want one backup and a note on each record", inv, err)
	}
	c := clusterIn(t, store)
	store.Fail(memory.Get, string(key), 0, storage.ErrUnavailable)
	if _, err := restore.Survey(t.Context(), c); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got error %v, want ErrUnavailable", err)
	}
}

// Whatever call to the store fails, the target is not resolved to anything else.
func TestResolveEachCallFails(t *testing.T) {
	d := draw(t, 1)
	target := restore.Target{Kind: restore.TargetTime, Time: d.records[len(d.records)/2].time}
	want, err := restore.Resolve(t.Context(), d.cluster, d.inv, target)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	failed := 0
	for n := 1; ; n++ {
		bad := d.store.Clone()
		c := clusterIn(t, bad)
		bad.Fail(memory.Any, "", n, boom)
		inv, err := restore.Survey(t.Context(), c)
		if err == nil {
			inv.Backups = d.inv.Backups
			var got *restore.Plan
			if got, err = restore.Resolve(t.Context(), c, inv, target); err == nil && (got.Stop.LSN != want.Stop.LSN || got.Until != want.Until) {
				t.Fatalf("call %d failed: got stop %s, want %s", n, got.Stop, want.Stop)
			}
			if err == nil && len(got.Notes) == len(want.Notes) {
				break
			}
		}
		if err != nil && !errors.Is(err, boom) {
			t.Errorf("call %d: got error %v", n, err)
		}
		if failed++; failed > 500 {
			t.Fatal("no end of calls")
		}
	}
	if failed < 10 {
		t.Errorf("only %d calls were made to fail", failed)
	}
}
