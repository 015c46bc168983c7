package memory_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return memory.New() })
}

func TestConformanceWithVersions(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store {
		m := memory.New()
		m.KeepVersions()
		return m
	})
}

func TestFailNth(t *testing.T) {
	m := memory.New()
	boom := errors.New("boom")
	m.Fail(memory.Put, "wal/*", 2, boom)
	for i, want := range []error{nil, boom, nil} {
		key := storage.Key(fmt.Sprintf("wal/%d", i))
		if err := m.Put(t.Context(), key, nil); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", key, err, want)
		}
		if err := m.Put(t.Context(), "other/"+key, nil); err != nil {
			t.Errorf("other/%s: got %v, want nil", key, err)
		}
	}
	if got := m.Keys(); len(got) != 5 {
		t.Errorf("got %v, want all but wal/1", got)
	}
	if got := m.Count(memory.Put, "wal/*"); got != 3 {
		t.Errorf("got %d calls, want 3", got)
	}
	if c := m.Calls()[2]; c.Key != "wal/1" || c.Op != memory.Put || !errors.Is(c.Err, boom) {
		t.Errorf("got %+v, want the failed put of wal/1", c)
	}
}

func TestLoseResponse(t *testing.T) {
	m := memory.New()
	m.LoseResponse(memory.Put, "", 1)
	if err := m.Put(t.Context(), "a", []byte("x")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if string(m.Bytes("a")) != "x" {
		t.Error("the put was not applied")
	}
}

func TestHangAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		release := m.Hang(memory.Put, "")
		done := make(chan error, 1)
		go func() { done <- m.Put(t.Context(), "a", nil) }()
		synctest.Wait()
		if len(done) != 0 || len(m.Keys()) != 0 {
			t.Error("the put did not hang")
		}
		release()
		release()
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.Delay(memory.Any, "", time.Minute)
		began := time.Now()
		if err := m.Put(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("got %s, want 1m", took)
		}
	})
}

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		u, err := m.Begin(t.Context(), "large")
		if err != nil {
			t.Fatal(err)
		}
		m.Hang(memory.Part, "")
		done := make(chan error, 1)
		go func() { done <- u.Part(t.Context(), 1, nil) }()
		synctest.Wait()
		m.Crash()
		if err := <-done; !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("part: got %v, want ErrUnavailable", err)
		}
		if err := u.Commit(t.Context()); !errors.Is(err, storage.ErrUploadLost) {
			t.Errorf("commit: got %v, want ErrUploadLost", err)
		}
		if got := m.Uploads(); len(got) != 0 {
			t.Errorf("uploads: got %v, want none", got)
		}
	})
}

func TestHide(t *testing.T) {
	m := memory.New()
	m.Replace("a/1", []byte("x"))
	m.Replace("a/2", []byte("x"))
	show := m.Hide("*2")
	count := func() (n int) {
		for _, err := range m.List(t.Context(), "", "") {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		return n
	}
	if got := count(); got != 1 {
		t.Errorf("hidden: got %d keys, want 1", got)
	}
	show()
	if got := count(); got != 2 {
		t.Errorf("shown: got %d keys, want 2", got)
	}
}

func TestAlter(t *testing.T) {
	m := memory.New()
	m.Replace("a", []byte("12345"))
	m.Alter("a", 1, func(b []byte) []byte { return b[:2] })
	m.Alter("a", 2, func(b []byte) []byte { b[0] ^= 1; return b })
	if got, err := storage.ReadAll(t.Context(), m, "a", 9); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: got %q, %v, want ErrUnexpectedEOF", got, err)
	}
	for _, want := range []string{"02345", "12345"} {
		if got, err := storage.ReadAll(t.Context(), m, "a", 9); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	}
}

func TestResetCloneReplace(t *testing.T) {
	m := memory.New()
	m.Replace("a", []byte("1"))
	c := m.Clone()
	m.Fail(memory.Any, "", 0, storage.ErrUnavailable)
	m.Replace("a", nil)
	if err := m.Put(t.Context(), "b", nil); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	m.Reset()
	if err := m.Put(t.Context(), "b", nil); err != nil {
		t.Errorf("after reset: got %v, want nil", err)
	}
	if string(c.Bytes("a")) != "1" || len(c.Keys()) != 1 || len(m.Keys()) != 1 {
		t.Errorf("got %v and %v, want a and b", c.Keys(), m.Keys())
	}
}
