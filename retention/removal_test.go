package retention_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// versioned is the archive in a bucket that keeps versions.
func versioned(t *testing.T) (*memory.Store, time.Time) {
	t.Helper()
	s, till := archive(t)
	s.KeepVersions()
	return s, till
}

// forGood is threeDays with all versions removed.
func forGood(store storage.Store, till time.Time) retention.Options {
	o := threeDays(till)
	o.ForGood = store
	return o
}

// hiddenIn lists what a bucket holds that no list of objects shows: older versions and delete markers.
func hiddenIn(t *testing.T, s storage.Store) []string {
	t.Helper()
	var hidden []string
	for v, err := range storage.Versions(t.Context(), s, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Current || v.Marker {
			hidden = append(hidden, fmt.Sprintf("%s %s %t", v.Key, v.Version, v.Marker))
		}
	}
	return hidden
}

// TestRemoveForGood: nothing is left of what goes, nor of what went before while versions were kept; what stays is whole, and what was planned is what was done.
func TestRemoveForGood(t *testing.T) {
	t.Parallel()
	store, till := versioned(t)
	longer := threeDays(till)
	longer.Policy.Window = 5 * day
	prune(t, store, longer)
	orphaned := hiddenIn(t, store)
	if len(orphaned) == 0 {
		t.Fatal("nothing was left by a run that keeps versions")
	}
	dry := forGood(store, till)
	dry.Remove = false
	planned := prune(t, store, dry)
	if got := hiddenIn(t, store); !slices.Equal(got, orphaned) || store.Count(memory.Remove, "") > 0 {
		t.Fatalf("a dry run changed the bucket: %v", got)
	}
	shown := retention.Plan{}
	o := forGood(store, till)
	o.Show = func(p retention.Plan) { shown = p }
	plan, removed, err := retention.Prune(t.Context(), open(t, store), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := hiddenIn(t, store); len(got) > 0 {
		t.Errorf("left in the bucket: %v", got)
	}
	for what, r := range map[string]*retention.Removal{"dry run": planned.Removal, "shown": shown.Removal, "plan": plan.Removal} {
		if r.Versions+1 != removed.Versions || r.Bytes >= removed.VersionBytes || r.Held != (retention.Held{}) || removed.Versions <= removed.Objects { // an expiry record was replaced
			t.Errorf("%s: %d versions of %d bytes, held %+v; removed %+v", what, r.Versions, r.Bytes, r.Held, removed)
		}
	}
	sound(t, "what stays", store)
	kept := memory.New()
	if err := repository.CatchUp(t.Context(), store, kept); err != nil {
		t.Fatal(err)
	}
	sound(t, "a copy of it", kept)
	if _, removed, err := retention.Prune(t.Context(), open(t, store), forGood(store, till)); err != nil || removed != (retention.Removed{}) {
		t.Errorf("a second run: %+v, %v", removed, err)
	}
}

// TestRemoveForGoodWhereNothingIsKept: in a store without versions each deletion is for good, and needs no more.
func TestRemoveForGoodWhereNothingIsKept(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(*memory.Store) storage.Store{
		"a bucket without versioning": func(s *memory.Store) storage.Store { return s },
		"a folder":                    func(s *memory.Store) storage.Store { return struct{ storage.Store }{s} },
	} {
		store, till := archive(t)
		plan, removed, err := retention.Prune(t.Context(), open(t, of(store)), forGood(of(store), till))
		if err != nil || plan.Removal != nil || removed.Objects == 0 || removed.Versions != 0 {
			t.Errorf("%s: %+v, %v; removal %+v", name, removed, err, plan.Removal)
		}
	}
}

// guarded is a bucket whose versions are under lock until an instant by a clock of the test's.
type guarded struct {
	*memory.Store

	mu    sync.Mutex
	until map[string]time.Time // by version
	now   time.Time
	blind bool // nobody may see locks
}

func guard(s *memory.Store) *guarded { return &guarded{Store: s, until: map[string]time.Time{}} }

// BucketLock implements storage.Locker.
func (s *guarded) BucketLock(context.Context) (storage.Lock, error) { return storage.Lock{}, nil }

// Extend implements storage.Locker.
func (s *guarded) Extend(context.Context, storage.Key, string, storage.Lock, time.Duration) (bool, error) {
	return false, storage.ErrDenied
}

// Locked implements storage.Locker.
func (s *guarded) Locked(_ context.Context, _ storage.Key, version string) (storage.LockMode, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind {
		return storage.Unlocked, time.Time{}, storage.ErrDenied
	}
	until, is := s.until[version]
	if !is || !until.After(s.now) {
		return storage.Unlocked, time.Time{}, nil
	}
	return storage.Governance, until, nil
}

// RemoveVersion implements storage.Versioner.
func (s *guarded) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	s.mu.Lock()
	until := s.until[version]
	if s.blind && until.After(s.now) {
		until = time.Time{}
	}
	locked := s.until[version].After(s.now)
	s.mu.Unlock()
	if locked {
		return &storage.LockedError{Until: until}
	}
	return s.Store.RemoveVersion(ctx, key, version)
}

// TestRemoveUnderLock guards I36: what is under lock is passed over, its size and the end of its lock are told, what it names waits for it, and a run after its end removes it.
func TestRemoveUnderLock(t *testing.T) {
	t.Parallel()
	soon, late := time.Now().Add(day).UTC().Truncate(time.Second), time.Now().Add(2*day).UTC().Truncate(time.Second)
	record := "/backups/" + backupID(0) + "/record.json"
	pack, early := "/backups/"+backupID(1)+"/base-", "/wal/00000001/"
	for name, test := range map[string]struct {
		locked map[string]time.Time // by a part of the key
		blind  bool
		waits  []string // parts of the keys of what is left
		first  time.Time
		last   time.Time
	}{
		"a record, which is before what it names": {map[string]time.Time{record: late}, false, []string{"/backups/" + backupID(0) + "/"}, late, late},
		"a pack":                          {map[string]time.Time{pack: soon}, false, []string{pack}, soon, soon},
		"a timeline, before a later one":  {map[string]time.Time{early: late, pack: soon}, false, []string{"/wal/", pack}, soon, late},
		"where nobody may see until when": {map[string]time.Time{pack: soon}, true, []string{pack}, time.Time{}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, till := versioned(t)
			s := guard(memory)
			s.now, s.blind = time.Now(), test.blind
			for v, err := range memory.Versions(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				for part, until := range test.locked {
					if strings.Contains(string(v.Key), part) {
						s.until[v.Version] = until
					}
				}
			}
			dry := forGood(s, till)
			dry.Remove = false
			planned := prune(t, s, dry)
			_, removed, err := retention.Prune(t.Context(), open(t, s), forGood(s, till))
			if err != nil {
				t.Fatal(err)
			}
			var bytes, versions int64
			for v, err := range memory.Versions(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				if v.Current && !v.Marker {
					continue
				}
				if !slices.ContainsFunc(test.waits, func(part string) bool { return strings.Contains(string(v.Key), part) }) {
					t.Errorf("%s is left", v.Key)
				}
				if !v.Marker {
					versions, bytes = versions+1, bytes+v.Size
				}
			}
			if h := removed.Held; versions == 0 || h.Versions != versions || h.Bytes != bytes || !h.First.Equal(test.first) || !h.Last.Equal(test.last) {
				t.Errorf("told %+v, and %d versions of %d bytes are left", h, versions, bytes)
			}
			if p := planned.Removal; p.Versions != removed.Versions+versions || !test.blind && p.Held != removed.Held {
				t.Errorf("planned %d versions, %+v are held; removed %+v", p.Versions, p.Held, removed)
			}
			s.now = late
			if _, removed, err := retention.Prune(t.Context(), open(t, s), forGood(s, till)); err != nil || removed.Versions != versions || len(hiddenIn(t, memory)) > 0 {
				t.Errorf("after the locks: %+v, %v; left %v", removed, err, hiddenIn(t, memory))
			}
		})
	}
}

// TestRemoveNothingThatIsKept guards T2 and T3: somebody who may delete and put hides what the policy keeps and puts expiry records that name it, or objects over it: no version of any of it is
// removed for good, and all is there when the markers are taken away.
func TestRemoveNothingThatIsKept(t *testing.T) {
	t.Parallel()
	model, till := versioned(t)
	prune(t, model, forGood(model, till))
	whole := left(model)
	for name, attack := range map[string]func(t *testing.T, s *memory.Store){
		"everything is deleted": func(t *testing.T, s *memory.Store) {
			t.Helper()
			hide(t, s, "")
		},
		"backups are deleted, and an expiry record names them and all WAL": func(t *testing.T, s *memory.Store) {
			t.Helper()
			forged := repository.Expiry{WAL: []repository.Stretch{
				{Timeline: 1, Range: wal.Range{Start: 1, End: segSize.Range(100).End}}, {Timeline: 2, Range: wal.Range{Start: 1, End: segSize.Range(100).End}},
			}}
			for d := range 8 {
				forged.Backups = append(forged.Backups, backupID(d))
			}
			if err := open(t, s).Cluster(system).PutExpiry(t.Context(), repository.Expiry{}, forged); err != nil {
				t.Fatal(err)
			}
			hide(t, s, "/backups/")
		},
		"the records of the newest are deleted, and noise is put over their data, then deleted": func(t *testing.T, s *memory.Store) {
			t.Helper()
			for _, d := range []int{4, 5, 6, 7} {
				hide(t, s, "/backups/"+backupID(d)+"/record.json")
				for _, key := range s.Keys() {
					if strings.Contains(string(key), "/backups/"+backupID(d)+"/") {
						s.Overwrite(key, []byte("noise"))
					}
				}
				hide(t, s, "/backups/"+backupID(d)+"/")
			}
		},
		"WAL is deleted": func(t *testing.T, s *memory.Store) {
			t.Helper()
			hide(t, s, "/wal/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := model.Clone()
			attack(t, s)
			for range 2 {
				// What it says does not count: it may refuse to go on by what it finds.
				_, _, err := retention.Prune(t.Context(), open(t, s), forGood(s, till))
				t.Log(err)
			}
			for v, err := range s.Clone().Versions(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				if v.Marker || string(mustRead(t, s, v)) == "noise" {
					if err := s.RemoveVersion(t.Context(), v.Key, v.Version); err != nil {
						t.Fatal(err)
					}
				}
			}
			there := s.Keys()
			for _, key := range whole {
				if !slices.Contains(there, key) {
					t.Errorf("%s is lost for good", key)
				}
			}
		})
	}
}

func mustRead(t *testing.T, s *memory.Store, v storage.Version) []byte {
	t.Helper()
	body, err := s.GetVersion(t.Context(), v.Key, v.Version, storage.All())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// hide deletes all objects of the cluster that have a part in their key.
func hide(t *testing.T, s *memory.Store, part string) {
	t.Helper()
	for _, key := range s.Keys() {
		if strings.HasPrefix(string(key), system.String()+"/") && strings.Contains(string(key), part) && !strings.Contains(string(key), "/expired/") {
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Versioning, Versions, GetVersion, StatVersion, RenewVersion, RenewedFrom and RemoveVersion implement storage.Versioner.

func (f *failing) Versioning(ctx context.Context) (storage.Versioning, error) {
	if err := f.alive(); err != nil {
		return "", err
	}
	return storage.BucketVersioning(ctx, f.Store)
}

func (f *failing) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		if err := f.alive(); err != nil {
			yield(storage.Version{}, err)
			return
		}
		storage.Versions(ctx, f.Store, prefix, after)(yield)
	}
}

func (f *failing) GetVersion(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return storage.GetVersion(ctx, f.Store, storage.Info{Key: key, Version: version}, span)
}

func (f *failing) StatVersion(ctx context.Context, key storage.Key, version string) (storage.Info, error) {
	if err := f.alive(); err != nil {
		return storage.Info{}, err
	}
	return storage.StatVersion(ctx, f.Store, storage.Info{Key: key, Version: version})
}

func (f *failing) RenewVersion(ctx context.Context, version storage.Info) error {
	if err := f.alive(); err != nil {
		return err
	}
	return storage.RenewVersion(ctx, f.Store, version)
}

func (f *failing) RenewedFrom(ctx context.Context, key storage.Key) (string, error) {
	if err := f.alive(); err != nil {
		return "", err
	}
	return storage.RenewedFrom(ctx, f.Store, key)
}

func (f *failing) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	if err := f.alive(); err != nil {
		return err
	}
	return storage.RemoveVersion(ctx, f.Store, key, version)
}

// TestRemoveForGoodKilledAtAnyCall guards I45: a run that is killed anywhere has lost nothing that is kept, brings nothing back into sight, and the next one comes to the same end.
func TestRemoveForGoodKilledAtAnyCall(t *testing.T) {
	t.Parallel()
	model, till := versioned(t)
	clean := model.Clone()
	counted := &failing{Store: clean}
	plan := prune(t, counted, forGood(counted, till))
	want := left(clean)
	step := int64(1)
	if testing.Short() {
		step = 41
	}
	removing := 0
	for last := int64(1); last < counted.calls.Load(); last += step {
		store := model.Clone()
		what := fmt.Sprintf("killed after call %d of %d", last, counted.calls.Load())
		dying := &failing{Store: store, last: last}
		r, err := repository.Open(t.Context(), dying)
		if err == nil {
			_, _, err = retention.Prune(t.Context(), r, forGood(dying, till))
		}
		if !errors.Is(err, errKilled) && !slices.Equal(left(store), want) {
			t.Errorf("%s: got %v", what, err)
		}
		if store.Count(memory.Remove, "") > 0 {
			removing++
			if got := left(store); !slices.Equal(got, want) {
				t.Errorf("%s: there is %v, want %v", what, got, want)
			}
		}
		intact(t, what, store, plan)
		prune(t, store, forGood(store, till))
		if got := left(store); !slices.Equal(got, want) || len(hiddenIn(t, store)) > 0 {
			t.Errorf("%s: a clean run left %v and %v, want %v", what, got, hiddenIn(t, store), want)
		}
	}
	if int64(removing) < 20/step {
		t.Errorf("only %d runs were killed while they removed versions", removing)
	}
}
