package repository

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/pgark/pgark/compression"
)

// encodeIndex returns the index object, and the length of its top: header and first line.
func (w *BackupWriter) encodeIndex() (index []byte, top int64, err error) {
	packs := make([]Pack, 0, len(w.packs))
	for _, p := range w.packs {
		packs = append(packs, p.pack)
	}
	text, err := encodeTop(packs)
	if err != nil {
		return nil, 0, err
	}
	text = append(text, '\n')
	line := compression.Zstd().NewEncoder().EncodeFrame(nil, text)
	h := w.header(KindIndex)
	h.Plain, h.CRC32C = uint64(len(text)), crc32.Checksum(text, castagnoli())
	table := seekTable(nil, len(line), len(text))
	index = append(make([]byte, HeaderSize), line...)
	top = int64(len(index))
	decoder := compression.Zstd().NewDecoder()
	for _, p := range w.packs {
		// The plain bytes are needed for the checksum; decoding is the self-check as well.
		plain, err := decoder.DecodeFrame(nil, p.line, int(p.pack.line.Plain))
		if err != nil {
			return nil, 0, fmt.Errorf("line of %s: %w", p.pack.Name, err)
		}
		h.CRC32C = crc32.Update(h.CRC32C, castagnoli(), plain)
		h.Plain += uint64(len(plain))
		table = seekTable(table, len(p.line), len(plain))
		index = append(index, p.line...)
	}
	index = append(index, sealSeekTable(table)...)
	h.Stored = uint64(len(index) - HeaderSize)
	h.SHA256 = sha256.Sum256(index[HeaderSize:])
	head, err := h.MarshalBinary()
	copy(index, head)
	return index, top, err
}

// Parts of zstd's seekable format (contrib/seekable_format/zstd_seekable_compression_format.md): never changed.
const (
	seekFrameMagic = 0x184D2A5E
	seekMagic      = 0x8F92EAB1
)

// seekTable appends one frame to a seek table without checksums.
func seekTable(table []byte, stored, plain int) []byte {
	table = binary.LittleEndian.AppendUint32(table, uint32(stored))
	return binary.LittleEndian.AppendUint32(table, uint32(plain))
}

// sealSeekTable returns the skippable frame that holds the table.
func sealSeekTable(table []byte) []byte {
	const footer = 9
	sealed := binary.LittleEndian.AppendUint32(nil, seekFrameMagic)
	sealed = binary.LittleEndian.AppendUint32(sealed, uint32(len(table)+footer))
	sealed = append(sealed, table...)
	sealed = binary.LittleEndian.AppendUint32(sealed, uint32(len(table)/8))
	sealed = append(sealed, 0) // descriptor: no checksums
	return binary.LittleEndian.AppendUint32(sealed, seekMagic)
}

// encodeManifest returns the manifest object and its header; it is checked by decoding it again.
func (w *BackupWriter) encodeManifest(manifest []byte) (Header, []byte, error) {
	if len(manifest) == 0 {
		return Header{}, nil, errors.New("backup manifest is empty")
	}
	h := w.header(KindManifest)
	h.Plain, h.CRC32C = uint64(len(manifest)), crc32.Checksum(manifest, castagnoli())
	body := make([]byte, HeaderSize)
	encoder := compression.Zstd().NewEncoder()
	for frame := range slices.Chunk(manifest, frameSize) {
		body = encoder.EncodeFrame(body, frame)
	}
	h.Stored, h.SHA256 = uint64(len(body)-HeaderSize), sha256.Sum256(body[HeaderSize:])
	head, err := h.MarshalBinary()
	if err != nil {
		return Header{}, nil, err
	}
	copy(body, head)
	_, err = decodePayload(w.prefix+manifestName, &h, body[HeaderSize:])
	return h, body, err
}
