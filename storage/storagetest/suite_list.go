package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
)

// ordered are keys in byte order whose folders and files interleave: '-' < '.' < '/' < '0'.
func ordered() []storage.Key {
	return []storage.Key{
		"7/wal/00000001.history",
		"7/wal/00000001/000000010000000000000001.part/0000000001000000-0000000001000100.zst",
		"7/wal/00000001/000000010000000000000001.part/0000000001000100-0000000001000200.zst",
		"7/wal/00000001/000000010000000000000001.zst",
		"7/wal/00000001/000000010000000000000002.zst",
		"A", "B/x", "Ba",
		"a!", "a-b", "a-c/x", "a.zst", "a/b", "a/b-c", "a/b.d/e", "a/c", "a0", "aa/a", "b",
	}
}

func putAll(t *testing.T, s storage.Store, all []storage.Key) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for i := range all {
		key := all[len(all)-1-i]
		g.Go(func() error { return s.Put(ctx, key, []byte(key)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testListOrder(t *testing.T, s storage.Store) {
	if got := keys(t, s, "", ""); len(got) != 0 {
		t.Errorf("empty store: got %v", got)
	}
	all := ordered()
	if !slices.IsSorted(all) {
		t.Fatal("the test's keys are not sorted")
	}
	putAll(t, s, all)
	if got := keys(t, s, "", ""); !slices.Equal(got, all) {
		t.Errorf("got\n%v, want\n%v", got, all)
	}
	for _, prefix := range []storage.Key{"7/", "7/wal/00000001", "7/wal/00000001/", "a", "a/", "a/b", "a.", "B", "B/", "nothing", "a/b.d/e"} {
		want := wanted(all, prefix, "")
		if got := keys(t, s, prefix, ""); !slices.Equal(got, want) {
			t.Errorf("prefix %q: got %v, want %v", prefix, got, want)
		}
	}
}

func wanted(all []storage.Key, prefix, after storage.Key) []storage.Key {
	var want []storage.Key
	for _, key := range all {
		if len(key) >= len(prefix) && key[:len(prefix)] == prefix && key > after {
			want = append(want, key)
		}
	}
	return want
}

func testListAfter(t *testing.T, s storage.Store) {
	all := ordered()
	putAll(t, s, all)
	afters := append([]storage.Key{"0", "7/", "7/wal/00000001/~", "a", "a-", "a.", "a/", "a/b/", "a0", "a~", "zzz"}, all...)
	for _, prefix := range []storage.Key{"", "7/wal/", "a", "a/"} {
		for _, after := range afters {
			want := wanted(all, prefix, after)
			if got := keys(t, s, prefix, after); !slices.Equal(got, want) {
				t.Errorf("prefix %q after %q: got %v, want %v", prefix, after, got, want)
			}
		}
	}
}

// testListMany lists more keys than a page of S3 holds, which is 1000.
func testListMany(t *testing.T, s storage.Store) {
	const n = 1050
	all := make([]storage.Key, n)
	for i := range all {
		all[i] = storage.Key(fmt.Sprintf("many/%02d/%04d", i/100, i))
	}
	putAll(t, s, all)
	if got := keys(t, s, "many/", ""); !slices.Equal(got, all) {
		t.Errorf("got %d keys, want %d in order", len(got), n)
	}
	if got := keys(t, s, "many/", all[20]); !slices.Equal(got, all[21:]) {
		t.Errorf("after %s: got %d keys, want %d", all[20], len(got), n-21)
	}
}

func testListBreak(t *testing.T, s storage.Store) {
	all := ordered()
	putAll(t, s, all)
	for stop := range all {
		n := 0
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil || info.Key != all[n] {
				t.Fatalf("got %s, %v, want %s", info.Key, err, all[n])
			}
			if n == stop {
				break
			}
			n++
		}
	}
}

// testFolders holds Folders against a list of all keys, from the start and from behind each folder.
func testFolders(t *testing.T, s storage.Store) {
	all := slices.DeleteFunc(ordered(), func(key storage.Key) bool { return key == "a0" }) // which is the key behind the folder a
	for i := range 40 {
		all = append(all, storage.Key(fmt.Sprintf("many/%02d/x/y", i)))
	}
	slices.Sort(all)
	putAll(t, s, all)
	for _, prefix := range []storage.Key{"", "7/", "7/wal/", "a/", "many/", "nothing/"} {
		var want []storage.Key
		for _, key := range wanted(all, prefix, "") {
			if folder, in := storage.FolderBelow(prefix, key); in && !slices.Contains(want, folder) {
				want = append(want, folder)
			}
		}
		for i := range len(want) + 1 {
			after := storage.Key("")
			if i > 0 {
				after = storage.BehindFolder(want[i-1])
			}
			var got []storage.Key
			for folder, err := range storage.Folders(t.Context(), s, prefix, after) {
				if err != nil {
					t.Fatalf("folders below %q after %q: %v", prefix, after, err)
				}
				got = append(got, folder)
			}
			if !slices.Equal(got, want[i:]) {
				t.Errorf("folders below %q after %q: got %v, want %v", prefix, after, got, want[i:])
			}
		}
	}
	for folder, err := range storage.Folders(t.Context(), s, "many/", "") {
		if folder != "many/00" || err != nil {
			t.Errorf("got %s, %v after the reader wanted no more", folder, err)
		}
		break
	}
}
