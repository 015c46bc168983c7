package standby

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const (
	systemID wal.SystemID    = 7312345678901234567
	mib      wal.SegmentSize = 1 << 20
)

// made is an archive that a test fills. The content of the log is the same whoever asks for it.
type made struct {
	t       *testing.T
	store   *memory.Store
	cluster *repository.Cluster
	encoder *repository.WALEncoder
	log     map[wal.TimelineID][]byte // from LSN 0 on
}

func newMade(t *testing.T) *made {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m := &made{
		t: t, store: store, cluster: r.Cluster(systemID), encoder: repository.NewWALEncoder(compression.Zstd()), log: map[wal.TimelineID][]byte{},
	}
	for tli := range 3 {
		m.log[wal.TimelineID(tli+1)] = make([]byte, 8*mib)
		random := rand.NewChaCha8([32]byte{byte(tli)})
		_, _ = random.Read(m.log[wal.TimelineID(tli+1)])
	}
	return m
}

// put archives [start, end) of a timeline: whole segments as such, the rest as pieces.
func (m *made) put(tli wal.TimelineID, start, end wal.LSN) {
	m.t.Helper()
	for start < end {
		next := min(end, mib.End(mib.Number(start)))
		o := repository.WALObject{
			SystemID: systemID, Timeline: tli, SegmentSize: mib, Kind: repository.KindPiece, Range: wal.Range{Start: start, End: next},
		}
		if o.Range.Len() == uint64(mib) {
			o.Kind = repository.KindSegment
		}
		m.putObject(o, m.log[tli][start:next])
		start = next
	}
}

func (m *made) putObject(o repository.WALObject, plain []byte) {
	m.t.Helper()
	e, err := m.encoder.Encode(o, plain)
	if err == nil {
		err = m.cluster.PutWAL(m.t.Context(), e)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// branch lets timeline tli leave its parent.
func (m *made) branch(tli wal.TimelineID, history string, at wal.LSN, parent wal.TimelineID) {
	m.t.Helper()
	copy(m.log[tli], m.log[parent][:at])
	if err := m.cluster.PutHistory(m.t.Context(), tli, []byte(history)); err != nil {
		m.t.Fatal(err)
	}
}

// follow starts a follower that runs until the test ends.
func (m *made) follow() *Follower {
	m.t.Helper()
	f, err := NewFollower(m.t.Context(), m.cluster, Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	var done sync.WaitGroup
	done.Go(func() { f.Run(ctx) })
	m.t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return f
}

// reader is a standby that reads a timeline.
type reader struct {
	*made
	stream walsender.Stream
	tli    wal.TimelineID
	at     wal.LSN
}

func (m *made) read(f *Follower, tli wal.TimelineID, at wal.LSN) *reader {
	m.t.Helper()
	s, err := f.Open(m.t.Context(), tli, at)
	if err != nil {
		m.t.Fatal(err)
	}
	return &reader{m, s, tli, at}
}

// to reads up to an LSN and compares every byte.
func (r *reader) to(end wal.LSN) {
	r.t.Helper()
	for r.at < end {
		b, err := r.stream.Next(r.t.Context())
		if err != nil {
			r.t.Fatalf("at %s: %v", r.at, err)
		}
		if !bytes.Equal(b, r.log[r.tli][r.at:r.at+wal.LSN(len(b))]) {
			r.t.Fatalf("other bytes at %s", r.at)
		}
		r.at += wal.LSN(len(b))
	}
	if r.at != end {
		r.t.Fatalf("read to %s, want %s", r.at, end)
	}
}

// fails reads on and returns the error.
func (r *reader) fails() error {
	r.t.Helper()
	b, err := r.stream.Next(r.t.Context())
	if err == nil {
		r.t.Fatalf("got %d bytes at %s", len(b), r.at)
	}
	return err
}

// TestFollow reads what is there and what comes, over segments that are completed meanwhile.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		m.put(1, wal.LSN(mib), 3*wal.LSN(mib)+1000)
		f := m.follow()
		if s, _ := f.Identify(t.Context()); s.Timeline != 1 || s.End != 3*wal.LSN(mib)+1000 || s.ID != systemID {
			t.Errorf("got %+v", s)
		}
		far, near := m.read(f, 1, wal.LSN(mib)), m.read(f, 1, 3*wal.LSN(mib))
		near.to(3*wal.LSN(mib) + 1000)
		for i := range wal.LSN(20) {
			m.put(1, 3*wal.LSN(mib)+1000+i*500, 3*wal.LSN(mib)+1500+i*500)
			near.to(3*wal.LSN(mib) + 1500 + i*500)
		}
		m.put(1, 3*wal.LSN(mib), 5*wal.LSN(mib))
		if err := m.cluster.DeletePieces(t.Context(), mib, wal.SegmentID{Timeline: 1, Number: 3}); err != nil {
			t.Fatal(err)
		}
		near.to(5 * wal.LSN(mib))
		far.to(5 * wal.LSN(mib))
	})
}

// TestReadOnce reads each object once for all standbys near the end, and no more lists than it says.
func TestReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		m.put(1, wal.LSN(mib), 2*wal.LSN(mib)+100)
		f := m.follow()
		var standbys [3]*reader
		for i := range standbys {
			standbys[i] = m.read(f, 1, 2*wal.LSN(mib))
			standbys[i].to(2*wal.LSN(mib) + 100)
		}
		gets, lists := m.store.Count(memory.Get, "*"), m.store.Count(memory.List, "*")
		for i := range wal.LSN(10) {
			m.put(1, 2*wal.LSN(mib)+100+i, 2*wal.LSN(mib)+101+i)
			for _, s := range standbys {
				s.to(2*wal.LSN(mib) + 101 + i)
			}
		}
		if got := m.store.Count(memory.Get, "*") - gets; got != 10 {
			t.Errorf("%d objects were read with %d requests", 10, got)
		}
		time.Sleep(time.Hour - 10*time.Second)
		if got := m.store.Count(memory.List, "*") - lists; got > 1810 {
			t.Errorf("%d lists in an idle hour, want 1800", got)
		}
	})
}

// TestFollowTimeline goes from one timeline to the next where the newest one left it, and no byte further.
func TestFollowTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		fork := 2*wal.LSN(mib) + 700
		m.put(1, wal.LSN(mib), fork-100)
		f := m.follow()
		r := m.read(f, 1, wal.LSN(mib))
		r.to(fork - 100)
		m.branch(2, fmt.Sprintf("1\t%s\tno recovery target specified\n", fork), fork, 1)
		m.put(2, 2*wal.LSN(mib), fork+300)
		// The end of the old timeline comes last, and more of it than the new one took.
		time.Sleep(10 * time.Second)
		m.put(1, fork-100, fork+50)
		r.to(fork)
		var end *walsender.EndError
		if err := r.fails(); !errors.As(err, &end) || end.Next != 2 || end.At != fork {
			t.Errorf("got %v, want the end at %s", err, fork)
		}
		m.read(f, 2, 2*wal.LSN(mib)).to(fork + 300)
		if _, err := f.Open(t.Context(), 1, fork); !errors.As(err, &end) {
			t.Errorf("got %v, want the end", err)
		}
		var past *walsender.ForkError
		if _, err := f.Open(t.Context(), 1, fork+8); !errors.As(err, &past) || past.At != fork {
			t.Errorf("got %v, want that it is past the fork", err)
		}
		if _, err := f.Open(t.Context(), 3, fork); err == nil || !strings.Contains(err.Error(), "not in the archive") {
			t.Errorf("got %v, want that there is no timeline 3", err)
		}
		// Timeline 3 leaves 1, not 2: what 2 has is nobody's any more.
		m.branch(3, fmt.Sprintf("1\t%s\tno recovery target specified\n", fork-50), fork-50, 1)
		time.Sleep(10 * time.Second)
		if _, err := f.Open(t.Context(), 2, fork); err == nil || !strings.Contains(err.Error(), "not in the history of timeline 3") {
			t.Errorf("got %v, want that 2 is on no way to 3", err)
		}
	})
}

// TestHole waits for WAL that comes late, and says where it lacks when it does not come.
func TestHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		m.put(1, wal.LSN(mib), wal.LSN(mib)+1000)
		f := m.follow()
		r := m.read(f, 1, wal.LSN(mib))
		r.to(wal.LSN(mib) + 1000)
		m.put(1, wal.LSN(mib)+2000, wal.LSN(mib)+3000)
		time.AfterFunc(25*time.Second, func() { m.put(1, wal.LSN(mib)+1000, wal.LSN(mib)+2000) })
		r.to(wal.LSN(mib) + 3000)
		m.put(1, 2*wal.LSN(mib), 2*wal.LSN(mib)+1)
		began := time.Now()
		if err := r.fails(); !errors.Is(err, walsender.ErrRemoved) || !strings.Contains(err.Error(), r.at.String()) {
			t.Errorf("got %v, want a hole at %s", err, r.at)
		}
		if d := time.Since(began); d < 30*time.Second || d > 35*time.Second {
			t.Errorf("was told after %s, want 30 s", d)
		}
		// Whoever begins behind the hole, from a base backup that was taken since, is served.
		m.put(1, 2*wal.LSN(mib)+1, 5*wal.LSN(mib)+7)
		time.Sleep(10 * time.Second)
		lists := m.store.Count(memory.List, "*")
		m.read(f, 1, 2*wal.LSN(mib)).to(5*wal.LSN(mib) + 7)
		if s := f.Status(); s.End != 5*wal.LSN(mib)+7 || s.Beyond != 0 {
			t.Errorf("got %+v", s)
		}
		time.Sleep(time.Minute)
		if got := m.store.Count(memory.List, "*") - lists; got > 40 {
			t.Errorf("%d lists in a minute behind the hole", got)
		}
	})
}

// TestTwoWriters guards I4: what another server put over the same place is not spliced to what was streamed.
func TestTwoWriters(t *testing.T) {
	for name, second := range map[string]wal.LSN{"pieces": 3*wal.LSN(mib) + 2000, "segment": 4 * wal.LSN(mib)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMade(t)
				m.put(1, 3*wal.LSN(mib), 3*wal.LSN(mib)+1000)
				f := m.follow()
				r := m.read(f, 1, 3*wal.LSN(mib))
				r.to(3*wal.LSN(mib) + 1000)
				m.log[1][3*mib+500]++
				m.put(1, 3*wal.LSN(mib), second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				b, err := r.stream.Next(ctx)
				var split *SplitError
				var conflict *repository.ConflictError
				if err == nil || !errors.As(err, &split) && !errors.As(f.Status().Err, &conflict) {
					t.Errorf("got %d bytes, %v, and %+v", len(b), err, f.Status())
				}
			})
		})
	}
}

// TestCopiedStart serves the end of a timeline from the next one's copy of it, and sends nobody away who has less than there is.
func TestCopiedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		fork := 2*wal.LSN(mib) + 700
		m.put(1, wal.LSN(mib), fork-100)
		m.branch(2, fmt.Sprintf("1\t%s\tno recovery target specified\n", fork), fork, 1)
		m.put(2, 2*wal.LSN(mib), 3*wal.LSN(mib))
		f := m.follow()
		m.read(f, 1, wal.LSN(mib)).to(fork)
		var ahead *walsender.AheadError
		if _, err := f.Open(t.Context(), 2, 3*wal.LSN(mib)+8); !errors.As(err, &ahead) || ahead.End != 3*wal.LSN(mib) {
			t.Errorf("got %v, want that it is ahead of %s", err, 3*wal.LSN(mib))
		}
	})
}

// TestOneLookFindsNothing sees a piece of a steady stream that came a little after a look within an interval, and not only when an idle archive would be looked at. In an idle one it asks for no more
// than the requests that are promised.
func TestOneLookFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		at := wal.LSN(mib)
		piece := func() {
			m.put(1, at, at+1000)
			at += 1000
		}
		piece()
		f := m.follow()
		time.Sleep(500 * time.Millisecond)
		for range 5 {
			piece()
			time.Sleep(time.Second) // a look finds it
		}
		time.Sleep(600 * time.Millisecond) // the next one finds nothing
		piece()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := f.Status(); s.End != at {
			t.Errorf("a second after a piece the follower is at %s, want %s", s.End, at)
		}
		before := m.store.Count(memory.List, "*")
		time.Sleep(time.Hour)
		if got := m.store.Count(memory.List, "*") - before; got < 1700 || got > 1800+looksOn {
			t.Errorf("%d lists in an hour in which nothing came, want 1800", got)
		}
	})
}

// TestOutage goes on when the store answers again, and tells meanwhile that it does not.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t)
		m.put(1, wal.LSN(mib), wal.LSN(mib)+1000)
		f := m.follow()
		r := m.read(f, 1, wal.LSN(mib))
		r.to(wal.LSN(mib) + 1000)
		away := errors.New("store is away")
		for n := range 10 {
			m.store.Fail(memory.List, "*", n+1, away)
		}
		time.Sleep(10 * time.Second)
		if s := f.Status(); !errors.Is(s.Err, away) {
			t.Errorf("got %v, want %v", s.Err, away)
		}
		m.put(1, wal.LSN(mib)+1000, wal.LSN(mib)+1001)
		r.to(wal.LSN(mib) + 1001)
		if s := f.Status(); s.Err != nil {
			t.Errorf("got %v after the store came back", s.Err)
		}
	})
}

// TestBegin finds the end of a long archive with few lists, also where the start is gone.
func TestBegin(t *testing.T) {
	m := newMade(t)
	const last = 1500
	for n := wal.LSN(1000); n <= last; n++ { // a byte of each is enough here
		m.putObject(repository.WALObject{
			SystemID: systemID, Timeline: 1, SegmentSize: mib, Kind: repository.KindPiece, Range: wal.Range{Start: n * wal.LSN(mib), End: n*wal.LSN(mib) + 1},
		}, []byte{1})
	}
	before := m.store.Count(memory.List, "*")
	f, err := NewFollower(t.Context(), m.cluster, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Status(); s.End != last*wal.LSN(mib)+1 || s.Timeline != 1 {
		t.Errorf("got %+v", s)
	}
	if got := m.store.Count(memory.List, "*") - before; got > 40 {
		t.Errorf("%d lists for %d segments", got, last-1000)
	}
	empty := newMade(t)
	if _, err := NewFollower(t.Context(), empty.cluster, Options{}); !errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("got %v, want %v", err, repository.ErrNoWAL)
	}
}
