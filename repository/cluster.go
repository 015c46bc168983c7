package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Cluster is the part of a repository that belongs to one PostgreSQL cluster, known by its system identifier. It is safe
// for concurrent use.
type Cluster struct {
	store storage.Store
	id    wal.SystemID
	keys  *keyring // nil: none

	mu     sync.Mutex
	size   wal.SegmentSize      // 0 until it is known
	beats  []storage.Key        // older beats to delete when the next is durable; nil before the first was put
	fences map[fenceChain]Fence // the newest that was read of each
}

// SystemID returns the cluster's system identifier.
func (c *Cluster) SystemID() wal.SystemID { return c.id }

// SegmentSize returns wal_segment_size of the cluster, as the first WAL object found or else a backup record says.
// It is read once. It returns ErrNoWAL if the cluster has neither.
func (c *Cluster) SegmentSize(ctx context.Context) (wal.SegmentSize, error) {
	c.mu.Lock()
	size := c.size
	c.mu.Unlock()
	if size != 0 {
		return size, nil
	}
	size, err := c.findSegmentSize(ctx)
	for again := 1; again < listAgain && errors.Is(err, storage.ErrNotFound); again++ {
		size, err = c.findSegmentSize(ctx) // a piece was replaced by its segment between the listing and the reading
	}
	if errors.Is(err, storage.ErrNotFound) { // which is not to say that there is no WAL
		err = fmt.Errorf("objects vanish while they are read: %w", storage.ErrUnavailable)
	}
	if err != nil {
		return 0, fmt.Errorf("find segment size: %w", err)
	}
	c.learnSegmentSize(size)
	return size, nil
}

func (c *Cluster) learnSegmentSize(size wal.SegmentSize) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size == 0 {
		c.size = size
	}
}

// AssumeSegmentSize is for who knows wal_segment_size from a copy of the repository, so that damage here does not hide it.
func (c *Cluster) AssumeSegmentSize(size wal.SegmentSize) { c.learnSegmentSize(size) }

func (c *Cluster) findSegmentSize(ctx context.Context) (wal.SegmentSize, error) {
	timelines, err := c.Timelines(ctx)
	if err != nil {
		return 0, err
	}
	var damaged error
	for _, tli := range timelines {
		info, found, err := first(ctx, c.store, timelinePrefix(c.id, tli), "")
		if err != nil {
			return 0, err
		}
		if !found {
			continue // a history file alone
		}
		h, err := c.readAnyHeader(ctx, info.Key)
		if isCorrupt(err) {
			damaged = errors.Join(damaged, err) // another object says the same
			continue
		}
		if err != nil {
			return 0, err
		}
		return h.SegmentSize, nil
	}
	backups, err := c.Backups(ctx)
	if len(backups) > 0 {
		return backups[0].SegmentSize, nil
	}
	if err = errors.Join(damaged, err); err != nil {
		return 0, err
	}
	return 0, ErrNoWAL
}

// readAnyHeader reads the header of a WAL object whose segment size is not known yet, and checks it against the key.
func (c *Cluster) readAnyHeader(ctx context.Context, key storage.Key) (Header, error) {
	return verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) (Header, error) {
		h, err := c.decodeAnyHeader(ctx, store, key)
		if err != nil {
			return Header{}, err
		}
		e, ok := parseWALKey(timelinePrefix(c.id, h.Timeline), h.SegmentSize, key)
		if !ok {
			return Header{}, &CorruptError{Key: key, Reason: fmt.Sprintf("header of %s of %s does not fit the key", h.Kind, h.Range)}
		}
		return h, c.matches(e, &h)
	})
}

// decodeAnyHeader reads the header of a WAL object, or what its note says of it.
func (c *Cluster) decodeAnyHeader(ctx context.Context, store storage.Store, key storage.Key) (Header, error) {
	size := int64(HeaderSize)
	if isSealed(key) {
		size = int64(encryption.PrefixSize)
	}
	b, err := storage.ReadSpan(ctx, store, key, storage.Span{Offset: 0, Length: size})
	if err != nil {
		return Header{}, c.readError(key, err)
	}
	if isSealed(key) {
		o, err := readOutline(key, b)
		return o.Header, err
	}
	var h Header
	if err := h.UnmarshalBinary(b); err != nil {
		return Header{}, &CorruptError{Key: key, Reason: "header", Err: err}
	}
	return h, nil
}

// Timelines lists the timelines that have a history file or WAL here, in ascending order, with about one request for
// each.
func (c *Cluster) Timelines(ctx context.Context) ([]wal.TimelineID, error) {
	prefix := clusterPrefix(c.id) + walFolder
	var timelines []wal.TimelineID
	for after := storage.Key(""); ; {
		info, found, err := first(ctx, c.store, prefix, after)
		if err != nil {
			return nil, fmt.Errorf("list timelines: %w", err)
		}
		if !found {
			return timelines, nil
		}
		name, _, isFolder := strings.Cut(strings.TrimPrefix(string(info.Key), string(prefix)), "/")
		tli, err := wal.ParseTimelineID(name)
		if !isFolder {
			tli, err = wal.ParseHistoryFileName(name)
		}
		if err != nil { // not ours
			after = info.Key
			if isFolder {
				after = pastFolder(prefix + storage.Key(name))
			}
			continue
		}
		// The history file sorts before the folder: '.' < '/'. This passes both.
		after = pastFolder(prefix + storage.Key(tli.String()))
		timelines = append(timelines, tli)
	}
}

// HasTimelineAfter reports, with one request, whether a timeline above tli has a history file or WAL here.
func (c *Cluster) HasTimelineAfter(ctx context.Context, tli wal.TimelineID) (bool, error) {
	prefix := clusterPrefix(c.id) + walFolder
	for info, err := range c.store.List(ctx, prefix, pastFolder(prefix+storage.Key(tli.String()))) {
		if err != nil {
			return false, fmt.Errorf("look for timelines after %s: %w", tli, err)
		}
		name, _, isFolder := strings.Cut(strings.TrimPrefix(string(info.Key), string(prefix)), "/")
		if isFolder {
			_, err = wal.ParseTimelineID(name)
		} else {
			_, err = wal.ParseHistoryFileName(name)
		}
		if err == nil {
			return true, nil
		}
	}
	return false, nil
}
