package repository

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
)

// sealSuffix stands behind the names of encrypted objects. Never changed.
const sealSuffix = ".age"

func isSealed(key storage.Key) bool { return strings.HasSuffix(string(key), sealSuffix) }

// codecOf returns the codec that the name of an object ends in.
func codecOf(key storage.Key) (compression.Codec, error) {
	return compression.BySuffix(strings.TrimSuffix(string(key), sealSuffix))
}

// outline is the note of an encrypted object, FORMAT.md section 16.2: what can be told of it without a key.
type outline struct {
	// Header is the object's own, without its checksums of the content; zero for the names of a drill.
	Header   Header
	ProofID  [8]byte
	Proof    Sum
	Envelope encryption.Envelope
}

// size returns how long the object is when it is stored, if its header says how long it is inside.
func (o *outline) size() int64 {
	return encryption.SealedSize(int64(o.Envelope.Size), int64(HeaderSize+o.Header.Stored))
}

// masked returns h as an outline may show it: a checksum of the content would tell who guesses the content that he is right.
func masked(h Header) Header {
	h.SHA256, h.CRC32C = Sum{}, 0
	return h
}

// note returns the bytes of the outline for the header that they stand in. The object's header was found valid before.
func (o *outline) note(e encryption.Envelope) (note [encryption.NoteSize]byte) {
	if h := masked(o.Header); h != (Header{}) {
		b, err := h.MarshalBinary()
		if err != nil {
			panic(fmt.Sprintf("outline of an invalid header: %v", err))
		}
		copy(note[:], b)
	}
	copy(note[HeaderSize:], o.ProofID[:])
	copy(note[184:], o.Proof[:])
	binary.LittleEndian.PutUint32(note[216:], uint32(e.Size))
	copy(note[220:], e.Digest[:])
	binary.LittleEndian.PutUint32(note[228:], crc32.Checksum(note[:228], castagnoli()))
	return note
}

var (
	errOutlineCRC   = errors.New("note's checksum differs")
	errOutlineField = errors.New("field of a note out of range")
)

// parseOutline reads the bytes of a note and validates it.
func parseOutline(note [encryption.NoteSize]byte) (outline, error) {
	le := binary.LittleEndian
	if le.Uint32(note[228:]) != crc32.Checksum(note[:228], castagnoli()) {
		return outline{}, errOutlineCRC
	}
	var o outline
	if !bytes.Equal(note[:HeaderSize], make([]byte, HeaderSize)) {
		if err := o.Header.UnmarshalBinary(note[:HeaderSize]); err != nil {
			return outline{}, err
		}
	}
	copy(o.ProofID[:], note[HeaderSize:])
	copy(o.Proof[:], note[184:])
	size := le.Uint32(note[216:])
	copy(o.Envelope.Digest[:], note[220:])
	switch {
	case masked(o.Header) != o.Header:
		return outline{}, fmt.Errorf("%w: a checksum of the content", errOutlineField)
	case size > encryption.MaxHeader || int(size) < encryption.PrefixSize:
		return outline{}, fmt.Errorf("%w: header of %d bytes", errOutlineField, size)
	case (o.ProofID == [8]byte{}) != (o.Proof == Sum{}):
		return outline{}, fmt.Errorf("%w: a proof without its key, or a key without its proof", errOutlineField)
	}
	o.Envelope.Size = int(size)
	return o, nil
}

// readOutline reads the outline in the first encryption.PrefixSize bytes of an encrypted object. The error is a *CorruptError.
func readOutline(key storage.Key, prefix []byte) (outline, error) {
	note, err := encryption.ReadNote(prefix)
	if err == nil {
		var o outline
		if o, err = parseOutline(note); err == nil {
			return o, nil
		}
	}
	return outline{}, &CorruptError{Key: key, Reason: "note", Err: err}
}
