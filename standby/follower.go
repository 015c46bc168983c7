package standby

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Options says how a Follower watches. The zero value is valid.
type Options struct {
	// Interval is how long it waits between two looks at the repository while WAL comes, 0 for a second. Each look is one list request.
	Interval time.Duration
	// Idle is that once a few looks in a row have found nothing, 0 for two seconds.
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
	h, err := historyOf(ctx, f.cluster, newest)
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

// looksOn is how many looks in a row must find nothing before the archive counts as idle. Under load pieces come about as often as it is looked: one that is a little late is missed by a
// look, and must not wait for the longer interval too.
const looksOn = 5

// Run looks at the repository again and again until ctx ends. Errors of the repository are told in Status, and end nothing.
func (f *Follower) Run(ctx context.Context) {
	timer := time.NewTimer(f.options.Interval)
	defer timer.Stop()
	empty := 0 // looks that found nothing, in a row
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
		if empty++; err == nil && f.view().tail.end != before {
			empty = 0
		}
		wait := f.options.Interval
		if err != nil || empty >= looksOn {
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
		f.options.Logger.WarnContext(ctx, "archive cannot be followed", "err", err)
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
		h, err := historyOf(ctx, f.cluster, newest)
		if err != nil {
			return fmt.Errorf("timeline %d: %w", uint32(newest), err)
		}
		own, _ := h.RangeOf(newest)
		f.options.Logger.InfoContext(ctx, "archive goes on on another timeline", "tli", uint32(newest), "from", own.Start.String())
		if t, newest, err = f.list(ctx, tail{history: h, end: f.size.Floor(own.Start)}); err != nil {
			return err
		}
	}
	if f.overdue(&t) {
		f.options.Logger.WarnContext(ctx, "archive has a hole", "tli", uint32(t.timeline()), "from", t.end.String(), "to", t.beyond.String())
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
