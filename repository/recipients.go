package repository

import (
	"context"
	"fmt"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
)

// headerRead is how much of an encrypted object is read at first: the age header of ten recipients fits.
const headerRead = 2 << 10

// Recipients returns to how many public keys a WAL object is encrypted, which its age header tells without a key: 0 if it is not. It makes one ranged
// read. The error is ErrNoWAL if the object is gone, or a *CorruptError.
func (c *Cluster) Recipients(ctx context.Context, e Entry) (int, error) {
	if !e.Sealed() {
		return 0, nil
	}
	return c.recipients(ctx, e.Key, e.Stored)
}

// BackupRecipients is Recipients of a base backup, by its index.
func (c *Cluster) BackupRecipients(ctx context.Context, b Backup) (int, error) {
	if !b.Sealed() {
		return 0, nil
	}
	n, err := c.recipients(ctx, c.backupReader(b).prefix+b.name(indexName), b.Index.Size)
	if err != nil {
		return 0, fmt.Errorf("backup %s: %w", b.ID, err)
	}
	return n, nil
}

func (c *Cluster) recipients(ctx context.Context, key storage.Key, size int64) (int, error) {
	read := func(length int64) ([]byte, error) {
		header, err := storage.ReadSpan(ctx, c.store, key, storage.Span{Offset: 0, Length: min(length, size)})
		if err != nil {
			return nil, fmt.Errorf("read header: %w", c.readError(key, err))
		}
		return header, nil
	}
	header, err := read(headerRead)
	if err != nil {
		return 0, err
	}
	o, err := readOutline(key, header)
	if err == nil && o.Envelope.Size > len(header) {
		header, err = read(int64(o.Envelope.Size))
	}
	if err != nil {
		return 0, err
	}
	header = header[:min(len(header), o.Envelope.Size)]
	if err := encryption.CheckHeader(header, o.Envelope); err != nil {
		return 0, sealError(key, err)
	}
	return encryption.Stanzas(header), nil
}
