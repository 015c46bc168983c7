package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

const (
	// recordReads is how many backup records are read at a time.
	recordReads = 8
	// topLimit bounds the first line of the index in plain bytes: 1 MiB packs with some 250 bytes each.
	topLimit = 512 << 20
)

// Backups reads the records of all visible backups, ordered by id: the time they began. A record that cannot be read does not hide the
// others: they are returned together with an error, which joins a *CorruptError, *FormatError or storage error for each.
func (c *Cluster) Backups(ctx context.Context) ([]Backup, error) {
	ids, err := c.backupIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	backups, errs := make([]Backup, len(ids)), make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(recordReads)
	for i, id := range ids {
		group.Go(func() error {
			backups[i], errs[i] = c.Backup(ctx, id)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	visible := make([]Backup, 0, len(ids))
	for i := range ids {
		switch {
		case errs[i] == nil:
			visible = append(visible, backups[i])
		case errors.Is(errs[i], ErrNoBackup): // not complete, or just expired
			errs[i] = nil
		}
	}
	return visible, errors.Join(errs...)
}

// backupIDs lists the ids under which anything lies, with one request for each.
func (c *Cluster) backupIDs(ctx context.Context) ([]string, error) {
	prefix := clusterPrefix(c.id) + backupsFolder
	var ids []string
	for after := storage.Key(""); ; {
		info, found, err := first(ctx, c.store, prefix, after)
		if err != nil || !found {
			return ids, err
		}
		name, _, isFolder := strings.Cut(strings.TrimPrefix(string(info.Key), string(prefix)), "/")
		after = info.Key
		if isFolder {
			after = pastFolder(prefix + storage.Key(name))
			if _, err := parseStamp(name); err == nil {
				ids = append(ids, name)
			}
		}
	}
}

// Backup reads the record of one backup. The error is ErrNoBackup if there is none, a *CorruptError or a *FormatError.
func (c *Cluster) Backup(ctx context.Context, id string) (Backup, error) {
	if _, err := parseStamp(id); err != nil {
		return Backup{}, fmt.Errorf("read backup %q: %w: %w", id, ErrNoBackup, err)
	}
	key := recordKey(c.id, id)
	text, err := storage.ReadAll(ctx, c.store, key, recordLimit)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Backup{}, fmt.Errorf("read backup %s: %w: %w", id, ErrNoBackup, err)
	case errors.Is(err, storage.ErrTooLarge):
		return Backup{}, &CorruptError{Key: key, Reason: "size", Err: err}
	case err != nil:
		return Backup{}, fmt.Errorf("read backup %s: %w", id, err)
	}
	b, err := ParseBackup(text)
	if err != nil {
		return Backup{}, &CorruptError{Key: key, Reason: "record", Err: err}
	}
	if b.ID != id || b.SystemID != c.id {
		return Backup{}, &CorruptError{Key: key, Reason: fmt.Sprintf("record is that of %s of system %s", b.ID, b.SystemID)}
	}
	return b, nil
}

// BackupReader reads the data of one backup, every byte verified. It is safe for concurrent use.
type BackupReader struct {
	store  storage.Store
	prefix storage.Key
	backup Backup
	codec  compression.Codec
	packs  []Pack
}

// OpenBackup reads the top of the index of b, a record that Backups or Backup returned. The error is a *CorruptError if it is not what the
// record says.
func (c *Cluster) OpenBackup(ctx context.Context, b Backup) (*BackupReader, error) {
	codec, err := compression.ByName(b.Codec)
	if err != nil {
		return nil, fmt.Errorf("open backup %s: %w", b.ID, err)
	}
	r := &BackupReader{store: c.store, prefix: backupPrefix(c.id, b.ID), backup: b, codec: codec}
	if err := r.readTop(ctx); err != nil {
		return nil, fmt.Errorf("open backup %s: %w", b.ID, err)
	}
	return r, nil
}

func (r *BackupReader) readTop(ctx context.Context) error {
	key, top := r.prefix+indexName, r.backup.Index.Top
	stored, err := r.readVerified(ctx, key, storage.Span{Offset: 0, Length: top.Size}, top.SHA256)
	if err != nil {
		return err
	}
	h, err := r.checkHeader(key, KindIndex, stored)
	if err != nil {
		return err
	}
	if HeaderSize+int64(h.Stored) != r.backup.Index.Size {
		return &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes, record says %d", HeaderSize+h.Stored, r.backup.Index.Size)}
	}
	limit := int(min(topLimit, h.Plain))
	text, err := compression.Zstd().NewDecoder().DecodeFrame(nil, stored[HeaderSize:], limit)
	if err != nil {
		return &CorruptError{Key: key, Reason: "top", Err: err}
	}
	if r.packs, err = parseTop(text, top.Size, r.codec); err != nil {
		return &CorruptError{Key: key, Reason: "top", Err: err}
	}
	if n := len(r.packs); n > 0 {
		if last := r.packs[n-1].line; last.offset+last.Stored > r.backup.Index.Size {
			return &CorruptError{Key: key, Reason: "lines reach past its end"}
		}
	}
	return nil
}

// readVerified reads a span and compares its SHA-256.
func (r *BackupReader) readVerified(ctx context.Context, key storage.Key, span storage.Span, sum Sum) ([]byte, error) {
	stored, err := storage.ReadSpan(ctx, r.store, key, span)
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
	key := r.prefix + indexName
	span := storage.Span{Offset: p.line.offset, Length: p.line.Stored}
	stored, err := r.readVerified(ctx, key, span, p.line.SHA256)
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
	if first < 0 || n < 1 || n > len(t.Runs)-first {
		return nil, fmt.Errorf("read runs %d to %d of %s: it has %d", first, first+n, t.Pack.Name, len(t.Runs))
	}
	key := t.Pack.key(r.prefix)
	stored, err := storage.ReadSpan(ctx, r.store, key, t.RunSpan(first, n))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrSpan) {
		return nil, &CorruptError{Key: key, Reason: "not as long as the index says", Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("read runs of %s: %w", t.Pack.Name, err)
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

// VerifyPack reads a whole pack and checks its header, the SHA-256 of every run, and that nothing follows. The error is a *CorruptError.
func (r *BackupReader) VerifyPack(ctx context.Context, t *PackTable) error {
	h := Header{Pack: uint64(t.Pack.Number)}
	h.SystemID, h.Timeline, h.SegmentSize = r.backup.SystemID, r.backup.Timeline, r.backup.SegmentSize
	h.Kind, h.Range.Start = KindPack, r.backup.StartLSN
	head, err := h.MarshalBinary()
	if err == nil {
		err = verifyPack(ctx, r.store, t.Pack.key(r.prefix), head, t)
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", t.Pack.Name, err)
	}
	return nil
}

// VerifyIndex reads the whole index and compares its SHA-256 with the record: also the seek table, which nothing here needs. The error is a
// *CorruptError.
func (r *BackupReader) VerifyIndex(ctx context.Context) error {
	o := r.backup.Index
	if _, err := r.readVerified(ctx, r.prefix+indexName, storage.Span{Offset: 0, Length: o.Size}, o.SHA256); err != nil {
		return fmt.Errorf("verify index: %w", err)
	}
	return nil
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

// Manifest reads PostgreSQL's backup_manifest. The error is a *CorruptError if it is not what the record says.
func (r *BackupReader) Manifest(ctx context.Context) ([]byte, error) {
	key, o := r.prefix+manifestName, r.backup.Manifest
	stored, err := r.readVerified(ctx, key, storage.Span{Offset: 0, Length: o.Size}, o.SHA256)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	h, err := r.checkHeader(key, KindManifest, stored)
	if err != nil {
		return nil, err
	}
	return decodePayload(key, &h, stored[HeaderSize:])
}
