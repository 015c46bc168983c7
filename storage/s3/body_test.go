package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

func TestBodyIsCut(t *testing.T) {
	s, proxy, _ := behind(t)
	body := storagetest.Random(1<<20, 7)
	if err := s.Put(t.Context(), "x", body); err != nil {
		t.Fatal(err)
	}
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Get, Fault: storagetest.Truncate(1000)})
	r, err := s.Get(t.Context(), "x", storage.All())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !storage.Retryable(err) {
		t.Errorf("got %d bytes, %v, want an unexpected end", len(got), err)
	}
	_ = r.Close()
	remove()
	for _, n := range []int64{0, 1, 100000} {
		remove := proxy.Add(storagetest.Rule{Op: storagetest.Get, Percent: 50, Fault: storagetest.Truncate(n)})
		got, err := storage.ReadAll(t.Context(), fast(s), "x", 1<<30)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("cut after %d: got %d bytes, %v", n, len(got), err)
		}
		remove()
	}
}

func TestHang(t *testing.T) {
	s, proxy, _ := behind(t)
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Put, Nth: 1, Fault: storagetest.Hang()})
	defer remove()
	r := retry.New(s, retry.Options{MinWait: time.Millisecond, AttemptTimeout: 300 * time.Millisecond})
	if err := r.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.Hang()})()
	if err := r.Put(ctx, "y", []byte("body")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
}

func TestPausedServer(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	s := open(t, server.URL("bucket", ""))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: got %v, want DeadlineExceeded", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "y", nil); err != nil {
		t.Errorf("resumed: got %v, want nil", err)
	}
	server.Stop()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "y"); err != nil {
		t.Errorf("restarted: got %v, want nil", err)
	}
}

func TestSlowDown(t *testing.T) {
	s, proxy, _ := behind(t)
	proxy.Add(storagetest.Rule{Percent: 30, Fault: storagetest.Answer(503, "SlowDown")})
	r := fast(s)
	for _, key := range []storage.Key{"a", "b", "c", "d", "e", "f"} {
		if err := r.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Stat(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range r.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("got %d keys, want 6", n)
	}
}
