package repository

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

// EncodedWAL is a WAL object that was encoded, decoded again and found equal.
type EncodedWAL struct {
	Key    storage.Key
	Header Header
	Body   []byte // the whole object; it belongs to the holder of the EncodedWAL

	proofID [8]byte
	proof   Sum
	inner   []byte // what Body is the encryption of, where that may be compared
}

// WALEncoder makes WAL objects from plain bytes, one after the other. Each frame is decoded again and
// compared with its plain bytes as soon as it is made, so the plain bytes need not be kept. It holds one
// frame of plain bytes, an encoder and a decoder. It is not safe for concurrent use: each worker has its own.
type WALEncoder struct {
	codec   compression.Codec
	encoder compression.FrameEncoder
	decoder compression.FrameDecoder
	hash    hash.Hash // of the stored bytes
	proofID [8]byte
	proof   hash.Hash // of the plain bytes, under the proof key; nil without one
	crc     uint32    // of the plain bytes
	frame   []byte    // plain bytes that are no frame yet
	check   []byte    // what was decoded again
	body    []byte
	plain   uint64
	err     error
}

var errSelfCheck = errors.New("encoded WAL decodes to other bytes: memory or codec is faulty")

// NewWALEncoder returns an encoder that is ready for the first object.
func NewWALEncoder(codec compression.Codec) *WALEncoder {
	e := &WALEncoder{
		codec:   codec,
		encoder: codec.NewEncoder(),
		decoder: codec.NewDecoder(),
		hash:    sha256.New(),
	}
	e.Reset(nil)
	return e
}

// Reset drops what was written and begins a new object. Its body will use buf's memory as far as that goes.
func (e *WALEncoder) Reset(buf []byte) {
	e.hash.Reset()
	if e.proof != nil {
		e.proof.Reset()
	}
	e.frame, e.plain, e.crc, e.err = e.frame[:0], 0, 0, nil
	e.body = append(buf[:0], make([]byte, HeaderSize)...)
}

// Write takes the next plain bytes of the object, any number of them. It keeps nothing of p. After an error the
// object is lost and Reset begins the next.
func (e *WALEncoder) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 && e.err == nil {
		if len(e.frame) == 0 && len(p) >= frameSize {
			e.encode(p[:frameSize]) // no copy
			p = p[frameSize:]
			continue
		}
		n := min(len(p), frameSize-len(e.frame))
		e.frame, p = append(e.frame, p[:n]...), p[n:]
		if len(e.frame) == frameSize {
			e.encode(e.frame)
			e.frame = e.frame[:0]
		}
	}
	if e.err != nil {
		return 0, e.err
	}
	return written, nil
}

// encode appends one frame and checks it.
func (e *WALEncoder) encode(plain []byte) {
	e.crc = crc32.Update(e.crc, castagnoli(), plain)
	e.plain += uint64(len(plain))
	if e.proof != nil {
		e.proof.Write(plain)
	}
	from := len(e.body)
	e.body = e.encoder.EncodeFrame(e.body, plain)
	e.hash.Write(e.body[from:])
	again, err := e.decoder.DecodeFrame(e.check[:0], e.body[from:], len(plain))
	switch {
	case err != nil:
		e.err = fmt.Errorf("%w: %w", errSelfCheck, err)
	case !bytes.Equal(again, plain):
		e.err = errSelfCheck
	default:
		e.check = again
	}
}

// Finish completes the object that o describes; its kind is KindSegment or KindPiece. It refuses o if the bytes
// written are not as many as the range has. Then the encoder is ready for the next object, as after Reset(nil).
func (e *WALEncoder) Finish(o WALObject) (*EncodedWAL, error) {
	if len(e.frame) > 0 && e.err == nil {
		e.encode(e.frame)
	}
	defer e.Reset(nil)
	if e.err != nil {
		return nil, fmt.Errorf("encode WAL %s: %w", o.Range, e.err)
	}
	h := Header{WALObject: o, CRC32C: e.crc, Plain: e.plain, Stored: uint64(len(e.body) - HeaderSize)}
	e.hash.Sum(h.SHA256[:0])
	if o.Kind != KindSegment && o.Kind != KindPiece {
		return nil, fmt.Errorf("encode WAL %s: %w: %s", o.Range, errHeaderField, o.Kind)
	}
	head, err := h.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode WAL %s: %w", o.Range, err)
	}
	copy(e.body, head)
	var again Header
	if err := again.UnmarshalBinary(e.body); err != nil || again != h {
		return nil, fmt.Errorf("encode WAL %s: %w", o.Range, errors.Join(errSelfCheck, err))
	}
	encoded := &EncodedWAL{Key: walKey(o, e.codec), Header: h, Body: e.body, proofID: e.proofID}
	if e.proof != nil {
		e.proof.Sum(encoded.proof[:0])
	}
	return encoded, nil
}

// Encode makes the object o of its plain bytes: Write and Finish in one.
func (e *WALEncoder) Encode(o WALObject, plain []byte) (*EncodedWAL, error) {
	_, _ = e.Write(plain) // Finish tells
	return e.Finish(o)
}
