package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
)

// encryptionKey is a part of the format.
const encryptionKey storage.Key = "pgark-encryption.json"

const schemeAge = "age"

// ErrPlain means that contents are encrypted in the repository, and that no public keys were given to do so. Nothing was written.
var ErrPlain = errors.New("contents are encrypted in this repository, and no public keys are configured to encrypt with")

// encryptionMarker returns the content of pgark-encryption.json, FORMAT.md section 16.1. That it is there is what counts.
func encryptionMarker() []byte { return []byte(`{"format":1,"scheme":"age"}` + "\n") }

// keyring is what a Repository knows of keys. It is safe for concurrent use.
type keyring struct {
	encryption.Keys

	mu     sync.Mutex
	marked bool // pgark-encryption.json is there
	plain  bool // it was not, and nothing is to be encrypted
}

// With returns the repository as one that is written with the public keys in k, if there are any, and read with its private keys. A repository without keys
// is written unencrypted, unless it holds encrypted contents; of what is encrypted it reads what stands in notes and records.
func (r *Repository) With(k encryption.Keys) *Repository {
	return &Repository{store: r.store, marker: r.marker, content: r.content, keys: &keyring{Keys: k}}
}

// With is Repository.With for one cluster.
func (c *Cluster) With(k encryption.Keys) *Cluster {
	return &Cluster{store: c.store, id: c.id, keys: &keyring{Keys: k}}
}

// ring is the keyring, also of a cluster that was made without one.
func (c *Cluster) ring() *keyring {
	if c.keys == nil {
		return &keyring{}
	}
	return c.keys
}

// Seals reports whether what is put is encrypted. The error is ErrPlain if it must be and cannot. The repository is looked at once: what is put every second
// does not wait for that again.
func (c *Cluster) Seals(ctx context.Context) (bool, error) {
	return c.ring().seals(ctx, c.store)
}

// sealsNow is Seals after another look at the repository.
func (c *Cluster) sealsNow(ctx context.Context) (bool, error) {
	k := c.ring()
	k.mu.Lock()
	k.plain = false
	k.mu.Unlock()
	return k.seals(ctx, c.store)
}

func (k *keyring) seals(ctx context.Context, store storage.Store) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.marked && !k.plain {
		_, err := store.Stat(ctx, encryptionKey)
		switch {
		case err == nil:
			k.marked = true
		case !errors.Is(err, storage.ErrNotFound):
			return false, fmt.Errorf("look whether the repository is encrypted: %w", err)
		case k.Recipients.Empty():
			k.plain = true
		default:
			if err := store.Put(ctx, encryptionKey, encryptionMarker()); err != nil && !errors.Is(err, storage.ErrExists) {
				return false, fmt.Errorf("mark the repository as encrypted: %w", err)
			}
			k.marked = true
		}
	}
	if k.marked && k.Recipients.Empty() {
		return false, ErrPlain
	}
	return k.marked, nil
}

// CheckSealing returns nil if contents may be put: encrypted, which the repository is marked with then, or in clear where nothing is encrypted. The error is ErrPlain otherwise.
func (r *Repository) CheckSealing(ctx context.Context) error {
	_, err := r.Cluster(0).Seals(ctx)
	return err
}

// seal returns an object that is in memory, encrypted. It was opened again and compared.
func (k *keyring) seal(o outline, plain []byte) ([]byte, error) {
	const header = 4 << 10 // so that the bytes are not moved while they grow
	return k.Recipients.SealBytes(make([]byte, 0, encryption.SealedSize(header, int64(len(plain)))), plain, o.note)
}

// sealWAL encrypts e, once, if the repository's contents are. The encryption is another each time, and an object that is put again must be the same.
func (c *Cluster) sealWAL(ctx context.Context, e *EncodedWAL) error {
	if isSealed(e.Key) {
		return nil
	}
	seals, err := c.Seals(ctx)
	if err != nil || !seals {
		return err
	}
	body, err := c.ring().seal(outline{Header: e.Header, ProofID: e.proofID, Proof: e.proof}, e.Body)
	if err != nil {
		return err
	}
	if !c.ring().Identities.Empty() {
		e.inner = e.Body // what exists can be opened, and compared with it
	}
	e.Key, e.Body = e.Key+sealSuffix, body
	return nil
}

// Prove makes e note of each object what its plain bytes were, for who holds the proof key, if there is one: CompareWAL of a host without a private
// key needs it.
func (c *Cluster) Prove(e *WALEncoder) {
	if keys := c.ring().Proofs; len(keys) > 0 && !c.ring().Recipients.Empty() {
		e.proofID, e.proof = keys[0].ID(), keys[0].Hash()
	}
}

// sealedOwn returns the body of an object as it is stored, and its name: encrypted where the repository's contents are.
func (w *BackupWriter) sealedOwn(name storage.Key, h Header, body []byte) (storage.Key, []byte, error) {
	if !w.seals {
		return w.prefix + name, body, nil
	}
	stored, err := w.cluster.ring().seal(outline{Header: h}, body)
	return w.prefix + name + sealSuffix, stored, err
}

// packSeal encrypts a pack while it is written.
type packSeal struct {
	writer *encryption.Writer
	head   []byte             // age header and nonce
	take   func([]byte) error // takes what was encrypted while something is written, and keeps nothing of it
}

func newPackSeal(k *keyring, h Header) (*packSeal, error) {
	s := &packSeal{}
	s.take = func(b []byte) error { // age writes its header at once
		s.head = append(s.head, b...)
		return nil
	}
	o := outline{Header: h}
	var err error
	s.writer, err = k.Recipients.Seal(s, o.note)
	return s, err
}

// Write implements io.Writer for what was encrypted.
func (s *packSeal) Write(b []byte) (int, error) {
	if err := s.take(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
