package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	expiryFolder = "expired/"
	expirySuffix = ".json"
	expiryRandom = 8 // hex digits behind the time
)

const expiryLimit = 64 << 20 // bytes of a record

// CauseExpired is why WAL is not there that an Expiry names. No gap record has it.
const CauseExpired Cause = "expired"

// Stretch is WAL of one timeline.
type Stretch struct {
	Timeline wal.TimelineID
	wal.Range
}

// Expiry is what one repository let go by its retention, of all times: an expiry record, FORMAT.md section 13. What it names is deleted, or about to
// be, and must not be copied here again. It says nothing of other repositories. The zero value lets nothing go.
type Expiry struct {
	Time    time.Time // of the newest record; zero if there is none
	WAL     []Stretch // by timeline and start; they do not touch
	Backups []string  // ids, ascending
	Drills  []string  // ids, ascending

	keys []storage.Key // of the records, which the next one replaces
}

// expiryJSON is the content of a record.
type expiryJSON struct {
	Format   int          `json:"format"`
	SystemID wal.SystemID `json:"system_id"`
	Time     time.Time    `json:"time"`
	WAL      []expiredWAL `json:"wal"`
	Backups  []string     `json:"backups"`
	Drills   []string     `json:"drills"`
}

type expiredWAL struct {
	Timeline wal.TimelineID `json:"timeline"`
	From     wal.LSN        `json:"from"`
	To       wal.LSN        `json:"to"`
}

var errExpiryField = errors.New("field out of range")

// HasBackup reports whether the repository let the backup go.
func (e *Expiry) HasBackup(id string) bool {
	_, found := slices.BinarySearch(e.Backups, id)
	return found
}

// HasDrill reports whether the repository let the report of the drill go.
func (e *Expiry) HasDrill(id string) bool {
	_, found := slices.BinarySearch(e.Drills, id)
	return found
}

// Covers reports whether the repository let all bytes of r on timeline tli go.
func (e *Expiry) Covers(tli wal.TimelineID, r wal.Range) bool {
	return slices.ContainsFunc(e.WAL, func(s Stretch) bool {
		return s.Timeline == tli && s.Start <= r.Start && r.End <= s.End
	})
}

// Touches reports whether the repository let go, or is about to, of anything that somebody reads: the backup, or bytes in the range that a server on the history, which is that
// of the timeline which is read, takes from the timeline that they are of. With no history, that of timeline 0, those of any timeline count.
func (e *Expiry) Touches(r Reads, h wal.History) bool {
	return e.HasBackup(r.Backup) || slices.ContainsFunc(e.WAL, func(s Stretch) bool {
		own, on := h.RangeOf(s.Timeline)
		if h.Timeline == 0 {
			own, on = s.Range, true
		}
		return on && max(s.Start, own.Start, r.WAL.Start) < min(s.End, own.End, r.WAL.End)
	})
}

// Gaps returns the WAL that was let go as gaps that say so, for who explains holes.
func (e *Expiry) Gaps() []Gap {
	gaps := make([]Gap, 0, len(e.WAL))
	for _, s := range e.WAL {
		gaps = append(gaps, Gap{
			Timeline: s.Timeline, Range: s.Range, Cause: CauseExpired, Detail: "nothing that is kept needs it", FirstSeen: e.Time,
		})
	}
	return gaps
}

// Add adds all that other names.
func (e *Expiry) Add(other Expiry) {
	covered := map[wal.TimelineID]*Coverage{}
	for _, s := range slices.Concat(e.WAL, other.WAL) {
		if covered[s.Timeline] == nil {
			covered[s.Timeline] = &Coverage{Timeline: s.Timeline}
		}
		covered[s.Timeline].Add(s.Range)
	}
	e.WAL = nil
	for _, tli := range slices.Sorted(maps.Keys(covered)) {
		for _, r := range covered[tli].Spans {
			e.WAL = append(e.WAL, Stretch{tli, r})
		}
	}
	e.Backups, e.Drills = union(e.Backups, other.Backups), union(e.Drills, other.Drills)
	if other.Time.After(e.Time) {
		e.Time = other.Time
	}
	e.keys = append(e.keys, other.keys...)
}

// Without returns e without what other names. Put in its place, it takes that back: the records that named it are replaced too.
func (e *Expiry) Without(other Expiry) Expiry {
	rest := Expiry{Time: e.Time, keys: e.keys}
	for _, s := range e.WAL {
		back := Coverage{Timeline: s.Timeline}
		for _, b := range other.WAL {
			if b.Timeline == s.Timeline {
				back.Add(b.Range)
			}
		}
		for _, r := range back.Gaps(s.Range) {
			rest.WAL = append(rest.WAL, Stretch{s.Timeline, r})
		}
	}
	rest.Backups = slices.DeleteFunc(slices.Clone(e.Backups), other.HasBackup)
	rest.Drills = slices.DeleteFunc(slices.Clone(e.Drills), other.HasDrill)
	return rest
}

// Empty reports whether e names nothing.
func (e *Expiry) Empty() bool { return len(e.WAL)+len(e.Backups)+len(e.Drills) == 0 }

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// Contains reports whether e names all that other does.
func (e *Expiry) Contains(other Expiry) bool {
	return !slices.ContainsFunc(other.WAL, func(s Stretch) bool { return !e.Covers(s.Timeline, s.Range) }) &&
		!slices.ContainsFunc(other.Backups, func(id string) bool { return !e.HasBackup(id) }) &&
		!slices.ContainsFunc(other.Drills, func(id string) bool { return !e.HasDrill(id) })
}

func (e *Expiry) encode(id wal.SystemID) ([]byte, error) {
	j := expiryJSON{Format: Format, SystemID: id, Time: e.Time.UTC().Truncate(time.Second), WAL: []expiredWAL{}, Backups: e.Backups, Drills: e.Drills}
	for _, s := range e.WAL {
		j.WAL = append(j.WAL, expiredWAL{s.Timeline, s.Start, s.End})
	}
	if j.Backups == nil {
		j.Backups = []string{}
	}
	if j.Drills == nil {
		j.Drills = []string{}
	}
	return sealRecord(j)
}

// parseExpiry reads the content of a record, verifies its hash and validates it. Fields it does not know are passed over.
func parseExpiry(id wal.SystemID, text []byte) (Expiry, error) {
	var j expiryJSON
	if err := openRecord(id, text, &j, errExpiryField); err != nil {
		return Expiry{}, err
	}
	read := Expiry{Time: j.Time, Backups: j.Backups, Drills: j.Drills}
	for _, w := range j.WAL {
		s := Stretch{w.Timeline, wal.Range{Start: w.From, End: w.To}}
		if s.Timeline == 0 || s.Empty() {
			return Expiry{}, fmt.Errorf("%w: WAL %s of timeline %d", errExpiryField, s.Range, uint32(s.Timeline))
		}
		read.WAL = append(read.WAL, s)
	}
	for _, name := range slices.Concat(j.Backups, j.Drills) {
		if _, err := parseStamp(name); err != nil {
			return Expiry{}, fmt.Errorf("%w: id: %w", errExpiryField, err)
		}
	}
	var e Expiry
	e.Add(read) // in order, whatever order they were in
	return e, nil
}

// ExpiryKeys and PinKeys are patterns of the keys of those records, an asterisk standing for any bytes: who lets go writes no others.
const (
	ExpiryKeys = "*/" + expiryFolder + "*"
	PinKeys    = "*/" + pinsFolder + "*"
)

func expiryPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + expiryFolder }

// isExpiryName reports whether s is a name that PutExpiry makes.
func isExpiryName(s string) bool {
	s, isJSON := strings.CutSuffix(s, expirySuffix)
	at, random, _ := strings.Cut(s, "-")
	_, err := parseStamp(at)
	return isJSON && err == nil && isLowerHex(random, expiryRandom)
}

// Expiry reads what the repository let go. What cannot be read does not hide the rest: that is returned together with an error, which joins a
// *CorruptError, *FormatError or storage error for each record.
func (c *Cluster) Expiry(ctx context.Context) (Expiry, error) {
	for range listAgain {
		all, gone, err := c.readExpiry(ctx)
		if !gone {
			return all, err
		}
	}
	return Expiry{}, errors.New("expiry records vanish while they are read")
}

// readExpiry reads all records; gone says that one was replaced since it was listed.
func (c *Cluster) readExpiry(ctx context.Context) (all Expiry, gone bool, err error) {
	var errs []error
	for info, err := range c.store.List(ctx, expiryPrefix(c.id), "") {
		if err != nil {
			return Expiry{}, false, fmt.Errorf("list expiry records: %w", err)
		}
		if !isExpiryName(strings.TrimPrefix(string(info.Key), string(expiryPrefix(c.id)))) {
			continue
		}
		one, err := c.ExpiryRecord(ctx, info.Key)
		if errors.Is(err, storage.ErrNotFound) {
			return Expiry{}, true, nil
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.Add(one)
	}
	return all, false, errors.Join(errs...)
}

// ExpiryRecord reads one record. The error wraps storage.ErrNotFound if it is gone, or is a *CorruptError, a *FormatError or that of the store.
func (c *Cluster) ExpiryRecord(ctx context.Context, key storage.Key) (Expiry, error) {
	one, err := verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) (Expiry, error) {
		text, err := storage.ReadAll(ctx, store, key, expiryLimit)
		if err != nil {
			return Expiry{}, err
		}
		e, err := parseExpiry(c.id, text)
		if err != nil {
			return Expiry{}, &CorruptError{Key: key, Reason: "expiry record", Err: err}
		}
		return e, nil
	})
	if errors.Is(err, storage.ErrTooLarge) {
		err = &CorruptError{Key: key, Reason: "size", Err: err}
	}
	if err != nil {
		return Expiry{}, fmt.Errorf("read expiry record: %w", err)
	}
	one.keys = []storage.Key{key}
	return one, nil
}

// Explained reads what explains holes in the WAL: the gap records, as Gaps does, and what was let go. Of several repositories that are read as one, any of them may have
// let it go.
func (c *Cluster) Explained(ctx context.Context) ([]Gap, error) {
	gaps, unread := c.Gaps(ctx)
	if unread != nil && !OnlyUnreadable(unread) {
		return nil, unread
	}
	expiry, err := c.Expiry(ctx)
	if err != nil && !OnlyUnreadable(err) {
		return nil, err
	}
	return append(gaps, expiry.Gaps()...), errors.Join(unread, err)
}

// PutExpiry records that more is let go beside what the repository let go before, which is all that Expiry returned. When it returns nil
// the record is durable, and the ones before it, all of which it repeats, are deleted as far as that may be. It comes before anything that it names is deleted.
func (c *Cluster) PutExpiry(ctx context.Context, before, more Expiry) error {
	all := Expiry{}
	all.Add(before)
	all.Add(more)
	var random [expiryRandom / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	key := expiryPrefix(c.id) + storage.Key(stamp(all.Time)+"-"+hex.EncodeToString(random[:])+expirySuffix)
	body, err := all.encode(c.id)
	if err == nil {
		err = putEqual(ctx, c.store, key, body)
	}
	if err != nil {
		return fmt.Errorf("put expiry record: %w", err)
	}
	for _, old := range all.keys {
		_ = c.store.Delete(ctx, old) // one that stays does no harm
	}
	return nil
}

// expiredObject reports whether e names a listed WAL object, or the backup of a pin, for who copies it to the repository that let it go.
func (c *Cluster) expiredObject(e *Expiry, size wal.SegmentSize, key storage.Key) bool {
	rest := strings.TrimPrefix(string(key), string(clusterPrefix(c.id)))
	folder, name, _ := strings.Cut(rest, "/")
	switch folder + "/" {
	case walFolder:
		tli, _, isObject := strings.Cut(name, "/")
		id, err := wal.ParseTimelineID(tli)
		if !isObject || err != nil || size == 0 {
			return false
		}
		entry, ours := parseWALKey(timelinePrefix(c.id, id), size, key)
		return ours && e.Covers(id, entry.Range)
	case pinsFolder:
		backup, _, ours := parsePinName(name)
		return ours && e.HasBackup(backup)
	}
	return false
}
