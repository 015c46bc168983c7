package repository

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// backup copies a visible backup that to lacks, or lacks something of: packs verified against the index, record last.
func (c copier) backup(ctx context.Context, id wal.SystemID, backup string) error {
	if whole, err := c.hasBackup(ctx, id, backup); whole || err != nil {
		return err
	}
	cluster := &Cluster{store: c.from, id: id}
	record, err := cluster.Backup(ctx, backup)
	if errors.Is(err, ErrNoBackup) {
		return nil // not complete, or just expired
	}
	if err != nil {
		return err
	}
	if err := c.hasWAL(ctx, id, record); err != nil {
		return err
	}
	if err := c.packs(ctx, cluster, record); err != nil {
		return err
	}
	reader := cluster.backupReader(record)
	for _, o := range cluster.Parts(record) {
		stored, err := partOf(record, o)
		if err != nil {
			return err
		}
		body, err := reader.readVerified(ctx, o.Key, storage.Span{Offset: 0, Length: stored.Size}, stored.SHA256)
		if err == nil {
			err = putEqual(ctx, c.to, o.Key, body)
		}
		if err != nil {
			return err
		}
	}
	text, err := storage.ReadSettled(ctx, c.from, recordKey(id, backup), recordLimit)
	if err != nil {
		return err
	}
	return putEqual(ctx, c.to, recordKey(id, backup), text)
}

// packs copies the packs of a backup, those of an encrypted one as they are, compared with the record.
func (c copier) packs(ctx context.Context, cluster *Cluster, record Backup) error {
	if record.Sealed() {
		g, packs := errgroup.WithContext(ctx)
		g.SetLimit(catchUpJobs)
		for _, p := range record.Encryption.Packs {
			key := backupPrefix(record.SystemID, record.ID) + record.name(storage.Key(p.Name))
			g.Go(func() error { return c.sealedPack(packs, key, p.StoredObject) })
		}
		return g.Wait()
	}
	reader, err := cluster.OpenBackup(ctx, record)
	if err != nil {
		return err
	}
	g, packs := errgroup.WithContext(ctx)
	g.SetLimit(catchUpJobs)
	for _, p := range reader.Packs() {
		g.Go(func() error { return c.pack(packs, reader, p) })
	}
	return g.Wait()
}

// hasBackup reports whether to holds the record and all that from holds of the backup. A bucket that another copies without an order
// may have the record before its packs, or never get one of these.
func (c copier) hasBackup(ctx context.Context, id wal.SystemID, backup string) (bool, error) {
	_, err := c.to.Stat(ctx, recordKey(id, backup))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lacks, err := c.missing(ctx, backupPrefix(id, backup))
	return len(lacks) == 0, err
}

// hasWAL returns a *CorruptError unless to holds the WAL that makes the backup consistent.
func (c copier) hasWAL(ctx context.Context, id wal.SystemID, b Backup) error {
	var objects []Entry
	for e, err := range (&Cluster{store: c.to, id: id}).ListWAL(ctx, b.Timeline, b.StartLSN) {
		if err != nil {
			return err
		}
		if e.Range.Start >= b.StopLSN {
			break
		}
		objects = append(objects, e)
	}
	if chosen := Assemble(b.StartLSN, objects); len(chosen) == 0 || chosen[len(chosen)-1].Range.End < b.StopLSN {
		return &CorruptError{Key: recordKey(id, b.ID), Reason: "WAL of it is missing"}
	}
	return nil
}

// pack copies a pack, every run verified. One that is there already, of a copy that was broken off, is verified there.
func (c copier) pack(ctx context.Context, r *BackupReader, p Pack) error {
	table, err := r.Table(ctx, p)
	if err != nil {
		return err
	}
	key := p.key(r.prefix)
	head, err := storage.ReadSpan(ctx, c.from, key, storage.Span{Offset: 0, Length: HeaderSize})
	if err != nil {
		return err
	}
	var h Header
	if err := h.UnmarshalBinary(head); err != nil { // the runs have hashes of their own
		return &CorruptError{Key: key, Reason: "header", Err: err}
	}
	if _, err := c.to.Stat(ctx, key); !errors.Is(err, storage.ErrNotFound) {
		if err != nil {
			return err
		}
		return verifyPack(ctx, c.to, key, head, table)
	}
	upload, err := c.to.Begin(ctx, key)
	if err != nil {
		return err
	}
	if err := c.runs(ctx, r, table, head, upload); err != nil {
		return errors.Join(err, abortUpload(ctx, upload))
	}
	return nil
}

// runs sends the header and the runs of a pack.
func (c copier) runs(ctx context.Context, r *BackupReader, t *PackTable, part []byte, upload storage.Upload) error {
	n := 0
	for first := 0; first < len(t.Runs); {
		count := 1
		for first+count < len(t.Runs) && t.RunSpan(first, count+1).Length <= defaultPartSize {
			count++
		}
		stored, err := r.ReadRuns(ctx, t, first, count)
		if err != nil {
			return err
		}
		part = append(part, stored...)
		first += count
		if first < len(t.Runs) && len(part) < storage.MinPart {
			continue
		}
		n++
		if err := upload.Part(ctx, n, part); err != nil {
			return err
		}
		part = part[:0]
	}
	return upload.Commit(ctx)
}
