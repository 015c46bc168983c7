package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// TestThaw: a plan tells of what is archived, with the command that thaws it; that asks for just what is not thawed and not asked for yet.
func TestThaw(t *testing.T) {
	r, out := planned(t)
	store := memory.New()
	store.SetClock(r.program.now)
	for _, key := range []storage.Key{"a", "b", "c", "d"} {
		if err := store.Put(t.Context(), key, []byte("1000 bytes")); err != nil {
			t.Fatal(err)
		}
	}
	store.Archive("a", "GLACIER")
	store.Archive("b", "GLACIER")
	store.Archive("c", "DEEP_ARCHIVE")
	store.Thawed("c", time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC))
	look := func() {
		t.Helper()
		r.plan.Archived = nil
		for _, key := range []storage.Key{"a", "b", "c"} {
			info, err := store.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			r.plan.Archived = append(r.plan.Archived, info)
		}
	}
	look()
	if err := storage.ThawObject(t.Context(), store, r.plan.Archived[0], storage.Thaw{Days: 1}); err != nil {
		t.Fatal(err)
	}
	look()
	r.printPlan()
	for _, want := range []string{"3 objects, 30 B, in GLACIER and DEEP_ARCHIVE; 1 thawed, 1 being thawed, 1 not asked for", "pgark repo thaw ", "--yes"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.TrimSpace(want)) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	if got, want := tally(r.plan.Archived, r.done()), 2; got.Frozen != want || got.Asked != 1 || got.Bytes != 30 || got.Until == nil {
		t.Errorf("got %+v", got)
	}
	before := len(store.Calls())
	if err := r.askFor(store, r.plan.Archived, r.done(), storage.Thaw{Days: 7, Tier: storage.ThawBulk}); err != nil {
		t.Fatal(err)
	}
	if calls := store.Calls()[before:]; len(calls) != 1 || calls[0].Op != memory.Thaw || calls[0].Key != "b" {
		t.Errorf("asked for %+v, want b alone", calls)
	}
	look()
	if err := r.plan.Frozen(r.done()); err == nil {
		t.Error("what is being thawed counts as thawed")
	}
	for _, key := range []storage.Key{"a", "b"} {
		store.Thawed(key, time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC))
	}
	look()
	if got := tally(r.plan.Archived, r.done()).String(); r.plan.Frozen(r.done()) != nil || !strings.Contains(got, "all are thawed until 2026-11-27") {
		t.Errorf("got %s, %v", got, r.plan.Frozen(r.done()))
	}

	// One that freezes while the restore reads it is asked for again.
	store.Thawed("b", r.done().Add(-time.Second))
	look()
	if got := tally(r.plan.Archived, r.done()); got.Frozen != 1 || got.Brief != 1 || got.Asked != 0 || !strings.Contains(got.String(), "2 thawed, 0 being thawed, 0 not asked for, 1 thawed for too short a time, until ") {
		t.Errorf("got %+v, %s", got, got)
	}
	if err := r.askFor(store, r.plan.Archived, r.done(), storage.Thaw{Days: 7, Tier: storage.ThawBulk}); err != nil {
		t.Fatal(err)
	}
	if got := tally(r.plan.Archived, r.done()); got.Frozen != 0 {
		t.Errorf("thawed for longer: got %+v", got)
	}
}

// TestThawUsage: what cannot be asked for is refused before anything is opened.
func TestThawUsage(t *testing.T) {
	for _, flags := range [][]string{{"--days", "0"}, {"--tier", "soon"}, {"--to", "latest", "--to-lsn", "0/1"}} {
		if _, stderr, code := call(t, nil, append([]string{"repo", "thaw"}, append(flags, "file:///nonexistent")...)...); code != exitUsage {
			t.Errorf("%v: exit %d, want %d\n%s", flags, code, exitUsage, stderr)
		}
	}
}
