package repository

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	pinsFolder = "pins/"
	pinSuffix  = ".json"
	pinDigits  = 5 // at least
)

const (
	pinLimit    = 64 << 10 // bytes of a record
	mostPinText = 4 << 10  // bytes of a text in it
	mostPins    = 99_999   // of one backup
)

// PinChange says what a pin record does.
type PinChange string

// The changes. They are parts of the format.
const (
	Pinned   PinChange = "pin"
	Unpinned PinChange = "unpin"
)

// Pin is the record that a backup was exempted from retention, or that this was ended, FORMAT.md section 14. Of one backup the one with the greatest
// Number counts.
type Pin struct {
	Backup string
	Number int // from 1, without a hole
	Change PinChange
	// Until is how long it is kept; zero is without an end.
	Until time.Time
	Time  time.Time // by the clock of the host that wrote it, to the second
	Host  string
	Note  string // for a person
}

// Holds reports whether the pin keeps its backup at that time.
func (p Pin) Holds(at time.Time) bool {
	return p.Change == Pinned && (p.Until.IsZero() || at.Before(p.Until))
}

// pinJSON is the content of a record.
type pinJSON struct {
	Format   int          `json:"format"`
	SystemID wal.SystemID `json:"system_id"`
	Backup   string       `json:"backup"`
	Number   int          `json:"number"`
	Change   PinChange    `json:"change"`
	Until    time.Time    `json:"until,omitzero"`
	Time     time.Time    `json:"time"`
	Host     string       `json:"host"`
	Note     string       `json:"note,omitzero"`
}

var errPinField = errors.New("field out of range")

// Validate returns an error that names the first field that cannot be.
func (p Pin) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errPinField, what, v) }
	if _, err := parseStamp(p.Backup); err != nil {
		return bad("backup", err)
	}
	for _, t := range []time.Time{p.Until, p.Time} {
		if year := t.UTC().Year(); !t.IsZero() && (year < 1970 || year > 9999) { // what JSON can hold
			return bad("year of a time", year)
		}
	}
	switch {
	case p.Number < 1 || p.Number > mostPins:
		return bad("number", p.Number)
	case p.Change != Pinned && p.Change != Unpinned:
		return bad("change", fmt.Sprintf("%q", p.Change))
	case len(p.Host) > mostPinText || len(p.Note) > mostPinText || !utf8.ValidString(p.Host) || !utf8.ValidString(p.Note):
		return bad("length of a text", max(len(p.Host), len(p.Note)))
	}
	return nil
}

// encode returns the content of the record: indented JSON whose last line is the SHA-256 of all lines before it.
func (p Pin) encode(id wal.SystemID) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	second := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	return sealRecord(pinJSON{
		Format: Format, SystemID: id, Backup: p.Backup, Number: p.Number, Change: p.Change, Until: second(p.Until), Time: second(p.Time), Host: p.Host, Note: p.Note,
	})
}

// parsePin reads the content of a record, verifies its hash and validates it. Fields it does not know are passed over.
func parsePin(id wal.SystemID, text []byte) (Pin, error) {
	var j pinJSON
	if err := openRecord(id, text, &j, errPinField); err != nil {
		return Pin{}, err
	}
	p := Pin{Backup: j.Backup, Number: j.Number, Change: j.Change, Until: j.Until, Time: j.Time, Host: j.Host, Note: j.Note}
	return p, p.Validate()
}

func pinPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + pinsFolder }

func pinKey(id wal.SystemID, backup string, number int) storage.Key {
	return pinPrefix(id) + storage.Key(fmt.Sprintf("%s-%0*d%s", backup, pinDigits, number, pinSuffix))
}

// parsePinName reads the name of a pin record in its folder.
func parsePinName(s string) (backup string, number int, ours bool) {
	s, isJSON := strings.CutSuffix(s, pinSuffix)
	backup, digits, _ := strings.Cut(s, "-")
	number, err := strconv.Atoi(digits)
	_, errID := parseStamp(backup)
	return backup, number, isJSON && err == nil && errID == nil && len(digits) == pinDigits && number > 0
}

// Pins reads of each backup that was ever pinned here the record that counts. What cannot be read does not hide the others: they are
// returned together with an error, which joins a *CorruptError, *FormatError or storage error for each.
func (c *Cluster) Pins(ctx context.Context) (map[string]Pin, error) {
	newest := map[string]int{}
	for info, err := range c.store.List(ctx, pinPrefix(c.id), "") {
		if err != nil {
			return nil, fmt.Errorf("list pins: %w", err)
		}
		if backup, number, ours := parsePinName(strings.TrimPrefix(string(info.Key), string(pinPrefix(c.id)))); ours {
			newest[backup] = max(newest[backup], number)
		}
	}
	type counted struct {
		backup string // which a pin that is gone since it was listed does not name
		pin    Pin
	}
	found, err := readEach(slices.Sorted(maps.Keys(newest)), nil, func(backup string) (counted, error) {
		p, err := c.NewestPin(ctx, backup, newest[backup])
		return counted{backup, p}, err
	})
	pins := make(map[string]Pin, len(found))
	for _, one := range found {
		pins[one.backup] = one.pin
	}
	return pins, err
}

// NewestPin returns the record that counts of a backup of which the one with the number known, or none if that is 0, is known to be there. It goes by keys, not by
// a list, which may lag. A backup that was never pinned has the zero Pin.
func (c *Cluster) NewestPin(ctx context.Context, backup string, known int) (Pin, error) {
	var newest Pin
	for number := max(known, 1); number <= mostPins; number++ {
		p, err := c.readPin(ctx, backup, number)
		if errors.Is(err, storage.ErrNotFound) {
			break
		}
		if err != nil {
			return Pin{}, fmt.Errorf("read pins of backup %s: %w", backup, err)
		}
		newest = p
	}
	return newest, nil
}

// Pin reads the record of a backup that has this number. The error wraps storage.ErrNotFound if there is none.
func (c *Cluster) Pin(ctx context.Context, backup string, number int) (Pin, error) {
	p, err := c.readPin(ctx, backup, number)
	if err != nil {
		return Pin{}, fmt.Errorf("read pin %d of backup %s: %w", number, backup, err)
	}
	return p, nil
}

func (c *Cluster) readPin(ctx context.Context, backup string, number int) (Pin, error) {
	key := pinKey(c.id, backup, number)
	return verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) (Pin, error) {
		text, err := storage.ReadAll(ctx, store, key, pinLimit)
		if err != nil {
			return Pin{}, err
		}
		return checkPin(c.id, key, Pin{Backup: backup, Number: number}, text)
	})
}

// checkPin reads the content of the record under a key whose name says what named does. The error is a *CorruptError.
func checkPin(id wal.SystemID, key storage.Key, named Pin, text []byte) (Pin, error) {
	p, err := parsePin(id, text)
	if err == nil && (p.Backup != named.Backup || p.Number != named.Number) {
		err = errors.New("content differs from its name")
	}
	if err != nil {
		return Pin{}, &CorruptError{Key: key, Reason: "pin", Err: err}
	}
	return p, nil
}

// verifyPin checks a pin record that is in memory. The error is a *CorruptError. A key without the form of one is not ours to judge.
func verifyPin(key storage.Key, body []byte) error {
	cluster, rest, _ := strings.Cut(string(key), "/")
	id, err := wal.ParseSystemID(cluster)
	name, inFolder := strings.CutPrefix(rest, pinsFolder)
	backup, number, ours := parsePinName(name)
	if err != nil || !inFolder || !ours {
		return nil //nolint:nilerr // not a record's key
	}
	_, err = checkPin(id, key, Pin{Backup: backup, Number: number}, body)
	return err
}

// PutPin records p under the number that it has; when it returns nil the record is durable. The error wraps storage.ErrExists if another has the
// number already: read what that says first.
func (c *Cluster) PutPin(ctx context.Context, p Pin) error {
	body, err := p.encode(c.id)
	if err == nil {
		key := pinKey(c.id, p.Backup, p.Number)
		var conflict *ConflictError
		if err = putEqual(ctx, c.store, key, body); errors.As(err, &conflict) {
			err = fmt.Errorf("%w: %w", storage.ErrExists, err)
		}
	}
	if err != nil {
		return fmt.Errorf("put pin of backup %s: %w", p.Backup, err)
	}
	return nil
}
