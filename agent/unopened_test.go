package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// TestCopyThatCannotBeOpened: a copy on a mount that is not there, or whose profile this host does not know, keeps nothing from the primary. What is read
// there is held, and where it is not is told; it is pruned, surveyed and its locks are made longer.
func TestCopyThatCannotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no folder")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	for name, url := range map[string]string{"mount": "file://" + file, "profile": "s3://bucket/main?region=eu-west-1&profile=nobody"} {
		c := config.Cluster{
			Name: "main", Required: config.Primary, Backup: config.Backup{Timezone: "UTC"}, Retain: config.Retain{Window: time.Hour},
			Copies: []config.Copy{{Name: "dr", URL: url}},
		}
		c.Repo.URL = "file://" + t.TempDir()
		o := StoreOptions{Patience: Patience(50 * time.Millisecond)}
		store, err := OpenStore(t.Context(), c.Repo.URL, o)
		if err == nil {
			_, err = repository.Create(t.Context(), store)
		}
		if err == nil {
			err = store.Put(t.Context(), "7/wal/00000002.history", []byte("1\t0/400200\tx\n")) // so that there is a cluster
		}
		if err != nil {
			t.Fatal(err)
		}
		var held Held
		holds := 0
		if err := Hold(t.Context(), c, "restore", o, func(h *Holding) error {
			held = h.Name(t.Context(), 7, repository.Reads{Backup: "20261121T020000Z", Timeline: 1, WAL: wal.Range{Start: 1, End: 2}})
			for _, err := range store.List(t.Context(), "7/holds/", "") {
				if err != nil {
					return err
				}
				holds++
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if holds != 1 || len(held.Unheld) != 1 || held.Unheld[0].Repository != "dr" {
			t.Errorf("%s: %d holds in the primary, want 1; not held: %+v, want dr", name, holds, held.Unheld)
		}
		report, err := Prune(t.Context(), c, o, PruneOptions{Remove: true})
		if err != nil || len(report.Repositories) != 2 || report.Repositories[0].Err != nil || report.Repositories[1].Err == nil {
			t.Errorf("%s: prune: %+v, %v; want a fault of the copy alone", name, report.Repositories, err)
		}
		if _, err := SurveyRepository(t.Context(), c, 7, o); err != nil {
			t.Errorf("%s: survey: %v", name, err)
		}
	}
}
