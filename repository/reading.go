package repository

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	readingsFolder = "verify/"
	readingSuffix  = ".json"
	readingRandom  = 8 // hex digits behind the time
)

const (
	// MostFingerprints is how many objects one Reading names at most: its record stays below 16 MB then.
	MostFingerprints = 1 << 20

	readingLimit = 64 << 20 // bytes of a record
	mostPlace    = 4 << 10  // bytes of the name of a place
)

// Fingerprint stands for an object as it lay in one place when it was read: the first 8 bytes of the SHA-256 of place, key, size and the
// store's time of its creation. Of a million objects two alike are expected once in 40 million runs.
type Fingerprint uint64

// FingerprintOf returns the fingerprint of a listed object.
func FingerprintOf(place string, o Object) Fingerprint {
	text := fmt.Sprintf("%s\x00%s\x00%d\x00%d", place, o.Key, o.Size, o.Modified.UnixNano())
	sum := sha256.Sum256([]byte(text))
	return Fingerprint(binary.BigEndian.Uint64(sum[:]))
}

// Seen is what a verification found of a timeline.
type Seen struct {
	Timeline wal.TimelineID `json:"timeline"`
	End      wal.LSN        `json:"end"`              // of the WAL that was there
	History  Sum            `json:"history,omitzero"` // SHA-256 of the history file; zero if there is none
}

// Reading is the record of a verification, FORMAT.md section 12: which objects it read and found right, and what it saw of those that have
// no hash.
type Reading struct {
	// Place names the repository that was read, without secrets: where a bucket is copied to another its records are copied too, and say
	// nothing of the copy.
	Place        string
	Began, Ended time.Time // by the clock of the host that verified, to the second
	Deep         bool      // all was read, whatever was read before
	Objects      int64     // that were read
	Bytes        int64     // of these
	Damaged      int64     // objects that were damaged, missing or different, healed ones among them
	Marker       Sum       // of pgark.json; zero if it was not right
	Timelines    []Seen
	// Read are the objects that were read and found right, in any order, and Wrong those that were damaged, as they lay there.
	Read, Wrong []Fingerprint
}

// readingJSON is the content of the record.
type readingJSON struct {
	Format    int          `json:"format"`
	SystemID  wal.SystemID `json:"system_id"`
	Place     string       `json:"place"`
	Began     time.Time    `json:"began"`
	Ended     time.Time    `json:"ended"`
	Deep      bool         `json:"deep"`
	Objects   int64        `json:"objects"`
	Bytes     int64        `json:"bytes"`
	Damaged   int64        `json:"damaged"`
	Marker    Sum          `json:"marker,omitzero"`
	Timelines []Seen       `json:"timelines"`
	Read      []byte       `json:"read"`
	Wrong     []byte       `json:"wrong,omitempty"`
}

var errReadingField = errors.New("field out of range")

func (r *Reading) validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errReadingField, what, v) }
	for _, t := range []time.Time{r.Began, r.Ended} {
		if year := t.UTC().Year(); year < 1970 || year > 9999 { // what JSON can hold
			return bad("year of a time", year)
		}
	}
	switch {
	case len(r.Place) > mostPlace || !utf8.ValidString(r.Place):
		return bad("length of place", len(r.Place))
	case r.Objects < 0 || r.Bytes < 0 || r.Damaged < 0:
		return bad("count below", 0)
	case len(r.Read) > MostFingerprints || len(r.Wrong) > MostFingerprints:
		return bad("number of objects", max(len(r.Read), len(r.Wrong)))
	}
	return nil
}

// encode returns the content of the record: indented JSON whose last line is the SHA-256 of all lines before it.
func (r *Reading) encode(id wal.SystemID) ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	second := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	j := readingJSON{
		Format: Format, SystemID: id, Place: r.Place, Began: second(r.Began), Ended: second(r.Ended), Deep: r.Deep, Objects: r.Objects,
		Bytes: r.Bytes, Damaged: r.Damaged, Marker: r.Marker, Timelines: r.Timelines, Read: packed(r.Read), Wrong: packed(r.Wrong),
	}
	if j.Timelines == nil {
		j.Timelines = []Seen{}
	}
	return sealRecord(j)
}

// packed returns fingerprints as a record has them.
func packed(all []Fingerprint) []byte {
	b := make([]byte, 0, 8*len(all))
	for _, f := range slices.Sorted(slices.Values(all)) {
		b = binary.BigEndian.AppendUint64(b, uint64(f))
	}
	return b
}

// unpacked is the reverse.
func unpacked(b []byte) (all []Fingerprint, err error) {
	if len(b)%8 != 0 {
		return nil, fmt.Errorf("%w: %d bytes of fingerprints", errReadingField, len(b))
	}
	for ; len(b) > 0; b = b[8:] {
		all = append(all, Fingerprint(binary.BigEndian.Uint64(b)))
	}
	return all, nil
}

// parseReading reads the content of a record, verifies its hash and validates it. Fields it does not know are passed over.
func parseReading(id wal.SystemID, text []byte) (Reading, error) {
	var j readingJSON
	if err := openRecord(id, text, &j, errReadingField); err != nil {
		return Reading{}, err
	}
	r := Reading{
		Place: j.Place, Began: j.Began, Ended: j.Ended, Deep: j.Deep, Objects: j.Objects, Bytes: j.Bytes, Damaged: j.Damaged,
		Marker: j.Marker, Timelines: j.Timelines,
	}
	var err error
	if r.Read, err = unpacked(j.Read); err != nil {
		return Reading{}, err
	}
	if r.Wrong, err = unpacked(j.Wrong); err != nil {
		return Reading{}, err
	}
	return r, r.validate()
}

func readingPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + readingsFolder }

// parseReadingName returns when the verification ended whose record has this name.
func parseReadingName(s string) (time.Time, bool) {
	s, isJSON := strings.CutSuffix(s, readingSuffix)
	at, random, _ := strings.Cut(s, "-")
	t, err := parseStamp(at)
	return t, isJSON && err == nil && isLowerHex(random, readingRandom)
}

// PutReading records r, under a key that no other verification uses. When it returns nil the record is durable.
func (c *Cluster) PutReading(ctx context.Context, r Reading) error {
	body, err := r.encode(c.id)
	if err == nil {
		var random [readingRandom / 2]byte
		_, _ = rand.Read(random[:]) // never fails
		name := stamp(r.Ended) + "-" + hex.EncodeToString(random[:]) + readingSuffix
		err = putEqual(ctx, c.store, readingPrefix(c.id)+storage.Key(name), body)
	}
	if err != nil {
		return fmt.Errorf("put record of the verification: %w", err)
	}
	return nil
}

// Readings reads the records of the verifications of place that ended at since or later, and of the last one before that, by the time they
// ended. One that cannot be read does not hide the others: they are returned together with an error, which joins a *CorruptError for each.
func (c *Cluster) Readings(ctx context.Context, place string, since time.Time) ([]Reading, error) {
	var keys []storage.Key // those before since, and from there on
	first := 0
	for info, err := range c.store.List(ctx, readingPrefix(c.id), "") {
		if err != nil {
			return nil, fmt.Errorf("list records of verifications: %w", err)
		}
		ended, ours := parseReadingName(strings.TrimPrefix(string(info.Key), string(readingPrefix(c.id))))
		if !ours {
			continue
		}
		if keys = append(keys, info.Key); ended.Before(since.Truncate(time.Second)) {
			first = len(keys)
		}
	}
	var all []Reading
	var errs []error
	read := func(key storage.Key) (ours bool, err error) {
		r, err := c.readReading(ctx, key)
		if isCorrupt(err) {
			errs = append(errs, err)
			return false, nil
		}
		if err != nil || r.Place != place {
			return false, err
		}
		all = append(all, r)
		return true, nil
	}
	for i := first - 1; i >= 0; i-- {
		if ours, err := read(keys[i]); err != nil {
			return nil, err
		} else if ours {
			break
		}
	}
	for _, key := range keys[first:] {
		if _, err := read(key); err != nil {
			return nil, err
		}
	}
	return all, errors.Join(errs...)
}

// Reading reads the record of a verification that was listed. The error wraps storage.ErrNotFound if it is gone, or is a *CorruptError.
func (c *Cluster) Reading(ctx context.Context, o Object) (Reading, error) {
	return c.readReading(ctx, o.Key)
}

func (c *Cluster) readReading(ctx context.Context, key storage.Key) (Reading, error) {
	text, err := storage.ReadAll(ctx, c.store, key, readingLimit)
	if errors.Is(err, storage.ErrTooLarge) {
		return Reading{}, &CorruptError{Key: key, Reason: "size", Err: err}
	}
	if err != nil {
		return Reading{}, fmt.Errorf("read record of a verification: %w", err)
	}
	r, err := parseReading(c.id, text)
	if err != nil {
		return Reading{}, &CorruptError{Key: key, Reason: "record of a verification", Err: err}
	}
	name := strings.TrimPrefix(string(key), string(readingPrefix(c.id)))
	if ended, _ := parseReadingName(name); !ended.Equal(r.Ended) {
		return Reading{}, &CorruptError{Key: key, Reason: "record of the verification that ended at " + stamp(r.Ended)}
	}
	return r, nil
}
