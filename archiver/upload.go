package archiver

import (
	"context"
	"errors"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// uploadSegment puts a whole segment once it is encoded.
func (s *stream) uploadSegment(ctx context.Context, c cut, g *segment) error {
	select {
	case <-g.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.upload(ctx, c, g.object)
}

// uploadPiece encodes and puts a piece.
func (s *stream) uploadPiece(ctx context.Context, c cut, parts []part) error {
	o, err := s.encodePiece(ctx, c.bytes, parts)
	if err != nil {
		return err
	}
	return s.upload(ctx, c, o)
}

// upload puts one object. Not before all that was durable is found to be what
// the server sends: that is certain, because the object was read after it.
func (s *stream) upload(ctx context.Context, c cut, o *object) error {
	putting, ended := s.options.Putting(ctx, o.encoded)
	err := s.put(putting, o.encoded)
	ended(err)
	s.window.charge(-o.charged)
	s.recycle(c, o)
	s.send(ctx, result{cut: c, object: o.encoded, err: err})
	return nil
}

// recycle keeps the memory of a segment's object for the next. Nobody reads
// the bytes after the upload.
func (s *stream) recycle(c cut, o *object) {
	if c.kind != cutSegment || int64(cap(o.encoded.Body)) > s.options.Buffer/8 {
		return
	}
	select {
	case s.bodies <- o.encoded.Body:
	default:
	}
}

// put puts an object until it is durable. What can pass by itself was tried
// again below (storage/retry); what comes up here needs a person, such as a
// credential that expired, and is tried again until then.
func (s *stream) put(ctx context.Context, e *repository.EncodedWAL) error {
	for attempt := 0; ; attempt++ {
		err := s.cluster.PutWAL(ctx, e)
		if err == nil {
			err = s.unfenced(ctx) // only now: what was put before a fence is replayed by who takes over
		}
		if err == nil {
			s.progress.took()
		}
		if err == nil || fence(err) || errors.Is(err, errTakenOver) || ctx.Err() != nil {
			s.progress.stored(nil)
			return err
		}
		s.progress.stored(err)
		if attempt == 0 {
			s.options.Logger.ErrorContext(ctx, "repository refused WAL", "tli", uint32(s.from.timeline),
				"lsn", e.Header.Range.Start.String(), "key", string(e.Key), "err", err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// took says that the repository took an object.
func (p *progress) took() {
	p.update(func(s *Status) { s.Stored = time.Now() })
}

// stored says how the last put ended.
func (p *progress) stored(err error) {
	p.update(func(s *Status) {
		switch {
		case err == nil:
			s.StoreError, s.StoreErrorFrom = "", time.Time{}
		case s.StoreError == "":
			s.StoreErrorFrom = time.Now()
			fallthrough
		default:
			s.StoreError = err.Error()
		}
	})
}

// handle takes in the end of a call beside the loop.
func (l *loop) handle(work context.Context, r result) error {
	switch {
	case errors.Is(r.err, errTakenOver) && !r.watched:
		return r.err
	case r.dialed:
		l.deadline = time.Now().Add(l.options.StopTimeout)
	case r.denied:
		l.mayDelete = false
		l.options.Logger.InfoContext(work, "pieces may not be deleted, they are left to expiry", "err", r.err)
	case r.watched:
		l.watched(work, r)
	case r.unfenced:
		l.unfencedOnce = true
		l.verify()
	case r.probe:
		l.probing = false
		l.probed(work, r.err)
	case r.err != nil:
		return r.err
	default:
		l.uploaded(work, r)
	}
	return nil
}

// uploaded confirms an object.
func (l *loop) uploaded(work context.Context, r result) {
	h := &r.object.Header
	if h.Summary.Ends > 0 {
		l.commits = append(l.commits, lastCommit{end: h.Range.End, xid: h.Summary.LastXID, time: h.Summary.LastTime})
	}
	l.assembler.confirm(r.cut.id)
	l.progress.update(func(s *Status) {
		s.BytesStored += uint64(len(r.object.Body))
		if r.cut.kind == cutSegment {
			s.Segments++
		} else {
			s.Pieces++
		}
	})
	l.settle()
	l.deletePieces(work)
	l.publish(0)
}

// deletePieces removes the pieces of segments that are durable as a whole. A
// segment that went up in pieces only is never deleted: it has no object.
func (l *loop) deletePieces(work context.Context) {
	for n := range l.hasPieces {
		if l.size.End(n) > l.assembler.durable || l.assembler.inFlight(n) {
			continue
		}
		delete(l.hasPieces, n)
		if !l.mayDelete {
			continue
		}
		l.group.Go(func() error {
			ctx, cancel := context.WithTimeout(work, deleteTimeout)
			defer cancel()
			err := l.cluster.DeletePieces(ctx, l.size, wal.SegmentID{Timeline: l.from.timeline, Number: n})
			if errors.Is(err, storage.ErrDenied) {
				l.send(work, result{denied: true, err: err})
			}
			return nil // what is left does no harm
		})
	}
}

// publish brings the status up to date.
func (l *loop) publish(added uint64) {
	durable := l.assembler.durable
	now := time.Now()
	var last lastCommit
	kept := l.commits[:0]
	for _, c := range l.commits {
		if c.end > durable {
			kept = append(kept, c)
		} else if c.end > last.end {
			last = c
		}
	}
	l.commits = kept
	l.progress.update(func(s *Status) {
		s.Received, s.Turned = Position{Timeline: l.from.timeline, LSN: l.received}, now
		s.ServerEnd = l.serverEnd
		s.BytesReceived += added
		s.Behind = time.Time{}
		if len(l.marks) > 0 {
			s.Behind = l.marks[0].time
		}
		if last.end != 0 {
			s.LastCommit, s.LastCommitXID = last.time.Go(), last.xid
			s.CoverageTime = later(s.CoverageTime, s.LastCommit)
		}
		if l.verified {
			s.CoveredUntil = later(s.CoveredUntil, l.covered.durable(durable))
		}
		if l.verified && l.proved.time != 0 && l.proved.end <= durable {
			s.CoverageTime = later(s.CoverageTime, l.proved.time.Go())
		}
	})
	if l.live && l.verified && !l.stopping {
		state := Streaming
		if l.serverEnd > l.received+wal.LSN(l.size) {
			state = CatchingUp
		}
		l.progress.enter(state, nil)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// housekeep does what only the clock asks for.
func (l *loop) housekeep(work context.Context, now time.Time) {
	l.verify()
	l.progress.update(func(s *Status) { s.Turned = now })
	if l.withheld {
		l.settle()
	}
	l.beat(work, now)
	if !l.live {
		return
	}
	l.watch(work, now)
	switch {
	case l.held.Load():
		l.hangUp(errHeld)
		return
	case l.window.full():
		l.heard = now // nothing is read
	case now.Sub(l.heard) > silence:
		l.hangUp(errSilent)
		return
	case now.Sub(l.asked) >= askEvery:
		l.asked = now
		l.wire.ask.Store(true)
		l.wire.tell()
	}
	if !l.shutdownBy.IsZero() {
		l.assembler.flush(now)
		if !now.Before(l.shutdownBy) {
			l.hangUp(errHungUp)
		}
		return
	}
	if l.waits(now) && !l.probing && now.Sub(l.probedAt) >= probeEvery {
		l.probing, l.probedAt = true, now
		l.group.Go(func() error {
			ctx, cancel := context.WithTimeout(work, probeTimeout)
			defer cancel()
			l.send(work, result{probe: true, err: l.options.Probe(ctx)})
			return nil
		})
	}
}

// waits reports whether the server has waited for a confirmation for so long
// that it may be one that cannot stop because of us.
func (l *loop) waits(now time.Time) bool {
	if !l.verified || l.withheld {
		return now.Sub(l.began) >= probeAfter
	}
	return len(l.marks) > 0 && now.Sub(l.marks[0].time) >= probeAfter
}

// probed takes the answer of a probe. A server that shuts down waits until all
// its WAL is confirmed (WalSndDone, src/backend/replication/walsender.c), so
// what can be made safe is made safe now, and then it is left.
func (l *loop) probed(work context.Context, err error) {
	if !errors.Is(err, postgres.ErrShuttingDown) || !l.shutdownBy.IsZero() {
		return
	}
	now := time.Now()
	l.shutdownBy = now.Add(l.options.ShutdownTimeout)
	l.assembler.flush(now)
	l.options.Logger.WarnContext(work, "server shuts down while WAL is not durable yet",
		"tli", uint32(l.from.timeline), "lsn", l.assembler.durable.String())
}

// beat puts a coverage beat if one is due.
func (l *loop) beat(work context.Context, now time.Time) {
	if !l.verified {
		return
	}
	k, due := l.beats.due(l.proved, l.assembler.durable, now)
	if !due {
		return
	}
	l.group.Go(func() error {
		l.putBeat(work, k)
		return nil
	})
}

// lastBeat puts what was proved since the last beat, at the end.
func (l *loop) lastBeat(work context.Context) {
	if k, ok := l.beats.final(l.proved, l.assembler.durable, time.Now()); ok && l.verified {
		l.putBeat(work, k)
	}
}

func (s *stream) putBeat(ctx context.Context, k keepalive) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	b := repository.Beat{Time: k.time.Go(), Timeline: s.from.timeline, LSN: k.end}
	if err := s.cluster.PutBeat(ctx, b); err != nil {
		s.options.Logger.WarnContext(ctx, "coverage beat was not put",
			"tli", uint32(b.Timeline), "lsn", b.LSN.String(), "err", err)
		return
	}
	s.progress.took()
}
