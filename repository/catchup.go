package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// MarkerKey is the key of pgark.json, which every repository has.
const MarkerKey = markerKey

// catchUpJobs is how many objects are copied at a time.
const catchUpJobs = 4

// CatchUp copies what the repository in from has and the one in to lacks. At every moment to is a repository that can be restored
// from: the markers come first, then fences, the record of a gap before any WAL behind it, the history of a timeline before its WAL, WAL in LSN order, a
// backup after the WAL that makes it consistent, its record last, a coverage beat, and a record of synchronous mode, after the WAL that it
// speaks of, the report of a drill last. What is encrypted is copied as it is, and no key is needed. Objects with a hash are verified on their way; one that is corrupt
// is not copied, nor what needs it, the others are, and the error is a *CorruptError then. It returns an error that wraps storage.ErrConflict if to is
// another repository. What was deleted in from stays in to. What one of the two let go by its retention is not copied, even while it lies in from; pins come
// before the backups that they keep. Of the beats the newest is copied, and no piece whose segment is complete in to.
func CatchUp(ctx context.Context, from, to storage.Store) error {
	c := copier{from: from, to: to}
	if err := c.marker(ctx); err != nil {
		return fmt.Errorf("copy marker: %w", err)
	}
	if err := c.encryptionMarker(ctx); err != nil {
		return fmt.Errorf("copy marker of the encryption: %w", err)
	}
	ids, err := (&Repository{store: from}).Clusters(ctx)
	if err != nil {
		return err
	}
	var corrupt error
	for _, id := range ids {
		if err := c.cluster(ctx, id); err != nil && !isCorrupt(err) {
			return fmt.Errorf("copy cluster %s: %w", id, err)
		} else if err != nil {
			corrupt = errors.Join(corrupt, err)
		}
	}
	return corrupt
}

// CopyBackup copies one visible backup that to lacks, verified and its record last. The WAL that makes it consistent must be in to: the error is a
// *CorruptError otherwise. A backup that from does not have is no error.
func CopyBackup(ctx context.Context, from, to storage.Store, id wal.SystemID, backup string) error {
	c := copier{from: from, to: to}
	expired, err := c.letGo(ctx, id)
	if err == nil && !expired.HasBackup(backup) {
		err = c.backup(ctx, id, backup)
	}
	if err != nil {
		return fmt.Errorf("copy backup %s: %w", backup, err)
	}
	return nil
}

// CopyUnfinished copies of the newest backup of each cluster in from, if it has no record yet, what to lacks: its record may come to to
// by another way, and stand there without them otherwise. Nothing says yet what the objects must hold, so they are read twice. A backup that
// has got its record is copied as CopyBackup does.
func CopyUnfinished(ctx context.Context, from, to storage.Store) error {
	c := copier{from: from, to: to}
	ids, err := (&Repository{store: from}).Clusters(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		backups, err := (&Cluster{store: from, id: id}).backupIDs(ctx)
		if err == nil && len(backups) > 0 {
			err = c.unfinished(ctx, id, backups[len(backups)-1])
		}
		if err != nil {
			return fmt.Errorf("copy unfinished backup of cluster %s: %w", id, err)
		}
	}
	return nil
}

func (c copier) unfinished(ctx context.Context, id wal.SystemID, backup string) error {
	objects, err := c.missing(ctx, backupPrefix(id, backup))
	if err != nil || len(objects) == 0 {
		return err
	}
	expired, err := c.letGo(ctx, id)
	if err != nil || expired.HasBackup(backup) {
		return err
	}
	if _, err := c.from.Stat(ctx, recordKey(id, backup)); !errors.Is(err, storage.ErrNotFound) {
		if err != nil {
			return err
		}
		return c.backup(ctx, id, backup)
	}
	for _, o := range objects {
		if o.Key == recordKey(id, backup) {
			continue // written since
		}
		if err := c.raw(ctx, o); err != nil && !errors.Is(err, storage.ErrNotFound) { // of a backup that failed
			return err
		}
	}
	return nil
}

// raw copies an object, every part read twice.
func (c copier) raw(ctx context.Context, info storage.Info) error {
	upload, err := c.to.Begin(ctx, info.Key)
	if err != nil {
		return err
	}
	send := func() error {
		for n, at := 1, int64(0); at < info.Size; n++ {
			span := storage.Span{Offset: at, Length: min(defaultPartSize, info.Size-at)}
			part, err := storage.ReadSpanSettled(ctx, c.from, info.Key, span)
			if err == nil {
				err = upload.Part(ctx, n, part)
			}
			if err != nil {
				return err
			}
			at += span.Length
		}
		return upload.Commit(ctx)
	}
	if err = send(); err == nil {
		return nil
	}
	if aborted := abortUpload(ctx, upload); aborted != nil || !errors.Is(err, storage.ErrExists) {
		return errors.Join(err, aborted)
	}
	return nil // it came another way meanwhile
}

func isCorrupt(err error) bool {
	var corrupt *CorruptError
	return errors.As(err, &corrupt)
}

// copier copies objects from one store to another.
type copier struct{ from, to storage.Store }

// marker copies the marker. Whoever is told that it is another repository's stays away until a person has looked, so that this is said only of
// markers that still differ after some seconds: a faulty path may give the same wrong bit in several readings, and does not for long.
func (c copier) marker(ctx context.Context) error {
	for pause := 500 * time.Millisecond; ; pause *= 2 {
		err := c.markerOnce(ctx)
		if !errors.Is(err, storage.ErrConflict) || pause > 2*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (c copier) markerOnce(ctx context.Context) error {
	body, err := storage.ReadSettled(ctx, c.from, markerKey, markerLimit)
	if err != nil {
		return err
	}
	err = putEqual(ctx, c.to, markerKey, body)
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("it is another repository: %w: %w", storage.ErrConflict, err)
	}
	return err
}

func (c copier) cluster(ctx context.Context, id wal.SystemID) error {
	unfenced := c.fences(ctx, id)
	if unfenced != nil && !isCorrupt(unfenced) {
		return unfenced
	}
	beats, err := c.missing(ctx, clusterPrefix(id)+beatsFolder)
	if err != nil {
		return err
	}
	beats = beats[max(0, len(beats)-1):] // the others are only there because who wrote them may not delete
	events, err := c.missing(ctx, syncPrefix(id))
	if err != nil {
		return err
	}
	backups, err := (&Cluster{store: c.from, id: id}).backupIDs(ctx)
	if err != nil {
		return err
	}
	segments, err := c.missing(ctx, clusterPrefix(id)+walFolder)
	if err != nil {
		return err
	}
	expired, err := c.letGo(ctx, id)
	if err != nil {
		return err
	}
	if segments, err = c.unexpired(ctx, id, &expired, segments); err != nil {
		return err
	}
	unread := c.pins(ctx, id, &expired)
	if unread != nil && !isCorrupt(unread) {
		return unread
	}
	// Listed after the WAL: a gap that lies before any of it is among them.
	unexplained := c.gaps(ctx, id)
	if unexplained != nil && !isCorrupt(unexplained) {
		return unexplained
	}
	corrupt := c.objects(ctx, segments)
	if corrupt != nil && !isCorrupt(corrupt) {
		return corrupt
	}
	corrupt = errors.Join(unfenced, unread, unexplained, corrupt)
	for _, backup := range backups {
		if expired.HasBackup(backup) {
			continue
		}
		if err := c.backup(ctx, id, backup); err != nil && !isCorrupt(err) {
			return fmt.Errorf("backup %s: %w", backup, err)
		} else if err != nil {
			corrupt = errors.Join(corrupt, err)
		}
	}
	if corrupt != nil {
		return corrupt // a beat would speak of WAL that is not here
	}
	for _, beat := range beats {
		if err := c.object(ctx, beat, storage.ReadSettled, unverified); err != nil {
			return err
		}
	}
	for _, event := range events {
		if err := c.object(ctx, event, storage.ReadSettled, verifySyncEvent); err != nil {
			return err
		}
	}
	return errors.Join(c.drills(ctx, id, &expired), c.inherit(ctx, id))
}

// missing lists what from has below the prefix and to lacks.
func (c copier) missing(ctx context.Context, prefix storage.Key) ([]storage.Info, error) {
	next, stop := iter.Pull2(c.to.List(ctx, prefix, ""))
	defer stop()
	there, err, more := next()
	if err != nil {
		return nil, err
	}
	var all []storage.Info
	for info, err := range c.from.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		for more && there.Key < info.Key {
			if there, err, more = next(); err != nil {
				return nil, err
			}
		}
		if !more || there.Key != info.Key {
			all = append(all, info)
		}
	}
	return all, nil
}

// gaps copies the gap records. Corrupt ones are left out and told at the end: the hole is there without its explanation.
func (c copier) gaps(ctx context.Context, id wal.SystemID) error {
	gaps, err := c.missing(ctx, gapPrefix(id))
	if err != nil {
		return err
	}
	var corrupt error
	for _, gap := range gaps {
		if err := c.object(ctx, gap, storage.ReadSettled, verifyGap); err != nil && !isCorrupt(err) {
			return err
		} else if err != nil {
			corrupt = errors.Join(corrupt, err)
		}
	}
	return corrupt
}

// objects copies WAL and histories. Corrupt objects are left out and told at the end.
func (c copier) objects(ctx context.Context, all []storage.Info) error {
	var corrupt error
	for len(all) > 0 {
		// A history, and the WAL before the next one.
		n := 1
		for n < len(all) && !isHistory(all[n].Key) {
			n++
		}
		err := c.some(ctx, all[:n])
		if err != nil && !isCorrupt(err) {
			return err
		}
		corrupt, all = errors.Join(corrupt, err), all[n:]
	}
	return corrupt
}

func isHistory(key storage.Key) bool { return strings.HasSuffix(string(key), ".history") }

// some copies objects, a few at a time, begun in their order; the first one before all others.
func (c copier) some(ctx context.Context, all []storage.Info) error {
	corrupt := make([]error, len(all))
	copy1 := func(ctx context.Context, i int) error {
		read, verify := storage.ReadAll, verifyStored
		if isHistory(all[i].Key) {
			read, verify = storage.ReadSettled, unverified
		}
		if isSealed(all[i].Key) { // without its key nothing tells that its content is right
			read, verify = storage.ReadSettled, verifySealed
		}
		err := c.object(ctx, all[i], read, verify)
		if isCorrupt(err) {
			corrupt[i], err = err, nil
		}
		return err
	}
	if err := copy1(ctx, 0); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(catchUpJobs)
	for i := 1; i < len(all) && ctx.Err() == nil; i++ {
		g.Go(func() error { return copy1(ctx, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return errors.Join(corrupt...)
}

// object copies an object that is held in memory; read is ReadSettled where it has no hash. One that is gone, such as a piece whose segment
// is complete by now, is no error.
func (c copier) object(ctx context.Context, info storage.Info, read reading, verify func(storage.Key, []byte) error) error {
	body, err := read(ctx, c.from, info.Key, info.Size)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := verify(info.Key, body); err != nil {
		return err
	}
	err = putWhole(ctx, c.to, info.Key, body)
	if errors.Is(err, storage.ErrExists) {
		return nil // it came another way meanwhile
	}
	return err
}

// reading is storage.ReadAll or storage.ReadSettled.
type reading func(ctx context.Context, store storage.Store, key storage.Key, limit int64) ([]byte, error)

// unverified is for objects without a hash.
func unverified(storage.Key, []byte) error { return nil }

// verifyStored checks a WAL object against its header. The error is a *CorruptError.
func verifyStored(key storage.Key, body []byte) error {
	var h Header
	if err := h.UnmarshalBinary(body); err != nil {
		return &CorruptError{Key: key, Reason: "header", Err: err}
	}
	stored := body[HeaderSize:]
	if uint64(len(stored)) != h.Stored || sha256.Sum256(stored) != h.SHA256 {
		return &CorruptError{Key: key, Reason: "SHA-256 of the stored bytes differs"}
	}
	return nil
}
