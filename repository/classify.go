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
	o, ours := c.objectOf(size, info)
	if !ours && size == 0 && strings.HasPrefix(rest, walFolder) {
		return c.classifyWAL(o)
	}
	return o, ours
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

// SegmentOf returns what the keys of a segment of WAL and of its pieces have in common, of the key of any of them; the key itself if it is of none.
func SegmentOf(key storage.Key) storage.Key {
	if whole, _, isPiece := strings.Cut(string(key), partSuffix+"/"); isPiece {
		return storage.Key(whole)
	}
	folder, name := path.Split(string(key))
	name, _, _ = strings.Cut(name, ".")
	return storage.Key(folder + name)
}

// ClusterFolders are the folders of a cluster in which what was lost is looked for, in an order in which it can be brought back: fences before all, a history before its WAL, WAL
// before the base backups that need it, and data before the record that names it.
func (c *Cluster) ClusterFolders() []storage.Key {
	var prefixes []storage.Key
	for _, folder := range []string{fencesFolder, expiryFolder, pinsFolder, walFolder, gapsFolder, syncFolder, beatsFolder, backupsFolder, drillsFolder} {
		prefixes = append(prefixes, clusterPrefix(c.id)+storage.Key(folder))
	}
	return prefixes
}

// IsWAL reports whether a key is that of a segment of WAL or of a piece of one, of any cluster.
func IsWAL(key storage.Key) bool {
	_, rest, ok := strings.Cut(string(key), "/")
	return ok && strings.HasPrefix(rest, walFolder) && !strings.HasSuffix(rest, ".history")
}
