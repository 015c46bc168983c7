package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// listAgain is how often a listing is made again because an object in it was gone when it was read: a complete segment
// replaced its pieces meanwhile.
const listAgain = 3

// ReadHeader reads and checks the header of a WAL object with one ranged GET. If e comes from a listing, its size is
// checked too. The error is ErrNoWAL if the object is gone, or a *CorruptError. Of an encrypted object it is what the note says, without checksums of the content; no key
// is needed.
func (c *Cluster) ReadHeader(ctx context.Context, e Entry) (Header, error) {
	return verified(ctx, c.store, e.Key, func(ctx context.Context, store storage.Store) (Header, error) {
		if isSealed(e.Key) {
			o, err := c.readOutline(ctx, store, e)
			return o.Header, err
		}
		b, err := storage.ReadSpan(ctx, store, e.Key, storage.Span{Offset: 0, Length: HeaderSize})
		if err != nil {
			return Header{}, fmt.Errorf("read header: %w", c.readError(e.Key, err))
		}
		return c.checkHeader(e, b)
	})
}

// readError makes ErrNoWAL of a missing object and a *CorruptError of one that is shorter than a header.
func (c *Cluster) readError(key storage.Key, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrNoWAL, err)
	case errors.Is(err, storage.ErrSpan), errors.Is(err, storage.ErrTooLarge):
		return &CorruptError{Key: key, Reason: "size", Err: err}
	}
	return err
}

// checkHeader decodes the header at the start of b and checks it against the object's key and size.
func (c *Cluster) checkHeader(e Entry, b []byte) (Header, error) {
	var h Header
	if err := h.UnmarshalBinary(b); err != nil {
		return Header{}, &CorruptError{Key: e.Key, Reason: "header", Err: err}
	}
	if err := c.matches(e, &h); err != nil {
		return Header{}, err
	}
	return h, nil
}

// matches returns a *CorruptError if h says another thing than the key and size of e.
func (c *Cluster) matches(e Entry, h *Header) error {
	var reason string
	switch {
	case h.SystemID != c.id:
		reason = fmt.Sprintf("header says system identifier %s", h.SystemID)
	case h.Timeline != e.Timeline:
		reason = fmt.Sprintf("header says timeline %s", h.Timeline)
	case h.Kind != e.Kind:
		reason = fmt.Sprintf("header says %s", h.Kind)
	case h.Range != e.Range:
		reason = fmt.Sprintf("header says range %s", h.Range)
	case e.Stored != 0 && uint64(e.Stored) != HeaderSize+h.Stored:
		reason = fmt.Sprintf("%d bytes, header says %d", e.Stored, HeaderSize+h.Stored)
	default:
		return nil
	}
	return &CorruptError{Key: e.Key, Reason: reason}
}

// ReadWAL reads a WAL object and returns its plain bytes, all of them verified: header against key, lengths, checksums. The
// error is ErrNoWAL if the object is gone, a *CorruptError, or a *KeyError.
func (c *Cluster) ReadWAL(ctx context.Context, e Entry) ([]byte, error) {
	_, plain, err := c.readObject(ctx, e, nil)
	if err != nil {
		return nil, fmt.Errorf("read WAL %s: %w", e.Range, err)
	}
	return plain, nil
}

// scratch is what one reader of object after object uses again.
type scratch struct{ stored, inner, plain []byte }

// readObject reads and verifies one object. The plain bytes lie in s, if that is not nil, until it is used again.
func (c *Cluster) readObject(ctx context.Context, e Entry, s *scratch) (Header, []byte, error) {
	if s == nil {
		s = new(scratch)
	}
	type object struct {
		header Header
		plain  []byte
	}
	limit := int64(HeaderSize) + maxStored(int64(e.Range.Len()))
	if isSealed(e.Key) {
		limit = sealedLimit(e.Range)
	}
	o, err := verified(ctx, c.store, e.Key, func(ctx context.Context, store storage.Store) (object, error) {
		body, err := storage.ReadAllInto(ctx, s.stored, store, e.Key, limit)
		if err != nil {
			return object{}, c.readError(e.Key, err)
		}
		s.stored = body
		if isSealed(e.Key) {
			h, plain, err := c.unsealWAL(e, body, s)
			return object{h, plain}, err
		}
		h, err := c.checkHeader(e, body)
		if err != nil {
			return object{}, err
		}
		plain, err := decodePayloadInto(s.plain, e.Key, &h, body[HeaderSize:])
		if err == nil {
			s.plain = plain
		}
		return object{h, plain}, err
	})
	return o.header, o.plain, err
}

// decodePayload decodes what follows the header h. Lengths and checksums are verified, the SHA-256 before a decoder sees a byte. The error is a
// *CorruptError.
func decodePayload(key storage.Key, h *Header, stored []byte) ([]byte, error) {
	return decodePayloadInto(nil, key, h, stored)
}

// decodePayloadInto is decodePayload into the memory of buffer, or into new memory where that is too small.
func decodePayloadInto(buffer []byte, key storage.Key, h *Header, stored []byte) ([]byte, error) {
	if uint64(len(stored)) != h.Stored {
		return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes after the header, which says %d", len(stored), h.Stored)}
	}
	if sha256.Sum256(stored) != h.SHA256 {
		return nil, &CorruptError{Key: key, Reason: "SHA-256 of the stored bytes differs"}
	}
	codec, err := codecOf(key)
	if err != nil {
		return nil, &CorruptError{Key: key, Reason: "suffix", Err: err}
	}
	plain, err := codec.NewDecoder().DecodeFrame(buffer[:0], stored, int(h.Plain))
	switch {
	case err != nil:
		return nil, &CorruptError{Key: key, Reason: "content", Err: err}
	case uint64(len(plain)) != h.Plain:
		return nil, &CorruptError{Key: key, Reason: fmt.Sprintf("%d plain bytes, header says %d", len(plain), h.Plain), Err: io.ErrUnexpectedEOF}
	case crc32.Checksum(plain, castagnoli()) != h.CRC32C:
		return nil, &CorruptError{Key: key, Reason: "CRC32C of the plain bytes differs"}
	}
	return plain, nil
}

// ReadSegment returns the plain bytes of a segment from its start: all of them if the complete segment is there, otherwise
// what its pieces hold without a hole. Every byte is verified. The caller pads what PostgreSQL is to see as a whole file.
// The error is ErrNoWAL only if the repository was reached and proves that it holds nothing of the segment's start, and a
// *ConflictError if two pieces differ in a byte that both hold: never are the bytes of two histories mixed.
func (c *Cluster) ReadSegment(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) ([]byte, error) {
	return new(SegmentReader).Read(ctx, c, size, seg)
}

// SegmentReader reads segment after segment into the same memory, which for 16 MiB takes longer to get than to fill. It is for one goroutine; its
// zero value is ready.
type SegmentReader struct{ scratch scratch }

// Read is Cluster.ReadSegment. The bytes are valid until the next call.
func (r *SegmentReader) Read(ctx context.Context, c *Cluster, size wal.SegmentSize, seg wal.SegmentID) ([]byte, error) {
	plain, err := c.readSegment(ctx, size, seg, &r.scratch)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", size.FileName(seg), err)
	}
	return plain, nil
}

func (c *Cluster) readSegment(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID, s *scratch) ([]byte, error) {
	// By far the most common case costs one request.
	complete := c.completeSegment(size, seg)
	_, plain, err := c.readObject(ctx, complete, s)
	for range listAgain {
		if !errors.Is(err, ErrNoWAL) {
			break
		}
		var group []Entry
		group, err = c.listSegment(ctx, size, seg)
		if err != nil {
			return nil, err
		}
		if len(group) == 0 {
			return nil, ErrNoWAL // proved by a listing
		}
		chosen := Assemble(complete.Range.Start, group)
		if len(chosen) == 0 {
			return nil, &CorruptError{Key: group[0].Key, Reason: "nothing holds the start of its segment"}
		}
		if group[0].Kind == KindPiece && overlapping(group) {
			// What one writer puts follows each other; where two wrote, they must agree.
			plain, err = c.readAgreeing(ctx, group)
			continue
		}
		plain, err = c.readChosen(ctx, chosen)
	}
	if errors.Is(err, ErrNoWAL) { // no proof of absence: it was listed
		return nil, &CorruptError{Key: complete.Key, Reason: "objects of the segment vanish while they are read"}
	}
	return plain, err
}

// completeSegment returns the entry of a complete segment as writers name it by default, those that encrypt where there are keys.
func (c *Cluster) completeSegment(size wal.SegmentSize, seg wal.SegmentID) Entry {
	e := Entry{
		Key:  segmentPrefix(c.id, size, seg) + storage.Key(compression.Zstd().Suffix()[1:]),
		Kind: KindSegment, Timeline: seg.Timeline, Range: size.Range(seg.Number),
	}
	if k := c.ring(); !k.Identities.Empty() || !k.Recipients.Empty() {
		e.Key += sealSuffix
	}
	return e
}

// SegmentSummary returns what the objects that ReadSegment would read say of the segment's transactions, and the end of the bytes that it
// would return, with one ranged GET if the complete segment is there. The error is ErrNoWAL as for ReadSegment, or a *CorruptError.
func (c *Cluster) SegmentSummary(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) (s Summary, end wal.LSN, err error) {
	var h Header
	h, err = c.ReadHeader(ctx, c.completeSegment(size, seg))
	s, end = h.Summary, h.Range.End
	for range listAgain {
		if !errors.Is(err, ErrNoWAL) {
			break
		}
		s, end, err = c.listedSummary(ctx, size, seg)
		if end == 0 && errors.Is(err, ErrNoWAL) {
			return s, end, fmt.Errorf("look at segment %s: %w", size.FileName(seg), err) // proved by a listing
		}
	}
	if errors.Is(err, ErrNoWAL) {
		err = &CorruptError{Key: segmentPrefix(c.id, size, seg), Reason: "objects of the segment vanish while they are read"}
	}
	if err != nil {
		return Summary{}, 0, fmt.Errorf("look at segment %s: %w", size.FileName(seg), err)
	}
	return s, end, nil
}

// listedSummary is SegmentSummary by a listing. end is 0 only where nothing was listed, or not at the segment's start.
func (c *Cluster) listedSummary(ctx context.Context, size wal.SegmentSize, seg wal.SegmentID) (Summary, wal.LSN, error) {
	group, err := c.listSegment(ctx, size, seg)
	if err != nil {
		return Summary{}, 0, err
	}
	if len(group) == 0 {
		return Summary{}, 0, ErrNoWAL
	}
	chosen := Assemble(size.Start(seg.Number), group)
	if len(chosen) == 0 {
		return Summary{}, 0, &CorruptError{Key: group[0].Key, Reason: "nothing holds the start of its segment"}
	}
	s, err := c.Summaries(ctx, chosen)
	return s, chosen[len(chosen)-1].Range.End, err
}

// Summaries adds up what the headers of objects that follow each other say. The errors are those of ReadHeader.
func (c *Cluster) Summaries(ctx context.Context, objects []Entry) (Summary, error) {
	all := make([]Summary, len(objects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tallyAtOnce)
	for i, e := range objects {
		g.Go(func() error {
			h, err := c.ReadHeader(ctx, e)
			all[i] = h.Summary
			return err
		})
	}
	err := g.Wait()
	var s Summary
	for _, one := range all {
		s = s.Then(one)
	}
	return s, err
}

// readChosen reads what Assemble returned.
func (c *Cluster) readChosen(ctx context.Context, chosen []Entry) ([]byte, error) {
	if len(chosen) == 1 {
		_, plain, err := c.readObject(ctx, chosen[0], nil)
		return plain, err
	}
	start := chosen[0].Range.Start
	plain := make([]byte, 0, chosen[len(chosen)-1].Range.End-start)
	err := c.inOrder(ctx, chosen, func(e Entry, p []byte) error {
		have := start + wal.LSN(len(plain))
		plain = append(plain, p[have-e.Range.Start:]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return plain, nil
}

// Assemble chooses of objects, ordered as ListWAL yields them, those that together hold the bytes of one timeline from the
// LSN from on as far as there is no hole: at each position the one that reaches furthest, and of two alike the first. The chosen
// may overlap; a later one's bytes count only past the end of the one before. It returns nothing if none holds the byte at
// from. It is pure.
func Assemble(from wal.LSN, objects []Entry) []Entry {
	var chosen []Entry
	for {
		best := -1
		for i, e := range objects {
			if e.Range.Contains(from) && (best < 0 || e.Range.End > objects[best].Range.End) {
				best = i
			}
			// A complete segment stands before pieces that begin with it or after it.
			if e.Range.Start > from {
				break
			}
		}
		if best < 0 {
			return chosen
		}
		chosen = append(chosen, objects[best])
		from = objects[best].Range.End
		// What was passed over ends no later: it is not needed again.
		objects = objects[best+1:]
	}
}
