package copies_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

const marker storage.Key = "zz-marker"

// catchUp copies in key order, the marker first.
func catchUp(ctx context.Context, from, to storage.Store, _ func() bool) error {
	for _, after := range []storage.Key{"", "!"} {
		for info, err := range from.List(ctx, "", "") {
			if err != nil {
				return err
			}
			if (info.Key == marker) != (after == "") {
				continue
			}
			body, err := storage.ReadAll(ctx, from, info.Key, 1<<30)
			if errors.Is(err, storage.ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			err = to.Put(ctx, info.Key, body)
			if errors.Is(err, storage.ErrExists) {
				var found []byte
				if found, err = storage.ReadAll(ctx, to, info.Key, 1<<30); err == nil && !bytes.Equal(found, body) {
					err = fmt.Errorf("%s: %w", info.Key, storage.ErrConflict)
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// site is a store of copies in memory that runs until the test ends.
type site struct {
	*copies.Store

	places []*memory.Store
}

func newSite(t *testing.T, n int, o copies.Options) *site {
	t.Helper()
	s := &site{}
	for range n {
		s.places = append(s.places, memory.New())
	}
	s.places[0].Replace(marker, []byte("marker"))
	s.run(t, o)
	return s
}

func (s *site) run(t *testing.T, o copies.Options) {
	t.Helper()
	s.runStores(t, o, func(i int) storage.Store { return s.places[i] })
}

func (s *site) runStores(t *testing.T, o copies.Options, place func(i int) storage.Store) {
	t.Helper()
	var members []copies.Member
	for i := range s.places {
		members = append(members, copies.Member{
			Name:  fmt.Sprintf("m%d", i),
			Store: retry.New(place(i), retry.Options{MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond, AttemptTimeout: time.Second}),
		})
	}
	if o.CatchUp == nil {
		o.CatchUp = catchUp
	}
	o.Marker = marker
	if o.Check == 0 {
		o.Check = 5 * time.Millisecond
	}
	store, err := copies.New(members, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Store = store
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { store.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

// state waits until member m is in a state.
func (s *site) state(t *testing.T, m int, want copies.State) copies.MemberStatus {
	t.Helper()
	var last copies.MemberStatus
	await(t, func() bool { last = s.Status()[m]; return last.State == want }, func() string {
		return fmt.Sprintf("member %d to be %s, it is %+v", m, want, last)
	})
	return last
}

func await(t *testing.T, done func() bool, what func() string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what())
		}
	}
}

func (s *site) put(t *testing.T, key storage.Key) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(key)); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func (s *site) has(m int, key storage.Key) bool { return s.places[m].Bytes(key) != nil }

// hideMarker hides what the suite for stores does not expect.
type hideMarker struct{ *site }

func (h hideMarker) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range h.site.List(ctx, prefix, after) {
			if info.Key != marker && !yield(info, err) {
				return
			}
		}
	}
}

func TestSuite(t *testing.T) {
	for name, required := range map[string]copies.Policy{"primary": copies.Primary(), "all": copies.All(), "two of three": copies.AtLeast(2)} {
		if testing.Short() && name != "two of three" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, func(t *testing.T) storage.Store {
				s := newSite(t, 3, copies.Options{Required: required})
				for i := range s.places {
					s.state(t, i, copies.Live)
				}
				return hideMarker{s}
			})
		})
	}
}

// stuck is a store whose lists stay away from a key on.
type stuck struct {
	storage.Store

	at storage.Key
}

func (s stuck) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix, after) {
			if info.Key == s.at {
				<-ctx.Done()
				yield(storage.Info{}, context.Cause(ctx))
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestLongList: a list whose caller takes longer over it than a member may for a reading leaves no member behind; one that gives no more does.
func TestLongList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = time.Second
		s := &site{places: []*memory.Store{memory.New(), memory.New()}}
		s.places[0].Replace(marker, []byte("marker"))
		s.runStores(t, copies.Options{Patience: patience}, func(i int) storage.Store {
			if i == 0 {
				return stuck{s.places[i], "stuck/05"}
			}
			return s.places[i]
		})
		s.allLive(t)
		for i := range 10 {
			s.put(t, storage.Key(fmt.Sprintf("long/%02d", i)))
			s.put(t, storage.Key(fmt.Sprintf("stuck/%02d", i)))
		}
		for prefix, want := range map[storage.Key]copies.State{"long/": copies.Live, "stuck/": copies.Behind} {
			n, left := 0, copies.Live
			for info, err := range s.List(t.Context(), prefix, "") {
				if err != nil || info.Key != storage.Key(fmt.Sprintf("%s%02d", prefix, n)) {
					t.Fatalf("entry %d is %s: %v", n, info.Key, err)
				}
				n++
				if st := s.Status()[0]; st.State != copies.Live {
					left = copies.Behind
				}
				time.Sleep(patience / 2)
			}
			if n != 10 || left != want {
				t.Errorf("%s: %d entries, and the primary was %s meanwhile, want %s", prefix, n, left, want)
			}
			s.allLive(t)
		}
	})
}
