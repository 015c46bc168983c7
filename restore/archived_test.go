package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// freeze moves the packs and the index of the newer backup, and whole segments of WAL, to an archive.
func freeze(store *memory.Store) (keys []storage.Key) {
	for _, key := range store.Keys() {
		name := string(key)
		if strings.Contains(name, newerBackup) && !strings.HasSuffix(name, "record.json") {
			store.Archive(key, "GLACIER")
			keys = append(keys, key)
		}
	}
	return keys
}

// TestChooseArchived guards that a restore says what must be thawed before it writes a byte.
func TestChooseArchived(t *testing.T) {
	store := twoBackups(t)
	frozen := freeze(store)
	latest := restore.Target{Kind: restore.TargetLatest}
	plan, err := choose(t, store, latest)
	if err != nil {
		t.Fatal(err)
	}
	var archived *restore.ArchivedError
	if err := plan.Frozen(time.Now()); !errors.As(err, &archived) || !errors.Is(err, storage.ErrArchived) || archived.Objects != len(frozen) || archived.Bytes == 0 ||
		archived.Asked != 0 || strings.Join(archived.Classes, " ") != "GLACIER" || plan.Backup.ID != newerBackup {
		t.Fatalf("got %+v of %s, want %d objects", plan.Frozen(time.Now()), plan.Backup.ID, len(frozen))
	}
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, restore.LayOptions{Dir: dir}); !errors.Is(err, storage.ErrArchived) {
		t.Errorf("laid down: got %v, want ErrArchived", err)
	}
	if found, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(found) > 0 {
		t.Errorf("a refused restore left %v, %v", found, err)
	}
	if err := store.Thaw(t.Context(), plan.Archived[0], storage.Thaw{Days: 1}); err != nil {
		t.Fatal(err)
	}
	if plan, err = choose(t, store, latest); err != nil || !errors.As(plan.Frozen(time.Now()), &archived) || archived.Asked != 1 {
		t.Errorf("one is being thawed: got %+v, %v", plan.Frozen(time.Now()), err)
	}
	for _, key := range frozen {
		store.Thawed(key, time.Now().Add(time.Hour))
	}
	if plan, err = choose(t, store, latest); err != nil || plan.Frozen(time.Now()) != nil || len(plan.Archived) != len(frozen) {
		t.Errorf("thawed: got %v, %v, and %d objects in archives, want %d", plan.Frozen(time.Now()), err, len(plan.Archived), len(frozen))
	}
}

// TestFrozenHalfway guards that a restore is not begun whose objects freeze again before it is done.
func TestFrozenHalfway(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	plan := &restore.Plan{WAL: 20 << 30}
	plan.Backup.Plain = 1180 << 30
	done := plan.Done(now, nil) // 1200 GiB at 20 MiB a second
	if done.Sub(now) != 61440*time.Second {
		t.Errorf("without a drill: done after %v", done.Sub(now))
	}
	done = plan.Done(now, &restore.Estimate{Fetch: time.Hour, Replay: 30 * time.Minute, Open: time.Minute})
	if done.Sub(now) != 182*time.Minute {
		t.Errorf("by drills: done after %v", done.Sub(now))
	}
	at := func(until time.Time) storage.Info {
		return storage.Info{Key: "pack", Size: 7, Archive: storage.Archive{Class: "GLACIER", Until: until}}
	}
	plan.Archived = []storage.Info{at(done.Add(time.Second)), at(done.Add(-time.Second))}
	var archived *restore.ArchivedError
	if err := plan.Frozen(done); !errors.As(err, &archived) || archived.Objects != 1 || archived.Brief != 1 || archived.Bytes != 7 {
		t.Errorf("one freezes halfway: got %v", err)
	}
	plan.Archived = plan.Archived[:1]
	if err := plan.Frozen(done); err != nil {
		t.Errorf("thawed for long enough: got %v", err)
	}
}

// A copy that has the same objects where they can be read is as good.
func TestChooseArchivedInOneSource(t *testing.T) {
	far := twoBackups(t)
	near := far.Clone()
	freeze(near)
	_, sources, err := repository.OpenSources(t.Context(), []repository.Source{{Name: "primary", Store: near}, {Name: "dr", Store: far}})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := choose(t, sources, restore.Target{Kind: restore.TargetLatest})
	if err != nil || plan.Backup.ID != newerBackup || len(plan.Archived) != 0 {
		t.Fatalf("got %+v, %v", plan, err)
	}
	if away := sources.Away(); len(away) > 0 {
		t.Errorf("what is archived made a source count as away: %v", away)
	}
	freeze(far)
	for _, key := range far.Keys() {
		far.Thawed(key, time.Now().Add(time.Hour))
	}
	if plan, err = choose(t, sources, restore.Target{Kind: restore.TargetLatest}); err != nil || plan.Frozen(time.Now()) != nil || len(plan.Archived) == 0 {
		t.Errorf("archived in both, thawed in the second: got %v, %v", plan.Frozen(time.Now()), err)
	}
}
