package backup

import (
	"hash/crc32"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
)

// entry is one member on its way into the index.
type entry struct {
	Member
	// frame and offset say where the content begins; they mean nothing where Size is 0.
	frame, offset int
	// crc is the CRC32C of the content up to the pieces that were joined so far.
	crc uint32
}

// piece is a run of one member's content within a frame. A member without content has one piece of
// length 0 in the frame that holds its header.
type piece struct {
	entry    *entry
	from, to int
	last     bool   // the member ends here
	crc      uint32 // of the bytes [from, to)
}

// index is the member as the index names it.
func (e *entry) index() repository.File {
	f := repository.File{Path: e.Path, Type: e.Type, Mode: e.Mode, Size: e.Size, ModTime: e.ModTime, CRC32C: e.crc, Link: e.Link}
	if e.Size > 0 {
		f.Frame, f.Offset = e.frame, e.offset
	}
	return f
}

// frame is one unit of work: plain bytes, what lies in them, and their stored form. It is owned by one
// goroutine at a time: the reader fills it, a worker encodes it, the writer stores it and gives it back.
type frame struct {
	plain  []byte
	stored []byte
	pieces []piece
	// first and last say that the frame begins and ends a pack.
	first, last bool
	// tablespace is the archive the pack is of.
	tablespace uint32
	// done carries one token when a worker has encoded the frame.
	done chan struct{}
}

func newFrame() *frame {
	return &frame{plain: make([]byte, 0, repository.FrameSize), done: make(chan struct{}, 1)}
}

// reset makes the frame empty, keeping its memory.
func (f *frame) reset() {
	clear(f.pieces) // do not keep entries alive
	*f = frame{plain: f.plain[:0], stored: f.stored[:0], pieces: f.pieces[:0], done: f.done}
}

// encode compresses the frame and sums its pieces.
func (f *frame) encode(encoder compression.FrameEncoder, table *crc32.Table) {
	for i := range f.pieces {
		p := &f.pieces[i]
		p.crc = crc32.Checksum(f.plain[p.from:p.to], table)
	}
	f.stored = encoder.EncodeFrame(f.stored[:0], f.plain)
}

// join adds the piece's checksum to its member's.
func (p *piece) join(c *combiner) {
	if n := p.to - p.from; n > 0 {
		p.entry.crc = c.combine(p.entry.crc, p.crc, int64(n))
	}
}
