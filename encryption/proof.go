package encryption

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/blake2b"
)

// ProofSize is the length of a proof key in bytes.
const ProofSize = blake2b.Size256

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
	h := k.Hash()
	h.Write([]byte("pgark proof key"))
	id := [8]byte(h.Sum(nil)[:8])
	id[0] |= 1
	return id
}

// Hash returns a hash whose sum of the plain bytes is their proof: BLAKE2b under the key, which RFC 7693 has as a MAC, and takes half the time of HMAC-SHA-256.
func (k ProofKey) Hash() hash.Hash {
	h, err := blake2b.New256(k.key[:])
	if err != nil {
		panic(err) // of a key longer than 64 bytes
	}
	return h
}

// Find returns the key that has this ID.
func (k ProofKeys) Find(id [8]byte) (ProofKey, bool) {
	for _, one := range k {
		if one.ID() == id {
			return one, true
		}
	}
	return ProofKey{}, false
}
