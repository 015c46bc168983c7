package archiver

import (
	"cmp"
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
	slot    postgres.Slot // as it was found; zero if it is made anew, or is not known
	server  wal.History   // the server's
	history wal.History   // of the timeline to stream
	from    resumption
	first   bool               // nothing of the server is archived yet
	listed  []repository.Entry // from the start on
	entries []repository.Entry // of these, that hold what is compared
	pieces  map[wal.SegmentNumber]struct{}
	gaps    []repository.Gap
	open    wal.LSN // where WAL was lost and no base backup was taken since; 0 if none was
	limited bool    // and the server must not be told of WAL behind it
	chain   *chain  // where nothing can be compared
}

// errStandbyBehind says that a standby has not got as far as the archive yet.
var errStandbyBehind = errors.New("standby has not received what the archive holds")

// prepare finds out where to go on. Before it writes anything, slot and
// history files included, it makes sure that the server is the one archived
// here, and that it has the same WAL.
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
	slot, _, err := conn.Slot(ctx, a.options.Slot)
	if err != nil {
		return prepared{}, err
	}
	p := prepared{cluster: cluster, system: system, slot: slot, pieces: make(map[wal.SegmentNumber]struct{})}
	if err := a.unfenced(ctx, &p); err != nil {
		return prepared{}, a.standbyBehind(ctx, conn, err)
	}
	from, err := readLineage(ctx, conn, cluster, system.Timeline)
	if err != nil {
		return prepared{}, err
	}
	p.server = from.history
	have, err := a.locate(ctx, conn, &p)
	if err != nil {
		return prepared{}, err
	}
	if from.restored != nil && !p.first && a.options.Adopt != system.ID {
		return prepared{}, from.restored
	}
	if err := a.compareFirst(ctx, conn, &p, compareEarly(system.SegmentSize, p.server, have, p.from)); err != nil {
		return prepared{}, err
	}
	if err := a.reserve(ctx, conn, &p); err != nil {
		return prepared{}, err
	}
	if err := from.put(ctx, cluster, p.from.timeline); err != nil {
		return prepared{}, err
	}
	if err := p.list(ctx); err != nil {
		return prepared{}, err
	}
	p.gaps = have.recorded
	if err := a.confirmable(ctx, conn, &p); err != nil {
		return prepared{}, err
	}
	return p, nil
}

// tellBegun logs that the server streams.
func (a *Archiver) tellBegun(ctx context.Context, p prepared) {
	attrs := []any{"system_id", p.system.ID.String(), "tli", uint32(p.from.timeline), "lsn", p.from.durable.String()}
	if p.first {
		a.options.Logger.InfoContext(ctx, "archiving begins", attrs...)
	} else {
		a.options.Logger.InfoContext(ctx, "archiving goes on", attrs...)
	}
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

// reserve makes the slot, with its WAL reserved, if there is none that keeps
// WAL. One that was invalidated is made anew: the server keeps no WAL for it any
// more, from PostgreSQL 16 on not even when it is used again
// (ReplicationSlotsComputeRequiredLSN, src/backend/replication/slot.c). The new
// one reserves WAL from the last checkpoint on; what is older may be there
// still, and is asked for all the same.
func (a *Archiver) reserve(ctx context.Context, conn Conn, p *prepared) error {
	if p.slot.Exists && p.slot.RestartLSN != 0 {
		return nil
	}
	if p.slot.Exists {
		if err := a.dropSlot(ctx, conn); !errors.Is(err, errSlotDropped) {
			return err
		}
		p.slot = postgres.Slot{}
	}
	err := conn.CreateSlot(ctx, a.options.Slot)
	if err != nil && !errors.Is(err, postgres.ErrSlotExists) {
		return err
	}
	if err == nil {
		a.slot = cmp.Or(a.slot, repository.CauseSlotDropped)
		a.options.Logger.InfoContext(ctx, "replication slot created", "slot", a.options.Slot)
	}
	if !p.first {
		return nil
	}
	// Once more: what the slot reserves is before this position.
	if p.system, err = conn.System(ctx); err != nil {
		return err
	}
	_, err = a.locate(ctx, conn, p)
	return err
}

// dropSlot drops the slot that the server has invalidated. It returns
// errSlotDropped, or why it could not.
func (a *Archiver) dropSlot(ctx context.Context, conn Conn) error {
	if err := conn.DropSlot(ctx, a.options.Slot); err != nil && !errors.Is(err, postgres.ErrNoSlot) {
		return err
	}
	a.slot = repository.CauseSlotLost
	a.options.Logger.ErrorContext(ctx, "the server keeps no WAL for the replication slot any more; it is made anew", "slot", a.options.Slot)
	return errSlotDropped
}

// locate decides from the listed coverage where the stream begins.
func (a *Archiver) locate(ctx context.Context, conn Conn, p *prepared) (archived, error) {
	have, err := a.inventory(ctx, p)
	if err != nil {
		return archived{}, err
	}
	have.kept = p.slot.RestartLSN
	p.from, err = resume(p.system, p.server, have)
	if hasLess(err) {
		err = a.resumeFresh(ctx, conn, p, have)
	}
	if err != nil {
		return archived{}, a.standbyBehind(ctx, conn, explainTimeline(ctx, p, err))
	}
	if (a.uncompared == Position{Timeline: p.from.timeline, LSN: p.from.durable}) {
		p.from.start = p.from.fallback
	}
	p.first = have.newest == 0
	p.history = historyOf(p.server, p.from.timeline)
	return have, nil
}

// errPromoted says that the server was promoted after it had said what it is.
var errPromoted = errors.New("server went on to another timeline while the archive was read")

// resumeFresh resumes by what the server says of itself now. It spoke before the archive was listed: what another agent of it archived in between, it has too by now.
func (a *Archiver) resumeFresh(ctx context.Context, conn Conn, p *prepared, have archived) error {
	now, err := conn.System(ctx)
	if err != nil {
		return err
	}
	if now.Timeline != p.system.Timeline {
		return fmt.Errorf("%w: from %s to %s", errPromoted, p.system.Timeline, now.Timeline)
	}
	p.system = now
	p.from, err = resume(p.system, p.server, have)
	return err
}

// hasLess tells of an error that the archive has more than the server, or a newer timeline.
func hasLess(err error) bool {
	var (
		ahead    *AheadError
		timeline *TimelineError
	)
	return errors.As(err, &ahead) || errors.As(err, &timeline)
}

// standbyBehind returns an error that is no fence if err is a server that has less than the archive, or an older timeline, or one that is fenced, and is a standby: one that was
// started again, or hears of a promotion late, or is to be promoted itself, catches up.
func (a *Archiver) standbyBehind(ctx context.Context, conn Conn, err error) error {
	var fenced *repository.FencedError
	if !hasLess(err) && !errors.As(err, &fenced) {
		return err
	}
	if v, showErr := conn.Setting(ctx, "in_hot_standby"); showErr == nil && v == "on" {
		return fmt.Errorf("%w: %s", errStandbyBehind, err.Error()) // no fence
	}
	return err
}

// explainTimeline adds to a *TimelineError where the archived history left the server's timeline.
func explainTimeline(ctx context.Context, p *prepared, err error) error {
	var e *TimelineError
	if !errors.As(err, &e) {
		return err
	}
	if h, _, historyErr := p.cluster.History(ctx, e.Archive); historyErr == nil && h.Contains(e.Server) {
		e.Switch, _ = h.SwitchOf(e.Server)
	}
	return err
}

// inventory lists what decides: the newest timeline with WAL, and the
// coverage of the newest one in the server's history.
func (a *Archiver) inventory(ctx context.Context, p *prepared) (archived, error) {
	timelines, err := p.cluster.Timelines(ctx)
	if err != nil {
		return archived{}, err
	}
	var have archived
	if have.recorded, err = p.cluster.Gaps(ctx); err != nil {
		if !repository.OnlyUnreadable(err) {
			return archived{}, err
		}
		// Without its record a hole is looked for on the server once more.
		a.options.Logger.ErrorContext(ctx, "gap record cannot be read", "err", err)
	}
	expiry, err := p.cluster.Expiry(ctx)
	if err != nil {
		if !repository.OnlyUnreadable(err) {
			return archived{}, err
		}
		a.options.Logger.ErrorContext(ctx, "expiry record cannot be read", "err", err) // likewise
	}
	have.gaps = slices.Concat(have.recorded, expiry.Gaps())
	for _, tli := range slices.Backward(timelines) {
		have.known = max(have.known, tli)
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
// left. Where nothing is found there it lists all.
//
// It need not look at what was durable, or recorded as lost, in this very
// process. The slot alone proves less: it may have been made anew.
func (a *Archiver) coverage(ctx context.Context, p *prepared, tli wal.TimelineID) (repository.Coverage, error) {
	size := wal.LSN(p.system.SegmentSize)
	from, certain := p.slot.RestartLSN, false
	if at := a.Durable(); at.Timeline == tli {
		from, certain = at.LSN, true
	}
	if from <= size {
		return p.cluster.Coverage(ctx, tli, 0)
	}
	v, err := p.cluster.Coverage(ctx, tli, from-size)
	if err != nil || certain && len(v.Spans) > 0 {
		return v, err
	}
	from = 0
	if n := len(v.Spans); n > 0 {
		end := v.Spans[n-1].End
		from = end - min(end, (mostUploads+1)*size)
	}
	return p.cluster.Coverage(ctx, tli, from)
}

// list finds the objects that hold what the server will send again, and the
// pieces of segments that are complete.
func (p *prepared) list(ctx context.Context) error {
	entries, err := list(ctx, p.cluster, p.from.timeline, p.from.start)
	if err != nil {
		return err
	}
	if err := p.cluster.CheckOverlaps(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Kind == repository.KindPiece {
			p.pieces[p.system.SegmentSize.Number(e.Range.Start)] = struct{}{}
		}
	}
	if p.chain, err = p.before(ctx); err != nil {
		return err
	}
	p.listed, p.entries = entries, repository.Assemble(p.from.start, entries)
	return nil
}

// before returns what the stream has to go on from, where it compares nothing.
func (p *prepared) before(ctx context.Context) (*chain, error) {
	from, size := p.from, p.system.SegmentSize
	if from.fresh || from.start != from.durable || from.start < wal.LSN(size) {
		return nil, nil
	}
	plain, err := p.cluster.ReadSegment(ctx, size, wal.SegmentID{Timeline: from.timeline, Number: size.Number(from.start) - 1})
	if errors.Is(err, repository.ErrNoWAL) || uint64(len(plain)) < uint64(size) && err == nil {
		return nil, nil
	}
	var key *repository.KeyError
	if errors.As(err, &key) && key.NoKey() { // what is encrypted is proved where the server still has it, and not without it
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newChain(size, plain, from.start), nil
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
