package encryption

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// ProofSize is the length of a proof key in bytes.
const ProofSize = sha256.Size

// ProofKey makes proofs: whoever holds it can tell whether bytes that he has are those that were sealed, and can open nothing. Without it, a proof tells
// nothing, not even whether a guess at the bytes is right.
type ProofKey struct{ key [ProofSize]byte }

// ProofKeys are proof keys: the first one makes new proofs, each can check its own.
type ProofKeys []ProofKey

// ParseProofKeys reads proof keys, 64 hex digits on each line; empty lines and those that begin with # are passed over. No error holds any of them.
func ParseProofKeys(text []byte) (ProofKeys, error) {
	var keys ProofKeys
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil || len(b) != ProofSize {
			return nil, fmt.Errorf("line %d is no proof key: want %d hex digits", n, 2*ProofSize)
		}
		keys = append(keys, ProofKey{[ProofSize]byte(b)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read proof keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no proof key: want a line of %d hex digits", 2*ProofSize)
	}
	return keys, nil
}

// ID names the key; it says nothing of it. It is never zero.
func (k ProofKey) ID() [8]byte {
	h := hmac.New(sha256.New, k.key[:])
	h.Write([]byte("pgark proof key"))
	id := [8]byte(h.Sum(nil)[:8])
	id[0] |= 1
	return id
}

// Hash returns a hash whose sum of the plain bytes is their proof: HMAC-SHA-256.
func (k ProofKey) Hash() hash.Hash { return hmac.New(sha256.New, k.key[:]) }

// Find returns the key that has this ID.
func (k ProofKeys) Find(id [8]byte) (ProofKey, bool) {
	for _, one := range k {
		if one.ID() == id {
			return one, true
		}
	}
	return ProofKey{}, false
}
