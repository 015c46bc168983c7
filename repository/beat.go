package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Beat is a coverage beat, FORMAT.md section 7: at server time Time the WAL of Timeline ended at LSN, and every byte before it was
// durable here.
type Beat struct {
	Time     time.Time      `json:"time"` // to the second, cut off towards the past
	Timeline wal.TimelineID `json:"timeline"`
	LSN      wal.LSN        `json:"lsn"`
}

// BeatInterval is how often the writer proves, while the server is idle, that nothing more was written.
const BeatInterval = 10 * time.Second

const (
	beatLimit = 4 << 10
	// beatScan is how many beats are read in one listing before the newest is searched for. They are few where the
	// writer may delete.
	beatScan = 1000
)

func (c *Cluster) beatPrefix() storage.Key { return clusterPrefix(c.id) + beatsFolder }

func (b Beat) name() storage.Key {
	return storage.Key(stamp(b.Time) + "-" + b.Timeline.String() + "-" + b.LSN.Hex())
}

// parseBeatName reads what name writes.
func parseBeatName(s string) (Beat, bool) {
	at, rest, _ := strings.Cut(s, "-")
	tli, lsn, ok := strings.Cut(rest, "-")
	if !ok {
		return Beat{}, false
	}
	var b Beat
	var errTime, errTLI, errLSN error
	b.Time, errTime = parseStamp(at)
	b.Timeline, errTLI = wal.ParseTimelineID(tli)
	b.LSN, errLSN = wal.ParseHexLSN(lsn)
	return b, errTime == nil && errTLI == nil && errLSN == nil
}

// PutBeat puts b; when it returns nil the beat is durable. Then it deletes the beats before it as far as it may: those that lay there
// when the first was put, and those this Cluster put. What cannot be deleted is left, without an error.
func (c *Cluster) PutBeat(ctx context.Context, b Beat) error {
	b.Time = b.Time.UTC().Truncate(time.Second)
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("put beat: %w", err)
	}
	key := c.beatPrefix() + b.name()
	if err := putEqual(ctx, c.store, key, append(body, '\n')); err != nil {
		return fmt.Errorf("put beat: %w", err)
	}
	older, err := c.olderBeats(ctx, key)
	if err != nil {
		return nil // the beat is durable, and the next one looks again
	}
	for _, k := range older {
		_ = c.store.Delete(ctx, k) // an older beat does no harm
	}
	return nil
}

// olderBeats returns the keys of beats to delete and remembers key as the next.
func (c *Cluster) olderBeats(ctx context.Context, key storage.Key) ([]storage.Key, error) {
	c.mu.Lock()
	known := c.beats
	c.mu.Unlock()
	if known == nil {
		for info, err := range c.store.List(ctx, c.beatPrefix(), "") {
			if err != nil {
				return nil, err
			}
			if info.Key >= key || len(known) == beatScan {
				break
			}
			known = append(known, info.Key)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = []storage.Key{key}
	var older []storage.Key
	for _, k := range known {
		if k < key {
			older = append(older, k)
		}
	}
	return older, nil
}

// NewestBeat returns the newest beat, and false if there is none. The number of requests is bounded also where the writer may not
// delete and millions lie there. The error is a *CorruptError if the beat's content is not what its name says.
func (c *Cluster) NewestBeat(ctx context.Context) (Beat, bool, error) {
	b, found, err := c.newestBeat(ctx)
	if err != nil {
		return Beat{}, false, fmt.Errorf("newest beat: %w", err)
	}
	return b, found, nil
}

func (c *Cluster) newestBeat(ctx context.Context) (Beat, bool, error) {
	for range listAgain {
		newest, found, err := c.findNewestBeat(ctx)
		if err != nil || !found {
			return Beat{}, false, err
		}
		key := c.beatPrefix() + newest.name()
		var damaged atomic.Bool
		read := func(ctx context.Context, store storage.Store) (Beat, error) {
			body, err := storage.ReadAll(ctx, store, key, beatLimit)
			if err != nil {
				return Beat{}, c.readError(key, err)
			}
			b, err := c.checkBeat(key, string(newest.name()), body)
			if err != nil {
				damaged.Store(true)
			}
			return b, err
		}
		// Without its key, by which it would be told as damage of a source where the writer replaces it just now.
		if _, err = verified(ctx, c.store, "", read); err == nil && damaged.Load() {
			_, err = verified(ctx, c.store, key, read)
		}
		if errors.Is(err, storage.ErrNotFound) {
			continue // a newer one replaced it
		}
		if err != nil {
			return Beat{}, false, err
		}
		return newest, true, nil
	}
	return Beat{}, false, errors.New("beats vanish while they are read")
}

// checkBeat reads the content of the beat with this name. The error is a *CorruptError.
func (c *Cluster) checkBeat(key storage.Key, name string, body []byte) (Beat, error) {
	named, ok := parseBeatName(name)
	var content Beat
	if err := json.Unmarshal(body, &content); err != nil || !ok {
		return Beat{}, &CorruptError{Key: key, Reason: "content", Err: err}
	}
	if !content.Time.Equal(named.Time) || content.Timeline != named.Timeline || content.LSN != named.LSN {
		return Beat{}, &CorruptError{Key: key, Reason: "content differs from its name"}
	}
	return named, nil
}

// findNewestBeat searches by time where there are many: steps that double until nothing lies behind, then halves.
func (c *Cluster) findNewestBeat(ctx context.Context) (Beat, bool, error) {
	newest, found, more, err := c.lastBeat(ctx, "", beatScan)
	if err != nil || !found || !more {
		return newest, found, err
	}
	for step := time.Hour; step > time.Second; {
		b, found, more, err := c.lastBeat(ctx, c.beatPrefix()+storage.Key(stamp(newest.Time.Add(step))), beatScan)
		switch {
		case err != nil:
			return Beat{}, false, err
		case !found || !b.Time.After(newest.Time): // the latter past the year 9999
			step /= 4
		case !more:
			return b, true, nil
		default:
			newest, step = b, step*2
		}
	}
	for {
		b, found, more, err := c.lastBeat(ctx, c.beatPrefix()+newest.name(), beatScan)
		if err != nil {
			return Beat{}, false, err
		}
		if found {
			newest = b
		}
		if !more {
			return newest, true, nil
		}
	}
}

// lastBeat returns the last of at most n beats after a key, and whether more lie behind it.
func (c *Cluster) lastBeat(ctx context.Context, after storage.Key, n int) (last Beat, found, more bool, err error) {
	for info, err := range c.store.List(ctx, c.beatPrefix(), after) {
		if err != nil {
			return Beat{}, false, false, err
		}
		b, ok := parseBeatName(strings.TrimPrefix(string(info.Key), string(c.beatPrefix())))
		if !ok {
			continue
		}
		if n--; n < 0 {
			return last, found, true, nil
		}
		last, found = b, true
	}
	return last, found, false, nil
}
