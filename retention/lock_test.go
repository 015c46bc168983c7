package retention_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// lockable is a store with locks, at an instant: until when each object is locked.
type lockable struct {
	*memory.Store

	now     time.Time
	refuses error
	broken  map[storage.Key]error

	mu    sync.Mutex
	until map[storage.Key]time.Time
	older map[string]time.Time // of versions that something was put over
	asked []storage.Key
}

// locked is the archive whose objects were all locked when they were made.
func locked(t *testing.T, l storage.Lock) *lockable {
	t.Helper()
	s, till := archive(t)
	lock := &lockable{Store: s, now: till, until: map[storage.Key]time.Time{}, older: map[string]time.Time{}}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		lock.until[info.Key] = info.Modified.Add(l.For)
	}
	return lock
}

// BucketLock implements storage.Locker.
func (s *lockable) BucketLock(context.Context) (storage.Lock, error) { return storage.Lock{}, nil }

// Extend implements storage.Locker.
func (s *lockable) Extend(ctx context.Context, key storage.Key, version string, l storage.Lock, least time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, key)
	if err := errors.Join(s.refuses, s.broken[key]); err != nil {
		return false, err
	}
	if version != "" && version != s.current(ctx, key) {
		if s.older[version].Sub(s.now) >= least {
			return false, nil
		}
		s.older[version] = s.now.Add(l.For)
		return true, nil
	}
	if s.until[key].Sub(s.now) >= least {
		return false, nil
	}
	s.until[key] = s.now.Add(l.For)
	return true, nil
}

// current is the newest version of a key.
func (s *lockable) current(ctx context.Context, key storage.Key) string {
	for v, err := range s.Versions(ctx, key, "") {
		if err == nil && v.Key == key {
			return v.Version
		}
	}
	return ""
}

// foreign is what others keep in the same place.
const foreign storage.Key = "notes/others.txt"

// records are those that no cluster has, or that name what is gone.
func (s *lockable) records(t *testing.T) {
	t.Helper()
	for _, key := range []storage.Key{repository.EncryptionMarkerKey, foreign} {
		if err := s.Put(t.Context(), key, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
}

func renew(t *testing.T, s *lockable, r retention.Renewal) retention.Extended {
	t.Helper()
	s.asked = nil
	e, err := retention.Renew(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Locked implements storage.Locker.
func (s *lockable) Locked(_ context.Context, key storage.Key, _ string) (storage.LockMode, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, is := s.until[key]; is {
		return storage.Governance, until, nil
	}
	return storage.Unlocked, time.Time{}, nil
}

// TestRenew: all that is there after a run of prune is under lock until the next run, also what was made before locks were configured, or under a shorter one; the repository's own
// records too; and nothing of others is. A run that is made again changes nothing.
func TestRenew(t *testing.T) {
	governance := func(n time.Duration) storage.Lock { return storage.Lock{Mode: storage.Governance, For: n * day} }
	for name, test := range map[string]struct{ was, now storage.Lock }{
		"as ever, for less than what is there": {governance(4), governance(4)},
		"as ever, for longer":                  {governance(30), governance(30)},
		"turned on":                            {storage.Lock{}, governance(30)},
		"made longer":                          {governance(3), governance(90)},
		"the other mode":                       {governance(6), storage.Lock{Mode: storage.Compliance, For: 6 * day}},
	} {
		t.Run(name, func(t *testing.T) {
			s := locked(t, test.was)
			s.records(t)
			c := open(t, s).Cluster(system)
			if err := c.PutPin(t.Context(), repository.Pin{Backup: backupID(0), Number: 1, Change: repository.Pinned, Time: s.now}); err != nil {
				t.Fatal(err)
			}
			prune(t, s, threeDays(s.now))
			least := min(test.now.For/2, 7*day)
			short := 0
			for _, key := range s.Keys() {
				if key != foreign && s.until[key].Sub(s.now) < least {
					short++
				}
			}
			all := len(s.Keys()) - 1
			e := renew(t, s, retention.Renewal{Lock: test.now, Now: s.now})
			if want := (retention.Extended{Lock: test.now, Asked: all, Extended: short}); e != want || short == 0 {
				t.Errorf("told %+v, want %+v", e, want)
			}
			for _, key := range s.Keys() {
				if until, has := s.until[key]; has == (key == foreign) || has && until.Sub(s.now) < least {
					t.Errorf("%s stays, and its lock ends %s", key, until)
				}
			}
			if e := renew(t, s, retention.Renewal{Lock: test.now, Now: s.now}); e.Extended != 0 || e.Asked != all {
				t.Errorf("a second run: %+v", e)
			}
		})
	}
}

// TestRenewWhatWasPutOver guards T2: who may write puts another object over one whose lock then ends as it did: that of the version which its writer made is made longer, that of one
// which repaired it, and no more than a few of those which somebody puts over it; not that of what was let go.
func TestRenewWhatWasPutOver(t *testing.T) {
	l := storage.Lock{Mode: storage.Governance, For: 14 * day}
	for name, extend := range map[string]func(*testing.T, *lockable, []repository.Object) retention.Extended{
		"prune": func(t *testing.T, s *lockable, _ []repository.Object) retention.Extended {
			t.Helper()
			return renew(t, s, retention.Renewal{Lock: l, Now: s.now})
		},
		"keep pin": func(t *testing.T, s *lockable, of []repository.Object) retention.Extended {
			t.Helper()
			e, err := retention.Extend(t.Context(), s, of, l)
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := locked(t, storage.Lock{Mode: storage.Governance, For: day})
			s.KeepVersions()
			over, gone := s.Keys()[3], s.Keys()[5]
			first, old := s.current(t.Context(), over), s.current(t.Context(), gone)
			for range 30 {
				s.Overwrite(over, []byte("noise"))
			}
			current := s.current(t.Context(), over)
			if err := s.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
			all := len(s.Keys())
			e := extend(t, s, []repository.Object{{Key: over}})
			if e.Err != nil || e.Failed > 0 || name == "prune" && e.Asked != all {
				t.Errorf("got %+v of %d objects", e, all)
			}
			if until := s.older[first]; until.Sub(s.now) < l.For || s.until[over].Sub(s.now) < l.For {
				t.Errorf("the first version is locked until %s, the current one %s until %s", until, current, s.until[over])
			}
			if n := len(s.older); n > 8 {
				t.Errorf("%d versions of one object were asked for", n)
			}
			if until := s.older[old]; !until.IsZero() {
				t.Errorf("what was let go is locked until %s", until)
			}
		})
	}
}

// TestRenewWithoutVersions: a credential that may not list versions makes the locks of what is there longer, and says what it may not.
func TestRenewWithoutVersions(t *testing.T) {
	s := locked(t, storage.Lock{})
	s.Fail(memory.Versions, "", 0, storage.ErrDenied)
	e := renew(t, s, retention.Renewal{Lock: storage.Lock{Mode: storage.Governance, For: 4 * day}, Now: s.now})
	if n := len(s.Keys()); e.Extended != n || e.Asked != n || e.Failed != 1 || !errors.Is(e.Err, storage.ErrDenied) {
		t.Errorf("got %+v of %d objects", e, n)
	}
}

// TestLocksThatFail: a lock that cannot be made longer is told, and keeps no other from being so; a credential that may not is not tried object by object.
func TestLocksThatFail(t *testing.T) {
	lock := storage.Lock{Mode: storage.Governance, For: 4 * day}
	s := locked(t, storage.Lock{})
	r := retention.Renewal{Lock: lock, Now: s.now}
	all := renew(t, s, r).Asked
	broken, denied, gone := s.asked[0], s.asked[1:7], s.asked[7]

	s = locked(t, storage.Lock{})
	s.refuses = storage.ErrDenied
	if e := renew(t, s, r); !errors.Is(e.Err, storage.ErrDenied) || e.Failed != all || len(s.asked) >= min(all, 64) {
		t.Errorf("without the right: %+v, %d requests for %d objects", e, len(s.asked), all)
	}

	s = locked(t, storage.Lock{})
	s.broken = map[storage.Key]error{broken: storage.ErrUnavailable, gone: storage.ErrNotFound}
	for _, key := range denied {
		s.broken[key] = storage.ErrDenied
	}
	if e := renew(t, s, r); e.Err == nil || e.Failed != 1+len(denied) || e.Asked != all || e.Extended != all-2-len(denied) {
		t.Errorf("one that fails, some that are denied, and one that is gone: %+v of %d", e, all)
	}

	s = locked(t, lock)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := retention.Renew(ctx, s, r); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
}

// TestForgedRecordsAndLocks: what cannot be read keeps retention from removing anything, and no lock from being made longer.
func TestForgedRecordsAndLocks(t *testing.T) {
	s := locked(t, storage.Lock{})
	forged := 0
	for _, key := range s.Keys() {
		if strings.HasSuffix(string(key), ".json") {
			s.Replace(key, []byte("forged"))
			forged++
		}
	}
	lock := storage.Lock{Mode: storage.Governance, For: 30 * day}
	if e := renew(t, s, retention.Renewal{Lock: lock, Now: s.now}); e.Extended != len(s.Keys()) || e.Err != nil || forged < 5 {
		t.Errorf("%d forged records: %+v of %d objects", forged, e, len(s.Keys()))
	}
}

// TestManyLocks: runs ask for a bounded number of locks and those that come before a lock ends ask for all, whatever comes and goes in between; and where the bound would
// let locks end it gives way.
func TestManyLocks(t *testing.T) {
	const n = 700
	for name, test := range map[string]struct {
		span, every time.Duration
		most        int
		runs        int // that ask for all
	}{
		"all at once":               {14 * day, day, n, 1},
		"in two":                    {14 * day, day, n/2 + 50, 2},
		"more than the bound":       {14 * day, day, 10, 3},
		"runs that are far apart":   {14 * day, 7 * day, 10, 1},
		"runs every second day":     {28 * day, 2 * day, 300, 1},
		"runs every twelve hours":   {28 * day, day / 2, 150, 5},
		"a lock of hours":           {6 * time.Hour, day, 10, 1},
		"runs more often than days": {2 * day, time.Hour, 101, 7},
	} {
		t.Run(name, func(t *testing.T) {
			s := &lockable{Store: memory.New(), now: time.Date(2026, 11, 21, 5, 0, 3, 0, time.UTC), until: map[storage.Key]time.Time{}}
			put := func(from, to int) {
				for i := from; i < to; i++ {
					if err := s.Put(t.Context(), storage.Key(fmt.Sprintf("%s/wal/00000001/00000001%08X%08X.lz4", system, i/256, i%256)), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			put(0, n)
			asked := map[storage.Key]bool{}
			for run := range test.runs {
				r := retention.Renewal{Lock: storage.Lock{Mode: storage.Governance, For: test.span}, Now: s.now.Add(time.Duration(run) * test.every), Every: test.every}
				e := renew(t, s, r.AtMost(test.most))
				if e.Asked+e.Left != n+run || e.Asked == 0 || test.runs > 1 && e.Left == 0 {
					t.Errorf("run %d: %+v", run, e)
				}
				for _, key := range s.asked {
					asked[key] = true
				}
				put(n+run, n+run+1)
			}
			if len(asked) < n {
				t.Errorf("%d runs asked for %d of %d", test.runs, len(asked), n)
			}
		})
	}
}

// TestLocksOfRunsWithoutASchedule: runs that a janitor's own schedule starts come when they come. No lock ends, how many objects there be.
func TestLocksOfRunsWithoutASchedule(t *testing.T) {
	lock := storage.Lock{Mode: storage.Governance, For: 30 * day}
	for apart := 1; apart*24 <= int(retention.MostApart(lock).Hours()); apart++ {
		began := time.Date(2026, 11, 21, 5, 0, 3, 0, time.UTC)
		s := &lockable{Store: memory.New(), now: began, until: map[storage.Key]time.Time{}}
		for i := range 100 {
			key := storage.Key(fmt.Sprintf("%s/wal/00000001/00000001%016X.zst", system, i))
			if err := s.Put(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
			s.until[key] = began.Add(lock.For)
		}
		for run := 0; run < 90; run += apart {
			s.now = began.Add(time.Duration(run) * day)
			for key, until := range s.until {
				if until.Before(s.now) {
					t.Fatalf("runs %d days apart: the lock of %s had ended on day %d", apart, key, run)
				}
			}
			renew(t, s, retention.Renewal{Lock: lock, Now: s.now}.AtMost(30))
		}
	}
}

// TestPinnedNeeds: what keep pin sees to is all that a backup is restored from: a repository that holds nothing else has it whole, on either timeline.
func TestPinnedNeeds(t *testing.T) {
	s, till := archive(t)
	c := open(t, s).Cluster(system)
	for _, day := range []int{0, 3, 7} { // the last is of timeline 2
		b, err := c.Backup(t.Context(), backupID(day))
		if err == nil {
			err = c.PutPin(t.Context(), repository.Pin{Backup: b.ID, Number: 1, Change: repository.Pinned, Time: till})
		}
		if err != nil {
			t.Fatal(err)
		}
		needs, err := c.Needs(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		alone := s.Clone()
		stays := map[storage.Key]bool{repository.MarkerKey: true}
		for _, o := range needs {
			stays[o.Key] = true
		}
		for _, key := range s.Keys() {
			if !stays[key] {
				if err := alone.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		only := open(t, alone).Cluster(system)
		inventory, err := only.Inventory(t.Context(), b)
		pins, pinErr := only.Pins(t.Context())
		if err != nil || pinErr != nil || len(inventory.Lacks) > 0 || inventory.Objects < 4 || pins[b.ID].Number != 1 {
			t.Errorf("backup of day %d alone: %+v, %v; pins %v, %v", day, inventory, err, pins, pinErr)
		}
		if len(needs) > 10 {
			t.Errorf("backup of day %d needs %d objects", day, len(needs))
		}
	}
}
