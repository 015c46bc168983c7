package repository

import (
	"path"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// EncryptionMarkerKey is the key of pgark-encryption.json, which a repository has that holds encrypted contents.
const EncryptionMarkerKey = encryptionKey

// Classify returns the object of a listed key of the cluster; false if its key has not the form of one. With a segment size of 0, which is not to be had where all that says
// it is damaged, the ranges of WAL are empty.
func (c *Cluster) Classify(size wal.SegmentSize, info storage.Info) (Object, bool) {
	rest, ours := strings.CutPrefix(string(info.Key), string(clusterPrefix(c.id)))
	if !ours {
		return Object{}, false
	}
	o := Object{Key: info.Key, Size: info.Size, Modified: info.Modified}
	folder, name, _ := strings.Cut(rest, "/")
	switch folder + "/" {
	case walFolder:
		tli, _, inTimeline := strings.Cut(name, "/")
		id, err := wal.ParseTimelineID(tli)
		if !inTimeline || err != nil {
			break
		}
		if size == 0 {
			return c.classifyWAL(o)
		}
		e, ours := entryOf(timelinePrefix(c.id, id), size, info)
		return e.Object(), ours
	case backupsFolder:
		o.Backup, name, _ = strings.Cut(name, "/")
		o.Class = backupClass(name)
		_, err := parseStamp(o.Backup)
		return o, err == nil && o.Class != ""
	case beatsFolder:
		o.Class = ClassBeat
		_, ours := parseBeatName(name)
		return o, ours
	case expiryFolder:
		o.Class = ClassExpiry
		return o, isExpiryName(name)
	case holdsFolder:
		o.Class = ClassHold
		_, ours := parseHoldName(name)
		return o, ours
	case readingsFolder:
		o.Class = ClassReading
		_, ours := parseReadingName(name)
		return o, ours
	}
	return c.recordOf(info)
}

// classifyWAL is Classify for WAL where the segment size is not known: it leaves the range empty.
func (c *Cluster) classifyWAL(o Object) (Object, bool) {
	segment := string(SegmentOf(o.Key))
	for size := wal.SegmentSize(1 << 20); size <= 1<<30; size *= 2 { // initdb's limits
		if _, err := size.ParseFileName(path.Base(segment)); err == nil {
			o.Class = ClassSegment
			if strings.HasPrefix(string(o.Key), segment+partSuffix+"/") {
				o.Class = ClassPiece
			}
			return o, true
		}
	}
	return Object{}, false
}

// backupClass says what an object in the folder of a backup is, by its name; empty if it is none of a backup's.
func backupClass(name string) Class {
	bare := strings.TrimSuffix(name, sealSuffix)
	switch bare {
	case recordName:
		return ClassRecord
	case indexName:
		return ClassIndex
	case manifestName:
		return ClassManifest
	}
	archive, _, _ := strings.Cut(bare, "-")
	if strings.Contains(path.Base(bare), packSuffix+".") && validArchive(archive) {
		return ClassPack
	}
	return ""
}

// SegmentOf returns what the keys of a segment of WAL and of its pieces have in common, of the key of any of them; the key itself if it is of none.
func SegmentOf(key storage.Key) storage.Key {
	if whole, _, isPiece := strings.Cut(string(key), partSuffix+"/"); isPiece {
		return storage.Key(whole)
	}
	folder, name := path.Split(string(key))
	name, _, _ = strings.Cut(name, ".")
	return storage.Key(folder + name)
}

// ClusterFolders are the folders of a cluster in which what was lost is looked for, in an order in which it can be brought back: a history before its WAL, WAL
// before the base backups that need it, and data before the record that names it.
func (c *Cluster) ClusterFolders() []storage.Key {
	var prefixes []storage.Key
	for _, folder := range []string{expiryFolder, pinsFolder, walFolder, gapsFolder, syncFolder, beatsFolder, backupsFolder, drillsFolder} {
		prefixes = append(prefixes, clusterPrefix(c.id)+storage.Key(folder))
	}
	return prefixes
}
