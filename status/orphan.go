package status

import (
	"context"
	"errors"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Orphan is archived WAL beside the cluster's present history: a failover lost it, the archive did not. It can be restored along its timeline.
type Orphan struct {
	Timeline wal.TimelineID `json:"timeline"`
	// Next is the timeline that the history went on with.
	Next  wal.TimelineID `json:"next_timeline"`
	Start wal.LSN        `json:"start_lsn"`
	End   wal.LSN        `json:"end_lsn"`
	// Commits is how many transactions committed in it; absent where there is too much WAL to count.
	Commits *int `json:"commits,omitempty"`
	// Exact is false where Commits comes from the headers of objects, which count transactions that were rolled back too.
	Exact bool `json:"commits_exact,omitempty"`
	// Last is when the last of them ended; absent if that is not known.
	Last *time.Time `json:"last_transaction,omitempty"`
}

// surveyOrphans finds what lies beside the history, and reads it as far as it can be read at once.
func surveyOrphans(ctx context.Context, c *repository.Cluster, histories map[wal.TimelineID]wal.History, spans []Span) ([]Orphan, error) {
	coverage := map[wal.TimelineID][]wal.Range{}
	for _, s := range spans {
		coverage[s.Timeline] = append(coverage[s.Timeline], wal.Range{Start: s.Start, End: s.End})
	}
	var orphans []Orphan
	for _, t := range repository.Tails(histories, coverage) {
		o := Orphan{Timeline: t.Timeline, Next: t.Next, Start: t.Range.Start, End: t.Range.End}
		tally, err := c.CountCommits(ctx, t)
		var corrupt *repository.CorruptError
		switch {
		case err == nil:
			o.Commits, o.Exact = &tally.Commits, tally.Exact
			if tally.Last != 0 {
				last := tally.Last.Go()
				o.Last = &last
			}
		case errors.Is(err, repository.ErrLong), errors.Is(err, repository.ErrNoWAL), errors.As(err, &corrupt):
			// Not known: what cannot be counted does not keep from telling that it is there.
		default:
			return nil, err
		}
		orphans = append(orphans, o)
	}
	return orphans, nil
}
