package storagetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pgark/pgark/storage"
)

// testSupersede is for stores that can keep what is superseded; the others must say that they cannot, and change nothing.
func testSupersede(t *testing.T, s storage.Store) {
	bad, good := Random(100, 1), Random(storage.MinPart+10, 2)
	if err := s.Put(t.Context(), "a/b", bad); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/c", bad); err != nil {
		t.Fatal(err)
	}
	u, err := storage.Supersede(t.Context(), s, "a/b")
	if errors.Is(err, storage.ErrNoVersions) {
		checkObject(t, s, "a/b", bad)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	sendPart(t, u, 1, good[:storage.MinPart])
	sendPart(t, u, 2, good[storage.MinPart:])
	checkObject(t, s, "a/b", bad) // until the commit
	commit(t, u)
	commit(t, u)
	checkObject(t, s, "a/b", good)
	checkObject(t, s, "a/c", bad)
	if got := listed(t, s, "a/"); len(got) != 2 {
		t.Errorf("listed %v, want a/b and a/c", got)
	}
	if err := s.Put(t.Context(), "a/b", bad); !errors.Is(err, storage.ErrExists) {
		t.Errorf("put behind it: got %v, want ErrExists", err)
	}

	// What is missing, or was deleted, is made.
	for _, key := range []storage.Key{"a/new", "a/c"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		u, err := storage.Supersede(t.Context(), s, key)
		if err != nil {
			t.Fatal(err)
		}
		sendPart(t, u, 1, bad)
		commit(t, u)
		checkObject(t, s, key, bad)
	}

	// One that is aborted changes nothing.
	if u, err = storage.Supersede(t.Context(), s, "a/b"); err != nil {
		t.Fatal(err)
	}
	sendPart(t, u, 1, bad)
	if err := u.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkObject(t, s, "a/b", good)
	if _, err := storage.Supersede(t.Context(), s, "a//b"); !errors.Is(err, storage.ErrKey) {
		t.Errorf("invalid key: got %v, want ErrKey", err)
	}
}

func checkObject(t *testing.T, s storage.Store, key storage.Key, want []byte) {
	t.Helper()
	got, err := storage.ReadAll(t.Context(), s, key, int64(len(want))+1)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, %v, want %d", key, len(got), err, len(want))
	}
}

func listed(t *testing.T, s storage.Store, prefix storage.Key) []storage.Key {
	t.Helper()
	var keys []storage.Key
	for info, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}
