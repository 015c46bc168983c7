package repository_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// newestBackup returns the last backup of a store, which must be there.
func newestBackup(t *testing.T, c *repository.Cluster) repository.Backup {
	t.Helper()
	backups, err := c.Backups(t.Context())
	if err != nil || len(backups) == 0 {
		t.Fatalf("got %d backups, %v", len(backups), err)
	}
	return backups[len(backups)-1]
}

func inventory(t *testing.T, store *memory.Store) repository.Inventory {
	t.Helper()
	c := openCluster(t, store)
	got, err := c.Inventory(t.Context(), newestBackup(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestInventory takes away, and cuts, each object that the backup needs, and no other.
func TestInventory(t *testing.T) {
	full := inventory(t, whole(t))
	if len(full.Lacks) > 0 || full.Objects < 5 || full.Bytes == 0 {
		t.Fatalf("whole: got %+v", full)
	}
	needed := 0
	for _, key := range whole(t).Keys() {
		name := string(key)
		if key == repository.MarkerKey || strings.HasSuffix(name, "/record.json") {
			continue // without them nothing is found at all
		}
		needs := strings.Contains(name, "/backups/") || strings.Contains(name, "/000000010000000000000020.part/") || strings.HasSuffix(name, ".history")
		gone := whole(t)
		if err := gone.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		changed := []*memory.Store{gone}
		if !strings.HasSuffix(name, ".history") { // it has no length of its own
			cut := whole(t)
			cut.Replace(key, cut.Bytes(key)[:len(cut.Bytes(key))-1])
			changed = append(changed, cut)
		}
		for _, store := range changed {
			got := inventory(t, store).Lacks
			if needs && !names(got, key) || !needs && len(got) > 0 {
				t.Errorf("without %s, needed: %t: got %v", key, needs, got)
			}
		}
		if needs {
			needed++
		}
	}
	if needed != 5 {
		t.Errorf("%d objects were needed, want 5: the repository of this test is another", needed)
	}
}

// names tells whether the object is lacking, or its WAL.
func names(lacks []repository.Lack, key storage.Key) bool {
	for _, lack := range lacks {
		if lack.Key == key || strings.Contains(string(key), "/wal/") && strings.Contains(lack.Reason, "WAL [0/2000028, 0/2000138) is missing") {
			return true
		}
	}
	return false
}

// TestInventoryOfTimeline: the history file of the backup's own timeline must be the one that its record holds.
func TestInventoryOfTimeline(t *testing.T) {
	store := whole(t)
	c := openCluster(t, store)
	b := newestBackup(t, c)
	b.Timeline, b.History = 2, []byte("another")
	got, err := c.Inventory(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, lack := range got.Lacks {
		text = append(text, lack.String())
	}
	if all := strings.Join(text, "\n"); !strings.Contains(all, "00000002.history: is not the one") || !strings.Contains(all, "record.json: its WAL") {
		t.Errorf("got %s", all)
	}
}

// TestInventoryFails: a store that does not answer lacks nothing.
func TestInventoryFails(t *testing.T) {
	for nth := 1; ; nth++ {
		store := whole(t)
		c := openCluster(t, store)
		b := newestBackup(t, c)
		store.Fail(memory.Any, "", nth, errScripted)
		got, err := c.Inventory(t.Context(), b)
		if err == nil {
			if nth < 5 || len(got.Lacks) > 0 {
				t.Errorf("only %d calls were failed; got %+v", nth-1, got)
			}
			return
		}
		if !errors.Is(err, errScripted) || len(got.Lacks) > 0 {
			t.Errorf("call %d: got %+v, %v", nth, got, err)
		}
	}
}
