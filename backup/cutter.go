package backup

import (
	"io"

	"github.com/pgark/pgark/repository"
)

// cutter lays the members of archives out in packs and frames by docs/FORMAT.md, section 5.1. It
// decides alone: memory comes from take, and finished frames go to emit in order.
type cutter struct {
	take func() (*frame, error)
	emit func(*frame) error
	// limit is repository.PackSize, and most repository.PackFiles; tests set less.
	limit int64
	most  int

	tablespace uint32
	current    *frame
	opened     bool  // the pack's first frame was taken
	packed     int64 // plain bytes of the pack
	members    int   // members of the pack
	frames     int   // frames of the pack that were emitted
}

// begin starts an archive: its first pack is made even if the archive has no member.
func (c *cutter) begin(tablespace uint32) {
	c.tablespace = tablespace
}

// member adds one member, reading its content from r.
func (c *cutter) member(m Member, r io.Reader) error {
	whole := blockSize + m.Size + padding(m.Size)
	if c.members > 0 && (c.packed+whole > c.limit || c.members == c.most) {
		if err := c.end(); err != nil {
			return err
		}
	}
	if err := c.append(m.Header); err != nil {
		return err
	}
	c.members++
	e := &entry{Member: m}
	e.Header = nil // it is the source's
	if m.Size == 0 {
		at := len(c.current.plain)
		c.current.pieces = append(c.current.pieces, piece{entry: e, from: at, to: at, last: true})
		return nil
	}
	if m.Size >= repository.OwnFrameSize {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if err := c.content(e, r); err != nil {
		return err
	}
	return c.append(make([]byte, padding(m.Size)))
}

// content reads the member's bytes into frames.
func (c *cutter) content(e *entry, r io.Reader) error {
	for left := e.Size; left > 0; {
		if err := c.space(); err != nil {
			return err
		}
		f := c.current
		from := len(f.plain)
		if left == e.Size {
			e.frame, e.offset = c.frames, from
		}
		to := from + int(min(left, int64(cap(f.plain)-from)))
		if _, err := io.ReadFull(r, f.plain[from:to]); err != nil {
			return unexpected(err)
		}
		f.plain = f.plain[:to]
		left -= int64(to - from)
		c.packed += int64(to - from)
		f.pieces = append(f.pieces, piece{entry: e, from: from, to: to, last: left == 0})
	}
	return nil
}

// append adds bytes that are no content.
func (c *cutter) append(b []byte) error {
	for len(b) > 0 {
		if err := c.space(); err != nil {
			return err
		}
		f := c.current
		n := min(len(b), cap(f.plain)-len(f.plain))
		f.plain = append(f.plain, b[:n]...)
		c.packed += int64(n)
		b = b[n:]
	}
	return nil
}

// space makes sure that the current frame has room for a byte.
func (c *cutter) space() error {
	if c.current != nil && len(c.current.plain) < repository.FrameSize {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	f, err := c.take()
	if err != nil {
		return err
	}
	f.first, f.tablespace = !c.opened, c.tablespace
	c.opened = true
	c.current = f
	return nil
}

// flush emits the current frame, if there is one.
func (c *cutter) flush() error {
	f := c.current
	if f == nil {
		return nil
	}
	c.current = nil
	c.frames++
	return c.emit(f)
}

// end ends the pack with the two zero blocks that end a tar file.
func (c *cutter) end() error {
	if err := c.append(make([]byte, 2*blockSize)); err != nil {
		return err
	}
	c.current.last = true
	if err := c.flush(); err != nil {
		return err
	}
	c.opened, c.packed, c.members, c.frames = false, 0, 0, 0
	return nil
}
