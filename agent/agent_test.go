package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

func cluster(url string) config.Cluster {
	return config.Cluster{
		Name: "main", Slot: "pgark", Postgres: "host=/nonexistent",
		Repo:   config.Repo{URL: url, Every: time.Second, Compression: "zstd"},
		Backup: config.Backup{Schedule: "@daily", Timezone: "UTC"},
	}
}

func TestValidate(t *testing.T) {
	if err := agent.Validate(cluster("s3://bucket/prefix?region=eu-west-1")); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(*config.Cluster){
		"URL":         func(c *config.Cluster) { c.Repo.URL = "s3://bucket?bogus=1" },
		"connection":  func(c *config.Cluster) { c.Postgres = "port=notanumber" },
		"compression": func(c *config.Cluster) { c.Repo.Compression = "zip" },
		"schedule":    func(c *config.Cluster) { c.Backup.Schedule = "now" },
	} {
		c := cluster("file:///x")
		spoil(&c)
		if err := agent.Validate(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOpenRepositoryMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	_, _, err := agent.OpenRepository(t.Context(), cluster("file://"+dir), agent.StoreOptions{Patience: agent.Brief})
	if !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("got %v, want ErrNoRepository", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
	if _, err := agent.OpenStore(t.Context(), "ftp://x", agent.StoreOptions{}); err == nil {
		t.Error("an unknown scheme: no error")
	}
}

func TestSelectCluster(t *testing.T) {
	ctx := t.Context()
	store := memory.New()
	r, err := repository.Create(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	pick := func(id wal.SystemID) (wal.SystemID, error) {
		c, err := agent.SelectCluster(ctx, r, id)
		if err != nil {
			return 0, err
		}
		return c.SystemID(), nil
	}
	if _, err := pick(0); !errors.Is(err, agent.ErrEmpty) {
		t.Errorf("empty: got %v", err)
	}
	beat(ctx, t, r, 11)
	if got, err := pick(0); err != nil || got != 11 {
		t.Errorf("one: got %v, %v", got, err)
	}
	if _, err := pick(22); !errors.Is(err, agent.ErrEmpty) {
		t.Errorf("another: got %v", err)
	}
	beat(ctx, t, r, 22)
	var several *agent.AmbiguousError
	if _, err := pick(0); !errors.As(err, &several) || len(several.IDs) != 2 {
		t.Errorf("two: got %v", err)
	}
	if got, err := pick(22); err != nil || got != 22 {
		t.Errorf("the second of two: got %v, %v", got, err)
	}
}

// beat gives the repository a cluster.
func beat(ctx context.Context, t *testing.T, r *repository.Repository, id wal.SystemID) {
	t.Helper()
	b := repository.Beat{Time: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), Timeline: 1, LSN: 0x1000028}
	if err := r.Cluster(id).PutBeat(ctx, b); err != nil {
		t.Fatal(err)
	}
}

// TestProbeReachesTheBucket: a store that overwrites must be known as such through all that is wrapped around it, or nothing looks
// before it writes.
func TestProbeReachesTheBucket(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	proxy.Add(storagetest.Rule{Fault: storagetest.Overwrite()})
	store, err := agent.OpenStore(t.Context(), proxy.URL("bucket", "main"), agent.StoreOptions{Patience: agent.Brief})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := storage.Probe(t.Context(), store); err != nil || got != storage.ConditionalIgnored {
		t.Errorf("got %v, %v, want ignored", got, err)
	}
	if err := store.Put(t.Context(), "x", []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "x", []byte("second")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
