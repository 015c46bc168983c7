package agent_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestPast guards T2 at a real server: what was deleted, or put over, is read as of before, and an error of reading it says from when.
func TestPast(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the seconds of a real server")
	}
	server := storagetest.StartServer(t)
	server.CreateBucket(t, "bucket")
	server.Setenv(t)
	c := config.Cluster{Repo: config.Repo{URL: server.URL("bucket", "main")}}
	now, err := agent.OpenStore(t.Context(), c.Repo.URL, agent.StoreOptions{Patience: agent.Brief})
	if err != nil {
		t.Fatal(err)
	}
	made, err := repository.Create(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	// The store tells time to the second, and by the clock of its file system, which is some milliseconds behind.
	for !time.Now().Add(-50 * time.Millisecond).Truncate(time.Second).After(before.Truncate(time.Second)) {
		<-tick.C
	}
	server.PutObject(t, "bucket", "main/pgark.json", []byte("{}"))
	asOf := func(at time.Time) {
		t.Helper()
		r, sources, err := agent.OpenSources(t.Context(), c, agent.StoreOptions{Patience: agent.Brief, AsOf: at})
		if err != nil {
			for v, err := range now.Versions(t.Context(), "", "") {
				t.Logf("%+v %v", v, err)
			}
			t.Fatal(err)
		}
		if r.Marker() != made.Marker() {
			t.Errorf("as of %s: got %+v, want %+v", at, r.Marker(), made.Marker())
		}
		if err := sources.Close(); err != nil {
			t.Error(err)
		}
	}
	asOf(time.Now()) // what was put over is taken in its first version
	server.DeleteObject(t, "bucket", "main/pgark.json")

	o := agent.StoreOptions{Patience: agent.Brief}
	_, _, err = agent.OpenSources(t.Context(), c, o)
	p := agent.FindPast(t.Context(), c, err, o)
	if p == nil || !p.Deleted || p.Earlier != 2 || p.Key != repository.MarkerKey || p.Repository != config.Primary || p.Lost.Before(before) {
		t.Errorf("after %v: got %+v", err, p)
	}
	asOf(before)
}
