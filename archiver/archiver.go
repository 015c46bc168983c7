package archiver

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

// Archiver archives the WAL of one server into one repository. Its methods
// are safe for concurrent use; Run runs once.
type Archiver struct {
	connect  func(ctx context.Context) (Conn, error)
	open     Opener
	options  Options
	progress *progress
	demand   atomic.Bool
	held     atomic.Bool

	// Of Run's goroutine alone.
	repository *repository.Repository
	told       map[Position]struct{} // ends of tails that the log was told of
	// uncompared is where the server no longer had the whole segment before,
	// which was to be compared; the stream begins here then.
	uncompared Position
	compared   compared // what was held against the archive before the stream
	removed    Position // where that was to begin, and the server had removed it
	// slot is what was found to have become of the slot, until WAL came again;
	// "" if it was there and kept WAL.
	slot repository.Cause
}

// New returns an archiver that has not begun. connect opens replication
// connections, one at a time but for Options.Probe.
func New(connect func(ctx context.Context) (Conn, error), open Opener, options Options) *Archiver {
	options = options.withDefaults()
	if options.Probe == nil {
		options.Probe = func(ctx context.Context) error {
			conn, err := connect(ctx)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		}
	}
	return &Archiver{
		told:    make(map[Position]struct{}),
		connect: connect, open: open, options: options,
		progress: newProgress(options.Logger, options.Slot),
	}
}

// Run archives until ctx ends: then it puts what has come, tells the server,
// and returns nil. Whatever else goes wrong it tries again for ever, but for
// what must stop it until a person acts, which it returns in a *FenceError: *ForeignError,
// *SegmentSizeError, *TimelineError, *HistoryError, *RestoredError, *AheadError, *ConflictError,
// *repository.FencedError, *repository.ConflictError, *repository.FormatError, postgres.ErrAheadOfServer.
func (a *Archiver) Run(ctx context.Context) error {
	err := a.run(ctx)
	a.progress.end(err)
	return err
}

func (a *Archiver) run(ctx context.Context) error {
	var conn Conn
	for attempt := 0; ; attempt++ {
		if a.held.Load() {
			drop(ctx, conn)
			conn = nil
			if a.awaitRelease(ctx) != nil {
				return nil // told to stop
			}
		}
		if conn == nil {
			var err error
			if conn, err = a.dial(ctx); err != nil {
				return nil // told to stop
			}
		}
		before := a.Durable()
		next, err := a.session(ctx, conn)
		conn = next
		switch {
		case fence(err):
			drop(ctx, conn)
			return err
		case ctx.Err() != nil:
			drop(ctx, conn)
			return nil
		case again(err):
			continue
		case a.Durable() != before:
			attempt = 0
		}
		a.progress.enter(Waiting, err)
		if pause(ctx, attempt) != nil {
			drop(ctx, conn)
			return nil
		}
	}
}

// FlushOnDemand says whether commits on the server wait for what is put. While
// they do, a piece goes up whenever there is WAL and fewer than Options.Uploads
// objects are in flight, and not only once in Options.Interval. It may be called
// at any time, and is heeded within a quarter of a second.
func (a *Archiver) FlushOnDemand(on bool) { a.demand.Store(on) }

// errHeld hangs up because of Hold.
var errHeld = errors.New("connection ended so that the replication slot can be dropped")

// Hold keeps the slot free while on, so that it can be dropped: it ends the
// stream and lets no other begin. What was received before goes up all the
// same, and no new stream begins, nor is a slot made, before it is up: a
// repository that takes nothing now gets no slot that keeps WAL for it again. It
// may be called at any time, and is heeded within a quarter of a second.
func (a *Archiver) Hold(on bool) { a.held.Store(on) }

// awaitRelease waits until the slot may be used. The error is that of ctx.
func (a *Archiver) awaitRelease(ctx context.Context) error {
	a.progress.enter(Waiting, errHeld)
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for a.held.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// drop closes a connection that nobody needs.
func drop(ctx context.Context, conn Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// dial connects, trying for ever. The error is that of ctx.
func (a *Archiver) dial(ctx context.Context) (Conn, error) {
	for attempt := 0; ; attempt++ {
		a.progress.update(func(s *Status) { s.Attempts++ })
		conn, err := a.dialOnce(ctx)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a.progress.enter(Waiting, err)
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

func (a *Archiver) dialOnce(ctx context.Context) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return a.connect(ctx)
}

// session archives over one connection, which it closes. It returns the next
// one if it has opened that already.
func (a *Archiver) session(ctx context.Context, conn Conn) (Conn, error) {
	address := conn.Address()
	next, err := a.stream(ctx, conn)
	if fence(err) {
		err = &FenceError{Server: address, Err: err}
	}
	return next, err
}

func (a *Archiver) stream(ctx context.Context, conn Conn) (Conn, error) {
	a.progress.enter(Connecting, nil)
	p, err := a.prepare(ctx, conn)
	if err != nil {
		drop(ctx, conn)
		return nil, err
	}
	if a.held.Load() {
		drop(ctx, conn)
		return nil, errHeld
	}
	start := postgres.Start{Slot: a.options.Slot, Timeline: p.from.timeline, LSN: p.from.start}
	if err := conn.StartReplication(ctx, start); err != nil {
		if errors.Is(err, postgres.ErrSlotInvalidated) {
			err = a.dropSlot(ctx, conn)
		}
		drop(ctx, conn)
		return nil, a.gone(ctx, p, p.from.start, err)
	}
	a.tellBegun(ctx, p)
	beside, cancel := context.WithCancel(ctx)
	var tells sync.WaitGroup
	tells.Go(func() { a.tellTails(beside, p) })
	s := newStream(a, p, conn)
	tells.Go(func() { a.awaitEnd(beside, p, s) })
	next, err := s.run(ctx, a.dial)
	cancel()
	tells.Wait()
	if s.received > p.from.start {
		a.slot = ""
	}
	return next, a.gone(ctx, p, s.received, err)
}

// pause waits before the next attempt, twice as long each time, less up to a
// half at random so that many do not come at once.
func pause(ctx context.Context, attempt int) error {
	wait := mostWait
	if attempt < 10 {
		wait = min(wait, leastWait<<attempt)
	}
	timer := time.NewTimer(wait - rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
