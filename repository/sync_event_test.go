package repository_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// frozenSyncEvent is the one in testdata.
func frozenSyncEvent() repository.SyncEvent {
	return repository.SyncEvent{
		Change: repository.SyncOut, Time: time.Date(2026, 11, 21, 2, 42, 0, 0, time.UTC), Timeline: 2, LSN: 40*mib + 1000,
		Actor: repository.ByAgent, Cause: "no confirmation for 30s: \"hang\"",
	}
}

const frozenSyncKey = storage.Key("7312345678901234567/sync/20261121T024200Z-out.json")

func TestFrozenSyncEvent(t *testing.T) {
	store := frozenStore(t)
	if got, found, err := openCluster(t, store).NewestSyncEvent(t.Context()); err != nil || !found || got != frozenSyncEvent() {
		t.Errorf("got %+v, %t, %v", got, found, err)
	}
	if !slices.Contains(store.Keys(), frozenSyncKey) {
		t.Errorf("got %v, want %s among them", store.Keys(), frozenSyncKey)
	}
	if err := frozenSyncKey.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSyncEvents(t *testing.T) {
	c, store := cluster(t)
	if e, found, err := c.NewestSyncEvent(t.Context()); err != nil || found {
		t.Errorf("none: got %+v, %t, %v", e, found, err)
	}
	out := frozenSyncEvent()
	in := out
	in.Change, in.Time, in.Names, in.Actor, in.Cause = repository.SyncIn, out.Time.Add(time.Hour), `ANY 1 ("pg ark")`, repository.ByServer, ""
	for _, e := range []repository.SyncEvent{out, in, in} { // the same again is what a lost answer makes
		if err := c.PutSyncEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"README", "20270101T000000Z-off.json", "20270101T000000Z-in", "2027-in.json"} {
		store.Replace("7312345678901234567/sync/"+storage.Key(name), []byte("not ours"))
	}
	if e, found, err := c.NewestSyncEvent(t.Context()); err != nil || !found || e != in {
		t.Errorf("got %+v, %t, %v", e, found, err)
	}
	other := in
	other.Cause = "another"
	var conflict *repository.ConflictError
	if err := c.PutSyncEvent(t.Context(), other); !errors.As(err, &conflict) {
		t.Errorf("two events at one time: got %v", err)
	}
}

// TestSyncEventEachBit cuts a record at each byte and flips each bit.
func TestSyncEventEachBit(t *testing.T) {
	text, err := repository.EncodeSyncEvent(system, frozenSyncEvent())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := repository.ParseSyncEvent(system, text); err != nil || e != frozenSyncEvent() {
		t.Fatalf("got %+v, %v", e, err)
	}
	if _, err := repository.ParseSyncEvent(system+1, text); err == nil {
		t.Error("record of another system: got nil")
	}
	for at := range text {
		if _, err := repository.ParseSyncEvent(system, text[:at]); err == nil {
			t.Errorf("cut at %d: got nil", at)
		}
		for bit := range 8 {
			text[at] ^= 1 << bit
			if _, err := repository.ParseSyncEvent(system, text); err == nil {
				t.Errorf("bit %d of byte %d flipped: got nil", bit, at)
			}
			text[at] ^= 1 << bit
		}
	}
}

func TestSyncEventCannotBe(t *testing.T) {
	c, store := cluster(t)
	for name, spoil := range map[string]func(*repository.SyncEvent){
		"change": func(e *repository.SyncEvent) { e.Change = "away" },
		"actor":  func(e *repository.SyncEvent) { e.Actor = "" },
		"year":   func(e *repository.SyncEvent) { e.Time = time.Time{} },
		"cause":  func(e *repository.SyncEvent) { e.Cause = strings.Repeat("x", 5000) },
		"names":  func(e *repository.SyncEvent) { e.Names = "\xff" },
	} {
		e := frozenSyncEvent()
		spoil(&e)
		if err := c.PutSyncEvent(t.Context(), e); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if keys := store.Keys(); slices.ContainsFunc(keys, func(k storage.Key) bool { return strings.Contains(string(k), "/sync/") }) {
		t.Errorf("something was put: %v", keys)
	}
}

// A record that was damaged or swapped is no news, and no copy gets it.
func TestSyncEventCorrupt(t *testing.T) {
	store := frozenStore(t)
	text := slices.Clone(store.Bytes(frozenSyncKey))
	text[20] ^= 1
	store.Replace(frozenSyncKey, text)
	var corrupt *repository.CorruptError
	if _, found, err := openCluster(t, store).NewestSyncEvent(t.Context()); !errors.As(err, &corrupt) || found {
		t.Errorf("damaged: got %t, %v", found, err)
	}
	to := memory.New()
	if err := repository.CatchUp(t.Context(), store, to); !errors.As(err, &corrupt) || slices.Contains(to.Keys(), frozenSyncKey) {
		t.Errorf("copied: got %v", err)
	}
	text[20] ^= 1
	store.Replace("7312345678901234567/sync/20261121T024201Z-out.json", text)
	if _, found, err := openCluster(t, store).NewestSyncEvent(t.Context()); !errors.As(err, &corrupt) || found {
		t.Errorf("under another name: got %t, %v", found, err)
	}
}

// FuzzSyncEvent: what is read can be written again, and says the same.
func FuzzSyncEvent(f *testing.F) {
	text, err := repository.EncodeSyncEvent(system, frozenSyncEvent())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := repository.ParseSyncEvent(system, text)
		if err != nil {
			return
		}
		again, err := repository.EncodeSyncEvent(system, e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repository.ParseSyncEvent(system, again); err != nil || got.LSN != e.LSN || got.Change != e.Change || got.Cause != e.Cause {
			t.Fatalf("got %+v, %v, want %+v", got, err, e)
		}
	})
}
