package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// KeyError says that an object is encrypted and that the private keys that were given, or none, do not open it. It wraps encryption.ErrNoKey or
// encryption.ErrWrongKey.
type KeyError struct {
	Key storage.Key
	Err error
}

// Error names the object.
func (e *KeyError) Error() string { return fmt.Sprintf("%s is encrypted: %v", e.Key, e.Err) }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// NoKey reports whether no private key was given at all.
func (e *KeyError) NoKey() bool { return errors.Is(e.Err, encryption.ErrNoKey) }

// sealError makes a *KeyError or a *CorruptError of an error of the room encryption.
func sealError(key storage.Key, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, encryption.ErrNoKey), errors.Is(err, encryption.ErrWrongKey):
		return &KeyError{Key: key, Err: err}
	case errors.Is(err, encryption.ErrDamaged):
		return &CorruptError{Key: key, Reason: "encryption", Err: err}
	}
	return err
}

// open opens the object whose age header this is. The error is a *KeyError or a *CorruptError.
func (k *keyring) open(key storage.Key, header []byte, e encryption.Envelope) (encryption.FileKey, error) {
	err := encryption.CheckHeader(header, e)
	var file encryption.FileKey
	if err == nil {
		file, err = k.Identities.Open(header)
	}
	return file, sealError(key, err)
}

// unseal returns the outline and the plain bytes of an encrypted object that is in memory, these in the memory of buffer, or in new memory where that is too small. The error is a *CorruptError, or a *KeyError after all was
// found right that can be told without a key: the outline is right then.
func (k *keyring) unseal(buffer []byte, key storage.Key, stored []byte) (outline, []byte, error) {
	o, err := readOutline(key, stored)
	if err != nil {
		return outline{}, nil, err
	}
	plain, ok := encryption.PlainSize(int64(o.Envelope.Size), int64(len(stored)))
	if !ok || o.Header.Stored != 0 && plain != int64(HeaderSize+o.Header.Stored) {
		return outline{}, nil, &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes, its note says %d", len(stored), o.size())}
	}
	file, err := k.open(key, stored[:o.Envelope.Size], o.Envelope)
	if err != nil {
		return o, nil, err
	}
	r, err := file.Reader(bytes.NewReader(stored))
	if err != nil {
		return o, nil, sealError(key, err)
	}
	b := slices.Grow(buffer[:0], int(plain)+1)[:plain+1] // so that the end is read too
	n, err := io.ReadFull(r, b)
	if !errors.Is(err, io.ErrUnexpectedEOF) || int64(n) != plain {
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %d plain bytes, its length says %d", encryption.ErrDamaged, n, plain)
		}
		return o, nil, sealError(key, err)
	}
	return o, b[:plain], nil
}

// agrees returns a *CorruptError if the outline says other than the header of the object inside.
func (o *outline) agrees(key storage.Key, h Header) error {
	if masked(h) != o.Header {
		return &CorruptError{Key: key, Reason: "note differs from the object in it"}
	}
	return nil
}

// checkOutline compares the outline of a WAL object with its key and size. The error is a *CorruptError.
func (c *Cluster) checkOutline(e Entry, o *outline) error {
	stored := e.Stored
	e.Stored = 0
	if err := c.matches(e, &o.Header); err != nil {
		return err
	}
	if stored != 0 && stored != o.size() {
		return &CorruptError{Key: e.Key, Reason: fmt.Sprintf("%d bytes, its note says %d", stored, o.size())}
	}
	return nil
}

// readOutline reads the outline of a WAL object with one ranged GET.
func (c *Cluster) readOutline(ctx context.Context, store storage.Store, e Entry) (outline, error) {
	prefix, err := storage.ReadSpan(ctx, store, e.Key, storage.Span{Offset: 0, Length: int64(encryption.PrefixSize)})
	if err != nil {
		return outline{}, fmt.Errorf("read header: %w", c.readError(e.Key, err))
	}
	o, err := readOutline(e.Key, prefix)
	if err != nil {
		return outline{}, err
	}
	return o, c.checkOutline(e, &o)
}

// unsealWAL opens a WAL object that is in memory.
func (c *Cluster) unsealWAL(e Entry, stored []byte, s *scratch) (Header, []byte, error) {
	e.Stored = int64(len(stored))
	o, inner, err := c.ring().unseal(s.inner, e.Key, stored)
	var locked *KeyError
	if err != nil && !errors.As(err, &locked) {
		return Header{}, nil, err
	}
	if mismatch := c.checkOutline(e, &o); mismatch != nil {
		return Header{}, nil, mismatch
	}
	if err != nil {
		return o.Header, nil, err
	}
	s.inner = inner
	e.Stored = int64(len(inner))
	h, err := c.checkHeader(e, inner)
	if err == nil {
		err = o.agrees(e.Key, h)
	}
	if err != nil {
		return Header{}, nil, err
	}
	plain, err := decodePayloadInto(s.plain, e.Key, &h, inner[HeaderSize:])
	if err == nil {
		s.plain = plain
	}
	return h, plain, err
}

// CanOpen returns nil if the WAL object can be opened with the keys that were given, or is not encrypted, having read no more than its header. The error is a
// *KeyError otherwise; ErrNoWAL if the object is gone, or a *CorruptError.
func (c *Cluster) CanOpen(ctx context.Context, e Entry) error {
	if !isSealed(e.Key) {
		return nil
	}
	_, err := verified(ctx, c.store, e.Key, func(ctx context.Context, store storage.Store) (struct{}, error) {
		o, err := c.readOutline(ctx, store, e)
		if err != nil {
			return struct{}{}, err
		}
		header, err := storage.ReadSpan(ctx, store, e.Key, storage.Span{Offset: 0, Length: int64(o.Envelope.Size)})
		if err != nil {
			return struct{}{}, fmt.Errorf("read header: %w", c.readError(e.Key, err))
		}
		_, err = c.ring().open(e.Key, header, o.Envelope)
		return struct{}{}, err
	})
	return err
}

// CanOpenBackup returns nil if the backup can be opened with the keys that were given, or is not encrypted, having read no more than the ends of its index. The
// error is a *KeyError otherwise, or a *CorruptError.
func (c *Cluster) CanOpenBackup(ctx context.Context, b Backup) error {
	if !b.Sealed() {
		return nil
	}
	r := c.backupReader(b)
	key := r.prefix + b.name(indexName)
	_, err := verified(ctx, c.store, key, func(ctx context.Context, store storage.Store) (*sealedObject, error) {
		return r.parts.object(ctx, store, key, b.Index.Size)
	})
	if err != nil {
		return fmt.Errorf("backup %s: %w", b.ID, err)
	}
	return nil
}

// Sealed reports whether the object is encrypted.
func (e Entry) Sealed() bool { return isSealed(e.Key) }

// checkSealedStream is checkStream for an encrypted object. Without a key that opens it the error is a *KeyError; what its note says of it is right then, and is
// returned.
func (c *Cluster) checkSealedStream(e Entry, body io.Reader) (Header, error) {
	prefix := make([]byte, encryption.PrefixSize)
	if _, err := io.ReadFull(body, prefix); err != nil {
		return Header{}, packReadError(e.Key, err)
	}
	o, err := readOutline(e.Key, prefix)
	if err == nil {
		err = c.checkOutline(e, &o)
	}
	if err != nil {
		return Header{}, err
	}
	header := append(prefix, make([]byte, o.Envelope.Size-len(prefix))...)
	if _, err := io.ReadFull(body, header[len(prefix):]); err != nil {
		return Header{}, packReadError(e.Key, err)
	}
	file, err := c.ring().open(e.Key, header, o.Envelope)
	if err != nil {
		return o.Header, err
	}
	plain, err := file.Reader(io.MultiReader(bytes.NewReader(header), body))
	if err != nil {
		return Header{}, sealError(e.Key, err)
	}
	e.Stored = 0
	h, err := c.checkPlainStream(e, plain)
	if err == nil {
		err = o.agrees(e.Key, h)
	}
	return h, sealError(e.Key, err)
}

// Proof compares bytes with those of an archived object, as they come and without holding them.
type Proof struct {
	entry Entry
	want  Sum
	hash  interface {
		io.Writer
		Sum(b []byte) []byte
	}
}

// NewProof returns what compares plain bytes with those of e. The error is a *KeyError if e has no proof, or one of a key that was not given; ErrNoWAL if
// the object is gone, or a *CorruptError.
func (c *Cluster) NewProof(ctx context.Context, e Entry) (*Proof, error) {
	o, err := verified(ctx, c.store, e.Key, func(ctx context.Context, store storage.Store) (outline, error) {
		return c.readOutline(ctx, store, e)
	})
	if err != nil {
		return nil, fmt.Errorf("read WAL %s: %w", e.Range, err)
	}
	key, ok := c.ring().Proofs.Find(o.ProofID)
	if !ok {
		return nil, &KeyError{Key: e.Key, Err: ErrNoProof}
	}
	return &Proof{entry: e, want: o.Proof, hash: key.Hash()}, nil
}

// ErrNoProof means that bytes cannot be compared with an encrypted object: neither a private key was given that opens it, nor the proof key that it was written with.
var ErrNoProof = fmt.Errorf("%w, nor the proof key that it was written with", encryption.ErrNoKey)

// Write takes the next bytes from the start of the object's range on. It never fails.
func (p *Proof) Write(b []byte) (int, error) { return p.hash.Write(b) }

// Check returns a *ConflictError if the bytes that were written, which must be all of the range, are others than those of the object.
func (p *Proof) Check() error {
	if Sum(p.hash.Sum(nil)) != p.want {
		return &ConflictError{Key: p.entry.Key, Range: p.entry.Range}
	}
	return nil
}

// Entry returns the object.
func (p *Proof) Entry() Entry { return p.entry }

// Locked reports whether the content of e is encrypted and cannot be opened here, because no private key was given at all.
func (c *Cluster) Locked(e Entry) bool { return isSealed(e.Key) && c.ring().Identities.Empty() }

// sealedObject is an encrypted object of a backup that parts are read of.
type sealedObject struct {
	outline    outline
	size       int64 // as stored
	header     int64 // length of the age header
	plain      int64 // length of the object inside
	key        encryption.FileKey
	head, tail []byte // header and nonce; last chunk
}

// sealedParts reads parts of encrypted objects. It is safe for concurrent use.
type sealedParts struct {
	keys *keyring

	mu     sync.Mutex
	opened map[storage.Key]*sealedObject
	order  []storage.Key // of these, as they were opened
}

// openedKept bounds the objects that are remembered as opened, some 66 KB each: more than are read at one time, and few of all packs of a large backup.
const openedKept = 128

// sealedLead is how much of an object is read at once to find its header: enough for some twenty recipients.
const sealedLead = 4 << 10

// read returns the plain bytes of a span of the object inside of one that is size bytes long. The first time it costs two small readings more. The error
// is a *KeyError, a *CorruptError, or that of the store.
func (s *sealedParts) read(ctx context.Context, store storage.Store, key storage.Key, size int64, span storage.Span) ([]byte, error) {
	o, err := s.object(ctx, store, key, size)
	if err != nil {
		return nil, err
	}
	if _, err := span.Resolve(o.plain); err != nil || span.Length < 0 {
		return nil, &CorruptError{Key: key, Reason: "not as long as the index and record say", Err: err}
	}
	if span.Length == 0 {
		return nil, nil
	}
	from, to := encryption.Chunks(o.header, size, span.Offset, span.Offset+span.Length)
	chunks, err := storage.ReadSpan(ctx, store, key, storage.Span{Offset: from, Length: to - from})
	if err != nil {
		return nil, err
	}
	known := append(o.stretches(), stretch{from, chunks})
	r, _, err := o.key.ReaderAt(known, size)
	if err != nil {
		return nil, sealError(key, err)
	}
	plain := make([]byte, span.Length)
	if _, err := r.ReadAt(plain, span.Offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, &CorruptError{Key: key, Reason: "encryption", Err: err}
	}
	return plain, nil
}

// object opens an object, once as long as few others are opened after it.
func (s *sealedParts) object(ctx context.Context, store storage.Store, key storage.Key, size int64) (*sealedObject, error) {
	s.mu.Lock()
	o := s.opened[key]
	s.mu.Unlock()
	if o != nil && o.size == size {
		return o, nil
	}
	o, err := s.open(ctx, store, key, size)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		s.opened = map[storage.Key]*sealedObject{}
	}
	if s.opened[key] == nil {
		s.order = append(s.order, key)
	}
	s.opened[key] = o
	if len(s.order) > openedKept { // that is opened again if need be
		delete(s.opened, s.order[0])
		s.order = s.order[1:]
	}
	return o, nil
}

func (s *sealedParts) open(ctx context.Context, store storage.Store, key storage.Key, size int64) (*sealedObject, error) {
	lead, err := storage.ReadSpan(ctx, store, key, storage.Span{Offset: 0, Length: min(size, sealedLead)})
	if err != nil {
		return nil, err
	}
	line, err := readOutline(key, lead)
	if err != nil {
		return nil, err
	}
	o := &sealedObject{outline: line, size: size, header: int64(line.Envelope.Size)}
	var ok bool
	if o.plain, ok = encryption.PlainSize(o.header, size); !ok {
		return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes, which nothing encrypted is long", size)}
	}
	if end := encryption.Lead(o.header); end > int64(len(lead)) {
		more, err := storage.ReadSpan(ctx, store, key, storage.Span{Offset: int64(len(lead)), Length: end - int64(len(lead))})
		if err != nil {
			return nil, err
		}
		lead = append(lead, more...)
	}
	o.head = bytes.Clone(lead[:encryption.Lead(o.header)])
	if o.key, err = s.keys.open(key, o.head[:o.header], line.Envelope); err != nil {
		return nil, err
	}
	last := encryption.LastChunk(o.header, size)
	if o.tail, err = storage.ReadSpan(ctx, store, key, storage.Span{Offset: last, Length: size - last}); err != nil {
		return nil, err
	}
	_, n, err := o.key.ReaderAt(o.stretches(), size)
	if err == nil && n != o.plain {
		err = encryption.ErrDamaged
	}
	return o, sealError(key, err)
}

func (o *sealedObject) stretches() stretches {
	return stretches{{0, o.head}, {encryption.LastChunk(o.header, o.size), o.tail}}
}

// stretches are parts of an object that are in memory.
type stretches []stretch

type stretch struct {
	at    int64
	bytes []byte
}

var errNotRead = errors.New("a part that was not read")

// ReadAt implements io.ReaderAt for what is there.
func (s stretches) ReadAt(p []byte, at int64) (int, error) {
	for _, one := range s {
		if at < one.at || at >= one.at+int64(len(one.bytes)) {
			continue
		}
		n := copy(p, one.bytes[at-one.at:])
		if n < len(p) {
			return n, errNotRead
		}
		return n, nil
	}
	return 0, errNotRead
}

// sealedLimit is how long a WAL object of a range may be when it is encrypted.
func sealedLimit(r wal.Range) int64 {
	return encryption.SealedSize(encryption.MaxHeader, int64(HeaderSize)+maxStored(int64(r.Len())))
}
