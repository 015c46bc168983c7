package s3_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestSupersededObjectIsKept guards I3: a bucket keeps what healing takes the place of as an older version, and one that would lose it is refused.
func TestSupersededObjectIsKept(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "kept")
	s := open(t, server.URL("kept", "main"))
	if err := s.Put(t.Context(), "a", []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Supersede(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.Part(t.Context(), 1, []byte("right")), u.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(server.Query(t, "kept", "prefix=main%2F&versions="), "<Version>"); got != 2 {
		t.Errorf("got %d versions, want 2", got)
	}

	if err := os.Mkdir(filepath.Join(server.Dir(), "plain"), 0o750); err != nil { // a bucket without versioning
		t.Fatal(err)
	}
	s = open(t, server.URL("plain", "main"))
	if err := s.Put(t.Context(), "a", []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Supersede(t.Context(), "a"); !errors.Is(err, storage.ErrNoVersions) {
		t.Errorf("got %v, want ErrNoVersions", err)
	}
	if got, err := storage.ReadAll(t.Context(), s, "a", 100); err != nil || string(got) != "damaged" {
		t.Errorf("got %q, %v", got, err)
	}
}
