package agent_test

import (
	"testing"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/repository"
)

// TestMarkerDeletedComesBack: a store with versions that takes a delete marker for an object refuses the marker that is put where one was deleted. An agent that was
// told that it is there archived nothing more.
func TestMarkerDeletedComesBack(t *testing.T) {
	b := newBucket(t)
	r, store, err := agent.OpenRepository(t.Context(), b.c, agent.StoreOptions{Patience: agent.Brief})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	b.server.DeleteObject(t, "bucket", "main/"+string(repository.MarkerKey))
	if err := r.PutBack(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if back, err := repository.Open(t.Context(), store); err != nil || back.Marker() != r.Marker() {
		t.Errorf("the marker is %+v, %v; want %+v", back, err, r.Marker())
	}
	b.server.DeleteObject(t, "bucket", "main/"+string(repository.MarkerKey))
	if anew, err := repository.Create(t.Context(), store); err != nil || anew.Marker().RepositoryID == r.Marker().RepositoryID {
		t.Errorf("a new repository: %+v, %v", anew, err)
	}
}
