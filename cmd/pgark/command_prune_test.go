package main

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
)

// TestPruneTellsOfLocks: locks that could not be made longer are told of, whatever became of the pruning: with the primary lost, those of a copy are all that is left.
func TestPruneTellsOfLocks(t *testing.T) {
	lost := retention.RepositoryReport{Name: "primary", Err: storage.ErrUnavailable}
	denied := retention.RepositoryReport{Name: "dr", Locks: &retention.LocksReport{Failed: 3, Error: "access denied"}}
	for name, test := range map[string]struct {
		all   []retention.RepositoryReport
		tells []string
	}{
		"nothing":             {[]retention.RepositoryReport{{Name: "primary"}}, nil},
		"locks":               {[]retention.RepositoryReport{{Name: "primary"}, denied}, []string{"dr: the locks of 3 objects"}},
		"primary lost":        {[]retention.RepositoryReport{lost, {Name: "dr"}}, []string{"primary: unavailable"}},
		"primary lost, locks": {[]retention.RepositoryReport{lost, denied}, []string{"primary: unavailable", "dr: the locks of 3 objects"}},
		"all lost, locks":     {[]retention.RepositoryReport{{Name: "dr", Err: storage.ErrUnavailable, Locks: denied.Locks}}, []string{"dr: unavailable", "the locks of 3 objects"}},
	} {
		err := pruneFailure(test.all)
		if (err == nil) != (test.tells == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, text := range test.tells {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %s", name, err, text)
			}
		}
	}
}
