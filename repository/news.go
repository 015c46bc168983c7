package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// WALFrom returns a place in the order of keys for News: before all WAL of timeline tli from the segment that holds the byte at lsn on.
func (c *Cluster) WALFrom(size wal.SegmentSize, tli wal.TimelineID, lsn wal.LSN) storage.Key {
	return timelinePrefix(c.id, tli) + storage.Key(size.FileName(size.Segment(tli, lsn)))
}

// News yields the cluster's WAL objects and history files that sort behind a key: by timeline, the history file before its WAL, then by
// segment, and of one segment pieces by their start before the complete object. With the key of the newest object that is known, one request
// tells of all that came since, younger timelines among it. It ends after the first error. An object that
// sorts before one that is known may still come later, where a copy is brought up to date in another order.
func (c *Cluster) News(ctx context.Context, after storage.Key) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		size, err := c.SegmentSize(ctx)
		if err != nil && !errors.Is(err, ErrNoWAL) {
			yield(Object{}, fmt.Errorf("list new WAL: %w", err))
			return
		}
		prefix := clusterPrefix(c.id) + walFolder
		if !strings.HasPrefix(string(after), string(prefix)) {
			after = ""
		}
		for info, err := range c.store.List(ctx, prefix, after) {
			if err != nil {
				yield(Object{}, fmt.Errorf("list new WAL: %w", err))
				return
			}
			if o, ours := c.objectOf(size, info); ours && !yield(o, nil) {
				return
			}
		}
	}
}
