package repository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	censusFolder = "census/"
	censusSuffix = ".json"
	censusPlace  = 8 // hex digits behind the time

	// BlockSegments is how many segments a block has at most: with one object each they are less than a page of a listing, so that one request shows a block and that
	// it goes on behind it.
	BlockSegments = 960
)

const (
	// CensusKept is how old a census may be that a reader uses.
	CensusKept = 48 * time.Hour
	// censusAhead is how far the clock of its writer may be ahead of the reader's.
	censusAhead = time.Hour
	censusLimit = 16 << 20 // bytes of a record
	mostBlocks  = 1 << 17  // of a census: 125 million segments of blocks of the greatest length
	mostCounted = 1 << 12  // timelines
	// blockLeast is how many segments are worth a block: fewer are listed with one request anyway.
	blockLeast = 32
)

// Block is a run of whole WAL segments of one timeline, all encrypted or none.
type Block struct {
	Range   wal.Range // on segment borders
	Objects int       // with the pieces that lie beside the segments
	Stored  int64     // bytes of all of these
	Sealed  bool      // encrypted
}

// Census is what one listing of all WAL of a cluster found in one repository: FORMAT.md section 18.
type Census struct {
	// Place names the repository, as that of a Reading.
	Place        string
	Began, Ended time.Time // by the clock of the host that listed, to the second
	SegmentSize  wal.SegmentSize
	Blocks       map[wal.TimelineID][]Block // ascending
}

// censusJSON is the content of the record.
type censusJSON struct {
	Format      int                    `json:"format"`
	SystemID    wal.SystemID           `json:"system_id"`
	Place       string                 `json:"place"`
	Began       time.Time              `json:"began"`
	Ended       time.Time              `json:"ended"`
	SegmentSize wal.SegmentSize        `json:"segment_size"`
	Timelines   atMost[censusTimeline] `json:"timelines"`
}

type censusTimeline struct {
	Timeline wal.TimelineID `json:"timeline"`
	Blocks   []Block        `json:"blocks"`
}

var errCensusField = errors.New("field out of range")

const blockSealed = "encrypted"

// MarshalText writes a block as it stands in a census.
func (b Block) MarshalText() ([]byte, error) {
	text := fmt.Sprintf("%s %s %d %d", b.Range.Start, b.Range.End, b.Objects, b.Stored)
	if b.Sealed {
		text += " " + blockSealed
	}
	return []byte(text), nil
}

// UnmarshalText reads what MarshalText writes.
func (b *Block) UnmarshalText(text []byte) error {
	if len(text) > 128 {
		return fmt.Errorf("%w: a block of %d bytes", errCensusField, len(text))
	}
	words := strings.Split(string(text), " ")
	if len(words) == 5 && words[4] == blockSealed {
		b.Sealed, words = true, words[:4]
	}
	if len(words) != 4 {
		return fmt.Errorf("%w: block %q", errCensusField, text)
	}
	var errs [4]error
	b.Range.Start, errs[0] = wal.ParseLSN(words[0])
	b.Range.End, errs[1] = wal.ParseLSN(words[1])
	b.Objects, errs[2] = strconv.Atoi(words[2])
	b.Stored, errs[3] = strconv.ParseInt(words[3], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: block %q: %w", errCensusField, text, err)
	}
	return nil
}

// validate returns an error that names the first field that cannot be.
func (n *Census) validate() error {
	for _, t := range []time.Time{n.Began, n.Ended} {
		if year := t.UTC().Year(); year < 1970 || year > 9999 { // what JSON can hold
			return fmt.Errorf("%w: year of a time %d", errCensusField, year)
		}
	}
	if len(n.Place) > mostPlace {
		return fmt.Errorf("%w: length of place %d", errCensusField, len(n.Place))
	}
	if err := n.SegmentSize.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errCensusField, err)
	}
	blocks := 0
	for tli, list := range n.Blocks {
		blocks += len(list)
		end := wal.LSN(0)
		for _, b := range list {
			segments := b.Range.Len() / uint64(n.SegmentSize)
			switch {
			case tli == 0, b.Range.Empty(), b.Range.Start < end, n.SegmentSize.Offset(b.Range.Start) != 0, n.SegmentSize.Offset(b.Range.End) != 0,
				segments > BlockSegments, b.Objects < int(segments), b.Stored < 0:
				return fmt.Errorf("%w: block %s of timeline %d, %d objects, %d bytes", errCensusField, b.Range, uint32(tli), b.Objects, b.Stored)
			}
			end = b.Range.End
		}
	}
	if blocks > mostBlocks || len(n.Blocks) > mostCounted {
		return fmt.Errorf("%w: %d blocks of %d timelines", errCensusField, blocks, len(n.Blocks))
	}
	return nil
}

func (n *Census) encode(id wal.SystemID) ([]byte, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	second := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	j := censusJSON{
		Format: Format, SystemID: id, Place: n.Place, Began: second(n.Began), Ended: second(n.Ended), SegmentSize: n.SegmentSize,
	}
	for _, tli := range n.timelines() {
		j.Timelines.list = append(j.Timelines.list, censusTimeline{tli, n.Blocks[tli]})
	}
	return sealRecord(j)
}

// parseCensus reads the content of a census, verifies its hash and validates it. Fields it does not know are passed over.
func parseCensus(id wal.SystemID, text []byte) (*Census, error) {
	j := censusJSON{Timelines: atMost[censusTimeline]{limit: mostCounted}}
	if err := openRecord(id, text, &j, errCensusField); err != nil {
		return nil, err
	}
	n := &Census{Place: j.Place, Began: j.Began, Ended: j.Ended, SegmentSize: j.SegmentSize, Blocks: map[wal.TimelineID][]Block{}}
	for _, t := range j.Timelines.list {
		if n.Blocks[t.Timeline] != nil {
			return nil, fmt.Errorf("%w: timeline %d twice", errCensusField, uint32(t.Timeline))
		}
		n.Blocks[t.Timeline] = t.Blocks
	}
	return n, n.validate()
}

func censusPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + censusFolder }

// placeMark is what stands for a place in the name of a census.
func placeMark(place string) string {
	sum := sha256.Sum256([]byte(place))
	return hex.EncodeToString(sum[:censusPlace/2])
}

// name is the census's name in its folder.
func (n *Census) name() storage.Key {
	return storage.Key(stamp(n.Ended) + "-" + placeMark(n.Place) + censusSuffix)
}

// parseCensusName returns when the listing of the census with this name ended, and what stands for its place.
func parseCensusName(s string) (ended time.Time, mark string, ours bool) {
	s, isJSON := strings.CutSuffix(s, censusSuffix)
	at, mark, _ := strings.Cut(s, "-")
	ended, err := parseStamp(at)
	return ended, mark, isJSON && err == nil && isLowerHex(mark, censusPlace)
}

// SamePlace reports whether two objects, which are censuses, are of the same repository.
func SamePlace(a, b Object) bool {
	_, one, ours := parseCensusName(path.Base(string(a.Key)))
	_, other, too := parseCensusName(path.Base(string(b.Key)))
	return ours && too && one == other
}

// PutCensus puts a census; when it returns nil it is durable, and those before it of its place are deleted as far as may be.
func (c *Cluster) PutCensus(ctx context.Context, n *Census) error {
	body, err := n.encode(c.id)
	key := censusPrefix(c.id) + n.name()
	if err == nil {
		err = putEqual(ctx, c.store, key, body)
	}
	if err != nil {
		return fmt.Errorf("put census: %w", err)
	}
	for info, err := range c.store.List(ctx, censusPrefix(c.id), "") {
		if err != nil || info.Key >= key {
			break
		}
		if _, mark, ours := parseCensusName(path.Base(string(info.Key))); ours && mark == placeMark(n.Place) {
			_ = c.store.Delete(ctx, info.Key) // an older one does no harm
		}
	}
	return nil
}

// NewestCensus returns the newest census of a place that is no older than CensusKept at the time now; nil if there is none, or none that can be read: it is as if
// it were not there. An error is the store's.
func (c *Cluster) NewestCensus(ctx context.Context, place string, now time.Time) (*Census, error) {
	var keys []storage.Key
	after := censusPrefix(c.id) + storage.Key(stamp(now.Add(-CensusKept)))
	for info, err := range c.store.List(ctx, censusPrefix(c.id), after) {
		if err != nil {
			return nil, fmt.Errorf("look for a census: %w", err)
		}
		if ended, mark, ours := parseCensusName(path.Base(string(info.Key))); ours && mark == placeMark(place) && ended.Before(now.Add(censusAhead)) {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // nil is a census that counts nothing
	}
	key := keys[len(keys)-1]
	text, err := storage.ReadAll(ctx, c.store, key, censusLimit)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrTooLarge) || errors.Is(err, storage.ErrArchived) {
		return nil, nil //nolint:nilnil // likewise: a newer one replaced it, or it is none
	}
	if err != nil {
		return nil, fmt.Errorf("read census: %w", err)
	}
	n, err := parseCensus(c.id, text)
	if err != nil || n.Place != place || censusPrefix(c.id)+n.name() != key {
		return nil, nil //nolint:nilnil,nilerr // likewise: what it would have counted is listed
	}
	return n, nil
}
