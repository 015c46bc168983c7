package repository_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// TestRoots: every repository below a place is found with few requests, however much lies in it, and what lies between is passed over.
func TestRoots(t *testing.T) {
	m := memory.New()
	put := func(key string) {
		t.Helper()
		if err := m.Put(t.Context(), storage.Key(key), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"a", "a-b", "deep/er/one", "team/x", "team/x0", "z"}
	for _, root := range want {
		put(root + "/pgark.json")
		for i := range 50 {
			put(fmt.Sprintf("%s/7423474350493388827/wal/00000001/%024d.zst", root, i))
		}
	}
	for i := range 50 {
		put(fmt.Sprintf("other/logs/2026/%d", i))
	}
	put("readme.txt")
	put("too/deep/for/a/repository/pgark.json")
	before := len(m.Calls())
	got, more, err := repository.Roots(t.Context(), m)
	if err != nil || more || !slices.Equal(got, want) {
		t.Errorf("got %q, more %v, %v; want %q", got, more, err, want)
	}
	if n := len(m.Calls()) - before; n > 40 {
		t.Errorf("%d requests", n)
	}
	one := memory.New()
	if err := one.Put(t.Context(), repository.MarkerKey, nil); err != nil {
		t.Fatal(err)
	}
	if got, _, err := repository.Roots(t.Context(), one); err != nil || !slices.Equal(got, []string{""}) {
		t.Errorf("a repository itself: %q, %v", got, err)
	}
	if got, more, err := repository.Roots(t.Context(), memory.New()); err != nil || more || len(got) > 0 {
		t.Errorf("nothing: %q, %v, %v", got, more, err)
	}
}
