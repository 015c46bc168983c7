package limit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

// MB is small: what is shown does not depend on it.
const MB = 1000

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store {
		l := limit.New(1 << 40)
		return limit.Wrap(memory.New(), limit.Options{Upload: []*limit.Limiter{l, nil}, Read: []*limit.Limiter{nil, l}})
	})
}

// What a store can do besides must not be lost behind the limiters.
func TestPassesAbilitiesOn(t *testing.T) {
	outer := reflect.TypeFor[*limit.Store]()
	for m := range reflect.TypeFor[*retry.Store]().Methods() {
		if _, ok := outer.MethodByName(m.Name); !ok {
			t.Errorf("limit.Store has no %s, which retry.Store has", m.Name)
		}
	}
}

// about is how exact the seconds of a rate are.
const about = time.Millisecond

func wantTook(t *testing.T, what string, began time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(began); took < want-about || took > want+about {
		t.Errorf("%s took %s, want %s", what, took, want)
	}
}

// upload sends an object in parts, all but the last of which would be larger in earnest.
func upload(ctx context.Context, s storage.Store, key storage.Key, parts, size int) error {
	u, err := s.Begin(ctx, key)
	if err != nil {
		return err
	}
	for n := 1; n <= parts && err == nil; n++ {
		err = u.Part(ctx, n, make([]byte, size))
	}
	return errors.Join(err, u.Abort(ctx))
}

// What may wait takes as long as the limit says, whoever shares it; one second's worth passes at once.
func TestPatientUploadsKeepTheRate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		own, global int64
		want        time.Duration
	}{
		{"own", 10 * MB, 0, 19 * time.Second},
		{"global", 0, 10 * MB, 19 * time.Second},
		{"the lower counts", 20 * MB, 10 * MB, 19 * time.Second},
		{"no limit", 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := limit.Wrap(memory.New(), limit.Options{Upload: []*limit.Limiter{limit.New(tt.own), limit.New(tt.global)}})
				began := time.Now()
				var all errgroup.Group
				for i := range 4 {
					all.Go(func() error { return upload(limit.Patient(t.Context()), s, storage.Key(fmt.Sprint(i)), 5, 10*MB) })
				}
				if err := all.Wait(); err != nil {
					t.Fatal(err)
				}
				wantTook(t, "200 MB", began, tt.want)
			})
		})
	}
}

// A base backup that has the limit to itself for long leaves WAL no later: it passes at once, and the backup makes room for it.
func TestWALNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.Wrap(memory.New(), limit.Options{Upload: []*limit.Limiter{limit.New(10 * MB)}})
		began := time.Now()
		var base errgroup.Group
		for i := range 8 {
			base.Go(func() error {
				return upload(limit.Patient(t.Context()), s, storage.Key(fmt.Sprint("pack", i)), 1, 16*MB)
			})
		}
		const pieces = 20
		for i := range pieces { // 5 MB/s for 10 seconds
			before := time.Now()
			if err := s.Put(t.Context(), storage.Key(fmt.Sprint("piece", i)), make([]byte, 5*MB/2)); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(before); waited != 0 {
				t.Fatalf("piece %d waited %s", i, waited)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if err := upload(t.Context(), s, "segment", 2, 16*MB); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "WAL", began, pieces*500*time.Millisecond)
		if err := base.Wait(); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "128 MB beside 82 MB of WAL", began, 20*time.Second)
	})
}

// WAL that is more than the limit for ever must not keep a base backup from ever ending.
func TestTooMuchWALLeavesATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.Wrap(memory.New(), limit.Options{Upload: []*limit.Limiter{limit.New(10 * MB)}})
		ctx, cancel := context.WithCancel(t.Context())
		var wal sync.WaitGroup
		wal.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = s.Put(ctx, storage.Key(fmt.Sprint(i)), make([]byte, 2*MB))
				time.Sleep(100 * time.Millisecond)
			}
		})
		time.Sleep(time.Minute)
		for i := range 5 {
			began := time.Now()
			if err := upload(limit.Patient(t.Context()), s, storage.Key(fmt.Sprint("pack", i)), 1, 10*MB); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < 10*time.Second || took > 11*time.Second+about {
				t.Errorf("10 MB beside 20 MB/s of WAL took %s, want 11 s", took)
			}
		}
		cancel()
		wal.Wait()
	})
}

func TestReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		if err := m.Put(t.Context(), "a", make([]byte, 50*MB)); err != nil {
			t.Fatal(err)
		}
		s := limit.Wrap(m, limit.Options{Read: []*limit.Limiter{limit.New(5 * MB)}})
		began := time.Now()
		if b, err := storage.ReadAll(t.Context(), s, "a", 50*MB); err != nil || len(b) != 50*MB {
			t.Fatalf("got %d bytes, %v", len(b), err)
		}
		wantTook(t, "a restore", began, 0)
		if b, err := storage.ReadSpan(limit.Patient(t.Context()), s, "a", storage.Span{Offset: 1, Length: 20 * MB}); err != nil || len(b) != 20*MB {
			t.Fatalf("got %d bytes, %v", len(b), err)
		}
		wantTook(t, "20 MB behind the 50 MB of the restore, one second of which was free", began, 13*time.Second)
		began = time.Now()
		if err := s.Put(limit.Patient(t.Context()), "b", make([]byte, 50*MB)); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "an upload beside a limit for reads", began, 0)
	})
}

// What is sent again uses the link again.
func TestRetriesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		for n := 1; n <= 3; n++ {
			m.Fail(memory.Part, "", n, storage.ErrUnavailable)
		}
		o := limit.Options{Upload: []*limit.Limiter{limit.New(10 * MB)}}
		var waits time.Duration
		s := limit.Wrap(retry.New(m, retry.Options{OnRetry: func(e retry.Event) {
			o.Again(e.Size)
			waits += e.Wait
		}}), o)
		began := time.Now()
		if err := upload(limit.Patient(t.Context()), s, "pack", 1, 10*MB); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "an upload with three failures", began, waits)
		if err := upload(limit.Patient(t.Context()), s, "next", 1, 10*MB); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "the next", began, 4*time.Second)
	})
}

func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(MB)
		m := memory.New()
		s := limit.Wrap(m, limit.Options{Upload: []*limit.Limiter{l}, Read: []*limit.Limiter{l}})
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(limit.Patient(t.Context()))
		time.AfterFunc(5*time.Second, func() { cancel(why) })
		began := time.Now()
		var all sync.WaitGroup
		for i := range 3 { // one whose bytes are due, and two behind it
			all.Go(func() {
				if err := s.Put(ctx, storage.Key(fmt.Sprint(i)), make([]byte, 100*MB)); !errors.Is(err, why) {
					t.Errorf("got %v, want %v", err, why)
				}
			})
		}
		all.Wait()
		wantTook(t, "what was broken off", began, 5*time.Second)
		if n := len(m.Calls()); n != 0 {
			t.Errorf("got %d calls of the store, want none", n)
		}
		if err := s.Put(t.Context(), "r", make([]byte, 8*MB)); err != nil {
			t.Fatal(err)
		}
		body, err := s.Get(ctx, "r", storage.All())
		if err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		if !errors.Is(err, why) {
			t.Errorf("read: got %v, want %v", err, why)
		}
		// What was broken off owes nothing but what had passed before, and the 8 MB.
		began = time.Now()
		if err := s.Put(limit.Patient(t.Context()), "next", make([]byte, MB)); err != nil {
			t.Fatal(err)
		}
		wantTook(t, "the next", began, 9*time.Second)
	})
}
