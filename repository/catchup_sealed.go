package repository

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/pgark/pgark/storage"
)

// encryptionMarker marks the copy as encrypted where the repository is.
func (c copier) encryptionMarker(ctx context.Context) error {
	_, err := c.from.Stat(ctx, encryptionKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = c.to.Stat(ctx, encryptionKey); !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err = c.to.Put(ctx, encryptionKey, encryptionMarker()); errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

// verifySealed checks an encrypted WAL object as far as its note tells. The error is a *CorruptError.
func verifySealed(key storage.Key, body []byte) error {
	_, _, err := (&keyring{}).unseal(nil, key, body)
	var locked *KeyError
	if errors.As(err, &locked) {
		return nil
	}
	return err
}

// sealedPack copies an encrypted pack. One that is there already is verified there.
func (c copier) sealedPack(ctx context.Context, key storage.Key, want StoredObject) error {
	switch _, err := c.to.Stat(ctx, key); {
	case err == nil:
		return checkSum(ctx, c.to, key, want)
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return copySum(ctx, c.from, c.to, key, want)
}

// copySum copies an object whose SHA-256 is known. It becomes visible only if that is right; the error is a *CorruptError otherwise.
func copySum(ctx context.Context, from, to storage.Store, key storage.Key, want StoredObject) error {
	upload, err := to.Begin(ctx, key)
	if err != nil {
		return err
	}
	if err := sendSum(ctx, from, upload, key, want); err != nil {
		return errors.Join(err, abortUpload(ctx, upload))
	}
	return nil
}

func sendSum(ctx context.Context, from storage.Store, upload storage.Upload, key storage.Key, want StoredObject) error {
	hash := sha256.New()
	for n, at := 1, int64(0); at < want.Size; n++ {
		span := storage.Span{Offset: at, Length: min(defaultPartSize, want.Size-at)}
		part, err := storage.ReadSpan(ctx, from, key, span)
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrSpan) {
			return &CorruptError{Key: key, Reason: "not as long as the record says", Err: err}
		}
		if err != nil {
			return err
		}
		hash.Write(part)
		if err := upload.Part(ctx, n, part); err != nil {
			return err
		}
		at += span.Length
	}
	if Sum(hash.Sum(nil)) != want.SHA256 {
		return &CorruptError{Key: key, Reason: "SHA-256 differs from that in the record"}
	}
	return upload.Commit(ctx)
}

// sameSealed compares two encrypted WAL objects.
func (k *keyring) sameSealed(key storage.Key, a, b []byte) (bool, error) {
	outlineA, innerA, err := k.unseal(nil, key, a)
	var locked *KeyError
	if err != nil && !errors.As(err, &locked) {
		return false, err
	}
	outlineB, innerB, other := k.unseal(nil, key, b)
	if other != nil && !errors.As(other, &locked) {
		return false, other
	}
	if err == nil && other == nil {
		return sameWhole(key, innerA, innerB), nil
	}
	return outlineA.Proof != Sum{} && outlineA.Proof == outlineB.Proof && outlineA.ProofID == outlineB.ProofID &&
		outlineA.Header.WALObject == outlineB.Header.WALObject, nil
}
