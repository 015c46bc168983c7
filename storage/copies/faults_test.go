package copies_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
)

// allLive waits until all members are live.
func (s *site) allLive(t *testing.T) {
	t.Helper()
	for i := range s.places {
		s.state(t, i, copies.Live)
	}
}

func TestSlowCopyStallsNobody(t *testing.T) {
	s := newSite(t, 2, copies.Options{})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "")
	s.put(t, "a")
	s.put(t, "b")
	if st := s.Status()[1]; st.State != copies.Live || st.Pending != 2 || st.Bytes != 2 || st.Oldest.IsZero() {
		t.Errorf("while the copy hangs: %+v", st)
	}
	release()
	await(t, func() bool { return s.has(1, "b") }, func() string { return "b on the copy" })
	await(t, func() bool { return s.Status()[1].Bytes == 0 }, func() string { return "nothing to be held" })
}

// TestOrderOfACaller: what a caller puts after another put returned comes after it on every member.
func TestOrderOfACaller(t *testing.T) {
	s := newSite(t, 2, copies.Options{})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "data*")
	s.put(t, "data1")
	s.put(t, "data2")
	s.put(t, "record")
	if s.has(1, "record") {
		t.Fatal("the copy has the record before its data")
	}
	release()
	await(t, func() bool { return s.has(1, "record") }, func() string { return "the record on the copy" })
	if !s.has(1, "data1") || !s.has(1, "data2") {
		t.Error("the copy has the record and not its data")
	}
}

func TestCopyThatCannotKeepUp(t *testing.T) {
	s := newSite(t, 2, copies.Options{Backlog: 10})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "")
	for i := range 5 {
		s.put(t, storage.Key(fmt.Sprintf("key%d", i)))
	}
	if st := s.Status()[1]; st.State == copies.Live || st.Bytes > 10 {
		t.Errorf("past its backlog: %+v", st)
	}
	release()
	s.state(t, 1, copies.Live)
	for i := range 5 {
		if key := storage.Key(fmt.Sprintf("key%d", i)); !s.has(1, key) {
			t.Errorf("live without %s", key)
		}
	}
}

// TestRequiredCopyIsWaitedFor: with all required, no put returns while one is away.
func TestRequiredCopyIsWaitedFor(t *testing.T) {
	s := newSite(t, 2, copies.Options{Required: copies.All()})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Put(ctx, "a", []byte("a")) }()
	await(t, func() bool { return s.has(0, "a") }, func() string { return "a on the primary" })
	select {
	case err := <-done:
		t.Fatalf("returned with one copy: %v", err)
	default:
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	release()
	s.put(t, "b")
	if !s.has(0, "b") || !s.has(1, "b") {
		t.Error("b is not on all")
	}
}

// TestNoSplit: with one of two required, two objects must not come to be on one member each.
func TestNoSplit(t *testing.T) {
	s := newSite(t, 2, copies.Options{Required: copies.AtLeast(1)})
	s.allLive(t)
	release := map[string]func(){}
	for m, p := range s.places {
		for _, key := range []string{"a", "b"} {
			release[fmt.Sprint(key, m)] = p.Hang(memory.Put, key)
		}
	}
	done := make(chan storage.Key, 2)
	for _, key := range []storage.Key{"a", "b"} {
		go func() {
			if err := s.Put(t.Context(), key, []byte(key)); err != nil {
				t.Error(err)
			}
			done <- key
		}()
	}
	await(t, func() bool { return s.Status()[0].Pending == 2 }, func() string { return "both to begin" })
	release["a1"]()
	release["b0"]()
	await(t, func() bool { return s.has(1, "a") && s.has(0, "b") }, func() string { return "each object on one member" })
	first := <-done // the one that began first needs no other
	select {
	case second := <-done:
		t.Fatalf("%s and %s returned, and no member holds both", first, second)
	case <-time.After(20 * time.Millisecond): // it passes without it too: it gives a fault time to show
	}
	release["a0"]()
	<-done
	release["b1"]()
}

func TestLateCopyIsBroughtUpToDate(t *testing.T) {
	s := &site{places: []*memory.Store{memory.New(), memory.New()}}
	s.places[0].Replace(marker, []byte("marker"))
	for i := range 20 {
		s.places[0].Replace(storage.Key(fmt.Sprintf("old%02d", i)), []byte("old"))
	}
	s.run(t, copies.Options{})
	s.allLive(t)
	for i := range 20 {
		if key := storage.Key(fmt.Sprintf("old%02d", i)); !s.has(1, key) {
			t.Errorf("live without %s", key)
		}
	}
}

// TestOneOfTwoNeedsBothToBegin: what was put while the primary was away is on the copy alone. A new process
// that sees the primary alone must not take it for the whole.
func TestOneOfTwoNeedsBothToBegin(t *testing.T) {
	s := &site{places: []*memory.Store{memory.New(), memory.New()}}
	for _, p := range s.places {
		p.Replace(marker, []byte("marker"))
	}
	s.places[1].Replace("newest", []byte("newest"))
	release := s.places[1].Hang(memory.Any, "")
	s.run(t, copies.Options{Required: copies.AtLeast(1), Patience: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Stat(ctx, "newest"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with one of two away: got %v, want no answer", err)
	}
	release()
	if _, err := s.Stat(t.Context(), "newest"); err != nil {
		t.Errorf("with both: %v", err)
	}
	s.allLive(t)
	if !s.has(0, "newest") {
		t.Error("the primary is live without the newest object")
	}
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) contains(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(s))
}

func TestEmptiedCopyIsNoticed(t *testing.T) {
	var log logged
	s := newSite(t, 2, copies.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.put(t, "a")
	s.allLive(t)
	await(t, func() bool { return s.has(1, "a") }, func() string { return "a on the copy" })
	for _, key := range s.places[1].Keys() {
		if err := s.places[1].Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return log.contains(copies.ErrEmptied.Error()) }, func() string { return "the alarm" })
	await(t, func() bool { return s.has(1, "a") && s.has(1, marker) }, func() string { return "the copy to be filled again" })
}

func TestConflict(t *testing.T) {
	for _, tt := range []struct {
		name     string
		required copies.Policy
		want     error
	}{{"copy not required", copies.Primary(), nil}, {"copy required", copies.All(), storage.ErrConflict}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, 2, copies.Options{Required: tt.required})
			s.allLive(t)
			s.places[1].Replace("a", []byte("another writer's"))
			if err := s.Put(t.Context(), "a", []byte("ours")); !errors.Is(err, tt.want) || err != nil && tt.want == nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			st := s.state(t, 1, copies.Refused)
			if !errors.Is(st.Err, storage.ErrConflict) {
				t.Errorf("got %v, want why", st.Err)
			}
			if got := s.places[1].Bytes("a"); string(got) != "another writer's" {
				t.Errorf("the copy's object became %q", got)
			}
		})
	}
}

// TestSameContent: another encoding of the same content is the same.
func TestSameContent(t *testing.T) {
	s := newSite(t, 2, copies.Options{Same: func(_ storage.Key, a, b []byte) bool { return bytes.EqualFold(a, b) }})
	s.allLive(t)
	s.places[1].Replace("a", []byte("CONTENT"))
	if err := s.Put(t.Context(), "a", []byte("content")); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return s.Status()[1].Pending == 0 }, func() string { return "the copy's answer" })
	if st := s.Status()[1]; st.State != copies.Live {
		t.Errorf("got %+v", st)
	}
}

// faulty is a place that is away now and then, and loses answers.
type faulty struct {
	*memory.Store

	away atomic.Bool
	lose atomic.Bool
}

func (f *faulty) fail() error {
	if f.away.Load() {
		return storage.ErrUnavailable
	}
	return nil
}

func (f *faulty) after(err error) error {
	if err == nil && f.lose.Load() && rand.N(3) == 0 {
		return storage.ErrUnavailable
	}
	return err
}

func (f *faulty) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.after(f.Store.Put(ctx, key, body))
}

func (f *faulty) Get(ctx context.Context, key storage.Key, span storage.Span) (body io.ReadCloser, err error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, key, span)
}

func (f *faulty) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := f.fail(); err != nil {
		return storage.Info{}, err
	}
	return f.Store.Stat(ctx, key)
}

func (f *faulty) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	if err := f.fail(); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return f.Store.List(ctx, prefix, after)
}

// TestAtEachReturnEnoughHoldEverything drives each policy through outages at random, and at each return of a
// Put looks into the places themselves.
func TestAtEachReturnEnoughHoldEverything(t *testing.T) {
	rounds := 5 // each begins with new members, which is where one was believed to be empty that had become live
	if testing.Short() {
		rounds = 1
	}
	for _, required := range []copies.Policy{copies.Primary(), copies.All(), copies.AtLeast(1), copies.AtLeast(2)} {
		for round := range rounds {
			t.Run(fmt.Sprintf("%s/%d", required, round), func(t *testing.T) {
				t.Parallel()
				checkReturns(t, required)
			})
		}
	}
}

func checkReturns(t *testing.T, required copies.Policy) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := &site{}
	var places []*faulty
	for range 3 {
		p := &faulty{Store: memory.New()}
		places, s.places = append(places, p), append(s.places, p.Store)
	}
	s.places[0].Replace(marker, []byte("marker"))
	s.runStores(t, copies.Options{Required: required, Backlog: 500, Patience: 50 * time.Millisecond}, func(i int) storage.Store { return places[i] })

	var mu sync.Mutex
	var returned []storage.Key
	check := func(key storage.Key) {
		mu.Lock()
		defer mu.Unlock()
		returned = append(returned, key)
		var whole []int
		for i, p := range s.places {
			keys := p.Keys()
			if !slices.ContainsFunc(returned, func(k storage.Key) bool { _, ok := slices.BinarySearch(keys, k); return !ok }) {
				whole = append(whole, i)
			}
		}
		enough := map[string]bool{
			"primary": slices.Contains(whole, 0), "all": len(whole) == 3, "1": len(whole) >= 1, "2": len(whole) >= 2,
		}[required.String()]
		if !enough {
			t.Errorf("after %s only the members %v hold everything", key, whole)
		}
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := storage.Key(fmt.Sprintf("w%d-%05d", w, i))
				// An answer that was lost makes it exist.
				if err := s.Put(t.Context(), key, []byte(key)); err != nil && !errors.Is(err, storage.ErrExists) {
					t.Errorf("put %s: %v", key, err)
					return
				}
				check(key)
			}
		})
	}
	faults := 150
	if testing.Short() {
		faults = 30
	}
	for range faults {
		p := places[r.IntN(3)]
		switch r.IntN(3) {
		case 0:
			p.away.Store(true)
		case 1:
			p.lose.Store(true)
		}
		pause := time.NewTimer(time.Duration(r.IntN(10_000)) * time.Microsecond) // an outage takes time
		<-pause.C
		p.away.Store(false)
		p.lose.Store(r.IntN(2) == 0)
	}
	for _, p := range places {
		p.lose.Store(false)
	}
	close(stop)
	writers.Wait()
	s.allLive(t)
	await(t, func() bool {
		return !slices.ContainsFunc(s.Status(), func(m copies.MemberStatus) bool { return m.Pending > 0 || m.State != copies.Live })
	}, func() string { return fmt.Sprintf("nothing to be pending: %+v", s.Status()) })
	for i := range s.places {
		for _, key := range returned {
			if !s.has(i, key) {
				t.Fatalf("member %d is live and lacks %s", i, key)
			}
		}
	}
	t.Logf("%d puts", len(returned))
	if len(returned) < 50 {
		t.Errorf("only %d puts returned: nothing was tested", len(returned))
	}
}

// TestLiveCopyGetsWhatAnotherPut: what another program put on the primary, or what the copy lost, comes to a copy that was live all the time.
func TestLiveCopyGetsWhatAnotherPut(t *testing.T) {
	s := newSite(t, 2, copies.Options{Again: 5 * time.Millisecond})
	s.allLive(t)
	s.places[0].Replace("by-hand", []byte("backup"))
	await(t, func() bool { return s.has(1, "by-hand") }, func() string { return "the object that another program put" })
	s.places[1].Replace("split", []byte("one"))
	s.places[0].Replace("split", []byte("other"))
	s.state(t, 1, copies.Refused)
}

// TestOutageIsMadeUpFor: while a copy is away, another program puts an object on the primary alone.
func TestOutageIsMadeUpFor(t *testing.T) {
	s := newSite(t, 2, copies.Options{Outage: time.Millisecond})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "")
	s.put(t, "a")
	s.places[0].Replace("by-hand", []byte("backup"))
	time.Sleep(2 * time.Millisecond) // the outage lasts
	release()
	await(t, func() bool { return s.has(1, "by-hand") }, func() string { return "what was put during the outage" })
}

// TestNewCopiesJoin: of three members that any two of are required of, two are new. None of these is a source for the others before it
// has the marker.
func TestNewCopiesJoin(t *testing.T) {
	var log bytes.Buffer
	s := newSite(t, 3, copies.Options{Required: copies.AtLeast(2), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.allLive(t)
	if strings.Contains(log.String(), "left behind") {
		t.Errorf("a new site tells of faults:\n%s", log.String())
	}
}

func TestDrain(t *testing.T) {
	s := newSite(t, 2, copies.Options{})
	s.allLive(t)
	release := s.places[1].Hang(memory.Put, "")
	s.put(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("while the copy lacks an object: got %v", err)
	}
	release()
	if err := s.Drain(t.Context()); err != nil || !s.has(1, "a") {
		t.Errorf("got %v, on the copy: %t", err, s.has(1, "a"))
	}
}
