package repository

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	holdsFolder = "holds/"
	holdRandom  = 8 // hex digits
)

const holdLimit = 64 << 10 // bytes of a hold

// Hold says that somebody reads the repository, FORMAT.md section 15: for the time from From until Until, what it names is not let go; one that names
// nothing holds all that was kept at From. Its key says when, its content what.
type Hold struct {
	From, Until time.Time // by the clock of the host that reads, to the second
	// Made is when the store says that it was put; zero if it was not listed.
	Made time.Time
	// Reads is what is read; zero where that was not known yet.
	Reads Reads
	Why   string // for a person: a line

	random string
}

// Reads is what somebody reads of a cluster: a base backup, and WAL from its start on, along the history of a timeline.
type Reads struct {
	Backup   string
	Timeline wal.TimelineID
	WAL      wal.Range
}

// Since returns from when on a hold without Reads keeps what was kept: the earlier of what it says and of what the store says.
func (h Hold) Since() time.Time {
	if h.Made.IsZero() || h.From.Before(h.Made) {
		return h.From
	}
	return h.Made
}

// Ends returns when it ends by itself: as long after the store's time of it as Until is after From, so that a clock that is wrong makes it neither shorter nor longer.
func (h Hold) Ends() time.Time {
	if h.Made.IsZero() {
		return h.Until
	}
	return h.Made.Add(h.Until.Sub(h.From))
}

func (h Hold) name() storage.Key {
	return storage.Key(stamp(h.From) + "-" + stamp(h.Until) + "-" + h.random)
}

// parseHoldName reads what name writes.
func parseHoldName(s string) (Hold, bool) {
	from, rest, _ := strings.Cut(s, "-")
	until, random, _ := strings.Cut(rest, "-")
	var h Hold
	var errFrom, errUntil error
	h.From, errFrom = parseStamp(from)
	h.Until, errUntil = parseStamp(until)
	h.random = random
	return h, errFrom == nil && errUntil == nil && isLowerHex(random, holdRandom)
}

// holdJSON is the content of one that names what is read.
type holdJSON struct {
	Format   int            `json:"format"`
	SystemID wal.SystemID   `json:"system_id"`
	Why      string         `json:"why"`
	Backup   string         `json:"backup"`
	Timeline wal.TimelineID `json:"timeline"`
	Start    wal.LSN        `json:"start_lsn"`
	Until    wal.LSN        `json:"until_lsn"`
}

var errHoldField = errors.New("field out of range")

func (r Reads) validate() error {
	if _, err := parseStamp(r.Backup); err != nil {
		return fmt.Errorf("%w: backup: %w", errHoldField, err)
	}
	if r.Timeline == 0 || r.WAL.End < r.WAL.Start {
		return fmt.Errorf("%w: WAL %s of timeline %d", errHoldField, r.WAL, uint32(r.Timeline))
	}
	return nil
}

// encode returns the content: a line for people, or a record where it says what is read.
func (h Hold) encode(id wal.SystemID) ([]byte, error) {
	if h.Reads == (Reads{}) {
		return []byte(h.Why + "\n"), nil
	}
	r := h.Reads
	if err := r.validate(); err != nil {
		return nil, err
	}
	return sealRecord(holdJSON{Format: Format, SystemID: id, Why: h.Why, Backup: r.Backup, Timeline: r.Timeline, Start: r.WAL.Start, Until: r.WAL.End})
}

// parseHold reads what encode writes.
func parseHold(id wal.SystemID, text []byte) (Reads, string, error) {
	if !bytes.HasPrefix(text, []byte("{")) {
		return Reads{}, strings.TrimSuffix(string(text), "\n"), nil
	}
	var j holdJSON
	if err := openRecord(id, text, &j, errHoldField); err != nil {
		return Reads{}, "", err
	}
	r := Reads{Backup: j.Backup, Timeline: j.Timeline, WAL: wal.Range{Start: j.Start, End: j.Until}}
	return r, j.Why, r.validate()
}

func holdPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + holdsFolder }

// PutHold records a hold; when it returns it with a nil error it is durable. With an error it may be there all the same, and can be ended. One without Reads comes
// before the reader looks for what there is, one with them before the reader reads any of it.
func (c *Cluster) PutHold(ctx context.Context, h Hold) (Hold, error) {
	var random [holdRandom / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	h.From, h.Until, h.random = h.From.UTC().Truncate(time.Second), h.Until.UTC().Truncate(time.Second), hex.EncodeToString(random[:])
	body, err := h.encode(c.id)
	if err == nil {
		err = putEqual(ctx, c.store, holdPrefix(c.id)+h.name(), body)
	}
	if err != nil {
		return h, fmt.Errorf("put hold: %w", err)
	}
	return h, nil
}

// Holds lists the holds of the cluster, in the order of their keys. It ends after the first error.
func (c *Cluster) Holds(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for info, err := range c.store.List(ctx, holdPrefix(c.id), "") {
			if err != nil {
				yield(Object{}, fmt.Errorf("list holds: %w", err))
				return
			}
			if o, ours := c.objectOf(0, info); ours && !yield(o, nil) {
				return
			}
		}
	}
}

// Hold reads what a listed hold says. The error wraps storage.ErrNotFound if it was ended since, and is a *CorruptError or *FormatError, beside what its key says, if its content
// cannot be read.
func (c *Cluster) Hold(ctx context.Context, o Object) (Hold, error) {
	h, ours := parseHoldName(strings.TrimPrefix(string(o.Key), string(holdPrefix(c.id))))
	if !ours {
		return Hold{}, fmt.Errorf("read hold: %s is none", o.Key)
	}
	h.Made = o.Modified
	text, err := storage.ReadAll(ctx, c.store, o.Key, holdLimit)
	if err == nil {
		h.Reads, h.Why, err = parseHold(c.id, text)
	} else if !errors.Is(err, storage.ErrTooLarge) {
		return h, fmt.Errorf("read hold: %w", err)
	}
	if err != nil {
		return h, &CorruptError{Key: o.Key, Reason: "hold", Err: err}
	}
	return h, nil
}

// EndHold deletes a hold that PutHold returned.
func (c *Cluster) EndHold(ctx context.Context, h Hold) error {
	if err := c.store.Delete(ctx, holdPrefix(c.id)+h.name()); err != nil {
		return fmt.Errorf("end hold: %w", err)
	}
	return nil
}
