package archiver

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// stream archives what one connection sends of one timeline. Its loop is the
// only one that decides; receiving, reading, encoding and uploading happen
// beside it and tell it what came of them.
type stream struct {
	options  Options
	progress *progress
	demand   *atomic.Bool // commits wait for what is put
	held     *atomic.Bool // the slot is wanted free
	cluster  *repository.Cluster
	system   postgres.System
	history  wal.History // of from.timeline
	from     resumption
	size     wal.SegmentSize
	whole    wal.LSN // segments from here on are to be put

	wire          *wire
	news          *news
	window        *window
	reading       *reading
	parts         chan part
	encoders      chan *encoder
	pieceEncoders chan *encoder
	results       chan result
	bodies        chan []byte // memory for encoded segments

	gap     atomic.Uint64 // where WAL was lost and no base backup was taken since; 0 if none was
	limited bool          // commits waited for somebody when the stream began
	current *segment      // of the receiver alone

	// Of the loop alone.
	assembler *assembler
	segments  map[wal.SegmentNumber]*segment // with an encoder, until cut
	before    chan struct{}                  // started of the last segment, closed at first
	hasPieces map[wal.SegmentNumber]struct{} // in the repository or on their way
	commits   []lastCommit                   // put and not known to be durable
	marks     []mark
	covered   covered
	received  wal.LSN
	serverEnd wal.LSN
	bytes     uint64
	proved    keepalive
	beats     beats
	others    others
	verified  bool

	unfencedOnce bool // what was durable when the stream began was so before any fence
	withheld     bool // the server is told less than is durable
	warned       bool // of that, because commits began to wait after the stream did
	mayDelete    bool
	heard        time.Time
	asked        time.Time
	began        time.Time
	probedAt     time.Time
	probing      bool
	shutdownBy   time.Time // when a server that shuts down is left; zero if it does not
	live         bool      // the wire is up
	stopping     bool
	deadline     time.Time // when uploads are abandoned; zero means never
	cause        error     // why the wire ended
}

// lastCommit is the last transaction end of an object.
type lastCommit struct {
	end  wal.LSN // of the object
	xid  wal.XID
	time wal.Time
}

// mark says when a byte came.
type mark struct {
	lsn  wal.LSN
	time time.Time
}

// result is the end of an upload or of another call beside the loop.
type result struct {
	cut    cut
	object *repository.EncodedWAL
	err    error
	probe  bool // the answer of a probe
	dialed bool // a new connection is there
	denied bool // pieces may not be deleted

	unfenced bool // nobody had taken over when that was asked first
	watched  bool // others were looked for
	listed   []repository.Entry
}

func newStream(a *Archiver, p prepared, conn Conn) *stream {
	o, size := a.options, p.system.SegmentSize
	s := &stream{
		options: o, progress: a.progress, demand: &a.demand, held: &a.held, cluster: p.cluster, system: p.system, history: p.history,
		from: p.from, size: size, whole: size.Floor(p.from.durable),
		wire: newWire(conn), news: newNews(p.from.start),
		parts: make(chan part, 256), encoders: make(chan *encoder, o.Workers), pieceEncoders: make(chan *encoder, 1),
		results: make(chan result), bodies: make(chan []byte, o.Uploads), segments: make(map[wal.SegmentNumber]*segment), before: make(chan struct{}),
		hasPieces: p.pieces, received: p.from.start, mayDelete: true, limited: p.limited,
		beats: beats{every: o.BeatEvery}, others: newOthers(p),
	}
	s.gap.Store(uint64(p.open))
	close(s.before)
	s.window = newWindow(size, o.Buffer, s.whole)
	s.reading = newReading(size, p.from.start, &comparison{
		cluster: p.cluster, timeline: p.from.timeline, entries: p.entries, listed: p.listed, end: p.from.durable,
	})
	s.reading.chain = p.chain
	for range o.Workers {
		s.encoders <- newEncoder(s.cluster, o.Codec, s.window)
	}
	s.pieceEncoders <- newEncoder(s.cluster, o.Codec, s.window)
	s.assembler = newAssembler(assemblerConfig{
		size: size, interval: o.Interval, maxPiece: o.maxPiece(), slots: o.Uploads, fresh: p.from.fresh,
	}, p.from.start, p.from.durable)
	return s
}

// run archives until the connection is lost, the timeline ends, the archiver
// is stopped by ctx, or a fence is met. What was received is uploaded before
// it returns, unless that takes too long. dial is called when the connection
// is lost with bytes in hand; a connection that it opened is returned.
func (s *stream) run(ctx context.Context, dial func(context.Context) (Conn, error)) (Conn, error) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return s.read(work) })

	live, hangUp := context.WithCancelCause(work)
	defer hangUp(nil)
	ended := make(chan error, 1)
	g.Go(func() error {
		ended <- s.wire.run(live, s)
		return nil
	})
	l := &loop{stream: s, group: g, hangUp: hangUp, ended: ended, dial: dial}
	err := l.run(ctx, work)
	if err == nil && l.assembler.drained() {
		l.lastBeat(work)
	}
	hangUp(errFinish)
	cancel(errAbandoned)
	if other := g.Wait(); other != nil && fence(other) {
		err = other
	}
	return l.next, err
}

// read follows the received parts.
func (s *stream) read(ctx context.Context) error {
	for {
		select {
		case p := <-s.parts:
			f, err := s.reading.read(ctx, p)
			if err != nil {
				return err
			}
			end := p.at + wal.LSN(len(p.bytes))
			s.window.advance(end, 0)
			s.news.found(f)
			if end == s.from.durable {
				s.news.poke()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// loop is one run of a stream's decisions.
type loop struct {
	*stream

	group  *errgroup.Group
	hangUp context.CancelCauseFunc
	ended  <-chan error
	dial   func(context.Context) (Conn, error)
	next   Conn
}

// housekeeping is how often the loop looks at the clock without an event.
const housekeeping = 250 * time.Millisecond

func (l *loop) run(ctx, work context.Context) error {
	now := time.Now()
	l.live, l.began, l.heard, l.asked = true, now, now, now
	l.settle()
	l.group.Go(func() error { return l.askOnce(work) })
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	piece := time.NewTimer(math.MaxInt64)
	defer piece.Stop()
	stop := ctx.Done()
	for {
		l.assembler.onDemand(l.demand.Load())
		l.cutAll(work, time.Now())
		if err, done := l.finished(); done {
			return err
		}
		if at, ok := l.assembler.wake(); ok {
			piece.Reset(time.Until(at))
		} else {
			piece.Reset(math.MaxInt64)
		}
		select {
		case <-l.news.ready:
			l.look(work)
		case r := <-l.results:
			if err := l.handle(work, r); err != nil {
				return err
			}
		case <-piece.C:
		case <-tick.C:
			l.housekeep(work, time.Now())
		case err := <-l.ended:
			l.look(work)
			l.lost(work, err)
		case <-stop:
			stop = nil
			l.stop(work)
		case <-work.Done():
			return context.Cause(work)
		}
	}
}

// finished reports whether nothing is left to do, and the result of run.
func (l *loop) finished() (error, bool) {
	drained := l.assembler.drained() && l.received == l.assembler.received
	late := !l.deadline.IsZero() && !time.Now().Before(l.deadline)
	switch {
	case l.live && !l.stopping:
		return nil, false
	case l.stopping && (drained || late):
		return nil, true
	case drained:
		return l.cause, true
	case late:
		return errors.Join(l.cause, errAbandoned), true
	}
	return nil, false
}

// look takes in what came.
func (l *loop) look(work context.Context) {
	n := l.news.take()
	now := time.Now()
	for _, g := range n.opened {
		before := l.before
		l.segments[g.id.Number], l.before = g, g.started
		l.group.Go(func() error { return l.encodeSegment(work, g, before) })
	}
	if n.heard {
		l.heard = now
		l.covered.heard(n.serverEnd, n.sent, now)
	}
	if n.data {
		l.asked = now
	}
	if n.received > l.received {
		l.assembler.receive(n.received, n.serverEnd, now)
		l.mark(n.received, now)
	}
	added := n.bytes - l.bytes
	l.received, l.serverEnd, l.bytes, l.proved = n.received, n.serverEnd, n.bytes, n.proof.proved
	if n.shutdown {
		l.assembler.flush(now)
	}
	if n.corrupt != nil {
		l.options.Logger.ErrorContext(work, "WAL cannot be read, it is archived as it is",
			"tli", uint32(l.from.timeline), "lsn", l.received.String(), "err", n.corrupt)
	}
	if n.overflow != 0 && n.overflow-1 == l.size.Number(l.received) {
		l.assembler.piecesOnly()
	}
	l.verify()
	l.publish(added)
}

// mark notes when bytes came that are not durable yet, to a tenth of a second.
func (l *loop) mark(received wal.LSN, now time.Time) {
	k := len(l.marks)
	switch {
	case received <= l.assembler.durable:
	case k > 0 && now.Sub(l.marks[k-1].time) < time.Second/10:
		l.marks[k-1].lsn = received
	default:
		l.marks = append(l.marks, mark{lsn: received, time: now})
	}
}

// verify lets the server be told what is durable once all that was durable
// before was found to be the same as what it sends, and nobody had taken over
// when it was durable.
func (l *loop) verify() {
	if l.verified {
		return
	}
	if l.unfencedOnce && l.reading.position() >= l.from.durable {
		l.verified = true
		l.settle()
		l.publish(0) // what was said of it before waited for this
	}
}

// settle takes the durable position over to those who wait for it.
func (l *loop) settle() {
	if l.unfencedOnce && l.reading.position() >= l.from.durable {
		l.verified = true
	}
	if !l.verified {
		return
	}
	durable := l.assembler.durable
	l.progress.durable(l.history, durable)
	told := l.tellable(uint64(durable))
	if l.withheld = told < uint64(durable); l.wire.flushed.Swap(told) != told {
		l.wire.tell()
	}
	for len(l.marks) > 0 && l.marks[0].lsn <= durable {
		l.marks = l.marks[1:]
	}
	l.reading.pass(l.assembler.floor())
	l.window.advance(0, l.assembler.settled())
}

// tellable returns how much of what is durable the server may be told. While
// commits wait and WAL is lost, that is nothing: neither what lies behind the gap, nor
// what lies before, because a slot goes back to what its server is told
// (PhysicalConfirmReceivedLocation, src/backend/replication/walsender.c), and would keep
// WAL that is gone. Where they began to wait later it is what was told before.
func (l *loop) tellable(durable uint64) uint64 {
	lost := l.gap.Load()
	if lost == 0 || !l.limited && !l.demand.Load() {
		return durable
	}
	if !l.limited && !l.warned {
		l.warned = true
		tellLimited(l.options.Logger, l.from.timeline, wal.LSN(lost))
	}
	return min(durable, l.wire.flushed.Load())
}

// cutAll cuts what is to be cut now.
func (l *loop) cutAll(work context.Context, now time.Time) {
	for {
		c, ok := l.assembler.nextCut(now)
		if !ok {
			break
		}
		n := l.size.Number(c.bytes.Start)
		if c.kind == cutSegment {
			g := l.segments[n]
			delete(l.segments, n)
			l.group.Go(func() error { return l.uploadSegment(work, c, g) })
			continue
		}
		l.hasPieces[n], l.others.mine[c.bytes] = struct{}{}, struct{}{}
		parts := l.window.pin(c.bytes)
		l.group.Go(func() error { return l.uploadPiece(work, c, parts) })
		if c.bytes.End == l.size.End(n) && !l.assembler.replaces(n) {
			l.split(n)
		}
	}
	for n := range l.segments {
		if l.assembler.isSplit(n) {
			l.split(n)
		}
	}
	l.window.advance(0, l.assembler.settled())
}

// split stops the encoding of a segment that goes up in pieces only.
func (l *loop) split(n wal.SegmentNumber) {
	if g := l.segments[n]; g != nil {
		close(g.split)
		delete(l.segments, n)
	}
	delete(l.hasPieces, n) // for good
}

// stop ends the archiver: what came is cut at once, what comes is dropped.
func (l *loop) stop(work context.Context) {
	l.progress.enter(Stopping, nil)
	l.wire.mute.Store(true)
	l.look(work)
	l.stopping = true
	l.deadline = time.Now().Add(l.options.StopTimeout)
	l.assembler.flush(time.Now())
}

// lost goes on without a connection until what came is safe. A server that
// can be reached has these bytes too, so then it waits only so long; but not one
// whose slot is dropped meanwhile.
func (l *loop) lost(work context.Context, err error) {
	l.live, l.cause = false, err
	l.assembler.flush(time.Now())
	if l.stopping || l.assembler.drained() {
		return
	}
	if !ended(err) {
		l.progress.enter(Waiting, err)
	}
	if errors.Is(err, errHeld) {
		return
	}
	l.group.Go(func() error {
		conn, err := l.dial(work)
		if err != nil {
			return nil // work has ended
		}
		l.next = conn
		l.send(work, result{dialed: true})
		return nil
	})
}

// send hands a result to the loop, unless that has ended.
func (s *stream) send(ctx context.Context, r result) {
	select {
	case s.results <- r:
	case <-ctx.Done():
	}
}
