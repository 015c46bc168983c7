package retry_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
)

// looking are the options of who only looks.
func looking() retry.Options {
	return retry.Options{MaxElapsed: 30 * time.Second, FirstAnswer: 5 * time.Second}
}

// reads are a call of each kind that a look begins with.
func reads(t *testing.T, s storage.Store) map[string]func() error {
	return map[string]func() error{
		"get":  func() error { _, err := storage.ReadAll(t.Context(), s, "a", 100); return err },
		"stat": func() error { _, err := s.Stat(t.Context(), "a"); return err },
		"list": func() error {
			for _, err := range s.List(t.Context(), "", "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"folders": func() error {
			for _, err := range storage.Folders(t.Context(), s, "", "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// TestSilentStore: a store that takes the call and never answers is given up after FirstAnswer, and not after the deadline of an attempt.
func TestSilentStore(t *testing.T) {
	for name := range reads(t, nil) {
		synctest.Test(t, func(t *testing.T) {
			m := memory.New()
			m.Hang(memory.Any, "")
			began := time.Now()
			err := reads(t, retry.New(m, looking()))[name]()
			if !errors.Is(err, retry.ErrSilent) || !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: got %v, want ErrSilent and ErrUnavailable", name, err)
			}
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("%s: took %s, want 5s", name, took)
			}
		})
	}
}

// TestStoreThatRefuses: one that fails at once is tried again until then, and a store that comes back in time is used.
func TestStoreThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Fail(memory.Any, "", 0, storage.ErrUnavailable)
		began := time.Now()
		_, err := retry.New(m, looking()).Stat(t.Context(), "a")
		if n := m.Count(memory.Stat, ""); !errors.Is(err, retry.ErrSilent) || n < 5 {
			t.Errorf("got %v after %d attempts", err, n)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %s, want about 5s", took)
		}
		m = memory.New()
		m.Replace("a", []byte("x"))
		for n := 1; n <= 4; n++ {
			m.Fail(memory.Stat, "", n, storage.ErrUnavailable)
		}
		if _, err := retry.New(m, looking()).Stat(t.Context(), "a"); err != nil {
			t.Errorf("a store that comes back: %v", err)
		}
	})
}

// TestSlowStore: one that answers the first call in time is waited for as ever afterwards, however slow, and its outages have the patience of any.
func TestSlowStore(t *testing.T) {
	for name := range reads(t, nil) {
		synctest.Test(t, func(t *testing.T) {
			m := memory.New()
			m.Replace("a", []byte("x"))
			m.Delay(memory.Any, "", 4*time.Second)
			s := retry.New(m, looking())
			if err := reads(t, s)[name](); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			m.Delay(memory.Any, "", 20*time.Second) // besides
			if _, err := s.Stat(t.Context(), "a"); err != nil {
				t.Errorf("after %s: %v", name, err)
			}
			m.Fail(memory.Any, "", 0, storage.ErrUnavailable)
			began := time.Now()
			if _, err := s.Stat(t.Context(), "a"); err == nil || errors.Is(err, retry.ErrSilent) {
				t.Errorf("after %s: got %v, want that it gave up as ever", name, err)
			}
			if took := time.Since(began); took < 30*time.Second {
				t.Errorf("after %s: gave up after %s, want 30s", name, took)
			}
		})
	}
}

// TestNoIsAnAnswer: that an object is not there is an answer.
func TestNoIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		s := retry.New(m, looking())
		if _, err := s.Get(t.Context(), "a", storage.All()); !errors.Is(err, storage.ErrNotFound) || errors.Is(err, retry.ErrSilent) {
			t.Fatalf("got %v, want ErrNotFound alone", err)
		}
		m.Replace("b", []byte("x"))
		m.Delay(memory.Get, "", 10*time.Second)
		body, err := s.Get(t.Context(), "b", storage.All())
		if err != nil {
			t.Fatalf("a slow object behind that: %v", err)
		}
		_, _ = io.Copy(io.Discard, body)
		_ = body.Close()
	})
}
