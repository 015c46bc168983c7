package backup

import "hash/crc32"

// castagnoli is the polynomial of CRC32C, bits reversed, as hash/crc32 has it.
const castagnoli = crc32.Castagnoli

// combiner joins the CRC32C of two pieces to that of the pieces put together, so that workers can sum
// the pieces of one file apart. It works in the ring of polynomials over GF(2) modulo the CRC's (the
// way of zlib's crc32_combine): appending n bytes multiplies by x^8n.
type combiner struct {
	// powers holds x^(2^k) for each k.
	powers [64]uint32
}

func newCombiner() *combiner {
	c := &combiner{}
	p := uint32(1) << 30 // x; the highest bit is x^0
	for k := range c.powers {
		c.powers[k] = p
		p = multiply(p, p)
	}
	return c
}

// combine returns the checksum of a followed by b, where n is the length of b in bytes, at most 2^60.
func (c *combiner) combine(a, b uint32, n int64) uint32 {
	shift := uint32(1) << 31 // x^0
	for k := 3; n > 0; k++ {
		if n&1 != 0 {
			shift = multiply(c.powers[k], shift)
		}
		n >>= 1
	}
	return multiply(shift, a) ^ b
}

// multiply returns a times b modulo the polynomial.
func multiply(a, b uint32) uint32 {
	var p uint32
	for m := uint32(1) << 31; m != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ castagnoli
		} else {
			b >>= 1
		}
	}
	return p
}
