package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// PutWAL creates the object, encrypted where the repository's contents are: e is what was put then. When it returns nil the store holds it durably, put now or before:
// an object that exists already is read back, verified, and its plain bytes are compared, since another encoder may have stored the same otherwise. It returns a
// *ConflictError if that differs, a *CorruptError if what exists cannot be verified, a *KeyError if it cannot be compared, and ErrPlain if it may not be put.
func (c *Cluster) PutWAL(ctx context.Context, e *EncodedWAL) error {
	if e.Header.SystemID != c.id {
		return fmt.Errorf("put WAL %s: it is of system identifier %s, not %s", e.Header.Range, e.Header.SystemID, c.id)
	}
	if err := c.sealWAL(ctx, e); err != nil {
		return fmt.Errorf("put WAL %s: %w", e.Header.Range, err)
	}
	err := putWhole(ctx, c.store, e.Key, e.Body)
	if errors.Is(err, storage.ErrExists) {
		err = c.compareWAL(ctx, e)
	}
	if errors.Is(err, storage.ErrConflict) { // copies hold different contents
		err = errors.Join(&ConflictError{Key: e.Key, Range: e.Header.Range}, err)
	}
	if err != nil {
		return fmt.Errorf("put WAL %s: %w", e.Header.Range, err)
	}
	c.learnSegmentSize(e.Header.SegmentSize)
	return nil
}

// compareWAL returns nil if the object that exists has the content of e.
func (c *Cluster) compareWAL(ctx context.Context, e *EncodedWAL) error {
	h := &e.Header
	if isSealed(e.Key) {
		if same, err := c.compareSealed(ctx, e); same || err != nil {
			return err
		}
	}
	found, theirs, err := c.readObject(ctx, Entry{Key: e.Key, Kind: h.Kind, Timeline: h.Timeline, Range: h.Range}, nil)
	if err != nil {
		return fmt.Errorf("compare with the one that exists: %w", err)
	}
	if found.SegmentSize != h.SegmentSize {
		return &ConflictError{Key: e.Key, Range: h.Range}
	}
	if found.SHA256 == h.SHA256 {
		return nil
	}
	body := e.Body
	if e.inner != nil {
		body = e.inner
	}
	ours, err := decodePayload(e.Key, h, body[HeaderSize:])
	if err != nil {
		return fmt.Errorf("compare with the one that exists: %w", err)
	}
	if !bytes.Equal(ours, theirs) {
		return &ConflictError{Key: e.Key, Range: h.Range}
	}
	return nil
}

// compareSealed reports whether the encrypted object that exists is e, byte for byte or by its proof, for which no private key is needed. The error is a
// *ConflictError if its proof says that it holds other WAL.
func (c *Cluster) compareSealed(ctx context.Context, e *EncodedWAL) (bool, error) {
	found, err := storage.ReadAll(ctx, c.store, e.Key, int64(len(e.Body)))
	if err == nil && bytes.Equal(found, e.Body) {
		return true, nil // an earlier put of it
	}
	if err != nil && !errors.Is(err, storage.ErrTooLarge) {
		return false, fmt.Errorf("compare with the one that exists: %w", err)
	}
	h := &e.Header
	o, err := c.readOutline(ctx, c.store, Entry{Key: e.Key, Kind: h.Kind, Timeline: h.Timeline, Range: h.Range})
	switch {
	case err != nil:
		return false, fmt.Errorf("compare with the one that exists: %w", err)
	case o.Header.SegmentSize != h.SegmentSize:
		return false, &ConflictError{Key: e.Key, Range: h.Range}
	case o.Proof == Sum{} || o.ProofID != e.proofID:
		return false, nil
	case o.Proof != e.proof:
		return false, &ConflictError{Key: e.Key, Range: h.Range}
	}
	return true, nil
}

// PutHistory creates the history file of timeline h.Timeline with its very bytes, raw, which must parse to h. The caller puts it
// before any WAL of that timeline. An equal file that exists already is success; other content is a *ConflictError.
func (c *Cluster) PutHistory(ctx context.Context, tli wal.TimelineID, raw []byte) error {
	if _, err := wal.ParseHistory(tli, raw); err != nil {
		return fmt.Errorf("put history of timeline %s: %w", tli, err)
	}
	if err := putEqual(ctx, c.store, historyKey(c.id, tli), raw); err != nil {
		return fmt.Errorf("put history of timeline %s: %w", tli, err)
	}
	return nil
}

// deleteJobs is how many pieces are deleted at a time. Where commits wait for the archive a segment may have thousands, made four at a time.
const deleteJobs = 8

// DeletePieces deletes the pieces of a segment that is complete in the repository; it first makes sure of that by a listing
// and by the header of the complete segment. Without a complete segment it deletes nothing and returns ErrNoWAL. A credential
// that may not delete gives storage.ErrDenied; the pieces then wait for expiry, and nothing is lost.
func (c *Cluster) DeletePieces(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) error {
	if err := c.deletePieces(ctx, size, seg); err != nil {
		return fmt.Errorf("delete pieces of %s: %w", size.FileName(seg), err)
	}
	return nil
}

func (c *Cluster) deletePieces(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) error {
	group, err := c.listSegment(ctx, size, seg)
	if err != nil {
		return err
	}
	if len(group) == 0 || group[0].Kind != KindSegment {
		return ErrNoWAL
	}
	if _, err := c.ReadHeader(ctx, group[0]); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deleteJobs)
	for _, e := range group {
		if e.Kind == KindPiece {
			g.Go(func() error { return c.store.Delete(ctx, e.Key) })
		}
	}
	return g.Wait()
}

// putEqual creates an object. One that exists already with the same bytes is success; other bytes are a *ConflictError.
func putEqual(ctx context.Context, store storage.Store, key storage.Key, body []byte) error {
	err := putWhole(ctx, store, key, body)
	if errors.Is(err, storage.ErrConflict) {
		return errors.Join(&ConflictError{Key: key}, err)
	}
	if !errors.Is(err, storage.ErrExists) {
		return err
	}
	return compareObject(ctx, store, key, body)
}

// compareObject returns a *ConflictError if the object key does not hold body. What differs is read again before it is said: an object
// that only one reading damaged would stop its writer for good.
func compareObject(ctx context.Context, store storage.Store, key storage.Key, body []byte) error {
	found, err := storage.ReadAll(ctx, store, key, int64(len(body)))
	if err == nil && !bytes.Equal(found, body) {
		found, err = storage.ReadSettled(ctx, store, key, int64(len(body)))
	}
	if err != nil && !errors.Is(err, storage.ErrTooLarge) {
		return fmt.Errorf("compare with the one that exists: %w", err)
	}
	if err != nil || !bytes.Equal(found, body) {
		return &ConflictError{Key: key}
	}
	return nil
}

// largeObject is the length in bytes above which an object that is in memory goes up in parts, so that one lost connection
// does not cost it all.
const largeObject = 32 << 20

// putWhole creates an object whose bytes are in memory.
func putWhole(ctx context.Context, store storage.Store, key storage.Key, body []byte) error {
	if len(body) <= largeObject {
		return store.Put(ctx, key, body)
	}
	upload, err := store.Begin(ctx, key)
	if err != nil {
		return err
	}
	if err := sendParts(ctx, upload, body); err != nil {
		return errors.Join(err, abortUpload(ctx, upload))
	}
	return nil
}

func sendParts(ctx context.Context, upload storage.Upload, body []byte) error {
	for n := 1; len(body) > 0; n++ {
		size := min(len(body), defaultPartSize)
		if err := upload.Part(ctx, n, body[:size]); err != nil {
			return err
		}
		body = body[size:]
	}
	return upload.Commit(ctx)
}

// abortUpload drops an upload also when ctx has ended.
func abortUpload(ctx context.Context, upload storage.Upload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	return upload.Abort(ctx)
}
