package archiver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// prepared is what a stream needs to know before it begins.
type prepared struct {
	cluster *repository.Cluster
	system  postgres.System
	slot    postgres.Slot // as it was found; zero if it was made now
	server  wal.History   // the server's
	history wal.History   // of the timeline to stream
	from    resumption
	first   bool               // nothing of the server is archived yet
	entries []repository.Entry // that hold what is compared
	pieces  map[wal.SegmentNumber]struct{}
}

// errStandbyBehind says that a standby has not got as far as the archive yet.
var errStandbyBehind = errors.New("standby has not received what the archive holds")

// prepare finds out where to go on. Before it writes anything, slot and
// history files included, it makes sure that the server is the one archived
// here.
func (a *Archiver) prepare(ctx context.Context, conn Conn) (prepared, error) {
	system, err := conn.System(ctx)
	if err != nil {
		return prepared{}, err
	}
	a.progress.update(func(s *Status) { s.SystemID = system.ID })
	cluster, err := a.cluster(ctx, system)
	if err != nil {
		return prepared{}, err
	}
	slot, err := a.ensureSlot(ctx, conn)
	if err != nil {
		return prepared{}, err
	}
	// Once more: what is reserved by the slot is before this position.
	if system, err = conn.System(ctx); err != nil {
		return prepared{}, err
	}
	p := prepared{cluster: cluster, system: system, slot: slot, pieces: make(map[wal.SegmentNumber]struct{})}
	if p.server, err = putHistories(ctx, conn, cluster, system.Timeline); err != nil {
		return prepared{}, err
	}
	if err := a.locate(ctx, conn, &p); err != nil {
		return prepared{}, err
	}
	if err := p.list(ctx); err != nil {
		return prepared{}, err
	}
	attrs := []any{"system_id", system.ID.String(), "timeline", p.from.timeline.String(), "lsn", p.from.durable.String()}
	if p.first {
		a.options.Logger.InfoContext(ctx, "archiving begins", attrs...)
	} else {
		a.options.Logger.InfoContext(ctx, "archiving goes on", attrs...)
	}
	return p, nil
}

// cluster opens the repository and refuses a server that is not the one
// archived there.
func (a *Archiver) cluster(ctx context.Context, system postgres.System) (*repository.Cluster, error) {
	if a.repository == nil {
		r, err := a.open(ctx)
		if err != nil {
			return nil, err
		}
		a.repository = r
	}
	ids, err := a.repository.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 && !slices.Contains(ids, system.ID) && system.ID != a.options.Adopt {
		return nil, &ForeignError{Server: system.ID, Archived: ids}
	}
	cluster := a.repository.Cluster(system.ID)
	size, err := cluster.SegmentSize(ctx)
	if err != nil && !errors.Is(err, repository.ErrNoWAL) {
		return nil, err
	}
	if err == nil && size != system.SegmentSize {
		return nil, &SegmentSizeError{Server: system.SegmentSize, Archive: size}
	}
	return cluster, nil
}

// ensureSlot makes the slot, with its WAL reserved, if there is none.
func (a *Archiver) ensureSlot(ctx context.Context, conn Conn) (postgres.Slot, error) {
	slot, known, err := conn.Slot(ctx, a.options.Slot)
	if err != nil || known && slot.Exists {
		return slot, err
	}
	err = conn.CreateSlot(ctx, a.options.Slot)
	if errors.Is(err, postgres.ErrSlotExists) {
		return postgres.Slot{}, nil
	}
	if err == nil {
		a.options.Logger.InfoContext(ctx, "replication slot created", "slot", a.options.Slot)
	}
	return postgres.Slot{}, err
}

// putHistories puts the history file of the server's timeline and those of
// its ancestors that the server has, oldest first.
func putHistories(ctx context.Context, conn Conn, cluster *repository.Cluster, tli wal.TimelineID) (wal.History, error) {
	if tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	h, raw, err := conn.TimelineHistory(ctx, tli)
	if err != nil {
		return wal.History{}, err
	}
	for _, parent := range h.Parents {
		if parent.Timeline == 1 {
			continue
		}
		_, old, err := conn.TimelineHistory(ctx, parent.Timeline)
		if errors.Is(err, postgres.ErrNoHistory) {
			continue // its own history file names this one too
		}
		if err != nil {
			return wal.History{}, err
		}
		if err := cluster.PutHistory(ctx, parent.Timeline, old); err != nil {
			return wal.History{}, err
		}
	}
	return h, cluster.PutHistory(ctx, tli, raw)
}

// locate decides from the listed coverage where the stream begins.
func (a *Archiver) locate(ctx context.Context, conn Conn, p *prepared) error {
	have, err := a.inventory(ctx, p)
	if err != nil {
		return err
	}
	p.from, err = resume(p.system, p.server, have)
	var ahead *AheadError
	if errors.As(err, &ahead) {
		// A standby that was started again has, for a while, less than it had.
		if v, showErr := conn.Setting(ctx, "in_hot_standby"); showErr == nil && v == "on" {
			return fmt.Errorf("%w: %s", errStandbyBehind, ahead.Error()) // no fence
		}
	}
	if err != nil {
		return err
	}
	if (a.uncompared == Position{Timeline: p.from.timeline, LSN: p.from.durable}) {
		p.from.start = p.from.fallback
	}
	p.first = have.newest == 0
	p.history = historyOf(p.server, p.from.timeline)
	a.tellOrphan(p, have)
	return nil
}

// inventory lists what decides: the newest timeline with WAL, and the
// coverage of the newest one in the server's history.
func (a *Archiver) inventory(ctx context.Context, p *prepared) (archived, error) {
	timelines, err := p.cluster.Timelines(ctx)
	if err != nil {
		return archived{}, err
	}
	var have archived
	for _, tli := range slices.Backward(timelines) {
		if !p.server.Contains(tli) {
			found, err := hasWAL(ctx, p.cluster, tli)
			if err != nil {
				return archived{}, err
			}
			if found {
				have.newest = max(have.newest, tli)
			}
			continue
		}
		v, err := a.coverage(ctx, p, tli)
		if err != nil {
			return archived{}, err
		}
		if len(v.Spans) > 0 {
			have.newest, have.coverage = max(have.newest, tli), v
			return have, nil
		}
	}
	return have, nil
}

// coverage lists the end of a timeline's coverage, at least its last whole
// segment and everything past the first hole that a dead process may have
// left. It need not look at what the slot no longer keeps: that is durable
// without a hole. Where nothing is found there it lists all.
func (a *Archiver) coverage(ctx context.Context, p *prepared, tli wal.TimelineID) (repository.Coverage, error) {
	from := p.slot.RestartLSN
	if at := a.Durable(); at.Timeline == tli {
		from = max(from, at.LSN)
	}
	if size := wal.LSN(p.system.SegmentSize); from > size {
		v, err := p.cluster.Coverage(ctx, tli, from-size)
		if err != nil || len(v.Spans) > 0 {
			return v, err
		}
	}
	return p.cluster.Coverage(ctx, tli, 0)
}

// tellOrphan warns once of WAL on a branch that the server left.
func (a *Archiver) tellOrphan(p *prepared, have archived) {
	v := have.coverage
	end, left := p.server.SwitchOf(v.Timeline)
	if !left || len(v.Spans) == 0 {
		return
	}
	last := v.Spans[len(v.Spans)-1].End
	at := Position{Timeline: v.Timeline, LSN: last}
	if last <= end || a.orphan == at {
		return
	}
	a.orphan = at
	a.options.Logger.Warn("server left the timeline before the end of the archive, the rest stays as a branch",
		"timeline", v.Timeline.String(), "lsn", end.String(), "bytes", uint64(last-end))
}

// list finds the objects that hold what the server will send again, and the
// pieces of segments that are complete.
func (p *prepared) list(ctx context.Context) error {
	var entries []repository.Entry
	for e, err := range p.cluster.ListWAL(ctx, p.from.timeline, p.from.start) {
		if err != nil {
			return err
		}
		entries = append(entries, e)
		if e.Kind == repository.KindPiece {
			p.pieces[p.system.SegmentSize.Number(e.Range.Start)] = struct{}{}
		}
	}
	p.entries = repository.Assemble(p.from.start, entries)
	return nil
}

// hasWAL reports whether the repository holds WAL of a timeline.
func hasWAL(ctx context.Context, cluster *repository.Cluster, tli wal.TimelineID) (bool, error) {
	for _, err := range cluster.ListWAL(ctx, tli, 0) {
		return err == nil, err
	}
	return false, nil
}

// historyOf returns the history of an ancestor of h.
func historyOf(h wal.History, tli wal.TimelineID) wal.History {
	if h.Timeline == tli {
		return h
	}
	for i, parent := range h.Parents {
		if parent.Timeline == tli {
			return wal.History{Timeline: tli, Parents: h.Parents[:i]}
		}
	}
	return wal.History{Timeline: tli}
}
