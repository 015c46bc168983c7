package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/wal"
)

// find finds how far the standby can get by what is durable.
func (p *promotion) find(ctx context.Context) (standby.Reach, error) {
	size, err := p.cluster.SegmentSize(ctx)
	if err != nil {
		return standby.Reach{}, err
	}
	timelines, err := p.cluster.Timelines(ctx)
	if err != nil {
		return standby.Reach{}, err
	}
	h, err := p.historyOf(ctx, slices.Max(append(timelines, 1)))
	if err != nil {
		return standby.Reach{}, err
	}
	spans := map[wal.TimelineID][]wal.Range{}
	for _, tli := range timelines {
		if own, ours := h.RangeOf(tli); ours && own.End > p.state.Replayed {
			v, err := p.cluster.Coverage(ctx, tli, p.state.Replayed)
			if err != nil {
				return standby.Reach{}, err
			}
			spans[tli] = v.Spans
		}
	}
	return standby.FindReach(h, repository.AlongHistory(h, size, spans).Spans, p.system.Timeline, p.state.Replayed)
}

func (p *promotion) historyOf(ctx context.Context, tli wal.TimelineID) (wal.History, error) {
	if tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	h, _, err := p.cluster.History(ctx, tli)
	return h, err
}

// mostOnItsWay is how much WAL an agent may have received that is not durable: within it uploads end in any order (archiver.Options.Buffer).
const mostOnItsWay = 64 << 20

// hole returns a *HoleError if the archive has a hole before its end, and anything behind it may have been confirmed. What was on its way when the agent died was not: it
// confirms in order, and a hole that it had got over would be on record.
func (p *promotion) hole(ctx context.Context) error {
	p.result.Unconfirmed = wal.Range{}
	if p.reach.Beyond == 0 {
		return nil
	}
	missing := wal.Range{Start: p.reach.End, End: p.reach.Beyond}
	gaps, err := p.cluster.Gaps(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return err
	}
	recorded := err != nil || slices.ContainsFunc(gaps, func(g repository.Gap) bool {
		return g.Timeline == p.reach.Timeline && g.Range.Start < missing.End && missing.Start < g.Range.End
	})
	if recorded || p.reach.Last-p.reach.End > mostOnItsWay {
		return &HoleError{missing, p.reach.Last}
	}
	p.result.Unconfirmed = wal.Range{Start: p.reach.End, End: p.reach.Last}
	return nil
}

// lastRecord returns the end of the last whole record that is durable, the standby's place if it is beyond that, and notes the last commit.
func (p *promotion) lastRecord(ctx context.Context) (wal.LSN, error) {
	var err error
	if p.reach, err = p.find(ctx); err != nil {
		return 0, err
	}
	if err := p.hole(ctx); err != nil {
		if !p.options.Force {
			return 0, err
		}
		p.result.Lost = wal.Range{Start: p.reach.End, End: p.reach.Last}
	}
	h, err := p.historyOf(ctx, p.reach.Timeline)
	if err != nil {
		return 0, err
	}
	size, err := p.cluster.SegmentSize(ctx)
	if err != nil {
		return 0, err
	}
	if p.reach.End == 0 {
		return p.state.Replayed, nil
	}
	last := size.Number(p.reach.End - 1)
	// A record may have begun a segment before.
	for n := last; ; n-- {
		end, commit, err := history{p.cluster, h, size}.read(ctx, size.Start(n), p.reach.End)
		if err != nil {
			return 0, err
		}
		if p.result.Last == nil {
			p.result.Last = commit
		}
		enough := end != 0 && (p.result.Last != nil || n < last)
		if enough || n == 0 || size.Start(n) <= p.state.Replayed && n < last {
			return max(end, p.state.Replayed), nil
		}
	}
}

// history is archived WAL along a history.
type history struct {
	cluster *repository.Cluster
	wal.History

	size wal.SegmentSize
}

// read reads [from, to), from a segment's start on, and returns the end of the last whole record in it, 0 if there is none, and the last commit, nil if there is none.
func (h history) read(ctx context.Context, from, to wal.LSN) (wal.LSN, *LastCommit, error) {
	d := wal.NewDecoder(h.size, from, wal.EventsOnly)
	var commit *LastCommit
	for at := from; at < to; at += wal.LSN(h.size) {
		end := min(at+wal.LSN(h.size), to)
		plain, err := h.cluster.ReadSegment(ctx, h.size, h.size.Segment(h.TimelineAt(end-1), at))
		if errors.Is(err, repository.ErrNoWAL) {
			break // a hole before from's end
		}
		if err != nil {
			return 0, nil, err
		}
		damaged := d.Write(plain[:min(len(plain), int(end-at))]) != nil
		for r, ok := d.Next(); ok; r, ok = d.Next() {
			if e, ends := r.Event.(*wal.TransactionEnd); ends && (e.Kind == wal.Commit || e.Kind == wal.CommitPrepared) {
				commit = &LastCommit{LSN: r.End, Time: e.Time.Go(), XID: e.XID}
			}
		}
		if damaged || d.Pos() < end {
			break // recovery ends there too
		}
	}
	return d.LastEnd(), commit, nil
}

// probeTime is how long a primary may take to answer.
const probeTime = 5 * time.Second

// alive returns an *AliveError if the primary is seen: something came from it not long ago, by the store's own clock, or it answers.
func (p *promotion) alive(ctx context.Context) error {
	if err := p.probe(ctx); err != nil {
		return err
	}
	known := false
	var clock storeClock // of the repository that the standby follows
	for i, one := range p.fencing.places {
		seen, now, err := p.seen(ctx, one.cluster, clock)
		switch {
		case err != nil && i > 0 && ctx.Err() == nil:
			continue // as one that did not answer to begin with
		case err != nil:
			return fmt.Errorf("%s: when it last heard of the primary: %w", one.name, err)
		case i == 0:
			clock = storeClock{now, time.Now()}
		}
		known = known || !seen.IsZero()
		if age := now.Sub(seen); !seen.IsZero() && age < p.options.Silence {
			return &AliveError{How: fmt.Sprintf("something came from it to %s %s ago", one.name, max(age, 0).Round(time.Second)), Again: p.options.Silence - age}
		}
	}
	if !known { // no sign of it is no sign of its death
		return &AliveError{How: "nothing in the repositories tells when anything last came from it"}
	}
	return nil
}

// probe asks the server that the caller named. One that refuses to answer the question lives: that a password is wrong, or no connection is left, says nothing of who takes its
// commits. The error is an *AliveError then, and that of a connection string that cannot be used otherwise.
func (p *promotion) probe(ctx context.Context) error {
	if p.options.Probe == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	rows, err := postgres.Query(ctx, p.options.Probe, "select pg_is_in_recovery()")
	switch said := new(postgres.ServerError); {
	case errors.Is(err, postgres.ErrUnreachable):
		return nil
	case errors.As(err, &said):
		return &AliveError{How: "it answers: " + said.Error()}
	case err != nil:
		return fmt.Errorf("probe the primary: %w", err)
	case len(rows) == 1 && rows[0][0] == "f":
		return &AliveError{How: "it answers, and takes writes"}
	}
	return nil
}

// storeClock is what a store's clock showed at a moment of this host's; zero if it is not known.
type storeClock struct{ store, host time.Time }

// seen returns when a repository last got anything from the primary, and what time it is, both by its store's clock: that of a hold, which also keeps what is replayed from expiry. Where none can be put, as
// in one that a bucket fills, another repository's clock must do.
func (p *promotion) seen(ctx context.Context, c *repository.Cluster, other storeClock) (seen, now time.Time, err error) {
	h, err := c.PutHold(ctx, repository.Hold{From: time.Now(), Until: time.Now().Add(time.Hour), Why: "a standby takes over"})
	switch {
	case err == nil:
		defer func() { _ = c.EndHold(context.WithoutCancel(ctx), h) }() // one that stays ends by itself
	case other.store.IsZero():
		return seen, now, err
	default:
		now = other.store.Add(time.Since(other.host))
	}
	for o, err := range c.Holds(ctx) {
		if err != nil {
			return seen, now, err
		}
		if o.Modified.After(now) {
			now = o.Modified
		}
	}
	size, err := c.SegmentSize(ctx)
	if errors.Is(err, repository.ErrNoWAL) {
		return time.Time{}, now, nil
	}
	if err != nil {
		return seen, now, err
	}
	// Of a copy that is behind, and of a primary that is idle, nothing may lie where the standby is: the segment before tells when that came.
	from := size.Floor(p.state.Replayed)
	from -= min(from, wal.LSN(size))
	for e, err := range c.ListWAL(ctx, p.reach.Timeline, from) {
		if err != nil {
			return seen, now, err
		}
		if e.Modified.After(seen) {
			seen = e.Modified
		}
	}
	beat, _, found, err := c.NewestBeatObject(ctx)
	if found && beat.Modified.After(seen) {
		seen = beat.Modified
	}
	return seen, now, err
}
