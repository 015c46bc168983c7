package retention_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

const day = 24 * time.Hour

// threeDays keeps three days, without any grace.
func threeDays(till time.Time) retention.Options {
	return retention.Options{Policy: retention.Policy{Window: 3 * day}, Place: here, Now: till, Remove: true}
}

func open(t *testing.T, store storage.Store) *repository.Repository {
	t.Helper()
	r, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func prune(t *testing.T, store storage.Store, o retention.Options) retention.Plan {
	t.Helper()
	plan, _, err := retention.Prune(t.Context(), open(t, store), o)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// left returns what a store holds but for expiry records, whose names are random.
func left(s *memory.Store) []storage.Key {
	return slices.DeleteFunc(s.Keys(), func(k storage.Key) bool { return strings.Contains(string(k), "/expired/") })
}

// sound says that a verification of all places, each read whole, finds nothing wrong.
func sound(t *testing.T, what string, stores ...storage.Store) {
	t.Helper()
	var places []verify.Place
	for i, s := range stores {
		name := fmt.Sprint("place", i)
		places = append(places, verify.Place{Name: name, ID: name, Store: s})
	}
	r, err := verify.Run(t.Context(), places, verify.Options{SystemID: system, Deep: true, Forget: true, Grace: -1})
	if err != nil || r.Verdict != verify.Sound {
		t.Errorf("%s: verdict %s, %v: damage %+v, unusable %+v, risks %+v, notes %v", what, r.Verdict, err, r.Damage, r.Unusable, r.Risks, r.Notes)
	}
}

// kept says why backups are kept, by their day; those that go are absent.
func kept(plan retention.Plan) map[int][]retention.Reason {
	days := map[int][]retention.Reason{}
	for _, b := range plan.Clusters[0].Backups {
		for d := range 8 {
			if b.ID == backupID(d) && len(b.Keep) > 0 {
				days[d] = b.Keep
			}
		}
	}
	return days
}

// TestPrune guards I32 and I37: the repository that is left is whole; a copy that was not pruned gives nothing back, and neither is what a pruned one lacks taken for lost.
func TestPrune(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	whole := store.Clone()
	o := threeDays(till)
	dry := o
	dry.Remove = false
	planned := prune(t, store, dry)
	if got := store.Keys(); !slices.Equal(got, whole.Keys()) || store.Count(memory.Put, "")+store.Count(memory.Delete, "") > 0 {
		t.Fatalf("a dry run changed the repository: %v", got)
	}
	plan := prune(t, store, o)
	if got, want := fmt.Sprint(kept(plan)), "map[2:[proof] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	if got, want := retention.Keys(&plan.Clusters[0]), retention.Keys(&planned.Clusters[0]); !slices.Equal(got, want) {
		t.Errorf("not the plan that was shown: %v, %v", got, want)
	}
	for _, key := range retention.Keys(&plan.Clusters[0]) {
		if slices.Contains(store.Keys(), key) {
			t.Errorf("%s is left", key)
		}
	}
	// Of the proved backup of day 2, one segment; of the window, all from the start of its first backup on.
	var segments []string
	for _, key := range left(store) {
		parts := strings.Split(string(key), "/")
		if len(parts) > 3 && parts[1] == "wal" {
			name := strings.TrimSuffix(strings.TrimLeft(parts[3][16:], "0"), ".zst")
			segments = append(segments, strings.TrimLeft(parts[2], "0")+"/"+name)
		}
	}
	want := "1/6 2/A 2/B 2/C 2/D 2/E 2/F 2/10.part 2/10"
	if got := strings.Join(segments, " "); got != want {
		t.Errorf("WAL that is left: %s, want %s", got, want)
	}
	sound(t, "pruned", store)
	sound(t, "pruned, beside a copy that is not", store, whole)
	again := store.Clone()
	if err := repository.CatchUp(t.Context(), whole, store); err != nil {
		t.Fatal(err)
	}
	if got, want := store.Keys(), again.Keys(); !slices.Equal(got, want) {
		t.Errorf("a copy brought back what was let go: %v", got)
	}
	copied := memory.New()
	if err := repository.CatchUp(t.Context(), store, copied); err != nil {
		t.Fatal(err)
	}
	sound(t, "copy of what is left", copied)
	if plan := prune(t, store, o); plan.Removes() {
		t.Errorf("a second run removes %v", retention.Keys(&plan.Clusters[0]))
	}
}

// failing fails every call from the nth on, as for a program that is killed there.
type failing struct {
	storage.Store

	calls atomic.Int64
	last  int64
}

var errKilled = errors.New("killed")

func (f *failing) alive() error {
	if n := f.calls.Add(1); f.last > 0 && n > f.last {
		return errKilled
	}
	return nil
}

func (f *failing) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Store.Put(ctx, key, body)
}

func (f *failing) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, key, span)
}

func (f *failing) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := f.alive(); err != nil {
		return storage.Info{}, err
	}
	return f.Store.Stat(ctx, key)
}

func (f *failing) Delete(ctx context.Context, key storage.Key) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, key)
}

func (f *failing) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := f.alive(); err != nil {
			yield(storage.Info{}, err)
			return
		}
		f.Store.List(ctx, prefix, after)(yield)
	}
}

// intact says that all that the plan keeps is there: it can be carried out again at any time, and nothing was lost.
func intact(t *testing.T, what string, store *memory.Store, plan retention.Plan) {
	t.Helper()
	catalog, err := retention.Load(t.Context(), open(t, store), here)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	c := catalog.Clusters[0]
	for _, b := range plan.Clusters[0].Backups {
		whole := slices.ContainsFunc(c.Backups, func(is retention.Backup) bool { return is.ID == b.ID && is.Whole })
		if len(b.Keep) > 0 && !whole {
			t.Errorf("%s: backup %s is not whole", what, b.ID)
		}
		if recorded := slices.ContainsFunc(c.Backups, func(is retention.Backup) bool { return is.ID == b.ID }); recorded && !whole {
			t.Errorf("%s: the record of backup %s is there without its data", what, b.ID)
		}
	}
	covered := map[wal.TimelineID]*repository.Coverage{1: {}, 2: {}}
	for _, e := range c.WAL {
		covered[e.Timeline].Add(e.Range)
	}
	for _, s := range plan.Clusters[0].Keep {
		if end := segSize.Range(16).End; s.Start < end && !covered[s.Timeline].Covers(wal.Range{Start: s.Start, End: min(s.End, end)}) {
			t.Errorf("%s: WAL %s of timeline %s is not all there", what, s.Range, s.Timeline)
		}
	}
}

// TestPruneSparing: a window of hours that was meant in days does not cost the archive while nobody looks on (T3).
func TestPruneSparing(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	whole := store.Keys()
	o := threeDays(till)
	o.Sparing = true
	short := o
	short.Policy.Window = 12 * time.Hour
	plan, _, err := retention.Prune(t.Context(), open(t, store), short)
	if !errors.Is(err, retention.ErrTooMuch) || !plan.Removes() || !slices.Equal(store.Keys(), whole) {
		t.Errorf("got %v, want ErrTooMuch, the plan and nothing removed", err)
	}
	if prune(t, store, o); slices.Equal(store.Keys(), whole) {
		t.Error("three of eight backups were not removed")
	}
}

// TestPruneKilledAtAnyCall guards I45: an error at any call to the store is told, nothing that is kept is lost, and a clean run comes to the same end.
func TestPruneKilledAtAnyCall(t *testing.T) {
	t.Parallel()
	model, till := archive(t)
	o := threeDays(till)
	clean := model.Clone()
	counted := &failing{Store: clean}
	plan := prune(t, counted, o)
	want := left(clean)
	step := int64(1)
	if testing.Short() {
		step = 17
	}
	changed := int64(0)
	for last := int64(1); last < counted.calls.Load(); last += step {
		store := model.Clone()
		what := fmt.Sprintf("killed after call %d of %d", last, counted.calls.Load())
		dying := &failing{Store: store, last: last}
		r, err := repository.Open(t.Context(), dying)
		if err == nil {
			_, _, err = retention.Prune(t.Context(), r, o)
		}
		if !errors.Is(err, errKilled) && !slices.Equal(left(store), want) {
			t.Errorf("%s: got %v", what, err)
		}
		if len(store.Keys()) < len(model.Keys()) {
			changed++
		}
		intact(t, what, store, plan)
		prune(t, store, o)
		if got := left(store); !slices.Equal(got, want) {
			t.Errorf("%s: a clean run left %v, want %v", what, got, want)
		}
	}
	if changed < 20/step {
		t.Errorf("only %d runs were killed while they deleted", changed)
	}
}

// TestPruneReadsAllOrNothing: whatever cannot be read, or is not listed, nothing is deleted.
func TestPruneReadsAllOrNothing(t *testing.T) {
	t.Parallel()
	model, till := archive(t)
	prefix := system.String() + "/"
	pinned := func(t *testing.T, store *memory.Store, number int, change repository.PinChange) {
		t.Helper()
		if err := open(t, store).Cluster(system).PutPin(t.Context(), repository.Pin{Backup: backupID(3), Number: number, Change: change, Time: till}); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		break_ func(t *testing.T, store *memory.Store)
		want   error // nil is a *repository.CorruptError
	}{
		"a record": {func(_ *testing.T, s *memory.Store) {
			s.Fail(memory.Get, "*/backups/*/record.json", 5, storage.ErrUnavailable)
		}, storage.ErrUnavailable},
		"a damaged record": {func(_ *testing.T, s *memory.Store) {
			s.Alter("*/backups/"+backupID(4)+"/record.json", 0, func(b []byte) []byte { b[10] ^= 1; return b })
		}, nil},
		"the second listing": {func(_ *testing.T, s *memory.Store) { s.Fail(memory.List, prefix, 2, storage.ErrUnavailable) }, storage.ErrUnavailable},
		"a history":          {func(_ *testing.T, s *memory.Store) { s.Fail(memory.Get, "*.history", 0, storage.ErrDenied) }, storage.ErrDenied},
		"a damaged drill": {func(_ *testing.T, s *memory.Store) {
			s.Alter("*/drills/*", 0, func(b []byte) []byte { b[10] ^= 1; return b })
		}, nil},
		"a pinned backup that is not listed": {func(t *testing.T, s *memory.Store) {
			pinned(t, s, 1, repository.Pinned)
			s.Hide("*/backups/" + backupID(3) + "/record.json")
		}, retention.ErrIncomplete},
		"a proved backup that is not listed": {func(_ *testing.T, s *memory.Store) { s.Hide("*/backups/" + backupID(2) + "/*") }, retention.ErrIncomplete},
		"a pin that is not listed": {func(t *testing.T, s *memory.Store) {
			pinned(t, s, 1, repository.Unpinned)
			pinned(t, s, 2, repository.Pinned)
			s.Hide("*/pins/*")
		}, retention.ErrChanged},
		"no right to delete": {func(_ *testing.T, s *memory.Store) { s.Fail(memory.Delete, "", 0, storage.ErrDenied) }, storage.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := model.Clone()
			test.break_(t, store)
			before := left(store)
			_, removed, err := retention.Prune(t.Context(), open(t, store), threeDays(till))
			var corrupt *repository.CorruptError
			if test.want != nil && !errors.Is(err, test.want) || test.want == nil && !errors.As(err, &corrupt) {
				t.Errorf("got %v", err)
			}
			if got := left(store); removed.Objects > 0 || !slices.Equal(got, before) {
				t.Errorf("%d objects were removed: %v", removed.Objects, got)
			}
		})
	}
}

// TestPruneUnverified guards I33: where nobody verified the backup with which the window begins, the one before it stays too; and one that a verification found damaged does not count, though all of its
// objects are there.
func TestPruneUnverified(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	o := threeDays(till)
	o.Remove, o.Place = false, retention.Place{Name: "dr", ID: "file:///srv/dr"}
	if got, want := fmt.Sprint(kept(prune(t, store, o))), "map[2:[proof] 3:[spare] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("in a copy that nobody verified: kept %s, want %s", got, want)
	}
	o.Place = here
	store.Alter("*/backups/"+backupID(4)+"/base-*", 0, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	if got, want := fmt.Sprint(kept(prune(t, store, o))), "map[2:[proof] 4:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("before the damage was found: kept %s, want %s", got, want)
	}
	if _, err := verify.Run(t.Context(), []verify.Place{{Name: here.Name, ID: here.ID, Store: store}}, verify.Options{SystemID: system, Deep: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(kept(prune(t, store, o))), "map[2:[proof] 3:[window] 5:[window] 6:[window] 7:[window]]"; got != want {
		t.Errorf("when it was found: kept %s, want %s", got, want)
	}
}

// TestReadingsOfEachPlace: of each place the records of the last verification stay, however old they are; a bucket that is copied has those of another place beside its own.
func TestReadingsOfEachPlace(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	c := open(t, store).Cluster(system)
	for _, r := range []struct {
		place string
		days  int
	}{{"a", 3}, {"a", 2}, {"a", 2}, {"b", 5}} {
		ended := till.AddDate(0, 0, -r.days)
		if err := c.PutReading(t.Context(), repository.Reading{Place: r.place, Began: ended, Ended: ended}); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := retention.Load(t.Context(), open(t, store), here)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range catalog.Clusters[0].Readings {
		r := &catalog.Clusters[0].Readings[i]
		r.Object.Modified = till.AddDate(-1, 0, 0)
		got = append(got, fmt.Sprint(r.Place, " ", r.Newest))
	}
	if want := "[b true a false a true a true memory:// true]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	plan := retention.Make(catalog, threeDays(till).Policy, till)
	gone := slices.DeleteFunc(retention.Keys(&plan.Clusters[0]), func(k storage.Key) bool { return !strings.Contains(string(k), "/verify/") })
	if len(gone) != 1 || gone[0] != catalog.Clusters[0].Readings[1].Object.Key {
		t.Errorf("of the records goes %v", gone)
	}
	// A period in which nothing is read twice that is longer than that keeps them for as long.
	policy := threeDays(till).Policy
	policy.Reread = 400 * day
	plan = retention.Make(catalog, policy, till)
	if slices.ContainsFunc(retention.Keys(&plan.Clusters[0]), func(k storage.Key) bool { return strings.Contains(string(k), "/verify/") }) {
		t.Error("a record goes that says what need not be read again")
	}
}

// TestCensuses: of each place the newest census stays, however old it is, and the others go when no reader uses them any more.
func TestCensuses(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	for _, one := range []string{"20261101T000000Z-0000000a", "20261102T000000Z-0000000b", "20261103T000000Z-0000000a", "20261104T000000Z-0000000a"} {
		store.Replace(storage.Key(system.String()+"/census/"+one+".json"), []byte("{}"))
	}
	catalog, err := retention.Load(t.Context(), open(t, store), here)
	if err != nil {
		t.Fatal(err)
	}
	all := catalog.Clusters[0].Censuses
	for i, hours := range []time.Duration{90, 60, 49, 47} {
		all[i].Modified = till.Add(-hours * time.Hour)
	}
	plan := retention.Make(catalog, threeDays(till).Policy, till)
	gone := slices.DeleteFunc(retention.Keys(&plan.Clusters[0]), func(k storage.Key) bool { return !strings.Contains(string(k), "/census/") })
	if !slices.Equal(gone, []storage.Key{all[0].Key, all[2].Key}) {
		t.Errorf("of the censuses goes %v, want the two of the first place that newer ones replaced and nobody uses", gone)
	}
	all[3].Modified = till.AddDate(-1, 0, 0)
	plan = retention.Make(catalog, threeDays(till).Policy, till)
	if keys := retention.Keys(&plan.Clusters[0]); slices.Contains(keys, all[3].Key) || slices.Contains(keys, all[1].Key) {
		t.Error("the newest of a place goes")
	}
}

// TestLeftoversGoAtOnce: what a backup without a record left is looked at right before it is deleted, not before the WAL, which takes long: a record that came meanwhile would lose its data.
func TestLeftoversGoAtOnce(t *testing.T) {
	t.Parallel()
	store, till := archive(t)
	left := storage.Key(system.String() + "/backups/" + backupID(0) + "/record.json")
	store.Replace(left, nil) // a run that let it go was killed
	if err := open(t, store).Cluster(system).PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Backups: []string{backupID(0)}}); err != nil {
		t.Fatal(err)
	}
	watched := &atDelete{Store: store, of: "/wal/", then: func() {
		for _, key := range store.Keys() {
			if strings.Contains(string(key), "/backups/"+backupID(0)+"/") {
				t.Errorf("%s is there while WAL goes", key)
			}
		}
	}}
	plan := prune(t, watched, threeDays(till))
	if n := len(plan.Clusters[0].Unfinished); n != 1 || watched.calls.Load() == 0 {
		t.Errorf("%d leftovers went, and %d objects of WAL", n, watched.calls.Load())
	}
}

// atDelete calls then before an object whose key has of in it is deleted.
type atDelete struct {
	storage.Store

	of    string
	then  func()
	calls atomic.Int64
}

func (s *atDelete) Delete(ctx context.Context, key storage.Key) error {
	if strings.Contains(string(key), s.of) {
		s.calls.Add(1)
		s.then()
	}
	return s.Store.Delete(ctx, key)
}
