package restore

import (
	"hash/crc32"
	"slices"
)

// castagnoli is the polynomial of CRC32C, reflected.
const castagnoli = 0x82f63b78

// part is the checksum of some bytes of a file.
type part struct {
	offset, length int64
	crc            uint32
}

// joinParts returns the CRC32C of the bytes that parts together hold, which
// must follow each other without a hole; false if they do not.
func joinParts(parts []part) (uint32, bool) {
	slices.SortFunc(parts, func(a, b part) int { return int(min(1, max(-1, a.offset-b.offset))) })
	var crc uint32
	var at int64
	for _, p := range parts {
		if p.offset != at {
			return 0, false
		}
		if at == 0 {
			crc = p.crc // most files have one part
		} else {
			crc = joinCRC(crc, p.crc, p.length)
		}
		at += p.length
	}
	return crc, true
}

// joinCRC returns the CRC32C of A followed by B, given that of each and the
// length of B in bytes. Appending a zero bit is a linear map over GF(2); its
// power for all bits of B, found by squaring, is applied to the sum of A
// (the method of crc32_combine in zlib).
func joinCRC(a, b uint32, length int64) uint32 {
	if length <= 0 {
		return a
	}
	var m matrix
	m[0] = castagnoli
	for i := 1; i < 32; i++ {
		m[i] = 1 << (i - 1)
	}
	m = m.square().square().square() // one zero byte
	for ; length > 0; length >>= 1 {
		if length&1 != 0 {
			a = m.times(a)
		}
		m = m.square()
	}
	return a ^ b
}

// matrix is a linear map of 32 bits over GF(2): the images of each bit.
type matrix [32]uint32

func (m *matrix) times(v uint32) uint32 {
	var sum uint32
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= m[i]
		}
	}
	return sum
}

func (m matrix) square() matrix {
	var s matrix
	for i := range m {
		s[i] = m.times(m[i])
	}
	return s
}

// crcTable returns the table of CRC32C, for which the standard library uses
// the processor's instruction.
func crcTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
