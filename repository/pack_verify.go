package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/pgark/pgark/storage"
)

// VerifyPack reads a whole pack and checks its header, the SHA-256 of every run, and that nothing follows; of an encrypted one, its SHA-256. The error is a
// *CorruptError.
func (r *BackupReader) VerifyPack(ctx context.Context, t *PackTable) error {
	var err error
	if key := r.backup.packKey(r.prefix, &t.Pack); r.backup.Sealed() {
		err = checkSum(ctx, r.store, key, r.backup.pack(t.Pack.Name))
	} else {
		var head []byte
		if head, err = r.packHeader(t); err == nil {
			err = verifyPack(ctx, r.store, key, head, t)
		}
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", t.Pack.Name, err)
	}
	return nil
}

// packHeader returns the header that a pack must have.
func (r *BackupReader) packHeader(t *PackTable) ([]byte, error) {
	h := r.packHead(t)
	return h.MarshalBinary()
}

func (r *BackupReader) packHead(t *PackTable) Header {
	h := Header{Pack: uint64(t.Pack.Number)}
	h.SystemID, h.Timeline, h.SegmentSize = r.backup.SystemID, r.backup.Timeline, r.backup.SegmentSize
	h.Kind, h.Range.Start = KindPack, r.backup.StartLSN
	return h
}

// verifyPack compares the object key with the header head and the hashes of t.
func verifyPack(ctx context.Context, store storage.Store, key storage.Key, head []byte, t *PackTable) error {
	body, err := store.Get(ctx, key, storage.All())
	if err != nil {
		return err
	}
	err = comparePack(body, key, head, t)
	return errors.Join(err, body.Close())
}

func comparePack(body io.Reader, key storage.Key, head []byte, t *PackTable) error {
	got := make([]byte, len(head))
	if _, err := io.ReadFull(body, got); err != nil {
		return packReadError(key, err)
	}
	if !bytes.Equal(got, head) {
		return &CorruptError{Key: key, Reason: "header differs"}
	}
	hash := sha256.New()
	for i, want := range t.Runs {
		hash.Reset()
		if _, err := io.CopyN(hash, body, t.RunSpan(i, 1).Length); err != nil {
			return packReadError(key, err)
		}
		if Sum(hash.Sum(nil)) != want {
			return &CorruptError{Key: key, Reason: fmt.Sprintf("SHA-256 of run %d differs", i)}
		}
	}
	switch n, err := io.CopyN(io.Discard, body, 1); {
	case n > 0:
		return &CorruptError{Key: key, Reason: "bytes after the last run"}
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// packReadError tells a pack that is too short from a store that failed.
func packReadError(key storage.Key, err error) error {
	if storage.Retryable(err) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &CorruptError{Key: key, Reason: "cut short", Err: err}
	}
	return err
}
