package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
)

// TestPreflightLooksAtTheStoreToo: a server that says nothing leaves an agent that starts the time to look at its repository.
func TestPreflightLooksAtTheStoreToo(t *testing.T) {
	srv, c := serverThatHangs(t)
	c.Repo.URL = "file://" + t.TempDir()
	stores, err := openPlaces(t.Context(), c, StoreOptions{Patience: Brief})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stores.Close() })
	if _, err := repository.Create(t.Context(), stores.Store); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := preflight(t.Context(), srv, stores, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if said := log.String(); !strings.Contains(said, "the server does not answer yet") || strings.Contains(said, "repository") {
		t.Errorf("the agent said:\n%s", said)
	}
}
