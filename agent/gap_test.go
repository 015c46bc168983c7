package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

func lostWAL(tli wal.TimelineID, from, to wal.LSN) repository.Gap {
	return repository.Gap{
		Timeline: tli, Range: wal.Range{Start: from, End: to}, Cause: repository.CauseSlotLost, FirstSeen: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
	}
}

// TestTakeStock: an agent that was started again knows from the repository that a base backup is due.
func TestTakeStock(t *testing.T) {
	ctx := t.Context()
	r, err := repository.Create(ctx, memory.New())
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(7)
	if err := c.PutHistory(ctx, 2, []byte("1\t0/500\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.PutGap(ctx, lostWAL(1, 0x200, 0x500)); err != nil {
		t.Fatal(err)
	}
	for tli, want := range map[wal.TimelineID]bool{0: false, 1: true, 2: true} {
		if got, err := takeStock(ctx, c, tli); err != nil || got.lost != want || !got.newest.IsZero() {
			t.Errorf("timeline %d: got %+v, %v, want lost %t", tli, got, err, want)
		}
	}
}

// TestCommitsBehindAGap: WAL was lost and no base backup was taken since. Commits wait as they do for a store that hangs: the agent steps out of
// synchronous mode when its configuration says so, says up to where commits are safe, and does not step in again before a base backup ended the gap.
func TestCommitsBehindAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.settings.Names = "pgark"
		s.start(degrading)
		s.pass(time.Minute)
		s.flush, s.status.Lost = 0x3000, 0x1800
		s.durable()
		s.pass(time.Minute)
		if e := s.newest(); s.settings.Names != "" || e.Change != repository.SyncOut || e.LSN != 0x1800 {
			t.Errorf("behind the gap: names %q, %+v", s.settings.Names, e)
		}
		s.pass(10 * time.Minute)
		if s.settings.Names != "" {
			t.Error("stepped in before the gap was ended")
		}
		s.status.Lost = 0
		s.pass(5 * time.Minute)
		if s.settings.Names != "pgark" {
			t.Error("not stepped in when the gap was ended")
		}
		s.finish()
	})
}

// TestTakeStockOfUnreadable: one record that cannot be read does not keep base backups from being taken.
func TestTakeStockOfUnreadable(t *testing.T) {
	ctx, store := t.Context(), memory.New()
	r, err := repository.Create(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(7)
	if err := c.PutGap(ctx, lostWAL(1, 0x200, 0x500)); err != nil {
		t.Fatal(err)
	}
	if err := c.PutGap(ctx, lostWAL(1, 0x600, 0x700)); err != nil {
		t.Fatal(err)
	}
	spoiled := false
	for _, key := range store.Keys() {
		if !spoiled && strings.Contains(string(key), "/gaps/") {
			store.Replace(key, []byte("{}"))
			spoiled = true
		}
	}
	store.Replace("7/backups/20261121T024000Z/record.json", []byte("{}"))
	if got, err := takeStock(ctx, c, 1); err != nil || !got.lost || !spoiled {
		t.Errorf("got %+v, %v", got, err)
	}
	store.Fail(memory.List, "*/gaps/*", 1, storage.ErrUnavailable)
	if got, err := takeStock(ctx, c, 1); err == nil {
		t.Errorf("the store did not answer: got %+v", got)
	}
}
