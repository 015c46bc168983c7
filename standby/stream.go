package standby

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

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
