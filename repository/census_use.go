package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/wal"
)

const (
	// TailSegments is how many segments before the end of an unbroken run of WAL are listed whatever a census says: who wants to know when it ends reads their headers.
	TailSegments = 64
	// probes is how many blocks of a timeline that a reader could rely on it looks at all the same.
	probes = 8
)

// ErrCensus says that WAL which a census counted is not there any more, and that no expiry record says why. Nothing of that census is to be relied on.
var ErrCensus = errors.New("WAL is gone that the last census counted")

// Found is a part of the WAL of a timeline, as SkimWAL gives it: an object that was listed or, where Block is set, a block that a census counted.
type Found struct {
	Entry Entry
	Block *Block
}

// Range is the WAL of the part.
func (f Found) Range() wal.Range {
	if f.Block != nil {
		return f.Block.Range
	}
	return f.Entry.Range
}

// SkimWAL yields what there is of the WAL of timeline tli in LSN order, as ListWAL does, but takes blocks from a census where FORMAT.md section 18 lets it. let is what the
// repository let go, read after the census. A nil census counts nothing. It ends after the first error, which is ErrCensus if the census is found wrong.
func (c *Cluster) SkimWAL(ctx context.Context, tli wal.TimelineID, census *Census, let *Expiry) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		parts, err := c.partsOf(ctx, tli, census, let)
		if err == nil && len(parts) > 1 {
			err = c.listParts(ctx, tli, parts)
		}
		if err != nil {
			yield(Found{}, err)
			return
		}
		for _, p := range parts {
			for _, e := range p.entries {
				if !yield(Found{Entry: e}, nil) {
					return
				}
			}
			if p.block != nil && !yield(Found{Block: p.block}, nil) {
				return
			}
		}
		if len(parts) > 1 {
			return
		}
		for e, err := range c.ListWAL(ctx, tli, 0) { // nothing to rely on: never in memory as a whole
			if !yield(Found{Entry: e}, err) {
				return
			}
		}
	}
}

// part of a timeline is what is to be listed, and the block behind it that is relied on.
type part struct {
	of      wal.Range
	block   *Block  // nil in the last part
	claims  []Block // what the census says of what is listed
	entries []Entry
}

// partsOf cuts a timeline at the blocks that are relied on: one part if there is none.
func (c *Cluster) partsOf(ctx context.Context, tli wal.TimelineID, census *Census, let *Expiry) ([]part, error) {
	rest := part{of: wal.Range{End: math.MaxUint64}}
	if census == nil || len(census.Blocks[tli]) == 0 {
		return []part{rest}, nil
	}
	if size, err := c.SegmentSize(ctx); err != nil || size != census.SegmentSize {
		return []part{rest}, err
	}
	blocks := census.Blocks[tli]
	uses := rely(blocks, census.SegmentSize, func(r wal.Range) bool { return let.touchesRange(tli, r) }, rand.IntN)
	var parts []part
	for i := range blocks {
		switch uses[i] {
		case relied:
			rest.of.End, rest.block = blocks[i].Range.Start, &blocks[i]
			parts = append(parts, rest)
			rest = part{of: wal.Range{Start: blocks[i].Range.End, End: math.MaxUint64}}
		case probed:
			rest.claims = append(rest.claims, blocks[i])
		case expired:
		}
	}
	return append(parts, rest), nil
}

// listParts lists what is to be listed, some parts at the same time, and holds it against what the census says of it.
func (c *Cluster) listParts(ctx context.Context, tli wal.TimelineID, parts []part) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for i := range parts {
		p := &parts[i]
		if p.of.Empty() {
			continue
		}
		group.Go(func() error { return c.listPart(ctx, tli, p) })
	}
	return group.Wait()
}

func (c *Cluster) listPart(ctx context.Context, tli wal.TimelineID, p *part) error {
	there := Coverage{Timeline: tli}
	for e, err := range c.ListWAL(ctx, tli, p.of.Start) {
		if err != nil {
			return err
		}
		if e.Range.Start >= p.of.End {
			break
		}
		p.entries = append(p.entries, e)
		there.Add(e.Range)
	}
	for _, b := range p.claims {
		if !there.Covers(b.Range) {
			return fmt.Errorf("%w: %s on timeline %s", ErrCensus, there.Gaps(b.Range)[0], tli)
		}
	}
	return nil
}

// reliance says what a reader does with a block.
type reliance uint8

const (
	relied  reliance = iota
	probed           // it is listed, and must be there
	expired          // it is listed, and may be gone
)

// rely decides what to do with each block: FORMAT.md section 18. intN draws a number below n. It is pure.
func rely(blocks []Block, size wal.SegmentSize, let func(wal.Range) bool, intN func(n int) int) []reliance {
	uses := make([]reliance, len(blocks))
	for i, b := range blocks {
		if let(b.Range) {
			uses[i] = expired
		}
	}
	joined := func(i, j int) bool { // one goes on behind the other, and neither may be gone
		return i >= 0 && j < len(blocks) && uses[i] != expired && uses[j] != expired &&
			blocks[i].Range.End == blocks[j].Range.Start && blocks[i].Sealed == blocks[j].Sealed
	}
	for i := range blocks {
		if uses[i] == expired {
			continue
		}
		if !joined(i-1, i) {
			uses[i] = probed
		}
		if joined(i, i+1) {
			continue
		}
		uses[i] = probed
		tail := blocks[i].Range.Len()
		for j := i; tail < TailSegments*uint64(size) && joined(j-1, j); j-- {
			uses[j-1] = probed
			tail += blocks[j-1].Range.Len()
		}
	}
	var left []int
	for i := range blocks {
		if uses[i] == relied {
			left = append(left, i)
		}
	}
	for range min(probes, len(left)) {
		k := intN(len(left))
		uses[left[k]] = probed
		left = slices.Delete(left, k, k+1)
	}
	return uses
}

// touchesRange reports whether the repository let go of any byte of r on timeline tli.
func (e *Expiry) touchesRange(tli wal.TimelineID, r wal.Range) bool {
	return slices.ContainsFunc(e.WAL, func(s Stretch) bool { return s.Timeline == tli && s.Start < r.End && r.Start < s.End })
}
