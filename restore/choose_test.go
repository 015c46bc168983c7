package restore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

const (
	olderBackup = "20261120T120000Z"
	newerBackup = "20261120T130000Z"
)

// twoBackups is a cluster with two base backups and the WAL of both.
func twoBackups(t *testing.T) *memory.Store {
	t.Helper()
	store, plan := fakeBackup(t, nil, pack{"base", smallDirectory()})
	again := plan.Backup
	again.ID, again.Started, again.Stopped, again.StopLSN = newerBackup, again.Started.Add(time.Hour), again.Stopped.Add(time.Hour), 0x200200
	for _, key := range store.Keys() {
		name := string(key)
		if !strings.Contains(name, olderBackup) {
			continue
		}
		body := store.Bytes(key)
		if strings.HasSuffix(name, "/record.json") {
			var err error
			if body, err = again.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		store.Replace(storage.Key(strings.ReplaceAll(name, olderBackup, newerBackup)), body)
	}
	m := newWALMaker(lsn(2))
	for m.pos() < 0x201000 {
		m.end(0x00, 1000, at(90))
	}
	m.archive(t, clusterIn(t, store), nil, nil)
	return store
}

func choose(t *testing.T, store storage.Store, target restore.Target) (*restore.Plan, error) {
	t.Helper()
	c := clusterIn(t, store)
	inv, err := restore.Survey(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return restore.Choose(t.Context(), c, inv, target)
}

// TestChoose takes away, and cuts, each object of the newer backup, and then of both: nobody should learn in the middle of a restore that its
// base backup is not whole.
func TestChoose(t *testing.T) {
	latest := restore.Target{Kind: restore.TargetLatest}
	plan, err := choose(t, twoBackups(t), latest)
	if err != nil || plan.Backup.ID != newerBackup {
		t.Fatalf("whole: got %+v, %v", plan, err)
	}
	tried := 0
	for _, key := range twoBackups(t).Keys() {
		if !strings.Contains(string(key), newerBackup) || strings.HasSuffix(string(key), "/record.json") {
			continue
		}
		tried++
		for _, spoil := range []func(*memory.Store, storage.Key){
			func(s *memory.Store, k storage.Key) {
				if err := s.Delete(t.Context(), k); err != nil {
					t.Fatal(err)
				}
			},
			func(s *memory.Store, k storage.Key) { s.Replace(k, s.Bytes(k)[1:]) },
		} {
			store := twoBackups(t)
			spoil(store, key)
			plan, err := choose(t, store, latest)
			if err != nil || plan.Backup.ID != olderBackup || !strings.Contains(strings.Join(plan.Notes, " "), newerBackup+" is passed over: "+string(key)) {
				t.Errorf("without %s: got %+v, %v", key, plan, err)
			}
			var corrupt *repository.CorruptError
			named := restore.Target{Kind: restore.TargetImmediate, Backup: newerBackup}
			if _, err := choose(t, store, named); !errors.As(err, &corrupt) || corrupt.Key != key {
				t.Errorf("that backup by its name, without %s: got %v", key, err)
			}
			spoil(store, storage.Key(strings.ReplaceAll(string(key), newerBackup, olderBackup)))
			if _, err := choose(t, store, latest); !errors.As(err, &corrupt) {
				t.Errorf("both without %s: got %v, want CorruptError", key, err)
			}
		}
	}
	if tried != 3 {
		t.Errorf("tried %d objects, want pack, index and manifest", tried)
	}
}
