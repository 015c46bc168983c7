package repository

import (
	"context"
	"slices"

	"github.com/pgark/pgark/wal"
)

// overlapping reports whether any byte lies in two of the objects, which are ordered by start.
func overlapping(objects []Entry) bool {
	end := wal.LSN(0)
	for _, e := range objects {
		if e.Range.Start < end {
			return true
		}
		end = max(end, e.Range.End)
	}
	return false
}

// CheckOverlaps reads the WAL objects, which are of one timeline and ordered by start, as far as they hold the same bytes as another one. It returns a
// *ConflictError, whose range begins with the first byte in which two of them differ, if they do: two servers share one history. What is encrypted and cannot be
// opened here is passed over.
// The error is ErrNoWAL if an object is gone, or a *CorruptError.
func (c *Cluster) CheckOverlaps(ctx context.Context, objects []Entry) error {
	for from := 0; from < len(objects); {
		to, end := from+1, objects[from].Range.End
		for to < len(objects) && objects[to].Range.Start < end {
			end = max(end, objects[to].Range.End)
			to++
		}
		if to > from+1 && !slices.ContainsFunc(objects[from:to], c.Locked) {
			if _, err := c.readAgreeing(ctx, objects[from:to]); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

// readAgreeing returns the bytes that objects, ordered by start, hold from the start of the first on without a hole, all of which it reads. Where two differ, it returns a
// *ConflictError.
func (c *Cluster) readAgreeing(ctx context.Context, objects []Entry) ([]byte, error) {
	start := objects[0].Range.Start
	have, joined := start, 0 // those before a hole
	for ; joined < len(objects) && objects[joined].Range.Start <= have; joined++ {
		have = max(have, objects[joined].Range.End)
	}
	var plain []byte
	err := c.inOrder(ctx, objects[:joined], func(e Entry, p []byte) error {
		both := plain[e.Range.Start-start:]
		for i := range min(len(both), len(p)) {
			if both[i] != p[i] {
				return &ConflictError{Key: e.Key, Range: wal.Range{Start: e.Range.Start + wal.LSN(i), End: e.Range.End}}
			}
		}
		if len(p) > len(both) {
			plain = append(plain, p[len(both):]...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return plain, nil
}
