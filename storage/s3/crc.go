package s3

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/minio/crc64nvme"
)

// crc is a CRC64NVME, S3's checksum of choice: it is fast, and those of parts can be combined.
type crc uint64

func crcOf(body []byte) crc { return crc(crc64nvme.Checksum(body)) }

// String returns the form that S3 sends: base64 of the big-endian bytes.
func (c crc) String() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(c)))
}

// crcPolynomial is that of CRC-64/NVME, reflected.
const crcPolynomial = 0x9a6c9329ac4bc9b5

// operator is a linear map over GF(2) of a CRC's 64 bits: column i is the image of bit i.
type operator [64]uint64

func (o *operator) apply(v uint64) uint64 {
	var sum uint64
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= o[i]
		}
	}
	return sum
}

func (o *operator) square() operator {
	var sq operator
	for i := range o {
		sq[i] = o.apply(o[i])
	}
	return sq
}

// combine returns the CRC of a followed by b, given theirs and the length of b in bytes: a's CRC is
// moved past length zero bytes by repeated squaring of the map that moves it past one bit, as zlib's
// crc32_combine does.
func combine(a, b crc, length int64) crc {
	var move operator // past one bit
	move[0] = crcPolynomial
	for i := 1; i < len(move); i++ {
		move[i] = 1 << (i - 1)
	}
	for range 3 { // 8 bits
		move = move.square()
	}
	moved := uint64(a)
	for ; length > 0; length >>= 1 {
		if length&1 != 0 {
			moved = move.apply(moved)
		}
		move = move.square()
	}
	return crc(moved) ^ b
}
