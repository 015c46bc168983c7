package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
)

// TestGuard guards T2: somebody empties a bucket while the agent archives into it. What is archived from then on can be opened, with the same repository id, and it is
// said once; a store that does not answer is left alone; a repository that was exchanged for another is named.
func TestGuard(t *testing.T) {
	ctx := t.Context()
	primary := memory.New()
	var log bytes.Buffer
	g := &guard{primary: place{name: "primary", store: &Store{Store: limit.Wrap(primary, limit.Options{})}}, logger: slog.New(slog.NewTextHandler(&log, nil))}
	said := func(want string, times int) {
		t.Helper()
		g.look(ctx)
		if got := strings.Count(log.String(), want); got != times {
			t.Errorf("%q was said %d times, want %d:\n%s", want, got, times, log.String())
		}
	}
	g.look(ctx) // before there is a repository
	made, err := repository.Create(ctx, primary)
	if err != nil {
		t.Fatal(err)
	}
	before, err := storage.ReadAll(ctx, primary, repository.MarkerKey, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	g.look(ctx)
	if err := primary.Delete(ctx, repository.MarkerKey); err != nil {
		t.Fatal(err)
	}
	said("the marker was deleted, and maybe more; the marker is back", 1)
	if after, err := storage.ReadAll(ctx, primary, repository.MarkerKey, 1<<10); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the marker is %q, %v; was %q", after, err, before)
	}

	// Deleted while nobody may put it back, for two looks.
	if err := primary.Delete(ctx, repository.MarkerKey); err != nil {
		t.Fatal(err)
	}
	primary.Fail(memory.Put, "", 1, storage.ErrDenied)
	primary.Fail(memory.Put, "", 2, storage.ErrDenied)
	said("cannot be opened until it is back", 1)
	said("cannot be opened until it is back", 1)
	said("the marker is back", 2)

	// A store that does not answer is no repository that is gone.
	log.Reset()
	primary.Fail(memory.Get, "", 1, storage.ErrUnavailable)
	said("marker", 0)
	said("marker", 0)

	if err := primary.Delete(ctx, repository.MarkerKey); err != nil {
		t.Fatal(err)
	}
	other, err := repository.Create(ctx, primary)
	if err != nil {
		t.Fatal(err)
	}
	said("repository "+made.Marker().RepositoryID+" was exchanged for "+other.Marker().RepositoryID, 1)
}
