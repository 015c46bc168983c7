package verify_test

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/verify"
)

// TestArchivedObjectsAreNotDamaged: what a lifecycle rule moved to an archive is not read, which is neither damage nor a repository that could not be verified; it is said.
func TestArchivedObjectsAreNotDamaged(t *testing.T) {
	store := archive(t)
	dr := store.Clone()
	for _, key := range store.Keys() {
		if strings.Contains(string(key), ".tar.") || strings.Contains(string(key), "/index.") {
			store.Archive(key, "GLACIER")
			dr.Archive(key, "GLACIER")
		}
	}
	r := run(t, two(store, dr), verify.Options{SystemID: system})
	if r.Verdict != verify.Sound || len(r.Damage) > 0 || r.Repositories[0].Error != "" || !strings.Contains(strings.Join(r.Notes, "\n"), "lie in an archive class") {
		t.Errorf("got %+v", r)
	}
}
