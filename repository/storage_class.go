package repository

import (
	"strings"

	"github.com/pgark/pgark/storage"
)

// StorageClasses are the storage classes, by the store's words, of the large objects of a repository; empty for the store's own. All other objects are small,
// many of them gone within minutes, and stay in the store's own class: cheaper classes bill each as if it were large and stayed for long.
type StorageClasses struct {
	Backups string // of packs
	WAL     string // of complete segments
}

// ClassOf returns the storage class of a new object, "" for the store's own.
func (c StorageClasses) ClassOf(key storage.Key) string {
	const inWAL, inBackup = 4, 4 // names in the key of a segment, and of a pack
	names := strings.Split(string(key), "/")
	switch {
	case len(names) == inBackup && names[1]+"/" == backupsFolder && classInBackup(names[3]) == ClassPack:
		return c.Backups
	case len(names) == inWAL && names[1]+"/" == walFolder:
		return c.WAL
	}
	return ""
}
