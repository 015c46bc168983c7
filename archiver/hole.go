package archiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

var (
	// errCompare says that the stream begins one segment later next time.
	errCompare = errors.New("server no longer has the segment to compare with")
	// errGap says that a gap was recorded: the stream goes on behind it.
	errGap = errors.New("server no longer has the WAL to go on with; that is recorded")
	// errSlotDropped says that a slot which the server had invalidated is gone.
	errSlotDropped = errors.New("the slot that the server invalidated was dropped")
	// errChanged says that the server is not as it was when the session began.
	errChanged = errors.New("another server answers, or it was promoted or went on meanwhile")
)

// again reports whether the next session is to begin at once.
func again(err error) bool {
	return ended(err) || errors.Is(err, errCompare) || errors.Is(err, errGap) || errors.Is(err, errSlotDropped) || errors.Is(err, errHeld)
}

// gone looks at a stream that ended at received because the server no longer
// has the WAL asked for. If nothing came of it at all, that WAL is lost, and it
// is recorded before anything behind it is put or confirmed: errGap then. WAL
// removed later on is looked for again with a new connection.
func (a *Archiver) gone(ctx context.Context, p prepared, received wal.LSN, err error) error {
	if !errors.Is(err, postgres.ErrWALRemoved) || received > p.from.start {
		return err
	}
	if p.from.start < p.from.fallback {
		a.uncompared = Position{Timeline: p.from.timeline, LSN: p.from.durable}
		return errCompare
	}
	if p.from.held == 0 {
		return err // nothing was archived before: the next session begins with newer WAL
	}
	to, findErr := a.oldest(ctx, p)
	if findErr != nil {
		return fmt.Errorf("look for the oldest WAL that the server has: %w", findErr)
	}
	gap := repository.Gap{
		Timeline: p.from.timeline, Range: wal.Range{Start: p.from.held, End: to},
		FirstSeen: time.Now(), ServerFlush: p.system.Flush,
	}
	gap.Cause, gap.Detail = causeOf(p.system, p.from, p.slot, a.options.Slot, a.slot)
	if err := p.cluster.PutGap(ctx, gap); err != nil {
		return err
	}
	a.options.Logger.ErrorContext(ctx, "WAL is lost: what was written in this gap cannot be restored, nor what comes after it until a new base backup",
		"tli", uint32(gap.Timeline), "lsn", gap.Range.Start.String(), "to", gap.Range.End.String(), "bytes", gap.Range.Len(),
		"cause", string(gap.Cause), "detail", gap.Detail)
	a.progress.update(func(s *Status) { s.Lost = gap.Range.Start }) // no base backup begins behind it yet
	if a.options.Gap != nil {
		a.options.Gap(gap)
	}
	return errGap
}

// oldest returns where the WAL goes on that the server lacks from p.from.held
// on: the first byte behind it that the server has, but not past p.from.limit.
//
// The server removes segments by their number alone, oldest first, whatever
// timeline they are of (RemoveOldXlogFiles, src/backend/access/transam/xlog.c):
// so there is one border between those it lacks and those it has.
func (a *Archiver) oldest(ctx context.Context, p prepared) (wal.LSN, error) {
	size, limit := p.system.SegmentSize, p.from.limit
	lacks := size.Number(p.from.held)
	has := size.Number(p.system.Flush) // it is written now
	if limit != 0 {
		has = size.Number(limit-1) + 1 // not asked for
	}
	if has <= lacks {
		return 0, errChanged
	}
	for has-lacks > 1 {
		middle := lacks + (has-lacks)/2
		there, err := a.has(ctx, p, size.Start(middle))
		switch {
		case err != nil:
			return 0, err
		case there:
			has = middle
		default:
			lacks = middle
		}
	}
	return minimum(size.Start(has), limit), nil
}

// has asks the server, without the slot, whether it has the WAL at lsn, which
// lies before its end.
func (a *Archiver) has(ctx context.Context, p prepared, lsn wal.LSN) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := a.connect(ctx)
	if err != nil {
		return false, err
	}
	defer drop(ctx, conn)
	system, err := conn.System(ctx)
	if err != nil {
		return false, err
	}
	if system.ID != p.system.ID || system.Timeline != p.system.Timeline {
		return false, errChanged
	}
	err = conn.StartReplication(ctx, postgres.Start{Timeline: p.from.timeline, LSN: lsn})
	for err == nil {
		var m postgres.Message
		if m, err = conn.Receive(ctx); err == nil {
			switch m.(type) {
			case *postgres.Data:
				return true, nil
			case *postgres.EndOfTimeline:
				return false, errChanged
			}
		}
	}
	if errors.Is(err, postgres.ErrWALRemoved) {
		return false, nil
	}
	return false, err
}

// endEvery is how often it is looked whether a base backup has ended a gap.
const endEvery = 10 * time.Second

// openGap returns where WAL was lost on the way to where p begins, if no good
// base backup was taken since; 0 if there is no such place.
func openGap(ctx context.Context, p *prepared) (wal.LSN, error) {
	if len(p.gaps) == 0 {
		return 0, nil
	}
	backups, err := p.cluster.Backups(ctx)
	if err != nil && !repository.OnlyUnreadable(err) {
		return 0, err
	}
	g, _ := repository.OpenGap(p.gaps, backups, p.server)
	return g.Range.Start, nil
}

// confirmable finds out how far the server may be told that WAL is durable. While WAL
// that was lost can be got back by no base backup, a commit that waits for
// the archive must not return: it may lie in the gap, and what lies behind it
// cannot be restored. A server whose commits wait for nobody is told at
// once, so that its slot does not hold WAL for the time of a base backup.
func (a *Archiver) confirmable(ctx context.Context, conn Conn, p *prepared) error {
	var err error
	if p.open, err = openGap(ctx, p); err != nil {
		return err
	}
	a.progress.update(func(s *Status) { s.Lost = p.open })
	if p.open == 0 {
		return nil
	}
	names, err := conn.Setting(ctx, "synchronous_standby_names")
	if err != nil {
		return err
	}
	if p.limited = names != ""; p.limited {
		tellLimited(a.options.Logger, p.from.timeline, p.open)
	}
	return nil
}

func tellLimited(logger *slog.Logger, tli wal.TimelineID, lost wal.LSN) {
	logger.Warn("commits wait for this archive, and WAL was lost: no commit is confirmed before a base backup has ended the gap",
		"tli", uint32(tli), "lsn", lost.String())
}

// awaitEnd looks until a base backup has ended the gap, and lets the server be
// told then.
func (a *Archiver) awaitEnd(ctx context.Context, p prepared, s *stream) {
	if p.open == 0 {
		return
	}
	ticker := time.NewTicker(endEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if open, err := openGap(ctx, &p); err == nil && open == 0 {
			a.progress.update(func(s *Status) { s.Lost = 0 })
			s.gap.Store(0)
			return
		}
	}
}
