package compression

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

// Parts of the format: never changed.
const (
	s2Name   = "s2"
	s2Suffix = ".s2"

	// A frame is an s2 stream: the stream identifier and chunks. Streams that follow each other are a
	// stream again (github.com/google/snappy, framing_format.txt, section 4.1).
	s2Magic        = "\xff\x06\x00\x00S2sTwO"
	s2Compressed   = 0x00
	s2Uncompressed = 0x01
	s2Skippable    = 0x80 // to 0xfe: padding and chunks a reader may pass over
	s2Identifier   = 0xff

	s2ChunkHeader = 4 // type, 3 bytes of length
	s2Checksum    = 4 // masked CRC32C of the plain bytes
	s2Block       = 1 << 20
)

type s2Codec struct{}

func (s2Codec) Name() string   { return s2Name }
func (s2Codec) Suffix() string { return s2Suffix }

func (s2Codec) NewEncoder() FrameEncoder {
	return &s2Encoder{castagnoli: crc32.MakeTable(crc32.Castagnoli)}
}

func (s2Codec) NewDecoder() FrameDecoder {
	return &s2Decoder{castagnoli: crc32.MakeTable(crc32.Castagnoli)}
}

type s2Encoder struct {
	castagnoli *crc32.Table
	block      []byte
}

func (e *s2Encoder) EncodeFrame(dst, plain []byte) []byte {
	dst = append(dst, s2Magic...)
	for len(plain) > 0 {
		n := min(len(plain), s2Block)
		dst = e.chunk(dst, plain[:n])
		plain = plain[n:]
	}
	return dst
}

func (e *s2Encoder) chunk(dst, plain []byte) []byte {
	if need := s2.MaxEncodedLen(len(plain)); cap(e.block) < need {
		e.block = make([]byte, need)
	}
	kind, body := byte(s2Compressed), s2.Encode(e.block[:cap(e.block)], plain)
	if len(body) >= len(plain) {
		kind, body = s2Uncompressed, plain
	}
	n := len(body) + s2Checksum
	dst = append(dst, kind, byte(n), byte(n>>8), byte(n>>16))
	dst = binary.LittleEndian.AppendUint32(dst, s2Mask(crc32.Checksum(plain, e.castagnoli)))
	return append(dst, body...)
}

// s2Mask is the masked checksum of framing_format.txt, section 3.
func s2Mask(c uint32) uint32 { return (c>>15 | c<<17) + 0xa282ead8 }

type s2Decoder struct {
	castagnoli *crc32.Table
}

func (d *s2Decoder) DecodeFrame(dst, stored []byte, limit int) ([]byte, error) {
	if len(stored) < len(s2Magic) || string(stored[:len(s2Magic)]) != s2Magic {
		return nil, fmt.Errorf("%w: s2: no stream identifier", ErrCorrupt)
	}
	dst = room(dst, limit)
	for len(stored) > 0 {
		if len(stored) < s2ChunkHeader {
			return nil, fmt.Errorf("%w: s2: chunk header cut short", ErrCorrupt)
		}
		kind := stored[0]
		n := int(stored[1]) | int(stored[2])<<8 | int(stored[3])<<16
		if n > len(stored)-s2ChunkHeader {
			return nil, fmt.Errorf("%w: s2: chunk of %d bytes cut short", ErrCorrupt, n)
		}
		var err error
		if dst, err = d.chunk(dst, kind, stored[s2ChunkHeader:s2ChunkHeader+n]); err != nil {
			return nil, err
		}
		stored = stored[s2ChunkHeader+n:]
	}
	return dst, nil
}

// chunk decodes one chunk into the spare capacity of dst, never beyond it.
func (d *s2Decoder) chunk(dst []byte, kind byte, body []byte) ([]byte, error) {
	switch {
	case kind == s2Identifier:
		if string(body) != s2Magic[s2ChunkHeader:] {
			return nil, fmt.Errorf("%w: s2: wrong stream identifier", ErrCorrupt)
		}
		return dst, nil
	case kind >= s2Skippable:
		return dst, nil
	case kind > s2Uncompressed:
		return nil, fmt.Errorf("%w: s2: unknown chunk type %#02x", ErrCorrupt, kind)
	case len(body) < s2Checksum:
		return nil, fmt.Errorf("%w: s2: chunk without checksum", ErrCorrupt)
	}
	sum, body := binary.LittleEndian.Uint32(body), body[s2Checksum:]
	spare := dst[len(dst):cap(dst)]
	plain, err := s2Plain(spare, kind, body)
	if err != nil {
		return nil, err
	}
	if s2Mask(crc32.Checksum(plain, d.castagnoli)) != sum {
		return nil, fmt.Errorf("%w: s2: wrong checksum", ErrCorrupt)
	}
	return dst[:len(dst)+len(plain)], nil
}

// s2Plain decodes one block into spare and returns the part of it that was filled.
func s2Plain(spare []byte, kind byte, body []byte) ([]byte, error) {
	if kind == s2Uncompressed {
		if len(body) > len(spare) {
			return nil, fmt.Errorf("%w: s2: decodes to more bytes than the limit", ErrCorrupt)
		}
		return spare[:copy(spare, body)], nil
	}
	n, err := s2.DecodedLen(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if n > len(spare) {
		return nil, fmt.Errorf("%w: s2: decodes to more bytes than the limit", ErrCorrupt)
	}
	plain, err := s2.Decode(spare[:n:n], body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return plain, nil
}
