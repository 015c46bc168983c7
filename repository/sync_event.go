package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	syncFolder = "sync/"
	syncSuffix = ".json"
)

const (
	syncLimit    = 64 << 10 // bytes of a record
	mostSyncText = 4 << 10  // bytes of a text in it
)

// SyncChange says which way commits went: to waiting for the archive, or away from it.
type SyncChange string

// The changes. They are parts of the format.
const (
	SyncIn  SyncChange = "in"
	SyncOut SyncChange = "out"
)

// SyncActor says who made a change.
type SyncActor string

// The actors. They are parts of the format.
const (
	ByAgent  SyncActor = "agent"  // as the configuration lets it
	ByServer SyncActor = "server" // whoever set it there
)

// SyncEvent is a record that synchronous mode began or ended, FORMAT.md section 10.
type SyncEvent struct {
	Change SyncChange
	// Time is when it was seen, or done, by the clock of the host that archives, to the second.
	Time     time.Time
	Timeline wal.TimelineID
	// LSN of SyncIn: commits whose record ends behind it, and which returned without a warning, are durable here. LSN of SyncOut: those up to
	// it are; commits behind it may have returned without being so.
	LSN   wal.LSN
	Actor SyncActor
	// Names is synchronous_standby_names from then on.
	Names string
	// Cause says why, for a person; may be empty.
	Cause string
}

// syncJSON is the content of a record.
type syncJSON struct {
	Format   int            `json:"format"`
	SystemID wal.SystemID   `json:"system_id"`
	Change   SyncChange     `json:"change"`
	Time     time.Time      `json:"time"`
	Timeline wal.TimelineID `json:"timeline"`
	LSN      wal.LSN        `json:"lsn"`
	Actor    SyncActor      `json:"actor"`
	Names    string         `json:"synchronous_standby_names"`
	Cause    string         `json:"cause"`
}

var errSyncField = errors.New("field out of range")

// encode returns the content of the record in the repository of system id: indented JSON whose last line is the SHA-256 of all lines before it.
func (e SyncEvent) encode(id wal.SystemID) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return sealRecord(syncJSON{
		Format: Format, SystemID: id, Change: e.Change, Time: e.Time.UTC().Truncate(time.Second), Timeline: e.Timeline, LSN: e.LSN,
		Actor: e.Actor, Names: e.Names, Cause: e.Cause,
	})
}

// parseSyncEvent reads the content of a record, verifies its hash and validates it. Fields it does not know are passed over.
func parseSyncEvent(id wal.SystemID, text []byte) (SyncEvent, error) {
	var j syncJSON
	if err := openRecord(id, text, &j, errSyncField); err != nil {
		return SyncEvent{}, err
	}
	e := SyncEvent{Change: j.Change, Time: j.Time, Timeline: j.Timeline, LSN: j.LSN, Actor: j.Actor, Names: j.Names, Cause: j.Cause}
	return e, e.Validate()
}

// Validate returns an error that names the first field that cannot be.
func (e SyncEvent) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errSyncField, what, v) }
	year := e.Time.UTC().Year()
	switch {
	case e.Change != SyncIn && e.Change != SyncOut:
		return bad("change", fmt.Sprintf("%q", e.Change))
	case e.Actor != ByAgent && e.Actor != ByServer:
		return bad("actor", fmt.Sprintf("%q", e.Actor))
	case year < 1970 || year > 9999: // what JSON can hold
		return bad("year of the time", year)
	case len(e.Names) > mostSyncText || !utf8.ValidString(e.Names):
		return bad("length of synchronous_standby_names", len(e.Names))
	case len(e.Cause) > mostSyncText || !utf8.ValidString(e.Cause):
		return bad("length of cause", len(e.Cause))
	}
	return nil
}

// name is the record's name in its folder.
func (e SyncEvent) name() storage.Key {
	return storage.Key(stamp(e.Time) + "-" + string(e.Change) + syncSuffix)
}

// parseSyncName reads what name writes.
func parseSyncName(s string) (SyncEvent, bool) {
	s, isJSON := strings.CutSuffix(s, syncSuffix)
	at, change, found := strings.Cut(s, "-")
	when, err := parseStamp(at)
	e := SyncEvent{Time: when, Change: SyncChange(change)}
	return e, isJSON && found && err == nil && (e.Change == SyncIn || e.Change == SyncOut)
}

func syncPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + syncFolder }

// PutSyncEvent records e; when it returns nil the record is durable. Events of one cluster have different times.
func (c *Cluster) PutSyncEvent(ctx context.Context, e SyncEvent) error {
	body, err := e.encode(c.id)
	if err == nil {
		err = putEqual(ctx, c.store, syncPrefix(c.id)+e.name(), body)
	}
	if err != nil {
		return fmt.Errorf("put record of synchronous mode: %w", err)
	}
	return nil
}

// NewestSyncEvent returns the last event, and false if there is none. The error is a *CorruptError if it cannot be read.
func (c *Cluster) NewestSyncEvent(ctx context.Context) (SyncEvent, bool, error) {
	var newest storage.Key
	var named SyncEvent
	for info, err := range c.store.List(ctx, syncPrefix(c.id), "") {
		if err != nil {
			return SyncEvent{}, false, fmt.Errorf("list records of synchronous mode: %w", err)
		}
		if e, ok := parseSyncName(strings.TrimPrefix(string(info.Key), string(syncPrefix(c.id)))); ok {
			newest, named = info.Key, e
		}
	}
	if newest == "" {
		return SyncEvent{}, false, nil
	}
	text, err := storage.ReadAll(ctx, c.store, newest, syncLimit)
	if err != nil {
		return SyncEvent{}, false, fmt.Errorf("read record of synchronous mode: %w", c.readError(newest, err))
	}
	e, err := checkSyncEvent(c.id, newest, named, text)
	return e, err == nil, err
}

// checkSyncEvent reads the content of the record under a key whose name says what named does.
func checkSyncEvent(id wal.SystemID, key storage.Key, named SyncEvent, text []byte) (SyncEvent, error) {
	e, err := parseSyncEvent(id, text)
	if err == nil && (!e.Time.Equal(named.Time) || e.Change != named.Change) {
		err = errors.New("content differs from its name")
	}
	if err != nil {
		return SyncEvent{}, &CorruptError{Key: key, Reason: "record of synchronous mode", Err: err}
	}
	return e, nil
}

// verifySyncEvent checks a record that is in memory. The error is a *CorruptError. A key without the form of one is not ours to judge.
func verifySyncEvent(key storage.Key, body []byte) error {
	cluster, rest, _ := strings.Cut(string(key), "/")
	id, err := wal.ParseSystemID(cluster)
	name, inFolder := strings.CutPrefix(rest, syncFolder)
	named, ours := parseSyncName(name)
	if err != nil || !inFolder || !ours {
		return nil //nolint:nilerr // not a record's key
	}
	_, err = checkSyncEvent(id, key, named, body)
	return err
}
