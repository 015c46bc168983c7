package repository_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// twoWriters are two hosts that began a backup within one second, and saw nothing of each other.
func twoWriters(t *testing.T) (c *repository.Cluster, store *memory.Store, a, b *repository.BackupWriter) {
	t.Helper()
	c, store = cluster(t)
	var err error
	if a, err = c.NewBackup(t.Context(), startBackup(nil)); err != nil {
		t.Fatal(err)
	}
	if b, err = c.NewBackup(t.Context(), startBackup(nil)); err != nil {
		t.Fatal(err)
	}
	return c, store, a, b
}

// mustPack writes the next pack of base.
func mustPack(t *testing.T, w *repository.BackupWriter, members []member) []byte {
	t.Helper()
	tar, err := writePack(t, w, "base", compression.Zstd(), members)
	if err != nil {
		t.Fatal(err)
	}
	return tar
}

// checkWhole checks that the one visible backup has these packs.
func checkWhole(t *testing.T, c *repository.Cluster, tars ...[]byte) {
	t.Helper()
	all, err := c.Backups(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("visible: got %v, %v, want one backup", all, err)
	}
	if err := readBackup(t, c, all[0], tars); err != nil {
		t.Error(err)
	}
}

// TestSameIDAbort: two writers have one id. The one that fails takes away what it wrote itself, and
// nothing of the other's: neither of a backup on its way nor of a visible one.
func TestSameIDAbort(t *testing.T) {
	mine, yours := smallDirectory(), dataDirectory()[2:6]
	for _, visible := range []bool{false, true} {
		c, store, a, b := twoWriters(t)
		tars := [][]byte{mustPack(t, a, mine)}
		if visible {
			if _, err := a.Commit(t.Context(), record(), manifest()); err != nil {
				t.Fatal(err)
			}
		}
		var corrupt *repository.CorruptError
		if _, err := writePack(t, b, "base", compression.Zstd(), yours); !errors.As(err, &corrupt) {
			t.Fatalf("the second writer's pack: got %v, want a *CorruptError", err)
		}
		if err := b.Abort(t.Context()); err != nil {
			t.Errorf("abort: %v", err)
		}
		if !visible {
			tars = append(tars, mustPack(t, a, yours))
			if _, err := a.Commit(t.Context(), record(), manifest()); err != nil {
				t.Fatal(err)
			}
		}
		checkWhole(t, c, tars...)
		if uploads := store.Uploads(); len(uploads) != 0 {
			t.Errorf("uploads are left: %v", uploads)
		}
	}
}

// TestSameIDAbortOwn: of two writers that crossed, the one that fails removes its own pack and leaves the
// other's.
func TestSameIDAbortOwn(t *testing.T) {
	_, store, a, b := twoWriters(t)
	mustPack(t, a, smallDirectory())
	before := store.Keys()
	if p, err := b.NewPack("base"); err != nil {
		t.Fatal(err)
	} else if err := p.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Abort(t.Context()); err != nil || !slices.Equal(store.Keys(), before) {
		t.Errorf("got %v, and %v, want %v", err, store.Keys(), before)
	}
	if err := a.Abort(t.Context()); err != nil || len(store.Keys()) != len(before)-1 {
		t.Errorf("got %v, left %v", err, store.Keys())
	}
}

// TestSameIDEqual: the second writer met equal packs of the first (two standbys of one server may give
// the same bytes) and took them over. If the first fails before the second's record they are gone, and there
// is no record; if it fails after it, it removes nothing.
func TestSameIDEqual(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		c, _, a, b := twoWriters(t)
		mustPack(t, a, smallDirectory())
		mustPack(t, b, smallDirectory())
		if err := a.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Commit(t.Context(), record(), manifest()); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("commit without its pack: got %v, want ErrNotFound", err)
		}
		if all, err := c.Backups(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("visible: %v, %v", all, err)
		}
		if err := b.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("after", func(t *testing.T) {
		c, _, a, b := twoWriters(t)
		mustPack(t, a, smallDirectory())
		tar := mustPack(t, b, smallDirectory())
		if _, err := b.Commit(t.Context(), record(), manifest()); err != nil {
			t.Fatal(err)
		}
		if err := a.Abort(t.Context()); !errors.Is(err, repository.ErrBackupExists) {
			t.Errorf("abort under a visible backup: got %v, want ErrBackupExists", err)
		}
		checkWhole(t, c, tar)
	})
	t.Run("unknown", func(t *testing.T) {
		_, store, a, _ := twoWriters(t)
		mustPack(t, a, smallDirectory())
		before := store.Keys()
		store.Fail(memory.Stat, "*/record.json", 1, storage.ErrDenied)
		if err := a.Abort(t.Context()); !errors.Is(err, storage.ErrDenied) || !slices.Equal(store.Keys(), before) {
			t.Errorf("got %v, left %v, want ErrDenied and all", err, store.Keys())
		}
	})
}
