package file_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/storagetest"
)

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store { return open(t, t.TempDir()) })
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRootIsMadeByTheFirstWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	s := open(t, dir)
	if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("stat: got %v, want ErrNotFound", err)
	}
	for _, err := range s.List(t.Context(), "", "") {
		t.Errorf("list: got %v, want nothing", err)
	}
	if err := s.Delete(t.Context(), "x"); err != nil {
		t.Errorf("delete: got %v, want nil", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a read made the folder: %v", err)
	}
	if err := s.Put(t.Context(), "x/y", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"x/y"}) {
		t.Errorf("got %v, want x/y", got)
	}
}

// TestRootVanishes proves that a folder that was unmounted or removed is not taken for an empty one.
func TestRootVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	s := open(t, dir)
	if err := s.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := s.Get(t.Context(), "x", storage.All())
		if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("get: got %v, want ErrUnavailable", err)
		}
		if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("stat: got %v, want ErrUnavailable", err)
		}
		n := 0
		for _, err := range s.List(t.Context(), "", "") {
			if n++; !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("list: got %v, want ErrUnavailable", err)
			}
		}
		if n != 1 {
			t.Errorf("list: got %d results, want an error", n)
		}
		if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
}

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "a/object", []byte("body")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Begin(t.Context(), "a/large")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Part(t.Context(), 1, []byte("part")); err != nil {
		t.Fatal(err)
	}
	// Here a crash leaves the temporary file.
	other := open(t, dir)
	var got []storage.Key
	for info, err := range other.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, []storage.Key{"a/object"}) {
		t.Errorf("list: got %v, want a/object", got)
	}
	if n, err := other.Clean(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("clean of old ones: got %d, %v, want 0", n, err)
	}
	if n, err := other.Clean(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("clean: got %d, %v, want 1", n, err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"a/object"}) {
		t.Errorf("got %v, want a/object", got)
	}
	if err := u.Commit(t.Context()); err == nil {
		t.Error("commit without its file: got nil, want an error")
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
}

func TestNothingTemporaryStays(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "x", []byte("2")); !errors.Is(err, storage.ErrExists) {
		t.Fatalf("got %v, want ErrExists", err)
	}
	for _, end := range []func(storage.Upload) error{
		func(u storage.Upload) error { return u.Abort(t.Context()) },
		func(u storage.Upload) error { return errors.Join(u.Commit(t.Context()), u.Abort(t.Context())) },
	} {
		u, err := s.Begin(t.Context(), "y")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{3, 2, 1} { // the first one is the shortest: the others have files of their own
			if err := u.Part(t.Context(), n, storagetest.Random(storage.MinPart+3-n, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(u); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(t, dir); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("got %v, want x and y", got)
	}
}

func TestDeleteRemovesEmptyFolders(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, key := range []storage.Key{"a/b/c/one", "a/b/two"} {
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a/b/c/one"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a/b/c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a/b/c: got %v, want that it is gone", err)
	}
	if err := s.Put(t.Context(), "a/b/c/one", nil); err != nil {
		t.Errorf("put again: %v", err)
	}
	for _, key := range []storage.Key{"a/b/c/one", "a/b/two"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v, want an empty root", entries, err)
	}
}

// TestPutsAgainstDeletes makes folders come and go under the writers.
func TestPutsAgainstDeletes(t *testing.T) {
	s := open(t, t.TempDir())
	g, ctx := errgroup.WithContext(t.Context())
	for w := range 4 {
		g.Go(func() error {
			key := storage.Key(fmt.Sprintf("d/e/%d", w))
			for range 100 {
				if err := s.Put(ctx, key, []byte("x")); err != nil {
					return err
				}
				if err := s.Delete(ctx, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSymbolicLinksDoNotLeadOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for _, key := range []storage.Key{"link/secret", "file"} {
		if b, err := storage.ReadAll(t.Context(), s, key, 100); err == nil {
			t.Errorf("get %s: got %q, want an error", key, b)
		}
	}
	if err := s.Put(t.Context(), "link/new", []byte("x")); err == nil {
		t.Error("put: got nil, want an error")
	}
	if got := files(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside: got %v, want secret alone", got)
	}
	for info, err := range s.List(t.Context(), "", "") {
		t.Errorf("list: got %v, %v, want nothing", info, err)
	}
}

func TestFolderInTheWay(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Put(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []storage.Key{"a", "a/b/c"} {
		err := s.Put(t.Context(), key, nil)
		if !errors.Is(err, storage.ErrKey) || storage.Retryable(err) {
			t.Errorf("put %s: got %v, want ErrKey", key, err)
		}
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("delete a: got %v, want nil", err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); err != nil {
		t.Errorf("stat a/b: got %v, want nil", err)
	}
}

func TestObjectCutShortOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "x", make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "x", storage.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "x"), 400); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if len(got) != 400 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes, %v, want 400 and ErrUnexpectedEOF", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestTwoProcesses stands for them with two stores over one folder.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	for i := range 50 {
		key := storage.Key(fmt.Sprintf("k/%d", i))
		var errA, errB error
		g, ctx := errgroup.WithContext(t.Context())
		g.Go(func() error { errA = a.Put(ctx, key, []byte("a")); return nil })
		g.Go(func() error { errB = b.Put(ctx, key, []byte("b")); return nil })
		_ = g.Wait() // the errors are judged below
		if (errA == nil) == (errB == nil) || !errors.Is(errors.Join(errA, errB), storage.ErrExists) {
			t.Errorf("got %v and %v, want one nil and one ErrExists", errA, errB)
		}
	}
}

func TestErrorText(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := s.Stat(t.Context(), "a/b")
	if got, want := err.Error(), "stat a/b: file://"+dir+": not found"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := file.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the end of a benchmark
	body := storagetest.Random(8192, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := storage.Key(fmt.Sprintf("wal/%016x", rand.Uint64()))
			if err := s.Put(b.Context(), key, body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestSupersededFileIsKept guards I3: what healing takes the place of is evidence, and stays beside it.
func TestSupersededFileIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(t.Context(), "a/b", []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Supersede(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.Part(t.Context(), 1, []byte("right")), u.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	names := files(t, dir)
	if len(names) != 2 || !strings.HasPrefix(names[0], "a/.pgark-kept-b-") || names[1] != "a/b" {
		t.Fatalf("got %v", names)
	}
	for i, want := range []string{"damaged", "right"} {
		if got, err := os.ReadFile(filepath.Join(dir, names[i])); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", names[i], got, err, want)
		}
	}
}
