package s3_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestStaleUploads guards S13: what writers that died left behind is found, and nothing of others: not what is younger, and not what lies beside the repository.
func TestStaleUploads(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "left")
	s, beside := open(t, server.URL("left", "main")), open(t, server.URL("left", "main2"))
	for store, key := range map[storage.Store]storage.Key{s: "a/b", beside: "c"} {
		u, err := store.Begin(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Part(t.Context(), 1, []byte("left behind")); err != nil {
			t.Fatal(err)
		}
	}
	if young, err := s.StaleUploads(t.Context(), time.Now().Add(-time.Hour)); err != nil || len(young) > 0 {
		t.Errorf("an hour ago: got %v, %v", young, err)
	}
	stale, err := s.StaleUploads(t.Context(), time.Now().Add(time.Hour))
	if err != nil || len(stale) != 1 || stale[0].Key != "a/b" {
		t.Fatalf("got %v, %v", stale, err)
	}
	for range 2 {
		if err := s.DropUpload(t.Context(), stale[0]); err != nil {
			t.Error(err)
		}
	}
	if left, err := s.StaleUploads(t.Context(), time.Now().Add(time.Hour)); err != nil || len(left) > 0 {
		t.Errorf("afterwards: got %v, %v", left, err)
	}
	if left, err := beside.StaleUploads(t.Context(), time.Now().Add(time.Hour)); err != nil || len(left) != 1 {
		t.Errorf("beside: got %v, %v", left, err)
	}
}
