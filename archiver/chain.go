package archiver

import (
	"errors"

	"github.com/pgark/pgark/wal"
)

// chain proves that the WAL a server sends goes on from what is archived where the server has none of that left to be compared: the archive ends on a
// segment's border, and the segment before it was removed. A record names the one before it, and one that crosses the border has a checksum over
// both sides. It is pure.
type chain struct {
	decoder *wal.Decoder
	border  wal.LSN
}

// newChain begins with the archived bytes before the border. It returns nil where they end in no record that could be gone on from.
func newChain(size wal.SegmentSize, before []byte, border wal.LSN) *chain {
	d := wal.NewDecoder(size, border-wal.LSN(len(before)), wal.CheckCRC)
	if d.Write(before) != nil || d.AtEnd() || d.LastEnd() == 0 {
		return nil
	}
	c := &chain{decoder: d, border: border}
	c.drain()
	return c
}

func (c *chain) drain() {
	for more := true; more; {
		_, more = c.decoder.Next()
	}
}

// goesOn takes the bytes that follow, and reports whether the first record past the border was found to go on from what is before it.
// It returns a *wal.CorruptError where they do not.
func (c *chain) goesOn(b []byte) (bool, error) {
	if err := c.decoder.Write(b); err != nil && c.decoder.LastEnd() <= c.border {
		return false, err
	}
	c.drain()
	return c.decoder.LastEnd() > c.border, nil
}

// broken makes a *ConflictError of what goesOn returned.
func broken(tli wal.TimelineID, at wal.LSN, err error) error {
	var corrupt *wal.CorruptError
	if errors.As(err, &corrupt) {
		at = corrupt.At
	}
	return &ConflictError{Timeline: tli, At: at}
}
