package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/pgark/pgark/wal"
)

// TakeCensus lists all WAL of the cluster, in parts where there are cuts, and returns what it found. It reads no object but for what tells the segment size; a cluster without
// any WAL has a census without blocks. The caller puts it, if anybody else is to go by it.
func (c *Cluster) TakeCensus(ctx context.Context, place string, cuts Cuts) (*Census, error) {
	n := &Census{Place: place, Began: time.Now(), Blocks: map[wal.TimelineID][]Block{}}
	var err error
	if n.SegmentSize, err = c.SegmentSize(ctx); err != nil && !errors.Is(err, ErrNoWAL) {
		return nil, fmt.Errorf("take a census: %w", err)
	}
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a census: %w", err)
	}
	for _, tli := range timelines {
		parts := cuts.parts(tli)
		blocks := make([][]Block, len(parts))
		err := c.inParts(ctx, tli, parts, func(i int, objects iter.Seq[Entry]) {
			counting := counter{size: n.SegmentSize}
			for e := range objects {
				counting.add(e)
			}
			blocks[i] = counting.end()
		})
		if err != nil {
			return nil, fmt.Errorf("take a census: %w", err)
		}
		n.take(tli, slices.Concat(blocks...))
	}
	n.Ended = time.Now()
	return n, nil
}

// take notes the blocks of a timeline, as many as a census has at most.
func (n *Census) take(tli wal.TimelineID, blocks []Block) {
	left := mostBlocks
	for _, list := range n.Blocks {
		left -= len(list)
	}
	blocks = blocks[:min(len(blocks), left)]
	if len(blocks) > 0 && len(n.Blocks) < mostCounted {
		n.Blocks[tli] = blocks
	}
}

// Segments is how many segments the census counted.
func (n *Census) Segments() int {
	count := 0
	for _, blocks := range n.Blocks {
		for _, b := range blocks {
			count += int(b.Range.Len() / uint64(n.SegmentSize))
		}
	}
	return count
}

func (n *Census) timelines() []wal.TimelineID { return slices.Sorted(maps.Keys(n.Blocks)) }

// counter makes blocks of the objects of one timeline, in the order of ListWAL. It is pure.
type counter struct {
	size   wal.SegmentSize
	blocks []Block
	block  Block // the last one; empty before the first segment, and behind a break

	segment Block // the objects of one segment so far
	whole   bool  // the complete one is among them
	mixed   bool  // some are encrypted and some not
}

func (n *counter) add(e Entry) {
	own := n.size.Range(n.size.Number(e.Range.Start))
	if own != n.segment.Range {
		n.endSegment()
		n.segment, n.whole, n.mixed = Block{Range: own, Sealed: e.Sealed()}, false, false
	}
	n.segment.Objects++
	n.segment.Stored += e.Stored
	n.whole = n.whole || e.Kind == KindSegment
	n.mixed = n.mixed || e.Sealed() != n.segment.Sealed
}

// endSegment puts the segment behind the block, if it goes on with it.
func (n *counter) endSegment() {
	s := n.segment
	n.segment = Block{}
	if s.Objects == 0 {
		return
	}
	if !n.whole || n.mixed {
		n.endBlock()
		return
	}
	goesOn := n.block.Range.End == s.Range.Start && n.block.Sealed == s.Sealed && n.block.Range.Len() < BlockSegments*uint64(n.size)
	if n.block.Objects > 0 && goesOn {
		n.block.Range.End = s.Range.End
		n.block.Objects += s.Objects
		n.block.Stored += s.Stored
		return
	}
	n.endBlock()
	n.block = s
}

func (n *counter) endBlock() {
	if n.block.Range.Len() >= blockLeast*uint64(n.size) {
		n.blocks = append(n.blocks, n.block)
	}
	n.block = Block{}
}

func (n *counter) end() []Block {
	n.endSegment()
	n.endBlock()
	return n.blocks
}
