package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Class says what an object is for.
type Class string

// The classes.
const (
	ClassMarker   Class = "marker"
	ClassHistory  Class = "timeline history"
	ClassSegment  Class = "WAL segment"
	ClassPiece    Class = "WAL piece"
	ClassBeat     Class = "coverage beat"
	ClassSync     Class = "synchronous mode record"
	ClassGap      Class = "gap record"
	ClassRecord   Class = "backup record"
	ClassIndex    Class = "backup index"
	ClassManifest Class = "backup manifest"
	ClassPack     Class = "backup pack"
	ClassDrill    Class = "drill report"
	ClassNames    Class = "drill names"
	ClassPin      Class = "pin"
	ClassFence    Class = "fence"
	// The rest are of one repository alone; its copies have others.
	ClassReading Class = "verification record"
	ClassExpiry  Class = "expiry record"
	ClassHold    Class = "hold"
	ClassCensus  Class = "census"
)

// ofOneRepository reports whether the key is of a record that its copies do not have.
func ofOneRepository(key storage.Key) bool {
	_, rest, _ := strings.Cut(string(key), "/")
	folder, _, _ := strings.Cut(rest, "/")
	return slices.Contains([]string{readingsFolder, expiryFolder, holdsFolder, censusFolder}, folder+"/")
}

// Object is one object of a cluster. What it says comes from the key alone.
type Object struct {
	Key      storage.Key
	Class    Class
	Size     int64     // bytes, header included; 0 if it was not listed
	Modified time.Time // the store's clock; informative
	Timeline wal.TimelineID
	Range    wal.Range // of WAL and of a gap record
	Backup   string    // id; of the objects of a base backup and its pins
	Drill    string    // id; of the objects of a drill
}

// Object returns a WAL object as one.
func (e Entry) Object() Object {
	o := Object{Key: e.Key, Class: ClassSegment, Size: e.Stored, Modified: e.Modified, Timeline: e.Timeline, Range: e.Range}
	if e.Kind == KindPiece {
		o.Class = ClassPiece
	}
	return o
}

// Entry returns an Object of WAL as one.
func (o Object) entry() Entry {
	e := Entry{Key: o.Key, Kind: KindSegment, Timeline: o.Timeline, Range: o.Range, Stored: o.Size, Modified: o.Modified}
	if o.Class == ClassPiece {
		e.Kind = KindPiece
	}
	return e
}

// Unchecked returns the repository in store without looking at its marker, for who judges damage: the marker may be what is damaged.
func Unchecked(store storage.Store) *Repository { return &Repository{store: store} }

// MarkerObject is the object that every repository has.
func MarkerObject() Object { return Object{Key: markerKey, Class: ClassMarker} }

// HistoryObject returns the object that holds the history of a timeline, there or not.
func (c *Cluster) HistoryObject(tli wal.TimelineID) Object {
	return Object{Key: historyKey(c.id, tli), Class: ClassHistory, Timeline: tli}
}

// SegmentObject returns the object that would hold the whole segment of the byte at lsn, there or not.
func (c *Cluster) SegmentObject(size wal.SegmentSize, tli wal.TimelineID, lsn wal.LSN) Object {
	seg := size.Segment(tli, lsn)
	return Object{
		Key:   segmentPrefix(c.id, size, seg) + storage.Key(compression.Zstd().Suffix()[1:]),
		Class: ClassSegment, Timeline: tli, Range: size.Range(seg.Number),
	}
}

// RecordObject returns the object that holds the record of a backup, there or not.
func (c *Cluster) RecordObject(id string) Object {
	return Object{Key: recordKey(c.id, id), Class: ClassRecord, Backup: id}
}

// Parts returns the objects that a backup has beside its record and its packs, with the sizes that they must have.
func (c *Cluster) Parts(b Backup) []Object {
	prefix := backupPrefix(c.id, b.ID)
	return []Object{
		{Key: prefix + b.name(manifestName), Class: ClassManifest, Size: b.Manifest.Size, Timeline: b.Timeline, Backup: b.ID},
		{Key: prefix + b.name(indexName), Class: ClassIndex, Size: b.Index.Size, Timeline: b.Timeline, Backup: b.ID},
	}
}

// PackObject returns the object of a pack with the size that it must have.
func (c *Cluster) PackObject(b Backup, p Pack) Object {
	o := Object{Key: b.packKey(backupPrefix(c.id, b.ID), &p), Class: ClassPack, Size: p.Stored, Timeline: b.Timeline, Backup: b.ID}
	if b.Sealed() {
		o.Size = b.pack(p.Name).Size
	}
	return o
}

// packKey returns the key of a pack of the backup.
func (b *Backup) packKey(prefix storage.Key, p *Pack) storage.Key { return b.name(p.key(prefix)) }

// SealedTables returns, of an encrypted backup, what its record says of each pack: names alone, with which PackObject, CheckPack and MendPack work without the index,
// and so without a key.
func (c *Cluster) SealedTables(b Backup) []*PackTable {
	tables := make([]*PackTable, 0, len(b.Encryption.Packs))
	for i, p := range b.Encryption.Packs {
		tables = append(tables, &PackTable{Pack: Pack{Number: i + 1, Name: p.Name}})
	}
	return tables
}

// BackupIDs lists the ids under which anything lies, ascending: also of backups that have no record, or not yet.
func (c *Cluster) BackupIDs(ctx context.Context) ([]string, error) {
	ids, err := c.backupIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	return ids, nil
}

// BackupFolder lists what lies under the id of a backup, by key.
func (c *Cluster) BackupFolder(ctx context.Context, id string) (map[storage.Key]storage.Info, error) {
	there := map[storage.Key]storage.Info{}
	for info, err := range c.store.List(ctx, backupPrefix(c.id, id), "") {
		if err != nil {
			return nil, fmt.Errorf("list objects of backup %s: %w", id, err)
		}
		there[info.Key] = info
	}
	return there, nil
}

// Records lists the small objects that a cluster has beside WAL and backups: histories, gap records, records of synchronous mode, drills, pins, fences. Of the beats
// the newest alone counts, see NewestBeatObject. It ends after the first error.
func (c *Cluster) Records(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		timelines, err := c.Timelines(ctx)
		if err != nil {
			yield(Object{}, err)
			return
		}
		prefixes := []storage.Key{gapPrefix(c.id), syncPrefix(c.id), drillPrefix(c.id), pinPrefix(c.id), fencePrefix(c.id)}
		for _, tli := range timelines {
			prefixes = append(prefixes, historyKey(c.id, tli))
		}
		for _, prefix := range prefixes {
			for info, err := range c.store.List(ctx, prefix, "") {
				if !c.yieldRecord(info, err, yield) {
					return
				}
			}
		}
	}
}

func (c *Cluster) yieldRecord(info storage.Info, err error, yield func(Object, error) bool) bool {
	if err != nil {
		yield(Object{}, fmt.Errorf("list records: %w", err))
		return false
	}
	o, ours := c.recordOf(info)
	return !ours || yield(o, nil)
}

// recordOf returns the object of a listed record; false if its key has not the form of one.
func (c *Cluster) recordOf(info storage.Info) (Object, bool) {
	o := Object{Key: info.Key, Size: info.Size, Modified: info.Modified}
	rest := strings.TrimPrefix(string(info.Key), string(clusterPrefix(c.id)))
	folder, name, _ := strings.Cut(rest, "/")
	ours := false
	switch folder + "/" {
	case walFolder:
		tli, err := wal.ParseHistoryFileName(name)
		o.Class, o.Timeline, ours = ClassHistory, tli, err == nil
	case gapsFolder:
		var g Gap
		g, ours = parseGapName(name)
		o.Class, o.Timeline, o.Range = ClassGap, g.Timeline, g.Range
	case syncFolder:
		_, ours = parseSyncName(name)
		o.Class = ClassSync
	case drillsFolder:
		o.Class = ClassDrill
		if o.Drill, ours = parseDrillName(name); !ours {
			bare := strings.TrimSuffix(name, sealSuffix)
			o.Class, o.Drill = ClassNames, strings.TrimSuffix(bare, namesSuffix)
			ours = drillPrefix(c.id)+storage.Key(bare) == namesKey(c.id, o.Drill)
		}
	case pinsFolder:
		o.Class = ClassPin
		o.Backup, _, ours = parsePinName(name)
	case fencesFolder:
		o.Class = ClassFence
		o.Timeline, _, ours = parseFenceName(name)
	}
	return o, ours
}

// NewestBeatObject returns the newest beat as its name says, with its object; false if there is none. It does not read it.
func (c *Cluster) NewestBeatObject(ctx context.Context) (Object, Beat, bool, error) {
	b, found, err := c.findNewestBeat(ctx)
	if err != nil || !found {
		return Object{}, Beat{}, false, err
	}
	o := Object{Key: c.beatPrefix() + b.name(), Class: ClassBeat, Timeline: b.Timeline}
	info, err := c.store.Stat(ctx, o.Key)
	if errors.Is(err, storage.ErrNotFound) {
		return Object{}, Beat{}, false, nil // a newer one replaced it
	}
	o.Size, o.Modified = info.Size, info.Modified
	return o, b, err == nil, err
}
