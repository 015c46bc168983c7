package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
)

// Backups reads the records of all visible backups, ordered by id: the time they began. A record that cannot be read does not hide the
// others: they are returned together with an error, which joins a *CorruptError, *FormatError or storage error for each.
func (c *Cluster) Backups(ctx context.Context) ([]Backup, error) {
	ids, err := c.backupIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	return readEach(ids, ErrNoBackup, func(id string) (Backup, error) { return c.Backup(ctx, id) }) // not complete, or just expired
}

// readEach reads the records that are named, by whatever tells them apart, some at a time, and returns those that could be read, in the same order. absent is no
// error: there is none any more, or not yet; nil if there is no such thing. The error joins all others.
func readEach[N, T any](names []N, absent error, read func(name N) (T, error)) ([]T, error) {
	all, errs := make([]T, len(names)), make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(recordReads)
	for i, name := range names {
		group.Go(func() error {
			all[i], errs[i] = read(name)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	found := make([]T, 0, len(names))
	for i := range names {
		switch {
		case errs[i] == nil:
			found = append(found, all[i])
		case errors.Is(errs[i], absent):
			errs[i] = nil
		}
	}
	return found, errors.Join(errs...)
}

// backupIDs lists the ids under which anything lies, with one request for a thousand where the store can list folders.
func (c *Cluster) backupIDs(ctx context.Context) ([]string, error) {
	prefix := clusterPrefix(c.id) + backupsFolder
	var ids []string
	for folder, err := range storage.Folders(ctx, c.store, prefix, "") {
		if err != nil {
			return nil, err
		}
		id := strings.TrimPrefix(string(folder), string(prefix))
		if _, err := parseStamp(id); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Backup reads the record of one backup. The error is ErrNoBackup if there is none, a *CorruptError or a *FormatError.
func (c *Cluster) Backup(ctx context.Context, id string) (Backup, error) {
	if _, err := parseStamp(id); err != nil {
		return Backup{}, fmt.Errorf("read backup %q: %w: %w", id, ErrNoBackup, err)
	}
	return verified(ctx, c.store, recordKey(c.id, id), func(ctx context.Context, store storage.Store) (Backup, error) {
		return c.readBackup(ctx, store, id)
	})
}

func (c *Cluster) readBackup(ctx context.Context, store storage.Store, id string) (Backup, error) {
	key := recordKey(c.id, id)
	text, err := storage.ReadAll(ctx, store, key, recordLimit)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Backup{}, fmt.Errorf("read backup %s: %w: %w", id, ErrNoBackup, err)
	case errors.Is(err, storage.ErrTooLarge):
		return Backup{}, &CorruptError{Key: key, Reason: "size", Err: err}
	case err != nil:
		return Backup{}, fmt.Errorf("read backup %s: %w", id, err)
	}
	return c.checkBackup(key, id, text)
}

// checkBackup reads the content of the record of the backup id. The error is a *CorruptError.
func (c *Cluster) checkBackup(key storage.Key, id string, text []byte) (Backup, error) {
	b, err := ParseBackup(text)
	if err != nil {
		return Backup{}, &CorruptError{Key: key, Reason: "record", Err: err}
	}
	if b.ID != id || b.SystemID != c.id {
		return Backup{}, &CorruptError{Key: key, Reason: fmt.Sprintf("record is that of %s of system %s", b.ID, b.SystemID)}
	}
	return b, nil
}

// NewestRecord returns the object that is the record of the newest visible backup, and false if there is none. It reads no record.
func (c *Cluster) NewestRecord(ctx context.Context) (storage.Info, bool, error) {
	ids, err := c.backupIDs(ctx)
	if err != nil {
		return storage.Info{}, false, err
	}
	for _, id := range slices.Backward(ids) {
		info, err := c.store.Stat(ctx, recordKey(c.id, id))
		if err == nil || !errors.Is(err, storage.ErrNotFound) {
			return info, err == nil, err
		}
	}
	return storage.Info{}, false, nil
}
