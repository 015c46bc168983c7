package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// historyLimit bounds a timeline history file: a line for each timeline before.
const historyLimit = 16 << 20

// ListWAL yields the WAL objects of timeline tli from the segment that holds the byte at from on, the segments in LSN order. Of one
// segment the complete object comes first, if it is there, and then its pieces by start and end. The listing starts in the
// middle: objects before that segment cost nothing. It ends after the first error; where the cluster has no WAL at all it
// yields nothing.
func (c *Cluster) ListWAL(ctx context.Context, tli wal.TimelineID, from wal.LSN) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		size, err := c.SegmentSize(ctx)
		if errors.Is(err, ErrNoWAL) {
			return
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		prefix := timelinePrefix(c.id, tli)
		// The bare name sorts before all objects of the segment, and after those of the one before.
		after := prefix + storage.Key(size.FileName(size.Segment(tli, from)))
		var group []Entry // of one segment
		for info, err := range c.store.List(ctx, prefix, after) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("list WAL of timeline %s: %w", tli, err))
				return
			}
			e, ok := entryOf(prefix, size, info)
			if !ok {
				continue // not ours
			}
			if len(group) > 0 && size.Number(group[0].Range.Start) != size.Number(e.Range.Start) {
				if !yieldGroup(group, yield) {
					return
				}
				group = group[:0]
			}
			group = append(group, e)
		}
		yieldGroup(group, yield)
	}
}

func yieldGroup(group []Entry, yield func(Entry, error) bool) bool {
	sortGroup(group)
	for _, e := range group {
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// sortGroup orders the objects of one segment: complete first, then by start, end and key.
func sortGroup(group []Entry) {
	slices.SortFunc(group, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Range.Start, b.Range.Start),
			cmp.Compare(a.Range.End, b.Range.End), cmp.Compare(a.Key, b.Key))
	})
}

// listSegment returns the objects of one segment in the order of ListWAL, with one request for a thousand.
func (c *Cluster) listSegment(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) ([]Entry, error) {
	var group []Entry
	prefix := timelinePrefix(c.id, seg.Timeline)
	for info, err := range c.store.List(ctx, segmentPrefix(c.id, size, seg), "") {
		if err != nil {
			return nil, err
		}
		if e, ok := entryOf(prefix, size, info); ok {
			group = append(group, e)
		}
	}
	sortGroup(group)
	return group, nil
}

// timelineHistory is a history file.
type timelineHistory struct {
	history wal.History
	raw     []byte
}

// History reads the history file of timeline tli and returns it with its very bytes. The error is ErrNoWAL if the repository
// holds none, which is right for timeline 1, and a *CorruptError if it cannot be parsed, or if of several sources two that answer hold
// other switch points: nothing in a history file proves its bytes.
func (c *Cluster) History(ctx context.Context, tli wal.TimelineID) (wal.History, []byte, error) {
	key := historyKey(c.id, tli)
	read := func(ctx context.Context, store storage.Store) (timelineHistory, error) {
		return readHistory(ctx, store, key, tli)
	}
	found, err := verified(ctx, c.store, key, read)
	if s, several := c.store.(*Sources); several && err == nil {
		s.others(ctx, func(ctx context.Context, one Source) {
			other, unread := read(ctx, one.Store)
			if unread == nil && !slices.EqualFunc(found.history.Parents, other.history.Parents, samePoint) {
				err = &CorruptError{Key: key, Reason: "that in " + one.Name + " has other switch points than another repository's"}
			}
		})
	}
	return found.history, found.raw, err
}

// samePoint compares what recovery goes by; the reason is for people.
func samePoint(a, b wal.Switch) bool { return a.Timeline == b.Timeline && a.At == b.At }

func readHistory(ctx context.Context, store storage.Store, key storage.Key, tli wal.TimelineID) (timelineHistory, error) {
	raw, err := storage.ReadAll(ctx, store, key, historyLimit)
	if errors.Is(err, storage.ErrNotFound) {
		return timelineHistory{}, fmt.Errorf("history of timeline %s: %w: %w", tli, ErrNoWAL, err)
	}
	if err != nil {
		return timelineHistory{}, fmt.Errorf("history of timeline %s: %w", tli, err)
	}
	h, err := parseHistory(Object{Key: key, Timeline: tli}, raw)
	if err != nil {
		return timelineHistory{}, err
	}
	return timelineHistory{h, raw}, nil
}

// parseHistory reads the bytes of a history file. The error is a *CorruptError.
func parseHistory(o Object, raw []byte) (wal.History, error) {
	h, err := wal.ParseHistory(o.Timeline, raw)
	if err != nil {
		return wal.History{}, &CorruptError{Key: o.Key, Reason: "history", Err: err}
	}
	return h, nil
}

// Histories reads the history files of all timelines. A timeline without one, such as 1, is not in the map.
func (c *Cluster) Histories(ctx context.Context) (map[wal.TimelineID]wal.History, error) {
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	found, err := readEach(timelines, ErrNoWAL, func(tli wal.TimelineID) (wal.History, error) {
		h, _, err := c.History(ctx, tli)
		return h, err
	})
	if err != nil {
		return nil, err
	}
	histories := make(map[wal.TimelineID]wal.History, len(found))
	for _, h := range found {
		histories[h.Timeline] = h
	}
	return histories, nil
}
