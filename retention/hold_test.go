package retention_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestPruneSparesReaders guards I34: what somebody reads who began when it was still kept stays for as long.
func TestPruneSparesReaders(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	c := open(t, store).Cluster(system)
	// As if put by the clock of the archive, which is not this machine's.
	hold, err := c.PutHold(t.Context(), repository.Hold{From: till.Add(-day), Until: till.Add(time.Hour), Why: "restore"})
	if err != nil {
		t.Fatal(err)
	}
	plan := prune(t, store, threeDays(till))
	if got, want := fmt.Sprint(kept(plan)), "map[2:[proof] 3:[reader] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	if err := c.EndHold(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	plan = prune(t, store, threeDays(till))
	if got, want := fmt.Sprint(kept(plan)), "map[2:[proof] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("kept %s after the hold, want %s", got, want)
	}
	sound(t, "pruned twice", store)
}

// TestPruneSparesWhatIsRead guards I34: what a hold names stays, though the policy does not keep it and did not when the hold began, and nothing stays for the hold beside that. One that
// comes when the plan is made already is seen; one that cannot be read holds all.
func TestPruneSparesWhatIsRead(t *testing.T) {
	t.Parallel()
	const withoutHold = "map[2:[proof] 4:[window] 5:[window] 6:[window] 7:[window]]"
	reads := repository.Reads{Backup: backupID(1), Timeline: 2, WAL: wal.Range{Start: segSize.Range(4).Start + 0x28, End: segSize.Range(9).Start + 0x90000}}
	put := func(t *testing.T, store *memory.Store, till time.Time, reads repository.Reads) repository.Hold {
		t.Helper()
		h, err := open(t, store).Cluster(system).PutHold(t.Context(), repository.Hold{From: till, Until: till.Add(time.Hour), Reads: reads, Why: "restore"})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	// What is read can be restored: the backup, its WAL up to the switch, and behind it the segment that ends with the target.
	readable := func(t *testing.T, store *memory.Store) {
		t.Helper()
		c := open(t, store).Cluster(system)
		if _, err := c.Backup(t.Context(), reads.Backup); err != nil {
			t.Error(err)
		}
		for tli, want := range map[wal.TimelineID]wal.Range{1: {Start: segSize.Range(4).Start, End: 0x980000}, 2: segSize.Range(9)} {
			if v, err := c.Coverage(t.Context(), tli, 0); err != nil || !v.Covers(want) {
				t.Errorf("of timeline %s there is %v, %v", tli, v.Spans, err)
			}
		}
	}
	t.Run("put before", func(t *testing.T) {
		t.Parallel()
		store, till := archive(t)
		hold := put(t, store, till, reads)
		plan := prune(t, store, threeDays(till))
		if got, want := fmt.Sprint(kept(plan)), "map[1:[reader] 2:[proof] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
			t.Errorf("kept %s, want %s", got, want)
		}
		readable(t, store)
		c := open(t, store).Cluster(system)
		if v, err := c.Coverage(t.Context(), 1, 0); err != nil || v.Spans[0].Start != segSize.Range(4).Start {
			t.Errorf("more than what is read stays: %v, %v", v.Spans, err)
		}
		if err := c.EndHold(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(kept(prune(t, store, threeDays(till)))); got != withoutHold {
			t.Errorf("kept %s after the hold, want %s", got, withoutHold)
		}
		sound(t, "pruned twice", store)
	})
	t.Run("put when the plan is made", func(t *testing.T) {
		t.Parallel()
		store, till := archive(t)
		before := left(store)
		late := &atRecord{Store: store, then: func() { put(t, store, till, reads) }}
		_, removed, err := retention.Prune(t.Context(), open(t, late), threeDays(till))
		if !errors.Is(err, retention.ErrChanged) || removed.Objects > 0 || len(left(store)) != len(before)+1 {
			t.Errorf("got %v, %d objects removed", err, removed.Objects)
		}
		readable(t, store)
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		store, till := archive(t)
		put(t, store, till, reads)
		store.Alter("*/holds/*", 0, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		before := left(store)
		if plan := prune(t, store, threeDays(till)); len(kept(plan)) != 8 || !slices.ContainsFunc(before, func(k storage.Key) bool { return strings.Contains(string(k), "/holds/") }) {
			t.Errorf("kept %v", kept(plan))
		}
		readable(t, store)
	})
}

// atRecord calls then when the expiry record is put.
type atRecord struct {
	storage.Store

	then func()
}

func (s *atRecord) Put(ctx context.Context, key storage.Key, body []byte) error {
	err := s.Store.Put(ctx, key, body)
	if strings.Contains(string(key), "/expired/") {
		s.then()
	}
	return err
}
