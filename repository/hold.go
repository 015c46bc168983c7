package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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

// Hold says that somebody reads the repository, FORMAT.md section 15: from From until Until at the latest, nothing is let go that was kept at
// From. Its key says all of it.
type Hold struct {
	From, Until time.Time // by the clock of the host that reads, to the second
	// Made is when the store says that it was put; zero if it was not listed.
	Made time.Time

	random string
}

// Since returns from when on it keeps what was kept: the earlier of what it says and of what the store says.
func (h Hold) Since() time.Time {
	if h.Made.IsZero() || h.From.Before(h.Made) {
		return h.From
	}
	return h.Made
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

func holdPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + holdsFolder }

// PutHold records a hold; when it returns it with a nil error it is durable. It comes before the reader looks for what there is. Why is for a person: a line.
func (c *Cluster) PutHold(ctx context.Context, h Hold, why string) (Hold, error) {
	var random [holdRandom / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	h.From, h.Until, h.random = h.From.UTC().Truncate(time.Second), h.Until.UTC().Truncate(time.Second), hex.EncodeToString(random[:])
	if err := putEqual(ctx, c.store, holdPrefix(c.id)+h.name(), []byte(why+"\n")); err != nil {
		return Hold{}, fmt.Errorf("put hold: %w", err)
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
