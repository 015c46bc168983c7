package commitlog

import (
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// TestBefore: the names of a drill are those from before a removal, also where the removal is what its recovery stopped at.
func TestBefore(t *testing.T) {
	removal := &Entry{Range: wal.Range{Start: 100, End: 150}}
	at := func(lsn wal.LSN) *repository.DrillCommit { return &repository.DrillCommit{LSN: lsn} }
	for _, test := range []struct {
		name  string
		drill repository.Drill
		want  bool
	}{
		{"long before", repository.Drill{Until: 50, LastCommit: at(20)}, true},
		{"up to its start", repository.Drill{Until: 100, LastCommit: at(90)}, true},
		{"stopped by it", repository.Drill{Until: 150, LastCommit: at(90)}, true},
		{"stopped by it, nothing applied", repository.Drill{Until: 150}, true},
		{"it was the last applied", repository.Drill{Until: 150, LastCommit: at(100)}, false},
		{"stopped by what came next", repository.Drill{Until: 200, LastCommit: at(100)}, false},
		{"later", repository.Drill{Until: 900, LastCommit: at(800)}, false},
	} {
		if got := before(test.drill, removal); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}
