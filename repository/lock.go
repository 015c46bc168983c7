package repository

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// ListAll yields all that a repository holds, in the order of the keys, by the names alone: it reads no object, so that none that is damaged or forged keeps it from going on. What is
// none of a repository's, and what Probe leaves, is left out. The ranges of WAL are empty. It ends after the first error.
func ListAll(ctx context.Context, store storage.Store) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for info, err := range store.List(ctx, "", "") {
			if err != nil {
				yield(Object{}, fmt.Errorf("list the repository: %w", err))
				return
			}
			if o, ours := classifyAny(info); ours && !yield(o, nil) {
				return
			}
		}
	}
}

// ObjectVersions are all versions and delete markers of one key, the newest first, and what its name says.
type ObjectVersions struct {
	Object // Size and Modified are of the newest

	Versions []storage.Version // one at least
}

// Deleted reports whether a marker hides what there is.
func (o ObjectVersions) Deleted() bool { return o.Versions[0].Marker }

// ListVersions is ListAll with what was deleted, and with the older versions of all.
func ListVersions(ctx context.Context, store storage.Store) iter.Seq2[ObjectVersions, error] {
	return func(yield func(ObjectVersions, error) bool) {
		var one ObjectVersions
		give := func() bool {
			o, ours := classifyAny(one.Versions[0].Info)
			one.Object = o
			return !ours || yield(one, nil)
		}
		for v, err := range storage.Versions(ctx, store, "", "") {
			if err != nil {
				yield(ObjectVersions{}, fmt.Errorf("list the versions in the repository: %w", err))
				return
			}
			if len(one.Versions) > 0 && one.Versions[0].Key != v.Key {
				if !give() {
					return
				}
				one = ObjectVersions{}
			}
			one.Versions = append(one.Versions, v)
		}
		if len(one.Versions) > 0 {
			give()
		}
	}
}

// classifyAny returns the object of a listed key of any cluster, or of the repository itself; false if its key has not the form of one.
func classifyAny(info storage.Info) (Object, bool) {
	if info.Key == MarkerKey || info.Key == EncryptionMarkerKey {
		return Object{Key: info.Key, Class: ClassMarker, Size: info.Size, Modified: info.Modified}, true
	}
	folder, _, _ := strings.Cut(string(info.Key), "/")
	id, err := wal.ParseSystemID(folder)
	if err != nil {
		return Object{}, false
	}
	c := Cluster{id: id}
	return c.Classify(0, info)
}

// Needs lists all that a base backup is restored from, up to where it is consistent: its own objects, the WAL from the segment of its start on, pieces among it, the history
// files of its timeline's ancestry, and its pins.
func (c *Cluster) Needs(ctx context.Context, b Backup) ([]Object, error) {
	size, err := c.SegmentSize(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
	}
	var needs []Object
	for _, prefix := range []storage.Key{backupPrefix(c.id, b.ID), clusterPrefix(c.id) + pinsFolder + storage.Key(b.ID)} {
		for info, err := range c.store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
			}
			if o, ours := c.objectOf(size, info); ours && o.Backup == b.ID {
				needs = append(needs, o)
			}
		}
	}
	for e, err := range c.ListWAL(ctx, b.Timeline, size.Floor(b.StartLSN)) {
		if err != nil {
			return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
		}
		if e.Range.Start >= b.StopLSN {
			break
		}
		needs = append(needs, e.Object())
	}
	histories, err := c.Histories(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
	}
	line := []wal.TimelineID{b.Timeline}
	for _, parent := range histories[b.Timeline].Parents {
		line = append(line, parent.Timeline)
	}
	for _, tli := range line {
		if tli == 1 {
			continue // the first has none
		}
		info, err := c.store.Stat(ctx, historyKey(c.id, tli))
		if err != nil {
			return nil, fmt.Errorf("list what backup %s needs: %w", b.ID, err)
		}
		needs = append(needs, Object{Key: info.Key, Class: ClassHistory, Size: info.Size, Modified: info.Modified, Timeline: tli})
	}
	return needs, nil
}
