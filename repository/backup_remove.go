package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/storage"
)

// put creates an object of the backup, or takes over an equal one, and remembers which of the two it was.
func (w *BackupWriter) put(ctx context.Context, key storage.Key, body []byte) error {
	err := putWhole(ctx, w.cluster.store, key, body)
	if errors.Is(err, storage.ErrExists) {
		if err = compareObject(ctx, w.cluster.store, key, body); err == nil {
			w.adopt(key)
		}
		return err
	}
	if err == nil {
		w.own(key)
	}
	return err
}

// own remembers an object that this writer created.
func (w *BackupWriter) own(key storage.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.created, w.last = append(w.created, key), time.Now()
}

// restingTime is how long nothing may come to a backup before its writer looks whether all of it is still there. Retention takes a backup without a record for
// one that failed after seven days.
const restingTime = 24 * time.Hour

// rested reports whether nothing was made for long.
func (w *BackupWriter) rested() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.last.IsZero() && time.Since(w.last) > restingTime
}

// checkCreated returns ErrNotFound if an object is gone.
func (w *BackupWriter) checkCreated(ctx context.Context) error {
	w.mu.Lock()
	created := slices.Clone(w.created)
	w.mu.Unlock()
	for _, key := range created {
		if _, err := w.cluster.store.Stat(ctx, key); err != nil {
			return fmt.Errorf("look again after a long wait: %w", err)
		}
	}
	return nil
}

// adopt remembers an equal object that was there before.
func (w *BackupWriter) adopt(key storage.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.adopted = append(w.adopted, key)
}

// checkAdopted returns ErrNotFound if an object that was taken over is gone: its writer failed and removed it.
func (w *BackupWriter) checkAdopted(ctx context.Context) error {
	w.mu.Lock()
	adopted := w.adopted
	w.mu.Unlock()
	for _, key := range adopted {
		if _, err := w.cluster.store.Stat(ctx, key); err != nil {
			return fmt.Errorf("look again for an object that existed: %w", err)
		}
	}
	return nil
}

// Abort removes the objects that this writer created and no other: where two processes began a backup within one second, and so
// under one id, the other's stay. It never removes a record. What it does not know to be its own, because the answer was lost or
// the object existed, is no backup either and is left to expiry. No PackWriter may be in use; those that are open were aborted. It
// works, for a while, also after ctx has ended.
//
// If Commit had come as far as sending the record, it removes nothing: the record may be visible, now or when the store gets to it,
// and then the backup is whole. If another writer's record is visible under the id it removes nothing and returns
// ErrBackupExists: that backup may have taken over equal objects of this one.
func (w *BackupWriter) Abort(ctx context.Context) error {
	w.mu.Lock()
	w.ended = true
	sealed, created := w.sealed, w.created
	w.mu.Unlock()
	if sealed || len(created) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	switch _, err := w.cluster.store.Stat(ctx, w.prefix+recordName); {
	case err == nil:
		return fmt.Errorf("abort backup %s: %w", w.start.ID, ErrBackupExists)
	case !errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("abort backup %s: %w", w.start.ID, err)
	}
	for _, key := range created {
		if err := w.cluster.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("abort backup %s: %w", w.start.ID, err)
		}
	}
	return nil
}
