package standby

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// headersRead is how many objects before the end are looked at for the last transaction: a second of an idle server makes none, so a handful would do.
const headersRead = 64

// Survey reads what Judge needs to know of a cluster's archive for a standby at the place of s: the histories, a listing of what lies behind that place, the newest
// beat, and a few headers. It reads no WAL. The error is repository.ErrNoWAL if the cluster has none.
func Survey(ctx context.Context, c *repository.Cluster, s Standing) (Archive, error) {
	a, err := survey(ctx, c, s)
	if err != nil {
		return Archive{}, fmt.Errorf("look at the archive: %w", err)
	}
	return a, nil
}

func survey(ctx context.Context, c *repository.Cluster, s Standing) (Archive, error) {
	a := Archive{SystemID: c.SystemID(), End: s.Replayed}
	size, err := c.SegmentSize(ctx)
	if err != nil {
		return a, err
	}
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return a, err
	}
	if len(timelines) == 0 {
		return a, repository.ErrNoWAL
	}
	if a.History, err = historyOf(ctx, c, timelines[len(timelines)-1]); err != nil {
		return a, err
	}
	if beat, ok, err := c.NewestBeat(ctx); err != nil && !repository.OnlyUnreadable(err) {
		return a, err
	} else if ok {
		a.Beat, a.BeatAt, a.Seen = beat.Time, beat.LSN, beat.Time
	}
	if a.foreign(s) != "" {
		return a, nil // there is no way from its place to the newest timeline
	}
	var all []repository.Entry // behind the place, older timelines first
	covered := map[wal.TimelineID][]wal.Range{}
	for _, tli := range append(parents(a.History, s.Timeline), a.History.Timeline) {
		coverage := repository.Coverage{Timeline: tli}
		own, _ := a.History.RangeOf(tli)
		for e, err := range c.ListWAL(ctx, tli, max(s.Replayed, own.Start)) {
			if err != nil {
				return a, err
			}
			coverage.Add(e.Range)
			all = append(all, e)
		}
		covered[tli] = coverage.Spans
	}
	a.reach(repository.AlongHistory(a.History, size, covered), s.Replayed)
	if err := a.explain(ctx, c); err != nil {
		return a, err
	}
	return a, a.findCommit(ctx, c, all)
}

// parents are the ancestors of the newest timeline from tli on, oldest first.
func parents(h wal.History, tli wal.TimelineID) []wal.TimelineID {
	var list []wal.TimelineID
	for _, p := range h.Parents {
		if p.Timeline >= tli {
			list = append(list, p.Timeline)
		}
	}
	return list
}

// reach says how far WAL goes on from a place.
func (a *Archive) reach(along repository.Coverage, at wal.LSN) {
	a.End = at
	if end, ok := along.EndFrom(at); ok {
		a.End = end
	}
	for _, span := range along.Spans {
		if span.Start > a.End {
			a.Beyond = span.Start
			return
		}
	}
}

// explain looks up why there is a hole.
func (a *Archive) explain(ctx context.Context, c *repository.Cluster) error {
	if a.Beyond == 0 {
		return nil
	}
	gaps, err := c.Explained(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return err
	}
	for _, g := range gaps {
		if g.Range.Start < a.Beyond && g.Range.End > a.End && a.History.Contains(g.Timeline) {
			a.Lost = g.Cause.Words()
		}
	}
	return nil
}

// findCommit reads headers, the newest first, until one tells of a transaction before the end.
func (a *Archive) findCommit(ctx context.Context, c *repository.Cluster, all []repository.Entry) error {
	if n := len(all); n > 0 && all[n-1].Modified.After(a.Seen) {
		a.Seen = all[n-1].Modified
	}
	read := 0
	for _, e := range slices.Backward(all) {
		if own, _ := a.History.RangeOf(e.Timeline); e.Range.Start >= a.End || e.Range.Start >= own.End {
			continue // behind a hole, or of a branch that was left
		}
		if read++; read > headersRead {
			return nil
		}
		h, err := c.ReadHeader(ctx, e)
		switch {
		case errors.Is(err, repository.ErrNoWAL): // a piece whose segment was completed since the listing
		case err != nil:
			return err
		case h.Summary.Ends > 0:
			a.LastCommit = h.Summary.LastTime.Go()
			return nil
		}
	}
	return nil
}

// historyOf returns the ancestry of a timeline.
func historyOf(ctx context.Context, c *repository.Cluster, tli wal.TimelineID) (wal.History, error) {
	h, _, err := c.History(ctx, tli)
	if errors.Is(err, repository.ErrNoWAL) && tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	return h, err
}
