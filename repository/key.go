package repository

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	walFolder     = "wal/"
	beatsFolder   = "beats/"
	backupsFolder = "backups/"

	partSuffix     = ".part"
	packSuffix     = ".tar"
	indexName      = "index.zst"
	manifestName   = "backup_manifest.zst"
	recordName     = "record.json"
	baseArchive    = "base"
	stampLayout    = "20060102T150405Z"
	packNumberSize = 5 // digits at least
)

// Entry is one WAL object in a listing. What it says comes from the key alone.
type Entry struct {
	Key      storage.Key
	Kind     Kind // KindSegment or KindPiece
	Timeline wal.TimelineID
	Range    wal.Range
	Stored   int64     // bytes, header included; 0 if not listed
	Modified time.Time // the store's clock; informative
	Archive  storage.Archive
}

// clusterPrefix returns the key prefix of all that belongs to a cluster.
func clusterPrefix(id wal.SystemID) storage.Key { return storage.Key(id.String() + "/") }

// timelinePrefix returns the key prefix of all WAL objects of a timeline.
func timelinePrefix(id wal.SystemID, tli wal.TimelineID) storage.Key {
	return clusterPrefix(id) + walFolder + storage.Key(tli.String()+"/")
}

func historyKey(id wal.SystemID, tli wal.TimelineID) storage.Key {
	return clusterPrefix(id) + walFolder + storage.Key(tli.HistoryFileName())
}

// segmentPrefix returns what the keys of a segment and of all its pieces begin with, and no other.
func segmentPrefix(id wal.SystemID, size wal.SegmentSize, seg wal.SegmentID) storage.Key {
	return timelinePrefix(id, seg.Timeline) + storage.Key(size.FileName(seg)+".")
}

// walKey returns the key of a WAL object.
func walKey(o WALObject, codec compression.Codec) storage.Key {
	seg := o.SegmentSize.Segment(o.Timeline, o.Range.Start)
	key := timelinePrefix(o.SystemID, o.Timeline) + storage.Key(o.SegmentSize.FileName(seg))
	if o.Kind == KindPiece {
		key += storage.Key(partSuffix + "/" + o.Range.Start.Hex() + "-" + o.Range.End.Hex())
	}
	return key + storage.Key(codec.Suffix())
}

// parseWALKey reads what walKey writes. It returns false for keys that are none of a WAL object of this cluster,
// timeline and segment size.
func parseWALKey(prefix storage.Key, size wal.SegmentSize, key storage.Key) (Entry, bool) {
	rest, ok := strings.CutPrefix(string(key), string(prefix))
	if !ok {
		return Entry{}, false
	}
	rest = strings.TrimSuffix(rest, sealSuffix)
	codec, err := compression.BySuffix(rest)
	if err != nil {
		return Entry{}, false
	}
	rest = strings.TrimSuffix(rest, codec.Suffix())
	name, piece, isPiece := strings.Cut(rest, partSuffix+"/")
	seg, err := size.ParseFileName(name)
	if err != nil {
		return Entry{}, false
	}
	e := Entry{Key: key, Kind: KindSegment, Timeline: seg.Timeline, Range: size.Range(seg.Number)}
	if isPiece {
		whole := e.Range
		e.Kind = KindPiece
		if e.Range, ok = parsePieceRange(piece); !ok || e.Range.Start < whole.Start || e.Range.End > whole.End {
			return Entry{}, false
		}
	}
	return e, strings.HasSuffix(string(prefix), "/"+seg.Timeline.String()+"/")
}

func parsePieceRange(s string) (wal.Range, bool) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return wal.Range{}, false
	}
	start, err := wal.ParseHexLSN(from)
	if err != nil {
		return wal.Range{}, false
	}
	end, err := wal.ParseHexLSN(to)
	if err != nil {
		return wal.Range{}, false
	}
	r := wal.Range{Start: start, End: end}
	return r, !r.Empty()
}

// entryOf returns the entry of a listed object.
func entryOf(prefix storage.Key, size wal.SegmentSize, info storage.Info) (Entry, bool) {
	e, ok := parseWALKey(prefix, size, info.Key)
	e.Stored, e.Modified, e.Archive = info.Size, info.Modified, info.Archive
	return e, ok
}

// stamp returns the form in which times stand in keys; what is finer than a second is cut off.
func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

func parseStamp(s string) (time.Time, error) {
	t, err := time.Parse(stampLayout, s)
	if err != nil || stamp(t) != s {
		return time.Time{}, fmt.Errorf("time %q: want the form %s", s, stampLayout)
	}
	return t, nil
}

// NewBackupID returns the id of a backup that began at t: "20261121T024000Z".
func NewBackupID(t time.Time) string { return stamp(t) }

func backupPrefix(id wal.SystemID, backup string) storage.Key {
	return clusterPrefix(id) + backupsFolder + storage.Key(backup+"/")
}

// packName returns the name of a pack in its backup's folder.
func packName(archive string, number int, codec compression.Codec) string {
	return fmt.Sprintf("%s-%0*d%s%s", archive, packNumberSize, number, packSuffix, codec.Suffix())
}

// validArchive reports whether s is "base" or the OID of a tablespace in decimal.
func validArchive(s string) bool {
	if s == baseArchive {
		return true
	}
	oid, err := strconv.ParseUint(s, 10, 32)
	return err == nil && oid > 0 && strconv.FormatUint(oid, 10) == s
}
