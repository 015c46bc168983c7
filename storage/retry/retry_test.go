package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return retry.New(memory.New(), retry.Options{}) })
}

func options(events *[]retry.Event) retry.Options {
	var mu sync.Mutex
	return retry.Options{OnRetry: func(e retry.Event) {
		mu.Lock()
		defer mu.Unlock()
		*events = append(*events, e)
	}}
}

func TestRetriesUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		for n := 1; n <= 12; n++ {
			m.Fail(memory.Put, "", n, storage.ErrUnavailable)
		}
		var events []retry.Event
		s := retry.New(m, options(&events))
		if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if len(events) != 12 {
			t.Fatalf("got %d events, want 12", len(events))
		}
		want := 100 * time.Millisecond
		for i, e := range events {
			if e.Op != "put" || e.Key != "a" || e.Attempt != i+1 || !errors.Is(e.Err, storage.ErrUnavailable) {
				t.Errorf("event %d: got %+v", i, e)
			}
			if e.Wait < want/2 || e.Wait > want {
				t.Errorf("wait %d: got %s, want %s to %s", i, e.Wait, want/2, want)
			}
			if i > 0 && e.Since != events[i-1].Since+events[i-1].Wait {
				t.Errorf("event %d: got since %s, want %s", i, e.Since, events[i-1].Since+events[i-1].Wait)
			}
			want = min(2*want, 15*time.Second)
		}
	})
}

func TestNeverRetries(t *testing.T) {
	for _, final := range []error{storage.ErrExists, storage.ErrNotFound, storage.ErrDenied, storage.ErrNoStore, errors.New("other")} {
		m := memory.New()
		m.Fail(memory.Any, "", 0, final)
		s := retry.New(m, retry.Options{})
		calls := map[string]func() error{
			"put":    func() error { return s.Put(t.Context(), "a", nil) },
			"get":    func() error { _, err := s.Get(t.Context(), "a", storage.All()); return err },
			"stat":   func() error { _, err := s.Stat(t.Context(), "a"); return err },
			"delete": func() error { return s.Delete(t.Context(), "a") },
			"begin":  func() error { _, err := s.Begin(t.Context(), "a"); return err },
			"list": func() error {
				for _, err := range s.List(t.Context(), "", "") {
					return err
				}
				return nil
			},
		}
		for name, call := range calls {
			before := len(m.Calls())
			if err := call(); !errors.Is(err, final) {
				t.Errorf("%s: got %v, want %v", name, err, final)
			}
			if n := len(m.Calls()) - before; n != 1 {
				t.Errorf("%s: got %d calls after %v, want 1", name, n, final)
			}
		}
	}
}

func TestExpiredIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Fail(memory.Put, "", 1, storage.ErrExpired)
		m.Fail(memory.Put, "", 2, storage.ErrSkewed)
		if err := retry.New(m, retry.Options{}).Put(t.Context(), "a", nil); err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

func TestMaxElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Fail(memory.Put, "", 0, storage.ErrUnavailable)
		began := time.Now()
		err := retry.New(m, retry.Options{MaxElapsed: time.Minute}).Put(t.Context(), "a", nil)
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "gave up after") {
			t.Errorf("got %v, want ErrUnavailable and that it gave up", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %s, want 1m", took)
		}
	})
}

func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Fail(memory.Put, "", 0, storage.ErrUnavailable)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		err := retry.New(m, retry.Options{}).Put(ctx, "a", nil)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) || storage.Retryable(err) {
			t.Errorf("got %v, want DeadlineExceeded alone", err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("took %s, want 1h", took)
		}
	})
}

func TestAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Hang(memory.Put, "")
		var events []retry.Event
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		body := make([]byte, 640<<10) // 10 s at 64 KiB a second
		err := retry.New(m, options(&events)).Put(ctx, "a", body)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		last := time.Duration(0)
		for i, want := range []time.Duration{40, 80, 160, 320} {
			if i >= len(events) {
				t.Fatalf("got %d attempts", len(events))
			}
			e := events[i]
			if took := e.Since - last; took != want*time.Second || !errors.Is(e.Err, storage.ErrUnavailable) {
				t.Errorf("attempt %d: got %s, %v, want %ds", i+1, took, e.Err, want)
			}
			last = e.Since + e.Wait
		}
	})
}

func TestSlowReaderIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Replace("a", storagetest.Random(1000, 1))
		r, err := retry.New(m, retry.Options{}).Get(t.Context(), "a", storage.All())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Hour) // the caller is busy
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := m.Count(memory.Get, ""); n != 1 {
			t.Errorf("got %d gets, want 1", n)
		}
	})
}

func TestBodyResumes(t *testing.T) {
	body := storagetest.Random(1000, 1)
	for _, span := range []storage.Span{storage.All(), {Offset: 100, Length: 900}, {Offset: 7, Length: -1}, {Offset: 0, Length: 1}} {
		for keep := range 5 {
			synctest.Test(t, func(t *testing.T) {
				m := memory.New()
				m.Replace("a", body)
				n, err := span.Resolve(1000)
				if err != nil {
					t.Fatal(err)
				}
				m.Alter("a", 1, func(b []byte) []byte { return b[:len(b)*keep/4] })
				m.Fail(memory.Get, "a", 2, storage.ErrUnavailable)
				m.Alter("a", 2, func(b []byte) []byte { return b[:len(b)/2] })
				r, err := retry.New(m, retry.Options{}).Get(t.Context(), "a", span)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, body[span.Offset:span.Offset+n]) {
					t.Errorf("%v, %d/4 kept: got %d bytes, %v, want %d", span, keep, len(got), err, n)
				}
			})
		}
	}
}

func TestBodyThatVanishes(t *testing.T) {
	m := memory.New()
	m.Replace("a", make([]byte, 1000))
	m.Alter("a", 1, func(b []byte) []byte { return b[:500] })
	m.Fail(memory.Get, "a", 2, storage.ErrNotFound)
	got, err := storage.ReadAll(t.Context(), retry.New(m, retry.Options{MinWait: time.Millisecond}), "a", 1000)
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %d bytes, %v, want ErrNotFound", len(got), err)
	}
}

func TestListResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &cutList{Store: memory.New()}
		var want []storage.Key
		for i := range 10 {
			key := storage.Key(fmt.Sprintf("k/%d", i))
			m.Replace(key, []byte("x"))
			want = append(want, key)
		}
		var got []storage.Key
		for info, err := range retry.New(m, retry.Options{}).List(t.Context(), "k/", "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// cutList ends each list after three keys with an error.
type cutList struct{ *memory.Store }

func (c *cutList) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range c.Store.List(ctx, prefix, after) {
			if n++; n > 3 {
				yield(storage.Info{}, storage.ErrUnavailable)
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.LoseResponse(memory.Put, "", 1)
		s := retry.New(m, retry.Options{})
		if err := s.Put(t.Context(), "a", []byte("x")); !errors.Is(err, storage.ErrExists) {
			t.Errorf("put: got %v, want ErrExists", err)
		}
		m.LoseResponse(memory.Commit, "", 1)
		u, err := s.Begin(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		m.Fail(memory.Part, "", 1, storage.ErrUnavailable)
		if err := u.Part(t.Context(), 1, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := u.Commit(t.Context()); err != nil {
			t.Errorf("commit: got %v, want nil", err)
		}
		if err := u.Abort(t.Context()); err != nil {
			t.Errorf("abort: got %v, want nil", err)
		}
	})
}

// replicator is a bucket that fails at first.
type replicator struct {
	storage.Store

	calls int
}

func (r *replicator) Replication(context.Context) (storage.Replication, error) {
	if r.calls++; r.calls == 1 {
		return storage.Replication{}, storage.ErrUnavailable
	}
	return storage.Replication{Versioned: true}, nil
}

func (r *replicator) Replicated(context.Context, storage.Key) (storage.ReplicationStatus, error) {
	if r.calls++; r.calls == 1 {
		return "", storage.ErrUnavailable
	}
	return storage.ReplicationPending, nil
}

func TestReplicationReachesTheStore(t *testing.T) {
	quick := retry.Options{MinWait: time.Millisecond}
	got, err := storage.BucketReplication(t.Context(), retry.New(&replicator{Store: memory.New()}, quick))
	if err != nil || !got.Versioned {
		t.Errorf("got %+v, %v", got, err)
	}
	status, err := storage.Replicated(t.Context(), retry.New(&replicator{Store: memory.New()}, quick), "x")
	if err != nil || status != storage.ReplicationPending {
		t.Errorf("got %q, %v", status, err)
	}
	if _, err := storage.BucketReplication(t.Context(), retry.New(memory.New(), quick)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no bucket: got %v, want ErrUnsupported", err)
	}
	if _, err := storage.Replicated(t.Context(), retry.New(memory.New(), quick), "x"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no bucket: got %v, want ErrUnsupported", err)
	}
}

// TestObserve: each attempt is told once, with what it came to; the end of the caller's context is no failure of the store.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Fail(memory.Put, "", 1, storage.ErrUnavailable)
		var seen []retry.Attempt
		s := retry.New(m, retry.Options{Observe: func(a retry.Attempt) { seen = append(seen, a) }})
		if err := s.Put(t.Context(), "a", []byte("xyz")); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 2 || !errors.Is(seen[0].Err, storage.ErrUnavailable) || seen[1].Err != nil || seen[1].Op != "put" || seen[1].Size != 3 {
			t.Errorf("a put that was made again: %+v", seen)
		}
		seen = nil
		if _, err := s.Stat(t.Context(), "b"); !errors.Is(err, storage.ErrNotFound) || len(seen) != 1 || !errors.Is(seen[0].Err, storage.ErrNotFound) {
			t.Errorf("what is not there: %v, %+v", err, seen)
		}
		seen = nil
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Put(gone, "c", nil); err == nil || len(seen) != 0 {
			t.Errorf("a caller who is gone: %v, %+v", err, seen)
		}
	})
}
