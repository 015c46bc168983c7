package repository

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/pgark/pgark/wal"
)

// HeaderSize is the length of an object header in bytes, FORMAT.md section 3. Never changed.
const HeaderSize = 176

// Parts of the format: never changed.
const (
	headerFrameMagic = 0x184D2A50 // zstd skippable frame
	headerFrameSize  = HeaderSize - 8
	headerMagic      = "pgrk"
	headerVersion    = 1

	flagHeadUnknown        = 1 << 0
	flagShutdownCheckpoint = 1 << 1

	// frameSize is the most plain bytes that one frame of WAL, of a pack or of a manifest holds.
	frameSize = 1 << 20
)

// Kind says what an object is. The numbers are part of the format.
type Kind uint8

// The kinds of objects with a header.
const (
	KindSegment  Kind = 1 // a complete WAL segment
	KindPiece    Kind = 2 // a part of a WAL segment
	KindPack     Kind = 3 // a tar file of a base backup
	KindIndex    Kind = 4 // the index of a base backup
	KindManifest Kind = 5 // PostgreSQL's backup_manifest
)

// String returns the kind's name in messages.
func (k Kind) String() string {
	switch k {
	case KindSegment:
		return "segment"
	case KindPiece:
		return "piece"
	case KindPack:
		return "pack"
	case KindIndex:
		return "index"
	case KindManifest:
		return "manifest"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Sum is a SHA-256. In JSON it is 64 lower-case hex digits.
type Sum [sha256.Size]byte

// String returns 64 lower-case hex digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText writes the form of String.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads exactly 64 lower-case hex digits.
func (s *Sum) UnmarshalText(text []byte) error {
	if !isLowerHex(string(text), 2*sha256.Size) {
		return fmt.Errorf("SHA-256 %q: want 64 lower-case hex digits", text)
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// WALObject is what an object says of itself. For the kinds of a backup, Range.Start is the backup's start LSN,
// Range.End is 0 and Summary is zero.
type WALObject struct {
	SystemID    wal.SystemID
	Timeline    wal.TimelineID
	SegmentSize wal.SegmentSize
	Kind        Kind
	Range       wal.Range
	Summary     Summary
}

// Header is the object header, FORMAT.md section 3.
type Header struct {
	WALObject

	SHA256 Sum    // of the stored bytes after the header; zero for a pack
	CRC32C uint32 // of the plain bytes; 0 for a pack
	Plain  uint64 // bytes; 0 for a pack
	Stored uint64 // bytes after the header; 0 for a pack
	Pack   uint64 // number of the pack in its backup, from 1; 0 for other kinds
}

// Errors of UnmarshalBinary.
var (
	errHeaderShort   = errors.New("header cut short")
	errHeaderMagic   = errors.New("not an object of pgark")
	errHeaderCRC     = errors.New("header checksum differs")
	errHeaderVersion = errors.New("header version not known")
	errHeaderZero    = errors.New("header bytes that must be zero are not")
	errHeaderField   = errors.New("header field out of range")
)

// MarshalBinary returns the HeaderSize bytes of h, which must be valid.
func (h *Header) MarshalBinary() ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	b := make([]byte, HeaderSize)
	le, s := binary.LittleEndian, &h.Summary
	le.PutUint32(b[0:], headerFrameMagic)
	le.PutUint32(b[4:], headerFrameSize)
	copy(b[8:], headerMagic)
	le.PutUint16(b[12:], headerVersion)
	b[14] = byte(h.Kind)
	b[15] = s.flags()
	le.PutUint64(b[16:], uint64(h.SystemID))
	le.PutUint32(b[24:], uint32(h.Timeline))
	le.PutUint32(b[28:], uint32(h.SegmentSize))
	le.PutUint64(b[32:], uint64(h.Range.Start))
	le.PutUint64(b[40:], uint64(h.Range.End))
	copy(b[48:80], h.SHA256[:])
	le.PutUint64(b[80:], h.Plain)
	le.PutUint64(b[88:], h.Stored)
	le.PutUint32(b[96:], s.Ends)
	le.PutUint32(b[100:], s.RestorePoints)
	le.PutUint32(b[104:], uint32(s.FirstXID))
	le.PutUint32(b[108:], uint32(s.LastXID))
	le.PutUint64(b[112:], uint64(s.FirstTime))
	le.PutUint64(b[120:], uint64(s.LastTime))
	le.PutUint64(b[128:], uint64(s.MinTime))
	le.PutUint64(b[136:], uint64(s.MaxTime))
	le.PutUint64(b[144:], h.Pack)
	le.PutUint32(b[152:], h.CRC32C)
	le.PutUint32(b[172:], headerCRC(b))
	return b, nil
}

// UnmarshalBinary reads the header from the first HeaderSize bytes of b and validates it.
func (h *Header) UnmarshalBinary(b []byte) error {
	if err := checkHeader(b); err != nil {
		return fmt.Errorf("decode header: %w", err)
	}
	le := binary.LittleEndian
	var d Header
	d.Kind = Kind(b[14])
	d.SystemID = wal.SystemID(le.Uint64(b[16:]))
	d.Timeline = wal.TimelineID(le.Uint32(b[24:]))
	d.SegmentSize = wal.SegmentSize(le.Uint32(b[28:]))
	d.Range = wal.Range{Start: wal.LSN(le.Uint64(b[32:])), End: wal.LSN(le.Uint64(b[40:]))}
	copy(d.SHA256[:], b[48:80])
	d.Plain = le.Uint64(b[80:])
	d.Stored = le.Uint64(b[88:])
	d.Summary = Summary{
		Ends:               le.Uint32(b[96:]),
		RestorePoints:      le.Uint32(b[100:]),
		FirstXID:           wal.XID(le.Uint32(b[104:])),
		LastXID:            wal.XID(le.Uint32(b[108:])),
		FirstTime:          wal.Time(le.Uint64(b[112:])),
		LastTime:           wal.Time(le.Uint64(b[120:])),
		MinTime:            wal.Time(le.Uint64(b[128:])),
		MaxTime:            wal.Time(le.Uint64(b[136:])),
		HeadUnknown:        b[15]&flagHeadUnknown != 0,
		ShutdownCheckpoint: b[15]&flagShutdownCheckpoint != 0,
	}
	d.Pack = le.Uint64(b[144:])
	d.CRC32C = le.Uint32(b[152:])
	if err := d.Validate(); err != nil {
		return fmt.Errorf("decode header: %w", err)
	}
	*h = d
	return nil
}

// checkHeader checks what is not a field.
func checkHeader(b []byte) error {
	le := binary.LittleEndian
	switch {
	case len(b) < HeaderSize:
		return fmt.Errorf("%w: %d of %d bytes", errHeaderShort, len(b), HeaderSize)
	case le.Uint32(b) != headerFrameMagic || string(b[8:12]) != headerMagic:
		return errHeaderMagic
	case le.Uint16(b[12:]) != headerVersion:
		// Before the checksum: a newer version may have another length.
		return fmt.Errorf("%w: %d", errHeaderVersion, le.Uint16(b[12:]))
	case le.Uint32(b[4:]) != headerFrameSize:
		return fmt.Errorf("%w: frame of %d bytes", errHeaderMagic, le.Uint32(b[4:]))
	case le.Uint32(b[172:]) != headerCRC(b):
		return errHeaderCRC
	case b[15]&^(flagHeadUnknown|flagShutdownCheckpoint) != 0:
		return fmt.Errorf("%w: flags %#02x", errHeaderZero, b[15])
	}
	for i, c := range b[156:172] {
		if c != 0 {
			return fmt.Errorf("%w: byte %d", errHeaderZero, 156+i)
		}
	}
	return nil
}

// castagnoli is the table of CRC32C, the checksum PostgreSQL has for its WAL and in backup manifests.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func headerCRC(b []byte) uint32 {
	return crc32.Checksum(b[8:172], castagnoli())
}

// Validate returns an error that names the first field that cannot be.
func (h *Header) Validate() error {
	switch {
	case h.SystemID == 0:
		return fmt.Errorf("%w: system identifier 0", errHeaderField)
	case h.Timeline == 0:
		return fmt.Errorf("%w: timeline 0", errHeaderField)
	case h.SegmentSize.Validate() != nil:
		return fmt.Errorf("%w: %w", errHeaderField, h.SegmentSize.Validate())
	}
	switch h.Kind {
	case KindSegment, KindPiece:
		return h.validateWAL()
	case KindPack, KindIndex, KindManifest:
		return h.validateBackup()
	}
	return fmt.Errorf("%w: kind %d", errHeaderField, h.Kind)
}

func (h *Header) validateWAL() error {
	r, size := h.Range, h.SegmentSize
	whole := size.Range(size.Number(r.Start))
	switch {
	case r.Empty() || r.Start < whole.Start || r.End > whole.End:
		return fmt.Errorf("%w: range %s is not within one segment of %d bytes", errHeaderField, r, size)
	case h.Kind == KindSegment && r != whole:
		return fmt.Errorf("%w: range %s is no whole segment of %d bytes", errHeaderField, r, size)
	case h.Plain != r.Len():
		return fmt.Errorf("%w: %d plain bytes in range %s", errHeaderField, h.Plain, r)
	case h.Pack != 0:
		return fmt.Errorf("%w: pack number %d", errHeaderField, h.Pack)
	}
	return errors.Join(h.validateStored(), h.Summary.validate())
}

func (h *Header) validateBackup() error {
	switch {
	case h.Range.End != 0:
		return fmt.Errorf("%w: end %s", errHeaderField, h.Range.End)
	case h.Summary != Summary{}:
		return fmt.Errorf("%w: a %s with transactions", errHeaderField, h.Kind)
	case h.Kind != KindPack && h.Pack != 0, h.Kind == KindPack && h.Pack == 0:
		return fmt.Errorf("%w: pack number %d", errHeaderField, h.Pack)
	case h.Kind != KindPack:
		return h.validateStored()
	case h.SHA256 != Sum{} || h.CRC32C != 0 || h.Plain != 0 || h.Stored != 0:
		return fmt.Errorf("%w: a pack with checksums or lengths", errHeaderField)
	}
	return nil
}

func (h *Header) validateStored() error {
	if h.Plain == 0 || h.Plain > maxObject || h.Stored == 0 || h.Stored > uint64(maxStored(int64(h.Plain))) {
		return fmt.Errorf("%w: %d stored bytes of %d plain bytes", errHeaderField, h.Stored, h.Plain)
	}
	return nil
}

// maxObject is the most plain bytes of an object that is read as a whole: a WAL segment is 1 GiB at most,
// and an index or manifest of 4 GiB names tens of millions of files.
const maxObject = 4 << 30

// maxStored is the most bytes that plain bytes may be stored in: what no codec can shrink costs a little
// for each block and each frame, and each index line two numbers in the seek table.
func maxStored(plain int64) int64 { return plain + plain/64 + 1<<16 }
