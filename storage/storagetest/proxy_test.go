package storagetest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestCallEndsBeforeTheClientKnows: a recording that says what a client knew, and when, must not have it learn later than it did.
func TestCallEndsBeforeTheClientKnows(t *testing.T) {
	server := storagetest.StartServer(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	server.Setenv(t)
	options, err := s3.ParseURL(proxy.URL("bucket", ""))
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 1<<20)
	if err := store.Put(t.Context(), "key", body); err != nil {
		t.Fatal(err)
	}
	var known []time.Time
	for range 200 {
		if _, err := storage.ReadAll(t.Context(), store, "key", 2<<20); err != nil {
			t.Fatal(err)
		}
		known = append(known, time.Now())
	}
	var late []time.Duration
	for _, c := range proxy.Calls() {
		if c.Op != storagetest.Get {
			continue
		}
		if d := c.Ended.Sub(known[0]); d > 0 {
			late = append(late, d)
		}
		known = known[1:]
	}
	if len(late) > 0 || len(known) > 0 {
		t.Errorf("answers that ended after the client had read them, by %v; %d were not recorded", late, len(known))
	}
}
