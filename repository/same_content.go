package repository

import (
	"bytes"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
)

// SameContent returns what reports whether two objects under one key have the same content: WAL whose plain bytes are equal, whatever encoded it, and
// two records of one gap, whenever and by whom it was seen. Of any other object that differs in its bytes it says false. Encrypted WAL is compared by its proofs, or
// opened with the private keys in k.
func SameContent(k encryption.Keys) func(key storage.Key, a, b []byte) bool {
	ring := &keyring{Keys: k}
	return func(key storage.Key, a, b []byte) bool {
		if _, _, isGap := parseGapKey(key); isGap {
			return verifyGap(key, a) == nil && verifyGap(key, b) == nil
		}
		if isSealed(key) {
			same, err := ring.sameSealed(key, a, b)
			return same && err == nil
		}
		return sameWhole(key, a, b)
	}
}

// sameWhole compares the plain bytes of two WAL objects.
func sameWhole(key storage.Key, a, b []byte) bool {
	plainA, headerA, err := decodeWhole(key, a)
	if err != nil {
		return false
	}
	plainB, headerB, err := decodeWhole(key, b)
	return err == nil && bytes.Equal(plainA, plainB) && headerA.Range == headerB.Range && headerA.SegmentSize == headerB.SegmentSize &&
		headerA.Timeline == headerB.Timeline && headerA.SystemID == headerB.SystemID && headerA.Kind == headerB.Kind
}

// decodeWhole decodes a WAL object that is in memory.
func decodeWhole(key storage.Key, body []byte) ([]byte, Header, error) {
	var h Header
	if err := h.UnmarshalBinary(body); err != nil {
		return nil, h, &CorruptError{Key: key, Reason: "header", Err: err}
	}
	if h.Kind != KindSegment && h.Kind != KindPiece {
		return nil, h, &CorruptError{Key: key, Reason: "no WAL"}
	}
	plain, err := decodePayload(key, &h, body[HeaderSize:])
	return plain, h, err
}
