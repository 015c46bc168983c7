package repository_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const pinned = "20261121T024000Z"

func expiry() repository.Expiry {
	return repository.Expiry{
		Time: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC), WAL: []repository.Stretch{{Timeline: 1, Range: r(mib, 3*mib)}},
		Backups: []string{pinned}, Drills: []string{"20261121T030000Z"},
	}
}

// TestExpiry: each record repeats the ones before it and replaces them, and only where it may not delete do they stay.
func TestExpiry(t *testing.T) {
	t.Parallel()
	store := memory.New()
	c := openCluster(t, store)
	if err := c.PutExpiry(t.Context(), repository.Expiry{}, expiry()); err != nil {
		t.Fatal(err)
	}
	first, err := c.Expiry(t.Context())
	if err != nil || !first.Contains(expiry()) || !first.HasBackup(pinned) || first.HasBackup("20261121T024001Z") || !first.HasDrill("20261121T030000Z") ||
		!first.Covers(1, r(2*mib, 3*mib)) || first.Covers(1, r(2*mib, 4*mib)) || first.Covers(2, r(2*mib, 3*mib)) {
		t.Errorf("got %+v, %v", first, err)
	}
	more := repository.Expiry{Time: first.Time.Add(time.Hour), WAL: []repository.Stretch{{Timeline: 1, Range: r(3*mib, 4*mib)}, {Timeline: 2, Range: r(0, mib)}}}
	store.Fail(memory.Delete, "", 1, storage.ErrDenied)
	for range 2 { // the second time nothing forbids to delete both
		if err := c.PutExpiry(t.Context(), first, more); err != nil {
			t.Fatal(err)
		}
		if first, err = c.Expiry(t.Context()); err != nil || len(first.WAL) != 2 || first.WAL[0].Range != r(mib, 4*mib) || !first.Contains(expiry()) || !first.Time.Equal(more.Time) {
			t.Errorf("got %+v, %v", first, err)
		}
	}
	if n := len(slices.DeleteFunc(store.Keys(), func(k storage.Key) bool { return !strings.Contains(string(k), "/expired/") })); n != 1 {
		t.Errorf("%d records are left", n)
	}
	if gaps := first.Gaps(); len(gaps) != 2 || gaps[0].Cause != repository.CauseExpired || gaps[0].Cause.Words() != "expired" {
		t.Errorf("got %+v", gaps)
	}
}

// TestClusterThatWasLetGo: one of which nothing is left but its expiry record is not listed, so that nobody must choose between it and the one that took over.
func TestClusterThatWasLetGo(t *testing.T) {
	t.Parallel()
	store := memory.New()
	c := openCluster(t, store)
	if err := c.PutExpiry(t.Context(), repository.Expiry{}, expiry()); err != nil {
		t.Fatal(err)
	}
	repo, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := repo.Clusters(t.Context()); err != nil || len(ids) > 0 {
		t.Errorf("got %v, %v", ids, err)
	}
	for _, left := range []storage.Key{"/wal/00000002.history", "/backups/20261121T024000Z/record.json"} { // behind it in a list, and before it
		key := storage.Key(system.String()) + left
		store.Replace(key, []byte("x"))
		if ids, err := repo.Clusters(t.Context()); err != nil || !slices.Equal(ids, []wal.SystemID{system}) {
			t.Errorf("with %s: got %v, %v", left, ids, err)
		}
		store.Replace(key, nil)
	}
}

// TestPins: the record with the greatest number counts, whatever a list leaves out, and a number has one winner.
func TestPins(t *testing.T) {
	t.Parallel()
	store := memory.New()
	c := openCluster(t, store)
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	pins := []repository.Pin{
		{Backup: pinned, Number: 1, Change: repository.Pinned, Time: now, Host: "a", Note: "before the release"},
		{Backup: pinned, Number: 2, Change: repository.Unpinned, Time: now, Host: "a"},
		{Backup: pinned, Number: 3, Change: repository.Pinned, Until: now.Add(time.Hour), Time: now, Host: "b"},
	}
	for _, p := range pins {
		if err := c.PutPin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if err := c.PutPin(t.Context(), p); err != nil {
			t.Errorf("again: %v", err)
		}
	}
	other := pins[2]
	other.Host = "c"
	if err := c.PutPin(t.Context(), other); !errors.Is(err, storage.ErrExists) {
		t.Errorf("a number that is taken: %v", err)
	}
	if got, err := c.Pins(t.Context()); err != nil || len(got) != 1 || got[pinned] != pins[2] || !got[pinned].Holds(now) || got[pinned].Holds(now.Add(time.Hour)) {
		t.Errorf("got %+v, %v", got, err)
	}
	store.Hide("*/pins/*")
	if got, err := c.NewestPin(t.Context(), pinned, 0); err != nil || got != pins[2] {
		t.Errorf("without a list: got %+v, %v", got, err)
	}
	if got, err := c.NewestPin(t.Context(), "20261121T024001Z", 0); err != nil || got.Number != 0 {
		t.Errorf("of one that was never pinned: got %+v, %v", got, err)
	}
	store.Reset()
	store.Alter("*/pins/*", 0, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	var corrupt *repository.CorruptError
	if _, err := c.Pins(t.Context()); !errors.As(err, &corrupt) {
		t.Errorf("of a damaged one: %v", err)
	}
	for _, wrong := range []repository.Pin{{Backup: "x", Number: 1, Change: repository.Pinned}, {Backup: pinned, Change: repository.Pinned}, {Backup: pinned, Number: 1, Change: "hold"}} {
		if err := c.PutPin(t.Context(), wrong); err == nil {
			t.Errorf("%+v was put", wrong)
		}
	}
}

// TestStock: each object of a repository has its class, and what is not ours has none.
func TestStock(t *testing.T) {
	t.Parallel()
	store := frozenStore(t)
	c := openCluster(t, store)
	if err := c.PutPin(t.Context(), repository.Pin{Backup: pinned, Number: 1, Change: repository.Pinned}); err != nil {
		t.Fatal(err)
	}
	if err := c.PutExpiry(t.Context(), repository.Expiry{}, expiry()); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	hold, err := c.PutHold(t.Context(), repository.Hold{From: from, Until: from.Add(time.Hour), Why: "restore"})
	if err != nil {
		t.Fatal(err)
	}
	prefix := storage.Key(c.SystemID().String() + "/")
	for _, foreign := range []storage.Key{"notes", "wal/00000001/readme", "backups/" + pinned + "/base-1.tar.zst", "backups/" + pinned + "/.", "pins/x.json", "holds/x", "expired/nothing"} {
		if foreign.Validate() == nil {
			store.Replace(prefix+foreign, []byte("x"))
		}
	}
	classes := map[repository.Class]int{}
	listed := 0
	for o, err := range c.Stock(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed++
		classes[o.Class]++
		if bytes.Contains([]byte(o.Key), []byte("nothing")) || o.Modified.IsZero() {
			t.Errorf("got %+v", o)
		}
		if h, err := c.Hold(t.Context(), o); (err == nil) != (o.Class == repository.ClassHold) || err == nil && (h.From != hold.From || h.Until != hold.Until) {
			t.Errorf("got %+v, %v", h, err)
		}
	}
	for _, class := range []repository.Class{
		repository.ClassHistory, repository.ClassSegment, repository.ClassPiece, repository.ClassBeat, repository.ClassSync, repository.ClassGap, repository.ClassRecord,
		repository.ClassIndex, repository.ClassManifest, repository.ClassPack, repository.ClassDrill, repository.ClassNames, repository.ClassPin, repository.ClassExpiry, repository.ClassHold,
	} {
		if classes[class] == 0 {
			t.Errorf("no %s in %v", class, classes)
		}
	}
	mine := 0
	for _, key := range store.Keys() {
		if strings.HasPrefix(string(key), string(prefix)) {
			mine++
		}
	}
	if foreign := mine - listed; foreign != 6 {
		t.Errorf("%d keys are not ours", foreign)
	}
}

// TestCatchUpWithDamagedPin guards I15: a pin that is damaged keeps nothing else from being copied, above all no WAL: who was brought up to date but for what is damaged
// counts as holding it. Of its backup no later pin is copied: the numbers have no hole.
func TestCatchUpWithDamagedPin(t *testing.T) {
	t.Parallel()
	store := frozenStore(t)
	c := openCluster(t, store)
	const other = "20261122T024000Z"
	for _, p := range []repository.Pin{
		{Backup: pinned, Number: 1, Change: repository.Pinned}, {Backup: pinned, Number: 2, Change: repository.Unpinned}, {Backup: other, Number: 1, Change: repository.Pinned},
	} {
		if err := c.PutPin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	prefix := storage.Key(c.SystemID().String() + "/pins/")
	body := store.Bytes(prefix + pinned + "-00001.json")
	store.Replace(prefix+pinned+"-00001.json", append([]byte{' '}, body...))
	copied := memory.New()
	var corrupt *repository.CorruptError
	if err := repository.CatchUp(t.Context(), store, copied); !errors.As(err, &corrupt) {
		t.Errorf("got %v", err)
	}
	for _, key := range store.Keys() {
		_, name, _ := strings.Cut(string(key), "/")
		left := strings.HasPrefix(name, "pins/"+pinned)
		if there := copied.Bytes(key) != nil; there == left && (left || strings.HasPrefix(name, "wal/") || strings.HasPrefix(name, "pins/")) {
			t.Errorf("%s was copied: %t", key, there)
		}
	}
}

// FuzzExpiry: what is read can be written again, and says the same.
func FuzzExpiry(f *testing.F) {
	text, err := repository.EncodeExpiry(system, expiry())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := repository.ParseExpiry(system, text)
		if err != nil {
			return
		}
		again, err := repository.EncodeExpiry(system, e)
		if err != nil {
			return // a time that JSON cannot hold
		}
		if got, err := repository.ParseExpiry(system, again); err != nil || !got.Contains(e) || !e.Contains(got) {
			t.Fatalf("got %+v, %v, want %+v", got, err, e)
		}
	})
}

// FuzzPin: what is read can be written again, and says the same.
func FuzzPin(f *testing.F) {
	text, err := repository.EncodePin(system, repository.Pin{Backup: pinned, Number: 1, Change: repository.Pinned, Host: "a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := repository.ParsePin(system, text)
		if err != nil {
			return
		}
		again, err := repository.EncodePin(system, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repository.ParsePin(system, again); err != nil || got.Backup != p.Backup || got.Number != p.Number || got.Change != p.Change {
			t.Fatalf("got %+v, %v, want %+v", got, err, p)
		}
	})
}

// FuzzHold: what is read can be written again, and says the same.
func FuzzHold(f *testing.F) {
	text, err := repository.EncodeHold(system, repository.Reads{Backup: pinned, Timeline: 3, WAL: r(mib, 3*mib)}, "restore")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("restore\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		reads, why, err := repository.ParseHold(system, text)
		if err != nil || reads == (repository.Reads{}) {
			return
		}
		again, err := repository.EncodeHold(system, reads, why)
		if err != nil {
			t.Fatal(err)
		}
		if got, same, err := repository.ParseHold(system, again); err != nil || got != reads || same != why {
			t.Fatalf("got %+v, %v, want %+v", got, err, reads)
		}
	})
}

// TestRecordsCutAnywhere: no beginning of a record is taken for one.
func TestRecordsCutAnywhere(t *testing.T) {
	t.Parallel()
	said, err := repository.EncodeExpiry(system, expiry())
	if err != nil {
		t.Fatal(err)
	}
	pin, err := repository.EncodePin(system, repository.Pin{Backup: pinned, Number: 1, Change: repository.Pinned})
	if err != nil {
		t.Fatal(err)
	}
	hold, err := repository.EncodeHold(system, repository.Reads{Backup: pinned, Timeline: 3, WAL: r(mib, 3*mib)}, "restore")
	if err != nil {
		t.Fatal(err)
	}
	for n := range hold[1:] {
		if _, _, err := repository.ParseHold(system, hold[:n+1]); err == nil {
			t.Errorf("a hold of %d bytes of %d", n+1, len(hold))
		}
	}
	for n := range said {
		if _, err := repository.ParseExpiry(system, said[:n]); err == nil {
			t.Errorf("an expiry record of %d bytes of %d", n, len(said))
		}
	}
	for n := range pin {
		if _, err := repository.ParsePin(system, pin[:n]); err == nil {
			t.Errorf("a pin of %d bytes of %d", n, len(pin))
		}
	}
}

// TestBackupThatRested: whoever waits for long before the record looks whether retention took the backup for one that failed.
func TestBackupThatRested(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		wait time.Duration
		want error
	}{{time.Minute, nil}, {8 * 24 * time.Hour, storage.ErrNotFound}} {
		synctest.Test(t, func(t *testing.T) {
			store := memory.New()
			c := openCluster(t, store)
			start := startBackup(nil)
			start.SegmentSize = segSize
			w, err := c.NewBackup(t.Context(), start)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := writePack(t, w, "base", compression.Zstd(), smallDirectory()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(test.wait)
			if test.want != nil {
				for _, key := range store.Keys() {
					if strings.Contains(string(key), "/base-") {
						if err := store.Delete(t.Context(), key); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if _, err := w.Commit(t.Context(), record(), []byte(frozenManifest)); !errors.Is(err, test.want) {
				t.Errorf("after %s: got %v, want %v", test.wait, err, test.want)
			}
		})
	}
}

// TestHold: what is read can be told from the record, one of before that could be told is a line for people, and one that is damaged still says when it ends, by the store's clock.
func TestHold(t *testing.T) {
	t.Parallel()
	store := memory.New()
	c := openCluster(t, store)
	from := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	reads := repository.Reads{Backup: pinned, Timeline: 3, WAL: r(mib, 3*mib)}
	read := func() (all []repository.Hold, errs []error) {
		for o, err := range c.Holds(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			h, err := c.Hold(t.Context(), o)
			all, errs = append(all, h), append(errs, err)
		}
		return all, errs
	}
	for i, put := range []repository.Hold{{From: from, Until: from.Add(time.Hour), Why: "restore"}, {From: from.Add(time.Second), Until: from.Add(time.Hour), Reads: reads, Why: "drill"}} {
		if _, err := c.PutHold(t.Context(), put); err != nil {
			t.Fatal(err)
		}
		got, errs := read()
		if h := got[i]; errs[i] != nil || h.Reads != put.Reads || h.Why != put.Why || !h.From.Equal(put.From) || !h.Ends().Equal(h.Made.Add(put.Until.Sub(put.From))) {
			t.Errorf("got %+v, %v", h, errs[i])
		}
	}
	store.Alter("*/holds/*", 0, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	var corrupt *repository.CorruptError
	if got, errs := read(); !errors.As(errs[1], &corrupt) || !got[1].From.Equal(from.Add(time.Second)) || got[1].Made.IsZero() {
		t.Errorf("of a damaged one: %+v, %v", got[1], errs[1])
	}
	for _, wrong := range []repository.Reads{{Backup: "x", Timeline: 1}, {Backup: pinned}, {Backup: pinned, Timeline: 1, WAL: wal.Range{Start: 2, End: 1}}} {
		if _, err := c.PutHold(t.Context(), repository.Hold{From: from, Until: from, Reads: wrong}); err == nil {
			t.Errorf("%+v was put", wrong)
		}
	}
}

// TestExpiryOfEach: each repository lets go by itself. That the others have no record of it is no damage in them.
func TestExpiryOfEach(t *testing.T) {
	whole, _ := archive(t)
	stores := []*memory.Store{whole.Clone(), whole.Clone()}
	for i, store := range stores {
		r, err := repository.Open(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		more := repository.Expiry{Time: time.Date(2026, 11, 21, 5, i, 0, 0, time.UTC), Drills: []string{[]string{"20261101T030000Z", "20261102T030000Z"}[i]}}
		if err := r.Cluster(system).PutExpiry(t.Context(), repository.Expiry{}, more); err != nil {
			t.Fatal(err)
		}
	}
	c, s := sources(t, stores[0], stores[1])
	e, err := c.Expiry(t.Context())
	if err != nil || len(e.Drills) != 2 {
		t.Errorf("got %+v, %v, want what both let go", e, err)
	}
	if list, all := s.Substitutes(); all != 0 {
		t.Errorf("named as damaged or missing: %v", list)
	}
}

// TestForgiveExpired guards I35: what a repository let go while a copy of it gave it is no damage there, once its own record says so. What no record says is.
func TestForgiveExpired(t *testing.T) {
	whole, _ := archive(t)
	primary, near := whole.Clone(), whole.Clone()
	c, s := sources(t, primary, near)
	backups, err := c.Backups(t.Context())
	if err != nil || len(backups) == 0 {
		t.Fatal(backups, err)
	}
	segment := wal.SegmentID{Timeline: 1, Number: 1}
	for _, key := range []storage.Key{
		storage.Key(system.String() + "/backups/" + backups[0].ID + "/record.json"), c.SegmentObject(segSize, 1, segSize.Start(1)).Key,
	} {
		if err := primary.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Backups(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadSegment(t.Context(), segSize, segment); err != nil {
		t.Fatal(err)
	}
	named := func(want int, when string) {
		t.Helper()
		c.Forgive(t.Context())
		if list, all := s.Substitutes(); all != want {
			t.Errorf("%s: %v, want %d", when, list, want)
		}
	}
	named(2, "before anything was let go")
	r, err := repository.Open(t.Context(), primary)
	if err != nil {
		t.Fatal(err)
	}
	put := func(e repository.Expiry) {
		t.Helper()
		if err := r.Cluster(system).PutExpiry(t.Context(), repository.Expiry{}, e); err != nil {
			t.Fatal(err)
		}
	}
	put(repository.Expiry{Time: time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC), Backups: []string{backups[0].ID}})
	named(1, "the backup let go")
	put(repository.Expiry{Time: time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC), WAL: []repository.Stretch{{Timeline: 1, Range: segSize.Range(1)}}})
	named(0, "the segment let go too")
}

// TestForgiveOnItsWay guards I35: of what goes to several repositories at once one has it a moment before the others. That is no damage, once they have it too.
func TestForgiveOnItsWay(t *testing.T) {
	whole, _ := archive(t)
	primary, near := whole.Clone(), whole.Clone()
	c, s := sources(t, primary, near)
	key := c.SegmentObject(segSize, 1, segSize.Start(1)).Key
	body := primary.Bytes(key)
	if err := primary.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 1}); err != nil {
		t.Fatal(err)
	}
	c.Forgive(t.Context())
	if _, all := s.Substitutes(); all != 1 {
		t.Fatalf("got %d, want the one that is not there", all)
	}
	if err := primary.Put(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
	c.Forgive(t.Context())
	if list, all := s.Substitutes(); all != 0 {
		t.Errorf("it is there now: got %v", list)
	}
}
