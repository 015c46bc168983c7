package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Stock lists all objects of the cluster, in the order of their keys, each with its class. A key that has not the form of any class is passed
// over: it is not ours. It ends after the first error.
func (c *Cluster) Stock(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		size, err := c.SegmentSize(ctx)
		if err != nil && !errors.Is(err, ErrNoWAL) {
			yield(Object{}, fmt.Errorf("list cluster %s: %w", c.id, err))
			return
		}
		for info, err := range c.store.List(ctx, clusterPrefix(c.id), "") {
			if err != nil {
				yield(Object{}, fmt.Errorf("list cluster %s: %w", c.id, err))
				return
			}
			if o, ours := c.objectOf(size, info); ours && !yield(o, nil) {
				return
			}
		}
	}
}

// objectOf returns the object of a listing; false if its key has not the form of one.
func (c *Cluster) objectOf(size wal.SegmentSize, info storage.Info) (Object, bool) {
	o := Object{Key: info.Key, Size: info.Size, Modified: info.Modified}
	rest := strings.TrimPrefix(string(info.Key), string(clusterPrefix(c.id)))
	folder, name, _ := strings.Cut(rest, "/")
	var ours bool
	switch folder + "/" {
	case walFolder:
		tli, _, inTimeline := strings.Cut(name, "/")
		if !inTimeline {
			return c.recordOf(info)
		}
		id, err := wal.ParseTimelineID(tli)
		if err != nil || size == 0 {
			return o, false
		}
		e, isWAL := entryOf(timelinePrefix(c.id, id), size, info)
		return e.Object(), isWAL
	case backupsFolder:
		o.Backup, name, _ = strings.Cut(name, "/")
		_, err := parseStamp(o.Backup)
		o.Class = classInBackup(name)
		ours = err == nil && o.Class != ""
	case beatsFolder:
		o.Class = ClassBeat
		_, ours = parseBeatName(name)
	case readingsFolder:
		o.Class = ClassReading
		_, ours = parseReadingName(name)
	case expiryFolder:
		o.Class, ours = ClassExpiry, isExpiryName(name)
	case holdsFolder:
		o.Class = ClassHold
		_, ours = parseHoldName(name)
	case censusFolder:
		o.Class = ClassCensus
		_, _, ours = parseCensusName(name)
	default:
		return c.recordOf(info)
	}
	return o, ours
}

// classInBackup returns the class of the object with this name in the folder of a backup; "" for another's.
func classInBackup(name string) Class {
	if name == recordName {
		return ClassRecord
	}
	name = strings.TrimSuffix(name, sealSuffix)
	archive, number, isPack := strings.Cut(name, "-")
	number, _, isTar := strings.Cut(number, packSuffix+".")
	switch {
	case name == indexName:
		return ClassIndex
	case name == manifestName:
		return ClassManifest
	case isPack && isTar && validArchive(archive) && len(number) >= packNumberSize && strings.Trim(number, "0123456789") == "":
		return ClassPack
	}
	return ""
}

// EntryOf returns an Object of WAL as an Entry.
func EntryOf(o Object) Entry { return o.entry() }

// Remove deletes an object that retention lets go. That it is gone already is success. A record goes before what it names: the caller keeps the
// orders of FORMAT.md section 8.
func (c *Cluster) Remove(ctx context.Context, o Object) error {
	if !strings.HasPrefix(string(o.Key), string(clusterPrefix(c.id))) {
		return fmt.Errorf("remove %s: it is not of cluster %s", o.Key, c.id)
	}
	if err := c.store.Delete(ctx, o.Key); err != nil {
		return fmt.Errorf("remove %s: %w", o.Class, err)
	}
	return nil
}

// MayRemove tries, on a key that never has an object, whether this credential may delete here. It returns an error that wraps storage.ErrDenied if not.
func (c *Cluster) MayRemove(ctx context.Context) error {
	if err := c.store.Delete(ctx, expiryPrefix(c.id)+"nothing"); err != nil {
		return fmt.Errorf("try to delete: %w", err)
	}
	return nil
}
