package archiver_test

import (
	"testing"

	"github.com/pgark/pgark/repository"
)

// judging calls tell for each gap, and looks that the status says by then that WAL was lost: whoever is told, and asks, must not hear that all is well.
func (l *lab) judging(t *testing.T, tell func(repository.Gap)) func(repository.Gap) {
	return func(g repository.Gap) {
		if lost := l.archiver.Status().Lost; lost != g.Range.Start {
			t.Errorf("a gap is told of that begins at %s, and the status says that WAL was lost at %s", g.Range.Start, lost)
		}
		tell(g)
	}
}
