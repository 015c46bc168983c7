package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

const (
	defaultPartSize = 16 << 20 // bytes
	defaultUploads  = 4

	// cleanUpTime is how long what must be done after the caller's context ended may take.
	cleanUpTime = 30 * time.Second
)

// BackupStart says what is known when a backup begins.
type BackupStart struct {
	ID          string // NewBackupID of the time it begins
	Timeline    wal.TimelineID
	StartLSN    wal.LSN
	SegmentSize wal.SegmentSize

	// Codec of the packs; nil is zstd.
	Codec compression.Codec
	// Uploads is how many parts are on their way at most, of all packs together; 0 is 4. The writer holds one buffer of PartSize
	// more than that.
	Uploads int
	// PartSize is the length of a part of an upload in bytes, at least storage.MinPart; 0 is 16 MiB.
	PartSize int
}

// BackupWriter writes the objects of one backup, the record last. Nothing of it is a backup before Commit returned nil. It is safe
// for concurrent use; its PackWriters are not.
type BackupWriter struct {
	cluster *Cluster
	start   BackupStart
	codec   compression.Codec
	prefix  storage.Key
	seals   bool        // data are encrypted
	buffers chan []byte // one buffer or nil for each that may be in use

	mu     sync.Mutex
	packs  []writtenPack // by number
	open   int           // packs that are not closed
	ended  bool          // Commit or Abort was called
	sealed bool          // the record was sent: it may be visible whatever the answer was
	broken error         // the first failure

	// Whose the objects are matters where two processes began a backup within one second and share its id.
	created []storage.Key // this writer made them and knows it
	adopted []storage.Key // equal ones were there: of another writer, or its own after a lost answer
	last    time.Time     // when the last one was made
}

// writtenPack is what is kept of a closed pack.
type writtenPack struct {
	pack  Pack
	line  []byte // stored bytes of its line in the index
	files int64
	plain int64 // bytes of its files
	links []File
	// stored is the encrypted object; zero if it is not.
	stored StoredObject
}

// NewBackup begins a backup. It returns ErrBackupExists if anything lies under its id: the caller takes another; and ErrPlain if it would not be encrypted and must be.
func (c *Cluster) NewBackup(ctx context.Context, start BackupStart) (*BackupWriter, error) {
	w, err := c.newBackupWriter(start)
	if err != nil {
		return nil, fmt.Errorf("begin backup %s: %w", start.ID, err)
	}
	if w.seals, err = c.sealsNow(ctx); err != nil {
		return nil, fmt.Errorf("begin backup %s: %w", start.ID, err)
	}
	_, found, err := first(ctx, c.store, w.prefix, "")
	if err == nil && found {
		err = ErrBackupExists
	}
	if err != nil {
		return nil, fmt.Errorf("begin backup %s: %w", start.ID, err)
	}
	return w, nil
}

func (c *Cluster) newBackupWriter(start BackupStart) (*BackupWriter, error) {
	if start.Codec == nil {
		start.Codec = compression.Zstd()
	}
	if start.Uploads == 0 {
		start.Uploads = defaultUploads
	}
	if start.PartSize == 0 {
		start.PartSize = defaultPartSize
	}
	if start.Uploads < 1 || start.PartSize < storage.MinPart {
		return nil, fmt.Errorf("%d uploads of parts of %d bytes: want at least 1 of %d", start.Uploads, start.PartSize, storage.MinPart)
	}
	if _, err := parseStamp(start.ID); err != nil {
		return nil, err
	}
	w := &BackupWriter{
		cluster: c, start: start, codec: start.Codec,
		prefix:  backupPrefix(c.id, start.ID),
		buffers: make(chan []byte, start.Uploads+1),
	}
	for range start.Uploads + 1 {
		w.buffers <- nil // made when first used
	}
	h := w.header(KindPack)
	h.Pack = 1
	return w, h.Validate()
}

// header returns what is alike in the headers of all objects of the backup.
func (w *BackupWriter) header(kind Kind) Header {
	return Header{WALObject: WALObject{
		SystemID: w.cluster.id, Timeline: w.start.Timeline, SegmentSize: w.start.SegmentSize,
		Kind: kind, Range: wal.Range{Start: w.start.StartLSN},
	}}
}

// ID returns the backup's id.
func (w *BackupWriter) ID() string { return w.start.ID }

// NewPack begins the next pack, of the archive "base" or the OID of a tablespace in decimal. The packs have the numbers 1, 2, … in
// the order of these calls. At most BackupStart.Uploads packs may be open at a time.
func (w *BackupWriter) NewPack(archive string) (*PackWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return nil, fmt.Errorf("begin pack: %w", err)
	}
	if !validArchive(archive) {
		return nil, fmt.Errorf("begin pack: %w: archive %q", errPackField, archive)
	}
	if w.open == w.start.Uploads || len(w.packs) == maxPacks {
		return nil, fmt.Errorf("begin pack: %d packs are open, %d in all", w.open, len(w.packs))
	}
	number := len(w.packs) + 1
	w.packs = append(w.packs, writtenPack{})
	w.open++
	return newPackWriter(w, archive, number)
}

// usable returns an error if nothing may be written any more.
func (w *BackupWriter) usable() error {
	if w.ended {
		return errEnded
	}
	if w.broken != nil {
		return fmt.Errorf("%w: %w", errBroken, w.broken)
	}
	return nil
}

// fail remembers the first failure: after it the writer is dead.
func (w *BackupWriter) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
	}
	return err
}

// closed takes over a pack that is durable.
func (w *BackupWriter) closed(p writtenPack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packs[p.pack.Number-1] = p
	w.open--
}

// Commit writes the index, the manifest and last the record, and returns the record as it stands. Of rec it sets the fields that it
// knows: format, id, type, system, segment size, timeline, start LSN, counts, index, manifest, codec. The caller has made sure that
// all packs are closed and that the WAL up to rec.StopLSN is durable in this repository. After an error the caller calls Abort.
func (w *BackupWriter) Commit(ctx context.Context, rec Backup, manifest []byte) (Backup, error) {
	w.mu.Lock()
	err := w.usable()
	if err == nil && w.open > 0 {
		err = fmt.Errorf("%d packs are open", w.open)
	}
	w.ended = true
	w.mu.Unlock()
	if err == nil {
		err = w.commit(ctx, &rec, manifest)
	}
	if err != nil {
		return Backup{}, fmt.Errorf("commit backup %s: %w", w.start.ID, err)
	}
	return rec, nil
}

func (w *BackupWriter) commit(ctx context.Context, rec *Backup, manifest []byte) error {
	rec.Format, rec.ID, rec.Type, rec.Codec = Format, w.start.ID, backupFull, w.codec.Name()
	rec.SystemID, rec.SegmentSize = w.cluster.id, w.start.SegmentSize
	rec.Timeline, rec.StartLSN = w.start.Timeline, w.start.StartLSN
	rec.Files, rec.Plain, rec.Stored = 0, 0, 0
	for _, p := range w.packs {
		rec.Files, rec.Plain, rec.Stored = rec.Files+p.files, rec.Plain+p.plain, rec.Stored+max(p.pack.Stored, p.stored.Size)
		t := PackTable{Pack: p.pack, Files: p.links}
		if err := t.validateLinks(rec.Tablespaces); err != nil {
			return err
		}
	}
	rested := w.rested()
	index, top, err := w.encodeIndex()
	if err != nil {
		return err
	}
	indexHead, indexTop := w.header(KindIndex), storedObject(index[:top])
	if err := indexHead.UnmarshalBinary(index); err != nil {
		return err
	}
	indexKey, index, err := w.sealedOwn(indexName, indexHead, index)
	if err != nil {
		return err
	}
	manifestHead, stored, err := w.encodeManifest(manifest)
	if err != nil {
		return err
	}
	manifestKey, stored, err := w.sealedOwn(manifestName, manifestHead, stored)
	if err != nil {
		return err
	}
	rec.Index = IndexObject{StoredObject: storedObject(index), Top: indexTop}
	rec.Manifest = storedObject(stored)
	rec.Encryption = w.encryption()
	rec.Stored += rec.Index.Size + rec.Manifest.Size
	text, err := rec.Encode()
	if err != nil {
		return err
	}
	if again, err := ParseBackup(text); err != nil || again.ID != rec.ID { // what is written can be read
		return errors.Join(errRecordField, err)
	}
	if err := w.put(ctx, indexKey, index); err != nil {
		return err
	}
	if err := w.put(ctx, manifestKey, stored); err != nil {
		return err
	}
	if err := w.checkAdopted(ctx); err != nil {
		return err
	}
	if rested {
		if err := w.checkCreated(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.sealed = true
	w.mu.Unlock()
	return putEqual(ctx, w.cluster.store, w.prefix+recordName, text)
}

// encryption returns what the record says of it.
func (w *BackupWriter) encryption() *BackupEncryption {
	if !w.seals {
		return nil
	}
	e := &BackupEncryption{Scheme: schemeAge, Packs: make([]SealedPack, 0, len(w.packs))}
	for _, p := range w.packs {
		e.Packs = append(e.Packs, SealedPack{StoredObject: p.stored, Name: p.pack.Name})
	}
	return e
}

func storedObject(body []byte) StoredObject {
	return StoredObject{Size: int64(len(body)), SHA256: sha256.Sum256(body)}
}
