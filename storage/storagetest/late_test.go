package storagetest

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

// TestCallsHoldWhatTheClientKnows: an answer that a client has read is among the calls, however late the proxy is done with it.
func TestCallsHoldWhatTheClientKnows(t *testing.T) {
	server := StartServer(t)
	server.CreateBucket(t, "bucket")
	proxy := StartProxy(t, server)
	server.Setenv(t)
	options, err := s3.ParseURL(proxy.URL("bucket", ""))
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "key", bytes.Repeat([]byte("x"), 1<<16)); err != nil {
		t.Fatal(err)
	}
	proxy.Add(Rule{Op: Get, Fault: func(x *exchange) error {
		if err := Pass()(x); err != nil {
			return err
		}
		if err := http.NewResponseController(x.w).Flush(); err != nil {
			return err
		}
		return x.wait(time.After(100 * time.Millisecond))
	}})
	for want := 1; want <= 3; want++ {
		if _, err := storage.ReadAll(t.Context(), store, "key", 1<<20); err != nil {
			t.Fatal(err)
		}
		if n := proxy.Count(Get, ""); n != want {
			t.Errorf("%d reads are among the calls, want %d", n, want)
		}
	}
}
