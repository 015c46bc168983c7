package retention_test

import (
	"context"
	"errors"
	"slices"
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
	asked []storage.Key
}

// locked is the archive whose objects were all locked when they were made.
func locked(t *testing.T, l storage.Lock) *lockable {
	t.Helper()
	s, till := archive(t)
	lock := &lockable{Store: s, now: till, until: map[storage.Key]time.Time{}}
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
func (s *lockable) Extend(_ context.Context, key storage.Key, l storage.Lock, least time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, key)
	if err := errors.Join(s.refuses, s.broken[key]); err != nil {
		return false, err
	}
	if s.until[key].Sub(s.now) >= least {
		return false, nil
	}
	s.until[key] = s.now.Add(l.For)
	return true, nil
}

// TestPruneExtendsLocks: what stays, of old pins too, stays under lock until the next run, and what goes does not; young objects are not asked; and a run that is made again changes nothing.
func TestPruneExtendsLocks(t *testing.T) {
	for _, lock := range []storage.Lock{
		{Mode: storage.Governance, For: 4 * day}, {Mode: storage.Compliance, For: 6 * day}, {Mode: storage.Governance, For: 30 * day},
	} {
		s := locked(t, lock)
		c := open(t, s).Cluster(system)
		if err := c.PutPin(t.Context(), repository.Pin{Backup: backupID(0), Number: 1, Change: repository.Pinned, Time: s.now}); err != nil {
			t.Fatal(err)
		}
		before := s.Keys()
		var told retention.Extended
		o := threeDays(s.now)
		o.Lock, o.Locked = lock, func(e retention.Extended) { told = e }
		prune(t, s, o)

		least := min(lock.For/2, 7*day)
		stays := s.Keys()
		extended := 0
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(before, info.Key) {
				continue // the expiry record is new
			}
			old := info.Modified.Before(s.now.Add(least-lock.For)) || info.Key == repository.MarkerKey // which has no age there
			if asked := slices.Contains(s.asked, info.Key); asked != old {
				t.Errorf("%s: %s, of %s: asked %v", lock, info.Key, info.Modified, asked)
			}
			if info.Modified.Before(s.now.Add(least - lock.For)) {
				extended++
			}
			if until, has := s.until[info.Key]; has && until.Sub(s.now) < least {
				t.Errorf("%s: %s stays, and its lock ends %s", lock, info.Key, until)
			}
		}
		for _, key := range s.asked {
			if !slices.Contains(stays, key) {
				t.Errorf("%s: %s goes, and its lock was asked for", lock, key)
			}
		}
		want := retention.Extended{Lock: lock, Asked: len(s.asked), Extended: extended}
		if told != want || lock.For < 10*day && extended == 0 || lock.For > 10*day && extended > 0 {
			t.Errorf("%s: told %+v, want %+v", lock, told, want)
		}
		prune(t, s, o)
		if told.Extended != 0 || told.Asked != want.Asked {
			t.Errorf("%s: a second run: %+v", lock, told)
		}
	}
}

// TestLocksThatFail: a lock that cannot be made longer is told, and keeps neither the others nor the run from going on; a credential that may not is not tried object by object.
func TestLocksThatFail(t *testing.T) {
	lock := storage.Lock{Mode: storage.Governance, For: 4 * day}
	var told retention.Extended
	options := func(s *lockable) retention.Options {
		o := threeDays(s.now)
		o.Lock, o.Locked = lock, func(e retention.Extended) { told = e }
		return o
	}
	s := locked(t, lock)
	prune(t, s, options(s))
	all, broken, gone := told.Asked, s.asked[0], s.asked[1]

	s = locked(t, lock)
	s.refuses = storage.ErrDenied
	before := len(s.Keys())
	prune(t, s, options(s))
	if !errors.Is(told.Err, storage.ErrDenied) || told.Failed != all || len(s.asked) > 20 {
		t.Errorf("without the right: %+v, %d requests for %d objects", told, len(s.asked), all)
	}
	if len(s.Keys()) >= before {
		t.Error("nothing was let go because of locks")
	}

	s = locked(t, lock)
	s.broken = map[storage.Key]error{broken: storage.ErrUnavailable, gone: storage.ErrNotFound}
	prune(t, s, options(s))
	if !errors.Is(told.Err, storage.ErrUnavailable) || told.Failed != 1 || told.Asked != all || told.Extended != all-2 {
		t.Errorf("one that fails, and one that is gone: %+v of %d", told, all)
	}

	s = locked(t, lock)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := retention.Extend(ctx, open(t, s), []repository.Object{{Key: "a"}}, lock, s.now); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
}

// TestManyLocks: one run asks for a bounded number of locks, and the runs of a few days for all of them.
func TestManyLocks(t *testing.T) {
	lock := storage.Lock{Mode: storage.Governance, For: 4 * day}
	s := locked(t, lock)
	r := open(t, s)
	const most, n = 500, 700
	objects := make([]repository.Object, n)
	for i := range objects {
		objects[i].Key = storage.Key(string(rune('a'+i%26)) + "/" + time.Duration(i).String())
	}
	asked := map[storage.Key]bool{}
	for d := range 2 {
		s.asked = nil
		e, err := retention.ExtendSome(t.Context(), r, objects, retention.LocksOf(lock, s.now.Add(time.Duration(d)*day), most))
		if err != nil || e.Asked != most || e.Left != n-most {
			t.Errorf("day %d: %+v, %v", d, e, err)
		}
		for _, key := range s.asked {
			asked[key] = true
		}
	}
	if len(asked) != n {
		t.Errorf("two runs asked for %d of %d", len(asked), n)
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
