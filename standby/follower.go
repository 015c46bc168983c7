package standby

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Options says how a Follower watches. The zero value is valid.
type Options struct {
	// Interval is how long it waits between two looks at the repository while WAL comes, 0 for a second. Each look is one list request.
	Interval time.Duration
	// Idle is that while nothing comes, 0 for two seconds.
	Idle time.Duration
	// Patience is how long WAL may be missing that is needed next, while there is more behind it, before a standby is told that it will not
	// come; 0 for 30 seconds. A copy that is brought up to date may get it later.
	Patience time.Duration
	// Logger is told of timelines, holes and outages; nil for none.
	Logger *slog.Logger
}

// Follower watches a cluster's WAL in a repository and is a walsender.Source of it. Of standbys that stand near the end each object is
// read once, whatever their number.
type Follower struct {
	cluster *repository.Cluster
	size    wal.SegmentSize
	options Options
	recent  recent

	mu      sync.Mutex
	tail    tail
	changed chan struct{} // closed and made anew at each look
	looked  time.Time     // last look that succeeded
	hole    time.Time     // since when WAL is known behind a hole at the tail's end
	err     error         // of the last look
}

// NewFollower looks at the repository once: where the newest timeline ends. The error is repository.ErrNoWAL if the cluster has none.
func NewFollower(ctx context.Context, cluster *repository.Cluster, o Options) (*Follower, error) {
	o.Interval = cmp.Or(o.Interval, time.Second)
	o.Idle = cmp.Or(o.Idle, 2*time.Second)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Follower{cluster: cluster, options: o, changed: make(chan struct{})}
	if err := f.begin(ctx); err != nil {
		return nil, fmt.Errorf("follow the archive: %w", err)
	}
	return f, nil
}

// begin finds the end of the newest timeline.
func (f *Follower) begin(ctx context.Context) error {
	var err error
	if f.size, err = f.cluster.SegmentSize(ctx); err != nil {
		return err
	}
	timelines, err := f.cluster.Timelines(ctx)
	if err != nil {
		return err
	}
	if len(timelines) == 0 {
		return repository.ErrNoWAL
	}
	newest := timelines[len(timelines)-1]
	h, err := f.historyOf(ctx, newest)
	if err != nil {
		return err
	}
	own, _ := h.RangeOf(newest)
	last, err := f.lastSegment(ctx, newest, f.size.Number(own.Start))
	if err != nil {
		return err
	}
	f.tail = tail{history: h, end: max(f.size.Start(last), f.size.Floor(own.Start))}
	return f.look(ctx)
}

// historyOf returns the ancestry of a timeline.
func (f *Follower) historyOf(ctx context.Context, tli wal.TimelineID) (wal.History, error) {
	h, _, err := f.cluster.History(ctx, tli)
	if errors.Is(err, repository.ErrNoWAL) && tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	return h, err
}

// lastSegment returns the last segment of a timeline, or first if there is none. It looks further and further behind first, and then
// between: a request for each doubling, of a year of WAL about 40.
func (f *Follower) lastSegment(ctx context.Context, tli wal.TimelineID, first wal.SegmentNumber) (wal.SegmentNumber, error) {
	there, step := first, wal.SegmentNumber(1)
	var beyond wal.SegmentNumber // nothing lies here or behind; 0: not known
	for beyond == 0 || there+1 < beyond {
		n := there + step
		if beyond != 0 {
			n = there + (beyond-there)/2
		}
		found, ok, err := f.following(ctx, tli, n)
		switch {
		case err != nil:
			return 0, err
		case ok:
			there, step = found, step*2
		default:
			beyond = n
		}
	}
	return there, nil
}

// following returns the first segment from n on of which there is anything.
func (f *Follower) following(ctx context.Context, tli wal.TimelineID, n wal.SegmentNumber) (wal.SegmentNumber, bool, error) {
	for e, err := range f.cluster.ListWAL(ctx, tli, f.size.Start(n)) {
		return f.size.Number(e.Range.Start), err == nil, err
	}
	return 0, false, nil
}

// Run looks at the repository again and again until ctx ends. Errors of the repository are told in Status, and end nothing.
func (f *Follower) Run(ctx context.Context) {
	timer := time.NewTimer(f.options.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		before := f.view().tail.end
		err := f.look(ctx)
		if ctx.Err() != nil {
			return
		}
		f.tell(ctx, err)
		wait := f.options.Interval
		if err != nil || f.view().tail.end == before {
			wait = f.options.Idle
		}
		timer.Reset(wait)
	}
}

// tell logs an outage when it begins and when it ends.
func (f *Follower) tell(ctx context.Context, err error) {
	f.mu.Lock()
	before := f.err
	f.err = err
	f.mu.Unlock()
	switch {
	case err != nil && before == nil:
		f.options.Logger.WarnContext(ctx, "archive cannot be followed", "error", err)
	case err == nil && before != nil:
		f.options.Logger.InfoContext(ctx, "archive is followed again")
	}
}

// look lists what came since the last time.
func (f *Follower) look(ctx context.Context) error {
	v := f.view()
	t, newest, err := f.list(ctx, v.tail)
	if err != nil {
		return err
	}
	for newest > t.timeline() {
		h, err := f.historyOf(ctx, newest)
		if err != nil {
			return fmt.Errorf("timeline %d: %w", uint32(newest), err)
		}
		own, _ := h.RangeOf(newest)
		f.options.Logger.InfoContext(ctx, "archive goes on on another timeline", "timeline", newest.String(), "from", own.Start.String())
		if t, newest, err = f.list(ctx, tail{history: h, end: f.size.Floor(own.Start)}); err != nil {
			return err
		}
	}
	if f.overdue(&t) {
		f.options.Logger.WarnContext(ctx, "archive has a hole", "timeline", t.timeline().String(), "from", t.end.String(), "to", t.beyond.String())
		if t, _, err = f.list(ctx, tail{history: t.history, end: t.beyond}); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tail, f.looked = t, time.Now()
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// overdue reports whether the hole at the end of t has been there for so long that nobody will fill it. Only Run and begin call it, in turn.
func (f *Follower) overdue(t *tail) bool {
	before := f.view().tail
	switch {
	case t.beyond == 0:
		f.hole = time.Time{}
		return false
	case f.hole.IsZero() || t.end != before.end || t.timeline() != before.timeline():
		f.hole = time.Now()
	}
	return time.Since(f.hole) >= f.options.Patience
}

// list returns t with what a listing shows behind it, and the newest timeline that it shows.
func (f *Follower) list(ctx context.Context, t tail) (tail, wal.TimelineID, error) {
	after := f.cluster.WALFrom(f.size, t.timeline(), t.end)
	if n := len(t.objects); n > 0 {
		after = t.objects[n-1].Key
	}
	newest := t.timeline()
	var came []repository.Entry
	for o, err := range f.cluster.News(ctx, after) {
		if err != nil {
			return t, 0, err
		}
		newest = max(newest, o.Timeline)
		if o.Timeline == t.timeline() && o.Class != repository.ClassHistory {
			came = append(came, repository.EntryOf(o))
		}
	}
	if pieces := t.doubtful(came); len(pieces) > 0 {
		// What one writer puts follows each other; where two wrote, they must agree.
		if err := f.cluster.CheckOverlaps(ctx, pieces); err != nil {
			return t, 0, err
		}
	}
	t.objects = slices.Clone(t.objects) // others look at the old ones
	t.extend(came)
	return t, newest, nil
}

// view is a state of the follower that does not change.
type view struct {
	tail    tail
	changed <-chan struct{}
}

func (f *Follower) view() view {
	f.mu.Lock()
	defer f.mu.Unlock()
	return view{f.tail, f.changed}
}

// Status is what a Follower knows.
type Status struct {
	Timeline wal.TimelineID // the newest
	End      wal.LSN        // WAL on it goes to here without a hole
	Beyond   wal.LSN        // it goes on here behind a hole; 0: there is none
	Looked   time.Time      // when that was so
	Err      error          // why it could not be looked at since; nil
}

// Status returns what is known.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Status{f.tail.timeline(), f.tail.end, f.tail.beyond, f.looked, f.err}
}

// Identify returns the newest timeline and its end.
func (f *Follower) Identify(context.Context) (walsender.System, error) {
	t := f.view().tail
	own, _ := t.history.RangeOf(t.timeline())
	return walsender.System{ID: f.cluster.SystemID(), Timeline: t.timeline(), End: max(t.end, own.Start)}, nil
}

// History returns a history file.
func (f *Follower) History(ctx context.Context, tli wal.TimelineID) ([]byte, error) {
	_, raw, err := f.cluster.History(ctx, tli)
	if errors.Is(err, repository.ErrNoWAL) {
		return nil, fmt.Errorf("%w: %w", walsender.ErrRemoved, err)
	}
	return raw, err
}

// Open begins to read.
func (f *Follower) Open(_ context.Context, tli wal.TimelineID, start wal.LSN) (walsender.Stream, error) {
	s := &stream{follower: f, timeline: tli, at: start}
	t := f.view().tail
	end, ended, err := t.limit(tli, start)
	if err != nil {
		return nil, err
	}
	switch {
	case ended && start == end.At:
		return nil, &end
	case !ended && start > max(t.end, t.beyond):
		return nil, &walsender.AheadError{Start: start, End: t.end}
	}
	return s, nil
}

// stream reads one timeline for one standby.
type stream struct {
	follower *Follower
	timeline wal.TimelineID
	at       wal.LSN
	segments repository.SegmentReader
	missing  time.Time // since when nothing is at at, though there is more behind it
	sent     sent
}

// Next returns what follows.
func (s *stream) Next(ctx context.Context) ([]byte, error) {
	for {
		v := s.follower.view()
		end, ended, err := v.tail.limit(s.timeline, s.at)
		if err != nil {
			return nil, err
		}
		if ended && s.at == end.At {
			return nil, &end
		}
		b, err := s.read(ctx, &v.tail, s.timeline)
		size := s.follower.size
		if ended && len(b) == 0 && (err == nil || errors.Is(err, repository.ErrNoWAL)) && size.Number(s.at) == size.Number(end.At) {
			// The next timeline began with a copy of what this one had of the segment, which nobody need have archived under this one's name.
			b, err = s.read(ctx, &v.tail, end.Next)
		}
		if err != nil && !errors.Is(err, repository.ErrNoWAL) {
			return nil, err
		}
		if ended {
			b = b[:min(len(b), int(end.At-s.at))]
		}
		if len(b) > 0 {
			s.sent.add(size, s.at, b)
			s.at += wal.LSN(len(b))
			s.missing = time.Time{}
			return b, nil
		}
		if err := s.lacks(&v, ended); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-v.changed:
		}
	}
}

// read returns what is there at the position on a timeline, nothing if nothing is. The error is a *SplitError if it is not what was streamed before.
func (s *stream) read(ctx context.Context, t *tail, tli wal.TimelineID) ([]byte, error) {
	f := s.follower
	if tli == t.timeline() && s.at >= t.end && t.beyond == 0 {
		return nil, nil // the end: no request is needed
	}
	seg := f.size.Segment(tli, s.at)
	start := f.size.Start(seg.Number)
	if e, ok := t.holding(tli, s.at); ok {
		plain, err := f.recent.read(ctx, f.cluster, e)
		switch {
		case err == nil && e.Range.Start == start:
			return s.sent.goOn(start, s.at, plain)
		case err == nil:
			return plain[s.at-e.Range.Start:], nil
		case !errors.Is(err, repository.ErrNoWAL):
			return nil, err
		}
		// The segment was completed meanwhile, and its pieces are gone.
	}
	plain, err := s.segments.Read(ctx, f.cluster, f.size, seg)
	if err != nil {
		return nil, err
	}
	return s.sent.goOn(start, s.at, plain)
}

// sent is what was streamed of one segment.
type sent struct {
	start wal.LSN // of the segment
	end   wal.LSN
	crc   uint32 // of [start, end)
}

// SplitError says that the archive holds other WAL in Range than what was streamed before from it.
type SplitError struct{ Range wal.Range }

// Error names the place.
func (e *SplitError) Error() string {
	return fmt.Sprintf("the archive holds other WAL in %s than before: two servers write into it", e.Range)
}

// add notes the bytes b at at. What began in the middle of a segment is not known.
func (s *sent) add(size wal.SegmentSize, at wal.LSN, b []byte) {
	switch {
	case size.Offset(at) == 0:
		*s = sent{start: at, end: at}
	case at != s.end:
		*s = sent{}
		return
	}
	s.crc, s.end = crc32.Update(s.crc, crc32.MakeTable(crc32.Castagnoli), b), at+wal.LSN(len(b))
}

// goOn returns what a segment that begins at start holds from at on, if it begins with what was streamed.
func (s *sent) goOn(start, at wal.LSN, plain []byte) ([]byte, error) {
	n := int(at - start)
	if n >= len(plain) {
		return nil, nil
	}
	if n > 0 && s.start == start && s.end == at && crc32.Checksum(plain[:n], crc32.MakeTable(crc32.Castagnoli)) != s.crc {
		return nil, &SplitError{wal.Range{Start: start, End: at}}
	}
	return plain[n:], nil
}

// lacks returns ErrRemoved if what comes next has been missing for too long, while there is more behind it.
func (s *stream) lacks(v *view, ended bool) error {
	behind := ended || s.at < v.tail.end || v.tail.beyond > s.at
	if !behind {
		s.missing = time.Time{}
		return nil
	}
	if s.missing.IsZero() {
		s.missing = time.Now()
	}
	if time.Since(s.missing) < s.follower.options.Patience {
		return nil
	}
	return fmt.Errorf("%w: the archive has a hole at %s on timeline %d", walsender.ErrRemoved, s.at, uint32(s.timeline))
}

// recent keeps the objects that were read last, so that several standbys near the end share one reading.
type recent struct {
	mu      sync.Mutex
	objects []*recentObject // the newest last
}

const recentBytes = 64 << 20

type recentObject struct {
	key   storage.Key
	size  int
	ready chan struct{}
	plain []byte
	err   error
}

// read returns the plain bytes of an object, which are not to be changed.
func (r *recent) read(ctx context.Context, c *repository.Cluster, e repository.Entry) ([]byte, error) {
	for {
		o, ours := r.object(e)
		if ours {
			o.plain, o.err = c.ReadWAL(ctx, e)
			if o.err != nil {
				r.forget(o)
			}
			close(o.ready)
			return o.plain, o.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-o.ready:
		}
		if o.err == nil {
			return o.plain, nil
		}
		// Another's reading failed, perhaps because its standby left.
	}
}

// object returns the object with the entry's key, which the caller is to read if it is ours.
func (r *recent) object(e repository.Entry) (o *recentObject, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.objects {
		if o.key == e.Key {
			return o, false
		}
	}
	o = &recentObject{key: e.Key, size: int(e.Range.Len()), ready: make(chan struct{})}
	r.objects = append(r.objects, o)
	r.trim()
	return o, true
}

func (r *recent) forget(o *recentObject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects = slices.DeleteFunc(slices.Clone(r.objects), func(one *recentObject) bool { return one == o })
}

// trim lets go what is oldest.
func (r *recent) trim() {
	total := 0
	for i := len(r.objects) - 1; i >= 0; i-- {
		if total += r.objects[i].size; total > recentBytes && i < len(r.objects)-1 {
			r.objects = slices.Clone(r.objects[i+1:])
			return
		}
	}
}
