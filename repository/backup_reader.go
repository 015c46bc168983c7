package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

const (
	// recordReads is how many backup records are read at a time: small ones, of which a year of daily backups has hundreds.
	recordReads = 32
	// topLimit bounds the first line of the index in plain bytes: 1 MiB packs with some 250 bytes each.
	topLimit = 512 << 20
)

// BackupReader reads the data of one backup, every byte verified. It is safe for concurrent use.
type BackupReader struct {
	store  storage.Store
	prefix storage.Key
	backup Backup
	codec  compression.Codec
	packs  []Pack
	parts  sealedParts
}

// backupReader returns a reader that has not read the index.
func (c *Cluster) backupReader(b Backup) *BackupReader {
	return &BackupReader{store: c.store, prefix: backupPrefix(c.id, b.ID), backup: b, parts: sealedParts{keys: c.ring()}}
}

// OpenBackup reads the top of the index of b, a record that Backups or Backup returned. The error is a *CorruptError if it is not what the
// record says, and a *KeyError if it is encrypted and the keys do not open it.
func (c *Cluster) OpenBackup(ctx context.Context, b Backup) (*BackupReader, error) {
	codec, err := compression.ByName(b.Codec)
	if err != nil {
		return nil, fmt.Errorf("open backup %s: %w", b.ID, err)
	}
	r := c.backupReader(b)
	r.codec = codec
	if err := r.readTop(ctx); err != nil {
		return nil, fmt.Errorf("open backup %s: %w", b.ID, err)
	}
	return r, nil
}

func (r *BackupReader) readTop(ctx context.Context) error {
	key, top := r.prefix+r.backup.name(indexName), r.backup.Index.Top
	stored, err := r.readPart(ctx, key, storage.Span{Offset: 0, Length: top.Size}, top.SHA256)
	if err != nil {
		return err
	}
	h, err := r.checkHeader(key, KindIndex, stored)
	if err != nil {
		return err
	}
	size := r.backup.Index.Size
	if r.backup.Sealed() {
		o, err := r.parts.object(ctx, r.store, key, size)
		if err != nil {
			return err
		}
		if err := o.outline.agrees(key, h); err != nil {
			return err
		}
		size = o.plain
	}
	if HeaderSize+int64(h.Stored) != size {
		return &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes, record says %d", HeaderSize+h.Stored, size)}
	}
	limit := int(min(topLimit, h.Plain, uint64(unfolded(top.Size, topRatio))))
	text, err := compression.Zstd().NewDecoder().DecodeFrame(nil, stored[HeaderSize:], limit)
	if err != nil {
		return &CorruptError{Key: key, Reason: "top", Err: err}
	}
	if r.packs, err = parseTop(text, top.Size, r.codec); err != nil {
		return &CorruptError{Key: key, Reason: "top", Err: err}
	}
	if err := r.backup.agrees(r.packs); err != nil {
		return &CorruptError{Key: key, Reason: "top", Err: err}
	}
	for i := range r.packs {
		r.packs[i].sealed = r.backup.Sealed()
	}
	if n := len(r.packs); n > 0 {
		if last := r.packs[n-1].line; last.offset+last.Stored > size {
			return &CorruptError{Key: key, Reason: "lines reach past its end"}
		}
	}
	if r.backup.Sealed() {
		return r.matchRecord(key)
	}
	return nil
}

// memberOverhead is more than any member takes in a tar file beside its content: its header, that of its extended attributes with a path and a link in it, padding.
const memberOverhead = 32 << 10

// agrees checks that packs unfold to no more than the record says: whoever reads the record knows what a restore writes.
func (b *Backup) agrees(packs []Pack) error {
	var plain, stored, overhead int64
	for _, p := range packs { // each of them is below 2^45, so that the sum is seen to be too large before it overflows
		plain, stored, overhead = plain+p.Plain, stored+p.Stored, overhead+int64(p.Files+1)*memberOverhead
		if stored > b.Stored {
			return fmt.Errorf("%w: packs of more than the %d bytes that the record says are stored", errPackField, b.Stored)
		}
		if plain > 1<<60 {
			break
		}
	}
	if plain-overhead > b.Plain {
		return fmt.Errorf("%w: tar files of %d plain bytes, where the record says %d bytes of files", errPackField, plain, b.Plain)
	}
	return nil
}

// matchRecord compares the packs in the index of an encrypted backup with those in the record.
func (r *BackupReader) matchRecord(key storage.Key) error {
	same := slices.EqualFunc(r.packs, r.backup.Encryption.Packs, func(p Pack, s SealedPack) bool { return p.Name == s.Name })
	if !same {
		return &CorruptError{Key: key, Reason: "names other packs than the record"}
	}
	return nil
}

// readVerified reads a span of what is stored and compares its SHA-256.
func (r *BackupReader) readVerified(ctx context.Context, key storage.Key, span storage.Span, sum Sum) ([]byte, error) {
	return r.readSum(ctx, key, span, sum, storage.ReadSpan)
}

// readPart reads a span of the index as it is without encryption and compares its SHA-256.
func (r *BackupReader) readPart(ctx context.Context, key storage.Key, span storage.Span, sum Sum) ([]byte, error) {
	if !r.backup.Sealed() {
		return r.readVerified(ctx, key, span, sum)
	}
	return r.readSum(ctx, key, span, sum, func(ctx context.Context, store storage.Store, key storage.Key, span storage.Span) ([]byte, error) {
		return r.parts.read(ctx, store, key, r.backup.Index.Size, span)
	})
}

// spanReading is storage.ReadSpan, or what decrypts besides.
type spanReading func(ctx context.Context, store storage.Store, key storage.Key, span storage.Span) ([]byte, error)

func (r *BackupReader) readSum(ctx context.Context, key storage.Key, span storage.Span, sum Sum, read spanReading) ([]byte, error) {
	return verified(ctx, r.store, key, func(ctx context.Context, store storage.Store) ([]byte, error) {
		stored, err := read(ctx, store, key, span)
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrSpan) {
			return nil, &CorruptError{Key: key, Reason: "not as long as the index and record say", Err: err}
		}
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(stored) != sum {
			return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("SHA-256 of %s differs", span)}
		}
		return stored, nil
	})
}

// checkHeader decodes the header of an object of the backup and checks it against the record.
func (r *BackupReader) checkHeader(key storage.Key, kind Kind, b []byte) (Header, error) {
	var h Header
	if err := h.UnmarshalBinary(b); err != nil {
		return Header{}, &CorruptError{Key: key, Reason: "header", Err: err}
	}
	rec := &r.backup
	if h.Kind != kind || h.SystemID != rec.SystemID || h.Timeline != rec.Timeline || h.SegmentSize != rec.SegmentSize || h.Range.Start != rec.StartLSN {
		return Header{}, &CorruptError{Key: key, Reason: fmt.Sprintf("header is that of another object: %s from %s", h.Kind, h.Range.Start)}
	}
	return h, nil
}

// Backup returns the record.
func (r *BackupReader) Backup() Backup { return r.backup }

// Codec returns the codec of the frames.
func (r *BackupReader) Codec() compression.Codec { return r.codec }

// Packs returns the packs by number; pack number n is at n-1.
func (r *BackupReader) Packs() []Pack { return slices.Clone(r.packs) }

// Table reads the part of the index that belongs to p, one of Packs. It is not kept: the caller holds what it needs. The error is a
// *CorruptError if it is not what the top says, or says what cannot be.
func (r *BackupReader) Table(ctx context.Context, p Pack) (*PackTable, error) {
	key := r.prefix + r.backup.name(indexName)
	span := storage.Span{Offset: p.line.offset, Length: p.line.Stored}
	stored, err := r.readPart(ctx, key, span, p.line.SHA256)
	if err != nil {
		return nil, fmt.Errorf("read index of %s: %w", p.Name, err)
	}
	text, err := compression.Zstd().NewDecoder().DecodeFrame(nil, stored, int(p.line.Plain))
	if err != nil {
		return nil, &CorruptError{Key: key, Reason: "line of " + p.Name, Err: err}
	}
	t, err := parseTable(text, p, r.backup.Tablespaces)
	if err != nil {
		return nil, &CorruptError{Key: key, Reason: "line of " + p.Name, Err: err}
	}
	return t, nil
}

// ReadRuns reads the stored bytes of the runs [first, first+n) of a pack with one ranged GET and verifies each of them. The frames lie in
// it at Frame.Offset less that of the first. The slice belongs to the caller. The error is a *CorruptError if a hash differs.
func (r *BackupReader) ReadRuns(ctx context.Context, t *PackTable, first, n int) ([]byte, error) {
	if first < 0 || n < 1 || n > t.RunCount()-first {
		return nil, fmt.Errorf("read runs %d to %d of %s: it has %d", first, first+n, t.Pack.Name, t.RunCount())
	}
	return verified(ctx, r.store, r.backup.packKey(r.prefix, &t.Pack), func(ctx context.Context, store storage.Store) ([]byte, error) {
		return r.readRuns(ctx, store, t, first, n)
	})
}

func (r *BackupReader) readRuns(ctx context.Context, store storage.Store, t *PackTable, first, n int) ([]byte, error) {
	key := r.backup.packKey(r.prefix, &t.Pack)
	var stored []byte
	var err error
	if t.Pack.sealed {
		stored, err = r.readSealedRuns(ctx, store, t, t.RunSpan(first, n))
	} else {
		stored, err = storage.ReadSpan(ctx, store, key, t.RunSpan(first, n))
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrSpan) {
		return nil, &CorruptError{Key: key, Reason: "not as long as the index says", Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("read runs of %s: %w", t.Pack.Name, err)
	}
	if t.Pack.sealed {
		return stored, nil
	}
	rest := stored
	for i := first; i < first+n; i++ {
		size := t.RunSpan(i, 1).Length
		if sha256.Sum256(rest[:size]) != t.Runs[i] {
			return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("SHA-256 of run %d differs", i)}
		}
		rest = rest[size:]
	}
	return stored, nil
}

// readSealedRuns reads a span of an encrypted pack. That it is the right one is told by its note; its chunks are authentic and in their places.
func (r *BackupReader) readSealedRuns(ctx context.Context, store storage.Store, t *PackTable, span storage.Span) ([]byte, error) {
	key, size := r.backup.packKey(r.prefix, &t.Pack), r.backup.pack(t.Pack.Name).Size
	o, err := r.parts.object(ctx, store, key, size)
	if err != nil {
		return nil, err
	}
	if o.plain != t.Pack.Stored {
		return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("holds %d bytes, its index says %d", o.plain, t.Pack.Stored)}
	}
	if err := o.outline.agrees(key, r.packHead(t)); err != nil {
		return nil, err
	}
	return r.parts.read(ctx, store, key, size, span)
}

// VerifyIndex reads the whole index and compares its SHA-256 with the record: also the seek table, which nothing here needs. The error is a
// *CorruptError.
func (r *BackupReader) VerifyIndex(ctx context.Context) error {
	o := r.backup.Index
	if _, err := r.readVerified(ctx, r.prefix+r.backup.name(indexName), storage.Span{Offset: 0, Length: o.Size}, o.SHA256); err != nil {
		return fmt.Errorf("verify index: %w", err)
	}
	return nil
}

// Manifest reads PostgreSQL's backup_manifest. The error is a *CorruptError if it is not what the record says.
func (r *BackupReader) Manifest(ctx context.Context) ([]byte, error) {
	key, o := r.prefix+r.backup.name(manifestName), r.backup.Manifest
	stored, err := r.readVerified(ctx, key, storage.Span{Offset: 0, Length: o.Size}, o.SHA256)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if r.backup.Sealed() {
		o, inner, err := r.parts.keys.unseal(nil, key, stored)
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		if len(inner) < HeaderSize {
			return nil, &CorruptError{Key: key, Reason: "header", Err: errHeaderShort}
		}
		h, err := r.checkHeader(key, KindManifest, inner)
		if err == nil {
			err = o.agrees(key, h)
		}
		if err != nil {
			return nil, err
		}
		return decodePayload(key, &h, inner[HeaderSize:])
	}
	h, err := r.checkHeader(key, KindManifest, stored)
	if err != nil {
		return nil, err
	}
	return decodePayload(key, &h, stored[HeaderSize:])
}
