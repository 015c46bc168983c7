package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pgark/pgark/storage"
)

// CheckWAL reads a WAL object of a listing whole, without holding it, and checks header, length and SHA-256. What was stored had been
// decoded and compared when it was put, so it is not decoded again. The error is ErrNoWAL if the object is gone, a *CorruptError, or, of an encrypted object that
// the keys do not open, a *KeyError: what its note says was found right then, and is returned.
func (c *Cluster) CheckWAL(ctx context.Context, e Entry) (Header, error) {
	body, err := c.store.Get(ctx, e.Key, storage.All())
	if err != nil {
		return Header{}, fmt.Errorf("check WAL %s: %w", e.Range, c.readError(e.Key, err))
	}
	h, err := c.checkStream(e, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return h, fmt.Errorf("check WAL %s: %w", e.Range, err)
	}
	return h, nil
}

func (c *Cluster) checkStream(e Entry, body io.Reader) (Header, error) {
	if isSealed(e.Key) {
		return c.checkSealedStream(e, body)
	}
	return c.checkPlainStream(e, body)
}

func (c *Cluster) checkPlainStream(e Entry, body io.Reader) (Header, error) {
	head := make([]byte, HeaderSize)
	if _, err := io.ReadFull(body, head); err != nil {
		return Header{}, packReadError(e.Key, err)
	}
	h, err := c.checkHeader(e, head)
	if err != nil {
		return Header{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(body, int64(h.Stored)+1))
	switch {
	case err != nil:
		return Header{}, packReadError(e.Key, err)
	case uint64(n) != h.Stored:
		return Header{}, &CorruptError{Key: e.Key, Reason: fmt.Sprintf("%d bytes or more after the header, which says %d", n, h.Stored)}
	case Sum(hash.Sum(nil)) != h.SHA256:
		return Header{}, &CorruptError{Key: e.Key, Reason: "SHA-256 of the stored bytes differs"}
	}
	return h, nil
}

// CheckPart reads the index or the manifest of a backup whole, without holding it, and compares it with the record b. The error wraps
// storage.ErrNotFound if it is gone, or is a *CorruptError.
func (c *Cluster) CheckPart(ctx context.Context, b Backup, o Object) error {
	want, err := partOf(b, o)
	if err != nil {
		return err
	}
	if err := checkSum(ctx, c.store, o.Key, want); err != nil {
		return fmt.Errorf("check %s: %w", o.Key, err)
	}
	return nil
}

// checkSum reads an object whole, without holding it, and compares it with what the record says of it. The error wraps storage.ErrNotFound if it is gone, or
// is a *CorruptError.
func checkSum(ctx context.Context, store storage.Store, key storage.Key, want StoredObject) error {
	body, err := store.Get(ctx, key, storage.All())
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(body, want.Size+1))
	switch err = errors.Join(err, body.Close()); {
	case err != nil:
		return packReadError(key, err)
	case n != want.Size:
		return &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes or more, record says %d", n, want.Size)}
	case Sum(hash.Sum(nil)) != want.SHA256:
		return &CorruptError{Key: key, Reason: "SHA-256 differs from that in the record"}
	}
	return nil
}

var errNoPart = errors.New("neither index nor manifest of a backup")

func partOf(b Backup, o Object) (StoredObject, error) {
	if o.Class == ClassIndex {
		return b.Index.StoredObject, nil
	}
	if o.Class == ClassManifest {
		return b.Manifest, nil
	}
	return StoredObject{}, fmt.Errorf("check %s: %w", o.Key, errNoPart)
}

// CheckPack is VerifyPack for the pack of a backup whose index, or record, may not be readable here: b and t may come from another
// repository that holds the same backup.
func (c *Cluster) CheckPack(ctx context.Context, b Backup, t *PackTable) error {
	r := c.backupReader(b)
	err := r.VerifyPack(ctx, t)
	if errors.Is(err, storage.ErrTooLarge) {
		return &CorruptError{Key: t.Pack.key(r.prefix), Reason: "size", Err: err}
	}
	return err
}

// CheckRecord reads one of the small objects, the marker, the record of a backup and the names of a drill among them, whole, checks all that it says of itself
// and of its key, and returns its bytes. Marker and histories have no hash and are read
// twice: all that can be told of a history alone is that it can be parsed. The error wraps
// storage.ErrNotFound if it is gone, or is a *CorruptError or *FormatError.
func (c *Cluster) CheckRecord(ctx context.Context, o Object) ([]byte, error) {
	if o.Class == ClassNames {
		return c.checkNames(ctx, o)
	}
	body, err := storage.ReadAll(ctx, c.store, o.Key, recordSize(o.Class))
	if err == nil && (o.Class == ClassHistory || o.Class == ClassMarker) {
		var again []byte
		if again, err = storage.ReadAll(ctx, c.store, o.Key, recordSize(o.Class)); err == nil && !bytes.Equal(body, again) {
			return nil, &CorruptError{Key: o.Key, Reason: "two readings differ"}
		}
	}
	if errors.Is(err, storage.ErrTooLarge) {
		return nil, &CorruptError{Key: o.Key, Reason: "size", Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", o.Key, err)
	}
	return body, c.judge(o, body)
}

// checkNames compares the names that a drill found with its report. Without a report they are no drill's, and nothing can be told.
func (c *Cluster) checkNames(ctx context.Context, o Object) ([]byte, error) {
	d, err := c.Drill(ctx, o.Drill)
	var corrupt *CorruptError
	switch {
	case err == nil && d.Names != nil:
		return c.readNames(ctx, d)
	case err == nil, errors.As(err, &corrupt), errors.Is(err, ErrNoDrill):
		return nil, fmt.Errorf("check %s: %w", o.Key, storage.ErrNotFound)
	default:
		return nil, err
	}
}

// recordSize bounds an object of a class in bytes.
func recordSize(class Class) int64 {
	sizes := map[Class]int64{
		ClassMarker: markerLimit, ClassHistory: historyLimit, ClassBeat: beatLimit, ClassGap: gapLimit, ClassSync: syncLimit, ClassDrill: drillLimit,
		ClassRecord: recordLimit, ClassPin: pinLimit, ClassFence: fenceLimit,
	}
	return sizes[class]
}

// judge checks the bytes of a small object against its key.
func (c *Cluster) judge(o Object, body []byte) error {
	name := strings.TrimPrefix(string(o.Key), string(clusterPrefix(c.id)))
	_, name, _ = strings.Cut(name, "/")
	var err error
	switch o.Class {
	case ClassMarker:
		var m Marker
		if m, err = ParseMarker(body); err == nil && !canonical(body, &m) {
			err = &CorruptError{Key: o.Key, Reason: "not as it is written"}
		}
	case ClassHistory:
		_, err = parseHistory(o, body)
	case ClassGap:
		named, _ := parseGapName(name)
		_, err = checkGap(c.id, o.Key, named, body)
	case ClassSync:
		named, _ := parseSyncName(name)
		_, err = checkSyncEvent(c.id, o.Key, named, body)
	case ClassBeat:
		var b Beat
		if b, err = c.checkBeat(o.Key, name, body); err == nil && !canonical(body, &b) {
			err = &CorruptError{Key: o.Key, Reason: "not as it is written"}
		}
	case ClassDrill:
		_, err = c.checkDrill(o.Key, o.Drill, body)
	case ClassRecord:
		_, err = c.checkBackup(o.Key, o.Backup, body)
	case ClassPin:
		err = verifyPin(o.Key, body)
	case ClassFence:
		err = verifyFence(o.Key, body)
	case ClassSegment, ClassPiece, ClassIndex, ClassManifest, ClassPack, ClassNames, ClassReading, ClassExpiry, ClassHold, ClassCensus:
		err = fmt.Errorf("check %s: a %s is no record", o.Key, o.Class)
	}
	return err
}

// canonical reports whether body is what encoding v, which was decoded from it, gives. A field that v does not know makes it true: a later
// version wrote it.
func canonical[T any](body []byte, v *T) bool {
	var again T
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(&again) != nil {
		return true
	}
	text, err := json.Marshal(v)
	return err == nil && bytes.Equal(bytes.TrimSuffix(body, []byte("\n")), text)
}
