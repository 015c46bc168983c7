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
	gapsFolder = "gaps/"
	gapSuffix  = ".json"
)

const (
	gapLimit    = 64 << 10 // bytes of a gap record
	longestText = 4096     // bytes of a gap's detail
)

// Cause says in a short code why WAL was lost. A reader shows codes that it does not know as they are.
type Cause string

// The causes. They are parts of the format.
const (
	// CauseSlotLost: the server invalidated the slot, because it kept more than max_slot_wal_keep_size allows or was idle for too long.
	CauseSlotLost Cause = "slot-lost"
	// CauseSlotDropped: somebody dropped the slot.
	CauseSlotDropped Cause = "slot-dropped"
	// CauseSlotAhead: the slot kept WAL only from behind the end of the archive: somebody made it anew, or moved it.
	CauseSlotAhead Cause = "slot-ahead"
	// CauseFailover: a server was promoted that did not have the WAL before its own timeline.
	CauseFailover Cause = "failover"
	// CauseNotArchived: nothing of the server's history was in the archive when archiving began.
	CauseNotArchived Cause = "not-archived"
	// CauseWALRemoved: the server removed the WAL, and more is not known.
	CauseWALRemoved Cause = "wal-removed"
)

// Words returns the cause as it stands in a sentence: "slot lost".
func (c Cause) Words() string {
	if c == CauseWALRemoved {
		return "WAL removed"
	}
	return strings.ReplaceAll(string(c), "-", " ")
}

// Gap is a gap record, FORMAT.md section 9: the WAL in Range on Timeline is not in this repository, and no server had it any more when
// archiving went on behind it. It explains a hole; what is there is told by the WAL objects alone.
type Gap struct {
	Timeline wal.TimelineID
	Range    wal.Range // never empty
	Cause    Cause
	Detail   string // for a person; may be empty
	// FirstSeen is when the hole was found, by the clock of the host that archives, to the second.
	FirstSeen time.Time
	// ServerFlush is the end of the server's WAL then.
	ServerFlush wal.LSN
}

// gapJSON is the content of a gap record.
type gapJSON struct {
	Format      int            `json:"format"`
	SystemID    wal.SystemID   `json:"system_id"`
	Timeline    wal.TimelineID `json:"timeline"`
	From        wal.LSN        `json:"from"`
	To          wal.LSN        `json:"to"`
	Cause       Cause          `json:"cause"`
	Detail      string         `json:"detail"`
	FirstSeen   time.Time      `json:"first_seen"`
	ServerFlush wal.LSN        `json:"server_flush"`
}

var errGapField = errors.New("field out of range")

// encode returns the content of the record in the repository of system id: indented JSON whose last line is the SHA-256 of all lines before it.
func (g Gap) encode(id wal.SystemID) ([]byte, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return sealRecord(gapJSON{
		Format: Format, SystemID: id, Timeline: g.Timeline, From: g.Range.Start, To: g.Range.End, Cause: g.Cause, Detail: g.Detail,
		FirstSeen: g.FirstSeen.UTC().Truncate(time.Second), ServerFlush: g.ServerFlush,
	})
}

// parseGap reads the content of a gap record, verifies its hash and validates it. Fields it does not know are passed over.
func parseGap(id wal.SystemID, text []byte) (Gap, error) {
	var j gapJSON
	if err := openRecord(id, text, &j, errGapField); err != nil {
		return Gap{}, err
	}
	g := Gap{
		Timeline: j.Timeline, Range: wal.Range{Start: j.From, End: j.To}, Cause: j.Cause, Detail: j.Detail,
		FirstSeen: j.FirstSeen, ServerFlush: j.ServerFlush,
	}
	return g, g.Validate()
}

// Validate returns an error that names the first field that cannot be.
func (g Gap) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errGapField, what, v) }
	year := g.FirstSeen.UTC().Year()
	switch {
	case g.Timeline == 0:
		return bad("timeline", 0)
	case g.Range.Empty():
		return bad("range", g.Range)
	case g.Cause == "" || len(g.Cause) > 64 || strings.Trim(string(g.Cause), "abcdefghijklmnopqrstuvwxyz-") != "":
		return bad("cause", fmt.Sprintf("%q", g.Cause))
	case len(g.Detail) > longestText || !utf8.ValidString(g.Detail):
		return bad("length of detail", len(g.Detail))
	case year < 1970 || year > 9999: // what JSON can hold
		return bad("year of the time", year)
	}
	return nil
}

// name is the record's name in its folder.
func (g Gap) name() storage.Key {
	return storage.Key(g.Timeline.String() + "-" + g.Range.Start.Hex() + "-" + g.Range.End.Hex() + gapSuffix)
}

// parseGapName reads what name writes.
func parseGapName(s string) (Gap, bool) {
	s, isJSON := strings.CutSuffix(s, gapSuffix)
	name, piece, found := strings.Cut(s, "-")
	if !isJSON || !found {
		return Gap{}, false
	}
	tli, err := wal.ParseTimelineID(name)
	if err != nil {
		return Gap{}, false
	}
	r, ok := parsePieceRange(piece)
	return Gap{Timeline: tli, Range: r}, ok
}

func gapPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + gapsFolder }

// PutGap records g; when it returns nil the record is durable. What is recorded is never changed: if the same bytes are recorded as
// missing already, that record stays and PutGap succeeds. It is put before any WAL behind the gap is. A record of a newer format is a
// *FormatError, one that cannot be read a *CorruptError.
func (c *Cluster) PutGap(ctx context.Context, g Gap) error {
	body, err := g.encode(c.id)
	if err != nil {
		return fmt.Errorf("put gap record: %w", err)
	}
	key := gapPrefix(c.id) + g.name()
	err = c.store.Put(ctx, key, body)
	if errors.Is(err, storage.ErrExists) {
		_, err = c.readGap(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("put gap record: %w", err)
	}
	return nil
}

// Gaps reads the gap records of all timelines, ordered by timeline, start and end. One that cannot be read does not hide the others: they
// are returned together with an error, which joins a *CorruptError, *FormatError or storage error for each.
func (c *Cluster) Gaps(ctx context.Context) ([]Gap, error) {
	var listed []Gap // what their names say
	for info, err := range c.store.List(ctx, gapPrefix(c.id), "") {
		if err != nil {
			return nil, fmt.Errorf("list gap records: %w", err)
		}
		if named, ours := parseGapName(strings.TrimPrefix(string(info.Key), string(gapPrefix(c.id)))); ours {
			listed = append(listed, named)
		}
	}
	return readEach(listed, nil, func(named Gap) (Gap, error) { return c.readGap(ctx, named) })
}

// readGap reads the record whose name says what named does.
func (c *Cluster) readGap(ctx context.Context, named Gap) (Gap, error) {
	key := gapPrefix(c.id) + named.name()
	return verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) (Gap, error) {
		text, err := storage.ReadAll(ctx, store, key, gapLimit)
		if err != nil {
			return Gap{}, c.readError(key, err)
		}
		return checkGap(c.id, key, named, text)
	})
}

// checkGap reads the content of the record under a key whose name says what named does.
func checkGap(id wal.SystemID, key storage.Key, named Gap, text []byte) (Gap, error) {
	g, err := parseGap(id, text)
	if err != nil {
		return Gap{}, &CorruptError{Key: key, Reason: "gap record", Err: err}
	}
	if g.Timeline != named.Timeline || g.Range != named.Range {
		return Gap{}, &CorruptError{Key: key, Reason: "content differs from its name"}
	}
	return g, nil
}

// parseGapKey tells of a whole key whether it is that of a gap record, and whose.
func parseGapKey(key storage.Key) (wal.SystemID, Gap, bool) {
	name, rest, _ := strings.Cut(string(key), "/")
	id, err := wal.ParseSystemID(name)
	file, inFolder := strings.CutPrefix(rest, gapsFolder)
	if err != nil || !inFolder {
		return 0, Gap{}, false
	}
	g, ok := parseGapName(file)
	return id, g, ok
}

// verifyGap checks a gap record that is in memory. The error is a *CorruptError. A key without the form of one is not ours to judge.
func verifyGap(key storage.Key, body []byte) error {
	id, named, ok := parseGapKey(key)
	if !ok {
		return nil
	}
	_, err := checkGap(id, key, named, body)
	return err
}

// OpenGap returns the newest gap on the way to the timeline of h, unless a good backup on that way begins at its end or
// behind it: what is written now cannot be restored until then. LSNs rise along the way. It is pure.
func OpenGap(gaps []Gap, backups []Backup, h wal.History) (Gap, bool) {
	var newest Gap
	for _, g := range gaps {
		if own, ok := h.RangeOf(g.Timeline); ok && g.Range.Start < own.End && g.Range.End > newest.Range.End {
			newest = g
		}
	}
	if newest.Range.Empty() {
		return Gap{}, false
	}
	for _, b := range backups {
		if own, ok := h.RangeOf(b.Timeline); ok && own.Contains(b.StartLSN) && b.Good() && b.StartLSN >= newest.Range.End {
			return Gap{}, false
		}
	}
	return newest, true
}
