package s3_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

// replicating is a store in a bucket with these rules; "second" is the bucket that they may name.
func replicating(t *testing.T, rules ...storagetest.ReplicationRule) (store, second storage.Store, r *storagetest.Replication) {
	t.Helper()
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.CreateBucket(t, "second")
	proxy := storagetest.StartProxy(t, server)
	r = storagetest.StartReplication(t, server, server, rules...)
	proxy.Add(storagetest.Rule{Fault: r.Fault()})
	return retry.New(open(t, proxy.URL("bucket", "main")), retry.Options{MaxElapsed: 5 * time.Second}), open(t, proxy.URL("second", "main")), r
}

func TestReplicationRules(t *testing.T) {
	for name, test := range map[string]struct {
		rules []storagetest.ReplicationRule
		want  []storage.ReplicationRule
	}{
		"none": {},
		"whole bucket, all that there is": {
			[]storagetest.ReplicationRule{{ID: "dr", Bucket: "second", Deletes: true, KMS: true, TimeControl: true}},
			[]storage.ReplicationRule{{ID: "dr", Bucket: "second", Enabled: true, Deletes: true, KMS: true, Within: 15 * time.Minute}},
		},
		"our prefix": {
			[]storagetest.ReplicationRule{{ID: "a", Prefix: "main/", Bucket: "second"}, {ID: "b", Prefix: "ma", Bucket: "third", Disabled: true}},
			[]storage.ReplicationRule{{ID: "a", Bucket: "second", Enabled: true}, {ID: "b", Bucket: "third"}},
		},
		"a part of us": {
			[]storagetest.ReplicationRule{{Prefix: "main/7/wal/", Bucket: "second"}},
			[]storage.ReplicationRule{{Prefix: "7/wal/", Bucket: "second", Enabled: true}},
		},
		"others": {[]storagetest.ReplicationRule{{Prefix: "other/", Bucket: "second"}, {Prefix: "main2", Bucket: "second"}}, nil},
		"tags": {
			[]storagetest.ReplicationRule{{ID: "t", Tag: "copy", Bucket: "second"}},
			[]storage.ReplicationRule{{ID: "t", Tagged: true, Bucket: "second", Enabled: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, _, _ := replicating(t, test.rules...)
			got, err := storage.BucketReplication(t.Context(), store)
			if err != nil || !got.Versioned || got.KMS || !reflect.DeepEqual(got.Rules, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestReplicated follows an object on its way to the other bucket.
func TestReplicated(t *testing.T) {
	store, second, r := replicating(t, storagetest.ReplicationRule{ID: "dr", Prefix: "main/", Bucket: "second"})
	is := func(s storage.Store, key storage.Key, want storage.ReplicationStatus) {
		t.Helper()
		if got, err := storage.Replicated(t.Context(), s, key); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", key, got, err, want)
		}
	}
	create := func(key storage.Key) {
		t.Helper()
		if err := store.Put(t.Context(), key, []byte("body of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	r.Hold()
	create("a")
	is(store, "a", storage.ReplicationPending)
	if _, err := second.Stat(t.Context(), "a"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("held: got %v, want ErrNotFound", err)
	}
	r.Release()
	r.Drain(t)
	is(store, "a", storage.ReplicationCompleted)
	is(second, "a", storage.Replica)
	if got, err := storage.ReadAll(t.Context(), second, "a", 100); err != nil || string(got) != "body of a" {
		t.Errorf("got %q, %v", got, err)
	}
	r.Fail("*/b")
	create("b")
	is(store, "b", storage.ReplicationFailed)
	if _, err := storage.Replicated(t.Context(), store, "none"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("none: got %v, want ErrNotFound", err)
	}
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.Drain(t)
	if _, err := second.Stat(t.Context(), "a"); err != nil {
		t.Errorf("deleted in the first bucket alone: got %v", err)
	}
}

// TestReplicationOfOtherStores: a server that knows no replication says so; a denied question is not taken for no rules.
func TestReplicationOfOtherStores(t *testing.T) {
	s, proxy, _ := behind(t)
	got, err := storage.BucketReplication(t.Context(), fast(s))
	if err == nil && len(got.Rules) > 0 || err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a server without it: got %+v, %v", got, err)
	}
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Other, Fault: storagetest.Answer(501, "NotImplemented")})
	if _, err := storage.BucketReplication(t.Context(), fast(s)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("501: got %v, want ErrUnsupported", err)
	}
	remove()
	proxy.Add(storagetest.Rule{Op: storagetest.Other, Fault: storagetest.Answer(403, "AccessDenied")})
	if _, err := storage.BucketReplication(t.Context(), fast(s)); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("403: got %v, want ErrDenied", err)
	}
}
