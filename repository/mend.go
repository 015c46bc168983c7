package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/pgark/pgark/storage"
)

// Mend puts the object o of the cluster from in the place of the one in to, which is damaged or missing. It is verified on its way: WAL,
// records and packs against what they say of themselves, index and manifest against the record b, which is the zero value for other
// classes. What lay there is kept by the store (storage.Superseder). The error is a *CorruptError, and nothing was changed, if from does not
// hold it whole, and storage.ErrNoVersions if what lies in to would be lost. A pack is mended by MendPack.
func Mend(ctx context.Context, from, to *Cluster, o Object, b Backup) error {
	if err := mend(ctx, from, to, o, b); err != nil {
		return fmt.Errorf("mend %s: %w", o.Key, err)
	}
	return nil
}

func mend(ctx context.Context, from, to *Cluster, o Object, b Backup) error {
	body, err := from.readSound(ctx, o, b)
	if err != nil {
		return err
	}
	return putWhole(ctx, mendingStore{to.store}, o.Key, body)
}

// readSound returns the bytes of an object after all was checked that can be.
func (c *Cluster) readSound(ctx context.Context, o Object, b Backup) ([]byte, error) {
	switch o.Class {
	case ClassSegment, ClassPiece:
		e := o.entry()
		e.Stored = 0 // that in the other place
		if isSealed(o.Key) {
			return c.readSealed(ctx, e)
		}
		body, err := storage.ReadAll(ctx, c.store, o.Key, int64(HeaderSize)+maxStored(int64(e.Range.Len())))
		if err != nil {
			return nil, c.readError(o.Key, err)
		}
		h, err := c.checkHeader(e, body)
		if err == nil {
			_, err = decodePayload(o.Key, &h, body[HeaderSize:])
		}
		return body, err
	case ClassIndex, ClassManifest:
		want, err := partOf(b, o)
		if err != nil {
			return nil, err
		}
		body, err := storage.ReadAll(ctx, c.store, o.Key, want.Size)
		if err != nil {
			return nil, c.readError(o.Key, err)
		}
		if sha256.Sum256(body) != want.SHA256 {
			return nil, &CorruptError{Key: o.Key, Reason: "SHA-256 differs from that in the record"}
		}
		return body, nil
	case ClassNames:
		return c.checkNames(ctx, o)
	case ClassPack, ClassReading, ClassExpiry, ClassHold, ClassCensus:
		return nil, fmt.Errorf("%w: a %s", errNoPart, o.Class)
	case ClassMarker, ClassHistory, ClassBeat, ClassSync, ClassGap, ClassRecord, ClassDrill, ClassPin, ClassFence:
	}
	body, err := storage.ReadSettled(ctx, c.store, o.Key, recordSize(o.Class))
	if err != nil {
		return nil, c.readError(o.Key, err)
	}
	return body, c.judge(o, body)
}

// readSealed returns the bytes of an encrypted WAL object. Without a key that opens it they are read twice, and what its note says must be right.
func (c *Cluster) readSealed(ctx context.Context, e Entry) ([]byte, error) {
	body, err := storage.ReadSettled(ctx, c.store, e.Key, sealedLimit(e.Range))
	if err != nil {
		return nil, c.readError(e.Key, err)
	}
	_, _, err = c.unsealWAL(e, body, new(scratch))
	var locked *KeyError
	if errors.As(err, &locked) {
		err = nil
	}
	return body, err
}

// MendPack is Mend for a pack of the backup b, whose index says t.
func MendPack(ctx context.Context, from, to *Cluster, b Backup, t *PackTable) error {
	r := from.backupReader(b)
	mend := mendPack
	if b.Sealed() {
		mend = mendSealedPack
	}
	if err := mend(ctx, r, mendingStore{to.store}, t); err != nil {
		return fmt.Errorf("mend %s: %w", t.Pack.key(r.prefix), err)
	}
	return nil
}

func mendPack(ctx context.Context, r *BackupReader, to storage.Store, t *PackTable) error {
	head, err := r.packHeader(t)
	if err != nil {
		return err
	}
	upload, err := to.Begin(ctx, t.Pack.key(r.prefix))
	if err != nil {
		return err
	}
	if err := (copier{}).runs(ctx, r, t, head, upload); err != nil {
		return errors.Join(err, abortUpload(ctx, upload))
	}
	return nil
}

func mendSealedPack(ctx context.Context, r *BackupReader, to storage.Store, t *PackTable) error {
	return copySum(ctx, r.store, to, r.backup.packKey(r.prefix, &t.Pack), r.backup.pack(t.Pack.Name))
}

// mendingStore is a store in which every object that is put takes the place of the one there, if there is one.
type mendingStore struct{ storage.Store }

// Put implements storage.Store.
func (s mendingStore) Put(ctx context.Context, key storage.Key, body []byte) error {
	upload, err := s.Begin(ctx, key)
	if err != nil {
		return err
	}
	if err := sendParts(ctx, upload, body); err != nil {
		return errors.Join(err, abortUpload(ctx, upload))
	}
	return nil
}

// Begin implements storage.Store. Where the store keeps no versions an object that is missing can still be put.
func (s mendingStore) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	upload, err := storage.Supersede(ctx, s.Store, key)
	if !errors.Is(err, storage.ErrNoVersions) {
		return upload, err
	}
	if _, missing := s.Stat(ctx, key); !errors.Is(missing, storage.ErrNotFound) {
		return nil, errors.Join(err, missing)
	}
	return s.Store.Begin(ctx, key)
}
