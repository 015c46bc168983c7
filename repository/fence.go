package repository

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	fencesFolder = "fences/"
	fenceSuffix  = ".json"
	fenceDigits  = 4
)

const (
	fenceLimit    = 64 << 10 // bytes of a record
	mostFenceText = 4 << 10  // bytes of a text in it
	mostFences    = 9_999    // of one timeline
)

// FenceChange says what a fence record does.
type FenceChange string

// The changes. They are parts of the format.
const (
	FenceUp   FenceChange = "fence"
	FenceLift FenceChange = "lift"
)

// Fence is the record that a timeline is left to whoever takes over from it, or that this was taken back, FORMAT.md section 17. Of one timeline the one with
// the greatest Number counts.
type Fence struct {
	Timeline wal.TimelineID
	Number   int // from 1, without a hole
	Change   FenceChange
	Time     time.Time // by the clock of the host that wrote it, to the second
	Host     string    // that wrote it
	// Directory is the data directory of the standby that takes over, on Host; "" where nobody does yet.
	Directory string
	// Machine tells hosts of one name apart, as pods of one set in two regions; "" where nothing does.
	Machine string
	// LSN is how far that had replayed; 0 if it is not known.
	LSN wal.LSN
	// Note says why, for a person; may be empty.
	Note string
}

// Stands reports whether the record forbids to go on with its timeline, if it is the newest.
func (f Fence) Stands() bool { return f.Change == FenceUp }

// SameServer reports whether both records are by one standby. One that does not tell its machine is told by host and directory alone.
func (f Fence) SameServer(other Fence) bool {
	return f.SameName(other) && (f.Machine == other.Machine || f.Machine == "" || other.Machine == "")
}

// SameName reports whether both records name the same host and data directory, which may be two machines of one name.
func (f Fence) SameName(other Fence) bool {
	return f.Directory != "" && f.Host == other.Host && f.Directory == other.Directory
}

// FencedError says that a timeline is fenced: another server took over, or is about to.
type FencedError struct {
	Fence Fence
	// Repository is the name of the one that says so; "" if there is only one.
	Repository string
}

// Error says who fenced it, and when.
func (e *FencedError) Error() string {
	f, in := e.Fence, ""
	if e.Repository != "" {
		in = " in " + e.Repository
	}
	who := "host " + f.Host
	if f.Directory != "" {
		who = "the standby in " + f.Directory + " on " + who
	}
	return fmt.Sprintf("timeline %d was fenced%s by %s at %s (record %d)", uint32(f.Timeline), in, who, f.Time.UTC().Format(time.RFC3339), f.Number)
}

// fenceJSON is the content of a record.
type fenceJSON struct {
	Format    int            `json:"format"`
	SystemID  wal.SystemID   `json:"system_id"`
	Timeline  wal.TimelineID `json:"timeline"`
	Number    int            `json:"number"`
	Change    FenceChange    `json:"change"`
	Time      time.Time      `json:"time"`
	Host      string         `json:"host"`
	Directory string         `json:"directory,omitzero"`
	Machine   string         `json:"machine,omitzero"`
	LSN       wal.LSN        `json:"lsn,omitzero"`
	Note      string         `json:"note,omitzero"`
}

var errFenceField = errors.New("field out of range")

// Validate returns an error that names the first field that cannot be.
func (f Fence) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errFenceField, what, v) }
	if year := f.Time.UTC().Year(); year < 1970 || year > 9999 { // what JSON can hold
		return bad("year of the time", year)
	}
	for _, text := range []string{f.Host, f.Directory, f.Machine, f.Note} {
		if len(text) > mostFenceText || !utf8.ValidString(text) {
			return bad("length of a text", len(text))
		}
	}
	switch {
	case f.Timeline == 0:
		return bad("timeline", 0)
	case f.Number < 1 || f.Number > mostFences:
		return bad("number", f.Number)
	case f.Change != FenceUp && f.Change != FenceLift:
		return bad("change", fmt.Sprintf("%q", f.Change))
	}
	return nil
}

// encode returns the content of the record: indented JSON whose last line is the SHA-256 of all lines before it.
func (f Fence) encode(id wal.SystemID) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return sealRecord(fenceJSON{
		Format: Format, SystemID: id, Timeline: f.Timeline, Number: f.Number, Change: f.Change, Time: f.Time.UTC().Truncate(time.Second),
		Host: f.Host, Directory: f.Directory, Machine: f.Machine, LSN: f.LSN, Note: f.Note,
	})
}

// parseFence reads the content of a record, verifies its hash and validates it. Fields it does not know are passed over.
func parseFence(id wal.SystemID, text []byte) (Fence, error) {
	var j fenceJSON
	if err := openRecord(id, text, &j, errFenceField); err != nil {
		return Fence{}, err
	}
	f := Fence{
		Timeline: j.Timeline, Number: j.Number, Change: j.Change, Time: j.Time, Host: j.Host, Directory: j.Directory, Machine: j.Machine, LSN: j.LSN, Note: j.Note,
	}
	return f, f.Validate()
}

func fencePrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + fencesFolder }

func fenceKey(id wal.SystemID, tli wal.TimelineID, number int) storage.Key {
	return fencePrefix(id) + storage.Key(fmt.Sprintf("%s.%0*d%s", tli, fenceDigits, number, fenceSuffix))
}

// parseFenceName reads the name of a record in its folder.
func parseFenceName(s string) (tli wal.TimelineID, number int, ours bool) {
	s, isJSON := strings.CutSuffix(s, fenceSuffix)
	name, digits, _ := strings.Cut(s, ".")
	tli, errTLI := wal.ParseTimelineID(name)
	number, err := strconv.Atoi(digits)
	return tli, number, isJSON && errTLI == nil && err == nil && len(digits) == fenceDigits && number > 0
}

// parseFenceKey is parseFenceName for a whole key.
func parseFenceKey(key storage.Key) (id wal.SystemID, tli wal.TimelineID, number int, ours bool) {
	cluster, rest, _ := strings.Cut(string(key), "/")
	id, err := wal.ParseSystemID(cluster)
	name, inFolder := strings.CutPrefix(rest, fencesFolder)
	tli, number, ours = parseFenceName(name)
	return id, tli, number, ours && inFolder && err == nil
}

// checkFence reads the content of a record under its key. The error is a *CorruptError.
func checkFence(key storage.Key, text []byte) (Fence, error) {
	id, tli, number, ours := parseFenceKey(key)
	f, err := parseFence(id, text)
	if err == nil && (!ours || f.Timeline != tli || f.Number != number) {
		err = errors.New("content differs from its name")
	}
	if err != nil {
		return Fence{}, &CorruptError{Key: key, Reason: "fence", Err: err}
	}
	return f, nil
}

// verifyFence checks a record that is in memory. The error is a *CorruptError. A key without the form of one is not ours to judge.
func verifyFence(key storage.Key, body []byte) error {
	if _, _, _, ours := parseFenceKey(key); !ours {
		return nil
	}
	_, err := checkFence(key, body)
	return err
}

// fenceChain is the records of one timeline in one place.
type fenceChain struct {
	place    string // its name among several that are asked each for itself, "" for all as one
	timeline wal.TimelineID
}

// NewestFence returns the record that counts of a timeline, and the zero Fence if there is none. It goes by keys, not by a list, and remembers what it read: each
// call is one request more than records that came since. The error is a *CorruptError if one cannot be read.
func (c *Cluster) NewestFence(ctx context.Context, tli wal.TimelineID) (Fence, error) {
	return c.newestFence(ctx, fenceChain{timeline: tli}, func(ctx context.Context, key storage.Key) ([]byte, error) {
		return verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) ([]byte, error) {
			return storage.ReadAll(ctx, store, key, fenceLimit)
		})
	})
}

// Unfenced returns nil if no fence forbids to go on with a timeline, and a *FencedError if one does. What was durable before the call was so before any fence that the call
// did not find: of a store of several it asks each of those that count, after they hold that (storage.Ask), for the newest record in that one: a place that missed
// records may have a fence under a number that another has long had. Any other error tells nothing.
func (c *Cluster) Unfenced(ctx context.Context, tli wal.TimelineID) error {
	return storage.Ask(ctx, c.store, func(ctx context.Context, name string, place storage.Store) error {
		f, err := c.newestFence(ctx, fenceChain{name, tli}, func(ctx context.Context, key storage.Key) ([]byte, error) {
			return storage.ReadAll(ctx, place, key, fenceLimit)
		})
		if err == nil && f.Stands() {
			err = &FencedError{Fence: f, Repository: name}
		}
		return err
	})
}

func (c *Cluster) newestFence(ctx context.Context, of fenceChain, read func(context.Context, storage.Key) ([]byte, error)) (Fence, error) {
	c.mu.Lock()
	newest := c.fences[of]
	c.mu.Unlock()
	for newest.Number < mostFences {
		key := fenceKey(c.id, of.timeline, newest.Number+1)
		text, err := read(ctx, key)
		if errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrNoStore) {
			break
		}
		var next Fence
		if err == nil {
			next, err = checkFence(key, text)
		}
		if err != nil {
			return Fence{}, fmt.Errorf("look for fence of timeline %s: %w", of.timeline, c.readError(key, err))
		}
		newest = next
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fences == nil {
		c.fences = map[fenceChain]Fence{}
	}
	if newest.Number > c.fences[of].Number {
		c.fences[of] = newest
	}
	return newest, nil
}

// PutFence records f under the number that it has, one more than the newest; when it returns nil the record is durable, and what others find absent or durable here from then on they
// find behind it. The error wraps storage.ErrExists if another has the number already: read what that says first.
func (c *Cluster) PutFence(ctx context.Context, f Fence) error {
	body, err := f.encode(c.id)
	if err == nil {
		var conflict *ConflictError
		if err = putEqual(ctx, c.store, fenceKey(c.id, f.Timeline, f.Number), body); errors.As(err, &conflict) {
			err = fmt.Errorf("%w: %w", storage.ErrExists, err)
		}
	}
	if err != nil {
		return fmt.Errorf("put fence of timeline %s: %w", f.Timeline, err)
	}
	return nil
}
