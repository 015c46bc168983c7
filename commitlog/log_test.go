package commitlog_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// drawn is one record of random WAL that the log must tell of.
type drawn struct {
	kind commitlog.Kind
	span wal.Range
	xid  wal.XID
	time wal.Time
	drop bool
}

func (d drawn) String() string { return fmt.Sprint(d.kind, " ", d.span, " ", d.xid, " ", d.time) }

// draw makes segments of WAL: commits, aborts, equal times and times that run
// backwards, long stretches without an end, records longer than a segment.
func draw(rng *rand.Rand, m *walMaker, until wal.LSN) (records []drawn) {
	now, xid := at(0), wal.XID(1<<32-50) // transaction IDs wrap around
	for m.pos() < until {
		now += wal.Time(rng.IntN(1000) * rng.IntN(1000))
		if xid++; xid < 3 {
			xid = 3
		}
		r := drawn{xid: xid, time: now - wal.Time(rng.IntN(3)*rng.IntN(2000))}
		switch k := rng.IntN(24); {
		case k < 9:
			m.filler(xid, rng.IntN(60_000))
			continue
		case k == 9:
			m.filler(xid, rng.IntN(2_400_000))
			continue
		case k == 10:
			r.kind, r.xid = commitlog.KindRestorePoint, 0
			r.span = m.point("p", r.time)
		case k == 11:
			r.kind, r.drop = commitlog.KindCommit, true
			r.span = m.rich(xid, r.time, rich{rels: []uint32{uint32(xid)}})
		case k < 15:
			r.kind, r.span = commitlog.KindAbort, m.end(0x20, xid, r.time)
		default:
			r.kind, r.span = commitlog.KindCommit, m.end(0x00, xid, r.time)
		}
		records = append(records, r)
	}
	return records
}

// want is the answer by a plain walk over the records.
func want(records []drawn, q commitlog.Query) (list []drawn, applied int) {
	within := wal.Time(q.Within.Microseconds())
	past := false
	var before, after []drawn
	for _, r := range records {
		past = past || r.kind != commitlog.KindRestorePoint && r.time > q.Around
		if r.time < q.Around-within || r.time > q.Around+within || q.XID != 0 && r.xid != q.XID || q.Drops && !r.drop {
			continue
		}
		if past {
			after = append(after, r)
		} else {
			before = append(before, r)
		}
	}
	if q.Limit > 0 {
		before, after = before[max(0, len(before)-q.Limit):], after[:min(len(after), q.Limit)]
	}
	return append(before, after...), len(before)
}

// TestRead asks at random of random archives, and compares with a plain walk.
func TestRead(t *testing.T) {
	t.Parallel()
	seeds, queries, segments := 10, 60, wal.SegmentNumber(17)
	if testing.Short() {
		seeds, queries, segments = 1, 12, 6
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		_, cluster := newCluster(t)
		m := newWALMaker(lsn(3))
		records := draw(rng, m, lsn(3+segments)+wal.LSN(rng.IntN(1<<19)))
		cuts, blind := map[wal.LSN]bool{}, map[wal.LSN]bool{}
		for range 5 {
			cuts[mib.Floor(m.pos())+wal.LSN(rng.IntN(int(mib.Offset(m.pos()))+1))] = true
		}
		for n := wal.SegmentNumber(4); n < 4+segments; n++ {
			blind[lsn(n)] = rng.IntN(4) == 0
		}
		m.archive(t, cluster, cuts, blind)
		for range queries {
			q := commitlog.Query{
				Around: records[rng.IntN(len(records))].time + wal.Time(rng.IntN(3)-1), Within: time.Duration(rng.IntN(20_000)) * time.Millisecond,
				Drops: rng.IntN(3) == 0, Limit: rng.IntN(4) * rng.IntN(8),
			}
			if rng.IntN(5) == 0 {
				q.XID = records[rng.IntN(len(records))].xid
			}
			compare(t, cluster, records, q, seed)
		}
		compareLatest(t, cluster, records)
		compareXIDs(t, cluster, records)
	}
}

func compare(t *testing.T, cluster *repository.Cluster, records []drawn, q commitlog.Query, seed int) {
	t.Helper()
	log, err := commitlog.Read(t.Context(), cluster, q)
	if err != nil {
		t.Fatal(err)
	}
	list, applied := want(records, q)
	if got := told(log.Entries); !slices.Equal(got, list) || log.Applied != applied {
		t.Fatalf("seed %d, %+v: %d of %d applied\n got %s\nwant %s, %d applied", seed, q, log.Applied, len(got), got, list, applied)
	}
}

// told brings entries into the form of drawn.
func told(entries []commitlog.Entry) []drawn {
	var list []drawn
	for _, e := range entries {
		list = append(list, drawn{kind: e.Kind, span: e.Range, xid: e.XID, time: e.Time, drop: e.Removal != nil})
	}
	return list
}

// compareLatest asks for the end of the archive.
func compareLatest(t *testing.T, cluster *repository.Cluster, records []drawn) {
	t.Helper()
	log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := told(log.Entries), records[len(records)-5:]; !slices.Equal(got, want) || log.Applied != 5 || !log.MoreBefore || log.MoreAfter {
		t.Errorf("latest: %d applied, more %v, %v\n got %s\nwant %s", log.Applied, log.MoreBefore, log.MoreAfter, got, want)
	}
}

// compareXIDs looks for transactions wherever they are.
func compareXIDs(t *testing.T, cluster *repository.Cluster, records []drawn) {
	t.Helper()
	for i := 0; i < len(records); i += len(records) / 7 {
		if records[i].xid == 0 {
			continue
		}
		log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{XID: records[i].xid})
		if err != nil {
			t.Fatal(err)
		}
		if got := told(log.Entries); !slices.Equal(got, records[i:i+1]) {
			t.Errorf("got %s, want %s", got, records[i])
		}
	}
	log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{XID: 500_000})
	if err != nil || len(log.Entries) > 0 {
		t.Errorf("a transaction that never was: %+v, %v", log, err)
	}
}

// TestWhatHeadersDoNotSay: an end that no header counts, a restore point where
// nothing ends, and a commit record longer than two segments are found.
func TestWhatHeadersDoNotSay(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	m := newWALMaker(lsn(1))
	pad := func(n wal.SegmentNumber) { // to just before segment n
		for lsn(n)-m.pos() > 70_000 {
			m.filler(0, 60_000)
		}
		m.filler(0, int(lsn(n)-m.pos())-300)
	}
	m.commit(1000, at(0))
	pad(3)
	uncounted := m.rich(1001, at(60_000), rich{subs: make([]wal.XID, 100)})
	pad(4)
	point := m.point("alone", at(120_000))
	pad(6)
	long := m.rich(1002, at(180_000), rich{subs: make([]wal.XID, 280_000)})
	pad(9)
	m.commit(1003, at(280_000))
	m.archive(t, cluster, nil, map[wal.LSN]bool{lsn(3): true})
	if mib.Number(uncounted.Start) != 2 || mib.Number(uncounted.End) != 3 || mib.Number(long.End)-mib.Number(long.Start) < 2 {
		t.Fatalf("records do not lie where they should: %s, %s", uncounted, long)
	}
	for time, want := range map[wal.Time]wal.Range{at(60_000): uncounted, at(120_000): point, at(180_000): long} {
		log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Around: time, Within: 1_000_000_000})
		if err != nil || len(log.Entries) != 1 || log.Entries[0].Range != want {
			t.Errorf("%s: got %+v, %v", time, log, err)
		}
	}
	for xid, want := range map[wal.XID]wal.Range{1001: uncounted, 1002: long} {
		log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{XID: xid})
		if err != nil || len(log.Entries) != 1 || log.Entries[0].Range != want {
			t.Errorf("%d: got %+v, %v", xid, log, err)
		}
	}
}
