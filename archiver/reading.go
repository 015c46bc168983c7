package archiver

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// reading follows the received WAL record by record, in order and behind the
// receiver: it compares what is durable already with what the server sends,
// and sums up the transaction ends for the headers.
type reading struct {
	size    wal.SegmentSize
	decoder *wal.Decoder
	broken  wal.Range // where the decoder could not read, to the end of the segment
	durable *comparison
	chain   *chain // nil where nothing is to be proved, or it was

	mu       sync.Mutex
	at       wal.LSN // every byte before it was read
	moved    chan struct{}
	open     repository.Summary // of the segment that holds at
	segments map[wal.SegmentNumber]repository.Summary
	parts    []partSummary // read and not in a piece yet, ascending
}

// partSummary is the summary of one part, which ends at end.
type partSummary struct {
	end     wal.LSN
	summary repository.Summary
}

// found is what the archiver acts on while WAL is read.
type found struct {
	shutdown bool  // a shutdown checkpoint ended
	corrupt  error // records cannot be read; archiving goes on
}

func newReading(size wal.SegmentSize, start wal.LSN, durable *comparison) *reading {
	return &reading{
		size: size, durable: durable, at: start,
		decoder: wal.NewDecoder(size, start, wal.EventsOnly),
		broken:  wal.Range{Start: start, End: start},
		moved:   make(chan struct{}), segments: make(map[wal.SegmentNumber]repository.Summary),
	}
}

// read takes the next part. It returns a *ConflictError if it differs from
// what is durable.
func (r *reading) read(ctx context.Context, p part) (found, error) {
	if err := r.durable.check(ctx, p.at, p.bytes); err != nil {
		return found{}, err
	}
	if r.chain != nil {
		proved, err := r.chain.goesOn(p.bytes)
		if err != nil {
			return found{}, broken(r.durable.timeline, p.at, err)
		}
		if proved {
			r.chain = nil
		}
	}
	summary, f := r.decode(p)
	end := p.at + wal.LSN(len(p.bytes))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = end
	r.open = merge(r.open, summary)
	r.parts = append(r.parts, partSummary{end: end, summary: summary})
	if r.size.Offset(end) == 0 {
		r.segments[r.size.Number(p.at)], r.open = r.open, repository.Summary{}
	}
	close(r.moved)
	r.moved = make(chan struct{})
	return f, nil
}

// decode sums up the records that end in p. Where they cannot be read the
// decoder begins again with the next segment: the bytes are archived as they
// are, and their objects say that they are not counted in full.
func (r *reading) decode(p part) (repository.Summary, found) {
	var (
		s repository.Summary
		f found
	)
	if p.at >= r.broken.End && r.broken.End > r.decoder.Pos() {
		r.decoder = wal.NewDecoder(r.size, r.broken.End, wal.EventsOnly)
	}
	if !r.broken.Contains(p.at) {
		if err := r.decoder.Write(p.bytes); err != nil {
			f.corrupt = err
			r.broken = wal.Range{Start: p.at, End: r.size.End(r.size.Number(p.at))}
		}
	}
	for rec, ok := r.decoder.Next(); ok; rec, ok = r.decoder.Next() {
		s.Add(rec)
	}
	f.shutdown = s.ShutdownCheckpoint
	head := r.decoder.Head()
	s.HeadUnknown = r.broken.Contains(p.at) || r.decoder.SkippedHead() && head.End > p.at
	return s, f
}

// wait returns when every byte before lsn was read.
func (r *reading) wait(ctx context.Context, lsn wal.LSN) error {
	for {
		r.mu.Lock()
		at, moved := r.at, r.moved
		r.mu.Unlock()
		if at >= lsn {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// position returns how far WAL was read.
func (r *reading) position() wal.LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// piece takes the summary of the bytes of a piece, all of which were read.
// A part is given away once.
func (r *reading) piece(bytes wal.Range) repository.Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s repository.Summary
	kept := r.parts[:0]
	for _, p := range r.parts {
		if p.end > bytes.Start && p.end <= bytes.End {
			s = merge(s, p.summary)
			continue
		}
		kept = append(kept, p)
	}
	r.parts = kept
	return s
}

// segment takes the summary of a whole segment, all of which was read.
func (r *reading) segment(n wal.SegmentNumber) repository.Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.segments[n]
	delete(r.segments, n)
	return s
}

// pass forgets the summaries of what lies before lsn and is in no object to
// come.
func (r *reading) pass(lsn wal.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.segments {
		if r.size.End(n) <= lsn {
			delete(r.segments, n)
		}
	}
	r.parts = slices.DeleteFunc(r.parts, func(p partSummary) bool { return p.end <= lsn })
}

// merge returns the summary of two runs of WAL, b right after a.
func merge(a, b repository.Summary) repository.Summary {
	s := a
	if b.Ends > 0 {
		s.LastXID, s.LastTime = b.LastXID, b.LastTime
		if a.Ends == 0 {
			s.FirstXID, s.FirstTime, s.MinTime, s.MaxTime = b.FirstXID, b.FirstTime, b.MinTime, b.MaxTime
		}
		s.MinTime, s.MaxTime = min(s.MinTime, b.MinTime), max(s.MaxTime, b.MaxTime)
	}
	s.Ends += b.Ends
	s.RestorePoints += b.RestorePoints
	s.HeadUnknown = a.HeadUnknown || b.HeadUnknown
	s.ShutdownCheckpoint = a.ShutdownCheckpoint || b.ShutdownCheckpoint
	return s
}

// comparison holds what the repository has of the bytes that the server sends
// again, one object at a time.
type comparison struct {
	cluster  *repository.Cluster
	timeline wal.TimelineID
	entries  []repository.Entry // that hold what is compared, ordered by start
	listed   []repository.Entry // these and others that hold the same bytes: of what cannot be opened here, each is compared by itself
	end      wal.LSN            // of what is to be compared
	sparse   bool               // entries leave holes, which are passed over

	object wal.Range // in plain
	plain  []byte
	proofs map[storage.Key]*repository.Proof // of entries that cannot be opened here
}

// check returns a *ConflictError if b, the bytes from at on, differs from what
// is durable of it.
func (c *comparison) check(ctx context.Context, at wal.LSN, b []byte) error {
	if compareNothing {
		return nil
	}
	if err := c.prove(ctx, at, b); err != nil {
		return err
	}
	for len(b) > 0 && at < c.end {
		if !c.object.Contains(at) {
			if hole := c.hole(at); hole > 0 {
				n := min(uint64(len(b)), uint64(hole))
				at, b = at+wal.LSN(n), b[n:]
				continue
			}
			if locked := c.locked(at); locked > 0 { // its proof tells
				n := min(uint64(len(b)), uint64(locked))
				at, b = at+wal.LSN(n), b[n:]
				continue
			}
			if err := c.load(ctx, at); err != nil {
				return err
			}
		}
		want := c.plain[at-c.object.Start:]
		n := min(len(b), len(want), int(c.end-at))
		if !bytes.Equal(b[:n], want[:n]) {
			for i := range n {
				if b[i] != want[i] {
					return &ConflictError{Timeline: c.timeline, At: at + wal.LSN(i)}
				}
			}
		}
		at += wal.LSN(n)
		b = b[n:]
	}
	if at >= c.end {
		c.plain = nil
	}
	return nil
}

// prove holds b, the bytes from at on, against the proofs of the entries that are encrypted and cannot be opened here. Of an entry whose first byte, or last, the
// server does not send nothing can be told.
func (c *comparison) prove(ctx context.Context, at wal.LSN, b []byte) error {
	if at >= c.end {
		return nil
	}
	for _, e := range c.listed {
		r := wal.Range{Start: max(e.Range.Start, at), End: min(e.Range.End, at+wal.LSN(len(b)))}
		if r.Empty() || e.Range.Start >= c.end || !c.cluster.Locked(e) {
			continue
		}
		p := c.proofs[e.Key]
		if p == nil {
			if e.Range.Start < at {
				continue
			}
			var err error
			if p, err = c.cluster.NewProof(ctx, e); errors.Is(err, repository.ErrNoWAL) {
				return errVanished
			} else if err != nil {
				return err
			}
			if c.proofs == nil {
				c.proofs = map[storage.Key]*repository.Proof{}
			}
			c.proofs[e.Key] = p
		}
		_, _ = p.Write(b[r.Start-at : r.End-at]) // never fails
		if r.End == e.Range.End && p.Check() != nil {
			return &ConflictError{Timeline: c.timeline, At: e.Range.Start}
		}
	}
	return nil
}

// locked returns how many bytes from at on are in an entry that cannot be opened here; 0 if they are not.
func (c *comparison) locked(at wal.LSN) wal.LSN {
	for _, e := range c.entries {
		if e.Range.Contains(at) && c.cluster.Locked(e) {
			return e.Range.End - at
		}
	}
	return 0
}

// hole returns how many bytes from at on are in no entry, where that may be.
func (c *comparison) hole(at wal.LSN) wal.LSN {
	next := c.end
	for _, e := range c.entries {
		if e.Range.Contains(at) {
			return 0
		}
		if e.Range.Start > at {
			next = min(next, e.Range.Start)
		}
	}
	if !c.sparse {
		return 0
	}
	return next - at
}

// errVanished says that an object to compare with is gone: a complete segment
// replaced it, so the listing it came from is out of date.
var errVanished = errors.New("objects of the repository changed while they were compared")

func (c *comparison) load(ctx context.Context, at wal.LSN) error {
	for _, e := range c.entries {
		if !e.Range.Contains(at) {
			continue
		}
		plain, err := c.cluster.ReadWAL(ctx, e)
		if errors.Is(err, repository.ErrNoWAL) {
			return errVanished
		}
		if err != nil {
			return err
		}
		c.object, c.plain = e.Range, plain
		return nil
	}
	return errVanished
}
