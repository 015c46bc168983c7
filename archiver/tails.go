package archiver

import (
	"context"
	"errors"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// tellTails warns of archived WAL beside the history that a new timeline goes on with, and of the commits in it: the failover
// lost them, the archive did not. Each tail is told of once.
func (a *Archiver) tellTails(ctx context.Context, p prepared) {
	if !p.from.fresh || p.first {
		return
	}
	tails, err := findTails(ctx, p)
	if err != nil {
		if ctx.Err() == nil {
			a.options.Logger.WarnContext(ctx, "what lies beside the history could not be looked up", "err", err)
		}
		return
	}
	for _, t := range tails {
		at := Position{Timeline: t.Timeline, LSN: t.Range.End}
		if _, told := a.told[at]; told {
			continue
		}
		attrs := []any{"tli", uint32(t.Timeline), "lsn", t.Range.Start.String(), "bytes", t.Range.Len()}
		tally, err := p.cluster.CountCommits(ctx, t)
		switch {
		case ctx.Err() != nil:
			return // the next connection tells
		case errors.Is(err, repository.ErrLong):
		case err != nil:
			attrs = append(attrs, "err", err)
		default:
			attrs = append(attrs, "commits", tally.Commits, "exact", tally.Exact)
		}
		a.told[at] = struct{}{}
		a.options.Logger.WarnContext(ctx, "server left the timeline before the end of the archive, the rest stays as a branch", attrs...)
	}
}

// findTails lists what lies beside the server's history: on the timelines that it left up to the one before the new one, as far as the archive goes past
// the switch, and on those it never took. Older tails were told of when their timeline was left.
func findTails(ctx context.Context, p prepared) ([]repository.Tail, error) {
	histories, err := p.cluster.Histories(ctx)
	if err != nil {
		return nil, err
	}
	histories[p.server.Timeline] = p.server // its file may not be there yet
	timelines, err := p.cluster.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	coverage := make(map[wal.TimelineID][]wal.Range)
	for _, tli := range timelines {
		fork, ok := p.server.SwitchOf(tli)
		if !ok {
			own, _ := histories[tli].RangeOf(tli)
			fork = own.Start
		}
		if tli == p.server.Timeline {
			continue
		}
		v, err := p.cluster.Coverage(ctx, tli, fork)
		if err != nil {
			return nil, err
		}
		if len(v.Spans) > 0 {
			coverage[tli] = v.Spans
		}
	}
	return repository.Tails(histories, coverage), nil
}
