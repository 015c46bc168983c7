package commitlog_test

import (
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// month is an archive of a month: one segment a minute. Of most of them only
// the header is there, as a search reads no more.
type month struct {
	store   *memory.Store
	cluster *repository.Cluster
	length  int                                             // segments
	summary func(n int) (ends uint32, first, last wal.Time) // of those without content
	content map[wal.SegmentNumber]func(*walMaker)           // of those that are whole
	without func(n int) bool                                // not archived
}

const firstSegment = 16

// minute is when segment n was written.
func minute(n int) wal.Time { return at(n * 60_000) }

func (m *month) number(n int) wal.SegmentNumber { return wal.SegmentNumber(firstSegment + n) }

// busy is a segment of 500 transactions; every tenth has none, and each ends
// with one that took its time before the first of the next.
func busy(n int) (ends uint32, first, last wal.Time) {
	if n%10 == 3 {
		return 0, 0, 0
	}
	return 500, minute(n) - 2000, minute(n + 1)
}

func newMonth(t testing.TB, m *month) *month {
	t.Helper()
	m.store, m.cluster = newCluster(t)
	if m.length == 0 {
		m.length = 43_200
	}
	last, prev := wal.SegmentNumber(0), wal.LSN(0)
	for n := range m.length {
		if m.without != nil && m.without(n) {
			continue
		}
		if write := m.content[m.number(n)]; write != nil {
			w := newWALMaker(mib.Start(m.number(n)))
			if last+1 == m.number(n) {
				w.prev = prev
			}
			write(w)
			w.finish()
			w.archive(t, m.cluster, nil, nil)
			last, prev = m.number(n), w.prev
			continue
		}
		m.putHeader(t, n)
	}
	m.store.Reset()
	return m
}

// putHeader puts a segment with a header and no content that could be read.
func (m *month) putHeader(t testing.TB, n int) {
	t.Helper()
	r := mib.Range(m.number(n))
	h := repository.Header{
		WALObject: repository.WALObject{SystemID: fakeSystem, Timeline: 1, SegmentSize: mib, Kind: repository.KindSegment, Range: r},
		Plain:     r.Len(), Stored: 1,
	}
	if ends, first, last := m.summary(n); ends > 0 {
		xid := wal.XID(1000 + 500*n)
		h.Summary = repository.Summary{
			Ends: ends, FirstXID: xid, LastXID: xid + 499, FirstTime: first, LastTime: last, MinTime: min(first, last), MaxTime: max(first, last),
		}
	}
	b, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	name := mib.FileName(wal.SegmentID{Timeline: 1, Number: m.number(n)})
	key := storage.Key(fakeSystem.String() + "/wal/00000001/" + name + ".zst")
	if err := m.store.Put(t.Context(), key, append(b, 0)); err != nil {
		t.Fatal(err)
	}
}

// read asks q, and checks how many requests that took.
func (m *month) read(t testing.TB, q commitlog.Query, limit int) *commitlog.Log {
	t.Helper()
	m.store.Reset()
	log, err := commitlog.Read(t.Context(), m.cluster, q)
	if err != nil {
		t.Fatal(err)
	}
	gets, lists := m.store.Count(memory.Get, "*"), m.store.Count(memory.List, "*")
	t.Logf("%d segments: %d reads, %d listings", m.length, gets, lists)
	if gets+lists > limit {
		t.Errorf("%d reads and %d listings for %d segments, want at most %d in all", gets, lists, m.length, limit)
	}
	return log
}

// TestMonthIsSearchedInFewReads: the number of requests grows with the
// logarithm of the archive, and the answer is exact.
func TestMonthIsSearchedInFewReads(t *testing.T) {
	t.Parallel()
	length := 43_200
	if testing.Short() {
		length = 4_000
	}
	target := length * 2 / 3
	for target%10 != 4 { // behind a segment without ends
		target++
	}
	var wanted []drawn
	m := newMonth(t, &month{length: length, summary: busy, content: map[wal.SegmentNumber]func(*walMaker){
		wal.SegmentNumber(firstSegment + target - 1): func(w *walMaker) {},
		wal.SegmentNumber(firstSegment + target): func(w *walMaker) {
			for i := range wal.XID(500) {
				r := drawn{kind: commitlog.KindCommit, xid: wal.XID(1000+500*target) + i, time: minute(target) + wal.Time(i)*120_000}
				r.span = w.commit(r.xid, r.time)
				wanted = append(wanted, r)
			}
		},
		wal.SegmentNumber(firstSegment + target + 1): func(w *walMaker) {
			for i := range wal.XID(500) { // begins a little before the last ends of the segment before
				w.commit(wal.XID(1000+500*(target+1))+i, minute(target+1)-2000+wal.Time(i)*120_000)
			}
		},
	}})
	// A search to the end of the archive, and one for each end of the window.
	limit := 3*2*bits.Len(uint(length)) + 16
	log := m.read(t, commitlog.Query{Around: minute(target) + 30_000_000, Within: 20 * time.Second}, limit)
	var want []drawn
	for _, r := range wanted {
		if r.time >= minute(target)+10_000_000 && r.time <= minute(target)+50_000_000 {
			want = append(want, r)
		}
	}
	if got := told(log.Entries); !slices.Equal(got, want) || len(want) != 333 {
		t.Errorf("%d entries, want %d\n%s", len(got), len(want), got)
	}
	one := wanted[77]
	log = m.read(t, commitlog.Query{XID: one.xid}, limit)
	if got := told(log.Entries); !slices.Equal(got, []drawn{one}) {
		t.Errorf("got %s, want %s", got, one)
	}
	log = m.read(t, commitlog.Query{Around: minute(length + 5000), Within: time.Minute}, limit)
	if len(log.Entries) > 0 || log.Previous != minute(length) || log.Next != 0 {
		t.Errorf("behind the end: %d entries, nearest %s, %s, want %s", len(log.Entries), log.Previous, log.Next, minute(length))
	}
}

// TestLongStretchWithoutEnds: where one transaction wrote for a day, nothing
// tells the time, and what lies around it is found all the same.
func TestLongStretchWithoutEnds(t *testing.T) {
	t.Parallel()
	const length, from, until = 4000, 1000, 2440
	single := func(xid wal.XID, at wal.Time) func(*walMaker) { return func(w *walMaker) { w.commit(xid, at) } }
	m := newMonth(t, &month{
		length: length,
		summary: func(n int) (uint32, wal.Time, wal.Time) {
			if n >= from && n < until {
				return 0, 0, 0
			}
			return busy(n)
		},
		content: map[wal.SegmentNumber]func(*walMaker){
			firstSegment + from - 1: single(9, minute(from)), firstSegment + until: single(10, minute(until)), firstSegment + from - 2: single(8, minute(from-1)),
		},
	})
	// All of the stretch has to be looked at, once.
	log := m.read(t, commitlog.Query{Around: minute(from) + 5, Within: time.Second}, until-from+120)
	if len(log.Entries) != 1 || log.Entries[0].XID != 9 || log.Applied != 1 {
		t.Errorf("got %+v", log.Entries)
	}
}

// TestClockSetBack: a clock that was set back by an hour makes times come
// twice; both are found, and it is said.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	const length, back = 1000, 500
	single := func(xid wal.XID, n int) func(*walMaker) {
		return func(w *walMaker) { w.commit(xid, minute(n)+30_000_000) }
	}
	m := newMonth(t, &month{
		length: length,
		summary: func(n int) (uint32, wal.Time, wal.Time) {
			if n >= back {
				n -= 60
			}
			return 500, minute(n), minute(n + 1)
		},
		content: map[wal.SegmentNumber]func(*walMaker){
			firstSegment + 470: single(8, 470), firstSegment + 469: single(7, 469), firstSegment + 530: single(9, 470), firstSegment + 529: single(6, 469),
		},
	})
	log := m.read(t, commitlog.Query{Around: minute(470) + 30_000_000, Within: time.Second}, length+100)
	if len(log.Entries) != 2 || log.Entries[0].XID != 8 || log.Entries[1].XID != 9 || len(log.Notes) != 1 || !strings.Contains(log.Notes[0], "set back by 1h0m0s") {
		t.Errorf("got %+v, notes %q", log.Entries, log.Notes)
	}
}

// TestHoleAndDamage: what is missing and what cannot be read is told in its
// place, and hides nothing else.
func TestHoleAndDamage(t *testing.T) {
	t.Parallel()
	const length = 300
	content := map[wal.SegmentNumber]func(*walMaker){}
	for n := 142; n < 154; n++ {
		content[wal.SegmentNumber(firstSegment+n)] = func(w *walMaker) { w.commit(wal.XID(n), minute(n)) }
	}
	m := newMonth(t, &month{length: length, summary: busy, content: content, without: func(n int) bool { return n >= 144 && n < 147 }})
	err := m.cluster.PutGap(t.Context(), repository.Gap{
		Timeline: 1, Range: wal.Range{Start: mib.Start(m.number(144)), End: mib.Start(m.number(147))}, Cause: repository.CauseSlotLost, FirstSeen: minute(147).Go(),
	})
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	name := func(n int) string {
		return "*" + mib.FileName(wal.SegmentID{Timeline: 1, Number: m.number(n)}) + ".zst"
	}
	m.store.Alter(name(149), 0, flip)
	m.store.Alter(name(152), 0, func(b []byte) []byte { // the content alone
		if len(b) > repository.HeaderSize {
			b[repository.HeaderSize+3] ^= 1
		}
		return b
	})
	log, err := commitlog.Read(t.Context(), m.cluster, commitlog.Query{Around: minute(148), Within: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.Entries {
		text := e.Time.Go().Format("15:04")
		if e.Kind == commitlog.KindGap {
			text = "gap " + e.Reason + " " + e.Range.String()
		} else if e.Kind != commitlog.KindCommit {
			text = string(e.Kind) + " " + e.Range.String()
		}
		got = append(got, text)
	}
	clock := func(n int) string { return minute(n).Go().Format("15:04") }
	want := []string{
		clock(143), "gap slot-lost " + wal.Range{Start: mib.Start(m.number(144)), End: mib.Start(m.number(147))}.String(), clock(147), clock(148),
		"damaged " + mib.Range(m.number(149)).String(), clock(150), clock(151), "damaged " + mib.Range(m.number(152)).String(), clock(153),
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestHoleWithinASegment: what lies behind the last piece of a segment is
// missing, if there is more behind the segment; and where nothing holds the
// start of one, that is damage.
func TestHoleWithinASegment(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	first := newWALMaker(lsn(1))
	first.commit(1000, at(0))
	first.align()
	end := first.pos()
	first.archive(t, cluster, nil, nil)
	second := newWALMaker(lsn(2))
	second.commit(1001, at(10))
	second.finish()
	second.archive(t, cluster, nil, nil)
	third := newWALMaker(lsn(3))
	third.prev = second.prev
	third.commit(1002, at(20))
	third.align()
	third.start, third.bytes = third.start+64, third.bytes[64:]
	third.putPiece(t, cluster)
	for _, q := range []commitlog.Query{{Around: at(5)}, {Around: at(5), Limit: 3}} {
		log, err := commitlog.Read(t.Context(), cluster, q)
		if err != nil {
			t.Fatal(err)
		}
		var got []commitlog.Kind
		for _, e := range log.Entries {
			got = append(got, e.Kind)
		}
		want := []commitlog.Kind{commitlog.KindCommit, commitlog.KindGap, commitlog.KindCommit, commitlog.KindDamaged}
		if !slices.Equal(got, want) || log.Entries[1].Range != (wal.Range{Start: end, End: lsn(2)}) || log.Entries[3].Range != mib.Range(3) {
			t.Errorf("got %+v", log.Entries)
		}
	}
}
