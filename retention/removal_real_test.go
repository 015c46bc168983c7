package retention_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// dated is a bucket whose versions have the dates of an archive that took days to make. All else is the bucket's own.
type dated struct {
	*retry.Store

	of map[storage.Key]time.Time
}

func (d *dated) date(info storage.Info) storage.Info {
	if at, is := d.of[info.Key]; is {
		info.Modified = at
	}
	return info
}

// List implements storage.Store.
func (d *dated) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range d.Store.List(ctx, prefix, after) {
			if !yield(d.date(info), err) {
				return
			}
		}
	}
}

// Stat implements storage.Store.
func (d *dated) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	info, err := d.Store.Stat(ctx, key)
	return d.date(info), err
}

// Versions implements storage.Versioner.
func (d *dated) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		for v, err := range d.Store.Versions(ctx, prefix, after) {
			v.Info = d.date(v.Info)
			if !yield(v, err) {
				return
			}
		}
	}
}

// TestRemoveForGoodAtTheStore: at an S3 server with Object Lock a run that keeps versions, one that is broken off while it removes them, and the next ones leave nothing but what is kept. What is under
// lock stays, with its end told, and goes when that is over.
func TestRemoveForGoodAtTheStore(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits until a lock ends")
	}
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "", 0)
	model, till := archive(t)
	open1 := func(l storage.Lock) *dated {
		options, err := s3.ParseURL(server.URL("bucket", "main"))
		if err != nil {
			t.Fatal(err)
		}
		options.Lock = l
		s, err := s3.Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return &dated{retry.New(s, retry.Options{}), map[storage.Key]time.Time{}}
	}
	store, locking := open1(storage.Lock{}), open1(storage.Lock{Mode: storage.Governance, For: 15 * time.Second})
	pack := "/backups/" + backupID(3) + "/base-"
	for info, err := range model.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		into := store
		if strings.Contains(string(info.Key), pack) {
			into = locking
		}
		if err := into.Put(t.Context(), info.Key, model.Bytes(info.Key)); err != nil {
			t.Fatal(err)
		}
		store.of[info.Key] = info.Modified
	}
	longer := threeDays(till)
	longer.Policy.Window = 5 * day
	prune(t, store, longer)
	orphaned := hiddenIn(t, store)
	dry := forGood(store, till)
	dry.Remove = false
	planned := prune(t, store, dry).Removal
	if planned.Held.Versions != 1 || planned.Held.Last.Before(time.Now()) || planned.Versions < int64(len(orphaned))/2 {
		t.Errorf("planned %d versions, held %+v; %d were left by a run that kept them", planned.Versions, planned.Held, len(orphaned))
	}

	broken, cancel := context.WithCancel(t.Context())
	o := forGood(store, till)
	o.Progress = func(r retention.Removed) {
		if r.Versions == 7 {
			cancel()
		}
	}
	if _, removed, err := retention.Prune(broken, open(t, store), o); !errors.Is(err, context.Canceled) || removed.Versions < 7 {
		t.Fatalf("broken off: %+v, %v", removed, err)
	}
	_, removed, err := retention.Prune(t.Context(), open(t, store), forGood(store, till))
	if err != nil {
		t.Fatal(err)
	}
	hidden := hiddenIn(t, store)
	if removed.Held.Versions != 1 || removed.Held.Bytes == 0 || removed.Held.First.IsZero() || len(hidden) != 2 || !strings.Contains(hidden[0], pack) {
		t.Errorf("under lock: %+v; left %v", removed.Held, hidden)
	}
	till2 := time.Now().Add(time.Minute)
	for len(hidden) > 0 && time.Now().Before(till2) {
		time.Sleep(time.Until(removed.Held.Last) + time.Second) // the store counts by its own clock, which is this host's
		prune(t, store, forGood(store, till))
		hidden = hiddenIn(t, store)
	}
	if len(hidden) > 0 {
		t.Errorf("after its lock %v is left", hidden)
	}
	clean := model.Clone()
	prune(t, clean, threeDays(till))
	there := memory.New()
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := store.Get(t.Context(), info.Key, storage.All())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close(), there.Put(t.Context(), info.Key, b)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := left(there), left(clean); !slices.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
	sound(t, "at the store", there)
}
