package commitlog

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	readAhead  = 64 << 20 // plain bytes of WAL read at once
	readAtOnce = 8        // segments read at once
)

// pass reads runs of WAL, in the order of LSNs, and gives their entries to
// visit until it returns false.
type pass struct {
	*branch

	holes    []wal.Range // that no run holds; told in their place
	visit    func(Entry) bool
	progress func(done, total int64)

	tracker tracker
	decoder *wal.Decoder      // nil: nothing goes on in the next segment
	corrupt *wal.CorruptError // where the decoder could not go on; nil if it could
	from    wal.LSN           // what ends before is only for the tracker
	done    bool
	count   int // segments read
}

// through reads all runs.
func (p *pass) through(ctx context.Context, runs []run) error {
	total, read := 0, 0
	for _, r := range runs {
		total += len(r.looks)
	}
	atOnce := max(1, min(readAtOnce, readAhead/int(p.size)))
	for _, r := range runs {
		if err := p.runUp(ctx, r.from); err != nil {
			return err
		}
		p.from = p.size.Start(r.from)
		for looks := range slices.Chunk(r.looks, atOnce) {
			if err := p.some(ctx, looks); err != nil || p.done {
				return err
			}
			if read += len(looks); p.progress != nil {
				p.progress(int64(read)*int64(p.size), int64(total)*int64(p.size))
			}
		}
		for _, e := range p.tracker.unended() {
			if e.Range.End > p.from {
				p.emit(e)
			}
		}
	}
	p.tell(^wal.LSN(0))
	return nil
}

// some reads segments that follow each other, all at once.
func (p *pass) some(ctx context.Context, looks []look) error {
	plain, errs := make([][]byte, len(looks)), make([]error, len(looks))
	var g errgroup.Group
	for i, l := range looks {
		g.Go(func() error {
			plain[i], errs[i] = p.read(ctx, l.number)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	for i, l := range looks {
		if err := p.segment(l.number, plain[i], errs[i]); err != nil || p.done {
			return err
		}
		plain[i] = nil
		p.count++
	}
	return nil
}

// runUp reads what lies before segment n, so that a record that goes on there
// is seen whole, and transactions from before are known.
func (p *pass) runUp(ctx context.Context, n wal.SegmentNumber) error {
	p.decoder, p.from = nil, ^wal.LSN(0)
	p.tracker.forget()
	for k := wal.SegmentNumber(1); k <= n; k++ {
		var parts [][]byte
		for i := n - k; i < n; i++ {
			plain, err := p.read(ctx, i)
			if errors.Is(err, repository.ErrNoWAL) || unreadable(err) {
				return nil // nothing goes on from there
			}
			if err != nil {
				return err
			}
			parts = append(parts, plain)
		}
		p.decoder = nil
		p.tracker.forget()
		for i, plain := range parts {
			if err := p.segment(n-k+wal.SegmentNumber(i), plain, nil); err != nil {
				return err
			}
		}
		if p.decoder == nil || p.decoder.Pos() != p.size.Start(n) || p.decoder.Head().End < p.size.Start(n) {
			return nil
		}
	}
	return nil
}

// segment takes the bytes of segment n, or the error that reading it gave. It
// returns the error if it is not of the segment.
func (p *pass) segment(n wal.SegmentNumber, plain []byte, err error) error {
	whole := p.size.Range(n)
	p.tell(whole.Start)
	switch {
	case errors.Is(err, repository.ErrNoWAL): // expired since it was listed
		p.lose(Entry{Kind: KindGap, Range: whole})
		return nil
	case unreadable(err):
		p.lose(Entry{Kind: KindDamaged, Range: whole, Reason: err.Error()})
		return nil
	case err != nil:
		return err
	}
	d := p.decoder
	if d != nil && d.Pos() != whole.Start {
		d = nil
	}
	if d != nil && !p.decode(plain) && d.LastEnd() <= whole.Start {
		// What came before may be what does not fit: this segment has a chance of its own.
		p.lose(Entry{Kind: KindDamaged, Range: wal.Range{Start: d.LastEnd(), End: p.corrupt.At}, Reason: p.corrupt.Error()})
		d = nil
	}
	if d == nil {
		p.decoder = wal.NewDecoder(p.size, whole.Start, wal.StorageEvents)
		p.tracker.forget()
		p.decode(plain)
	}
	if p.corrupt != nil {
		p.lose(Entry{Kind: KindDamaged, Range: wal.Range{Start: p.corrupt.At, End: whole.Start + wal.LSN(len(plain))}, Reason: p.corrupt.Error()})
	}
	return nil
}

// decode reads bytes of a segment, and reports whether all of them could be
// read. If not, corrupt says why.
func (p *pass) decode(plain []byte) bool {
	p.corrupt = nil
	errors.As(p.decoder.Write(plain), &p.corrupt)
	for r, ok := p.decoder.Next(); ok && !p.done; r, ok = p.decoder.Next() {
		if e, ok := p.tracker.record(r); ok && r.End > p.from {
			p.emit(e)
		}
	}
	return p.corrupt == nil
}

// lose tells of WAL that cannot be read, and goes on behind it.
func (p *pass) lose(e Entry) {
	p.decoder = nil
	p.tracker.forget()
	p.emit(e)
}

// tell emits the holes that end at or before lsn.
func (p *pass) tell(lsn wal.LSN) {
	for len(p.holes) > 0 && p.holes[0].End <= lsn && p.from != ^wal.LSN(0) {
		hole := p.holes[0]
		p.holes = p.holes[1:]
		p.emit(Entry{Kind: KindGap, Range: hole})
	}
}

// emit gives an entry away, except while it runs up.
func (p *pass) emit(e Entry) {
	if p.done || p.from == ^wal.LSN(0) {
		return
	}
	e.Timeline = p.history.TimelineAt(e.Range.Start)
	p.done = !p.visit(e)
}
