package archiver

import (
	"context"
	"errors"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// watchEvery is how often the archiver looks whether somebody else writes to its archive. A connection may last for months, and
// what is compared when it begins tells nothing of who comes later.
const watchEvery = 30 * time.Second

// errNewerTimeline says that another server was promoted while this one streamed on. The next connection finds out whether it was this one.
var errNewerTimeline = errors.New("archive goes on with a younger timeline than the server had")

// others looks for what others put beside this stream. Of the loop alone.
type others struct {
	last time.Time
	busy bool
	from wal.LSN                // where the open segment began when it last looked
	mine map[wal.Range]struct{} // pieces from there on that are no other's
	told bool
}

func newOthers(p prepared) others {
	o := others{from: p.system.SegmentSize.Floor(p.from.durable), mine: make(map[wal.Range]struct{})}
	for _, e := range p.listed {
		o.mine[e.Range] = struct{}{}
	}
	return o
}

// pass forgets the pieces of segments that are done with.
func (o *others) pass(from wal.LSN) {
	o.from = from
	for r := range o.mine {
		if r.End <= from {
			delete(o.mine, r)
		}
	}
}

// strange returns the pieces that this stream neither found nor put.
func (o *others) strange(listed []repository.Entry) []repository.Entry {
	var found []repository.Entry
	for _, e := range listed {
		if _, ok := o.mine[e.Range]; !ok && e.Kind == repository.KindPiece {
			found = append(found, e)
		}
	}
	return found
}

// watch looks, beside the loop, for a younger timeline, and lists the last two segments at most.
func (l *loop) watch(work context.Context, now time.Time) {
	o := &l.others
	if o.busy || !l.verified || now.Sub(o.last) < watchEvery {
		return
	}
	if o.last.IsZero() {
		o.last = now // the connection has just begun
		return
	}
	o.busy, o.last = true, now
	from := o.from
	l.group.Go(func() error {
		ctx, cancel := context.WithTimeout(work, callTimeout)
		defer cancel()
		newer, err := l.cluster.HasTimelineAfter(ctx, l.system.Timeline)
		if newer {
			err = errNewerTimeline
		}
		if err == nil && l.options.Fence != nil {
			if found := l.options.Fence(ctx, l.system); fence(found) {
				err = takenOver(found)
			}
		}
		var listed []repository.Entry
		if err == nil {
			listed, err = list(ctx, l.cluster, l.from.timeline, from)
		}
		l.send(work, result{watched: true, listed: listed, err: err})
		return nil
	})
}

// watched takes in what was found. Pieces of somebody else are compared with ours where they overlap.
func (l *loop) watched(work context.Context, r result) {
	l.others.busy = false
	if errors.Is(r.err, errNewerTimeline) || errors.Is(r.err, errTakenOver) {
		l.hangUp(r.err)
		return
	}
	if r.err != nil {
		return // it looks again
	}
	strange := l.others.strange(r.listed)
	l.others.pass(min(l.size.Floor(l.assembler.durable), l.size.Floor(l.received)))
	if len(strange) == 0 {
		return
	}
	if !l.others.told {
		l.others.told = true
		l.options.Logger.WarnContext(work, "another agent archives here too", "key", string(strange[0].Key))
	}
	l.group.Go(func() error {
		ctx, cancel := context.WithTimeout(work, callTimeout)
		defer cancel()
		if err := l.cluster.CheckOverlaps(ctx, r.listed); fence(err) {
			l.send(work, result{err: err})
		}
		return nil // else it is compared again
	})
}
