package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Block IDs and flags of the fragments of a record
// (src/include/access/xlogrecord.h).
const (
	maxBlockID       = 32  // XLR_MAX_BLOCK_ID
	blockDataShort   = 255 // XLR_BLOCK_ID_DATA_SHORT
	blockDataLong    = 254 // XLR_BLOCK_ID_DATA_LONG
	blockOrigin      = 253 // XLR_BLOCK_ID_ORIGIN
	blockTopLevelXID = 252 // XLR_BLOCK_ID_TOPLEVEL_XID

	blockHasImage = 0x10 // BKPBLOCK_HAS_IMAGE
	blockSameRel  = 0x80 // BKPBLOCK_SAME_REL

	imageHasHole      = 0x01 // BKPIMAGE_HAS_HOLE
	imageCompressed14 = 0x02 // BKPIMAGE_IS_COMPRESSED, 14
	imageCompressed15 = 0x1C // BKPIMAGE_COMPRESSED, since 15: PGLZ, LZ4, ZSTD

	fragmentsLimit = 1024 // more than 33 block headers and the rest can take
	fixedLimit     = 1029 // of main data; the longest that is kept whole is a xl_tblspc_create_rec with a path of MAXPGPATH
)

// Resource managers and the xl_info of their records that become events
// (src/include/access/rmgrlist.h, src/include/catalog/pg_control.h).
const (
	rmXLOG = 0
	rmXact = 1

	infoMask           = 0xF0 // XLR_RMGR_INFO_MASK
	infoShutdown       = 0x00 // XLOG_CHECKPOINT_SHUTDOWN
	infoOnline         = 0x10 // XLOG_CHECKPOINT_ONLINE
	infoSwitch         = 0x40 // XLOG_SWITCH
	infoBackupEnd      = 0x50 // XLOG_BACKUP_END
	infoRestorePoint   = 0x70 // XLOG_RESTORE_POINT
	infoEndOfRecovery  = 0x90 // XLOG_END_OF_RECOVERY
	checkpointSize     = 88   // sizeof(CheckPoint), 14 to 18
	restorePointSize   = 72   // sizeof(xl_restore_point)
	endOfRecoverySize  = 16   // of xl_end_of_recovery, without what 17 added
	backupEndSize      = 8    // the start LSN
	restorePointLength = 64   // MAXFNAMELEN, its NUL included
)

// body reads what follows the header of a record that becomes an event, cut
// anywhere, and holds no more of it than the event needs.
type body struct {
	header recordHeader
	major  int
	total  uint32 // bytes of the body

	fragments [fragmentsLimit]byte // the first bytes of the body, until they are parsed
	gathered  int                  // bytes of fragments
	parsed    bool
	pass      uint64           // block data before main data
	rel       RelFile          // of the first block; zero if there is none
	fixed     [fixedLimit]byte // the first bytes of main data
	have      int              // bytes of fixed
	xact      xactParser
	bad       error
}

// open makes b ready for the body of a record, and returns false for a record
// that becomes no event.
func (b *body) open(h recordHeader, major int) bool {
	b.header, b.major, b.total = h, major, h.length-recordHeaderSize
	b.gathered, b.parsed, b.pass, b.rel, b.have, b.bad = 0, false, 0, RelFile{}, 0, nil
	switch h.rm {
	case rmXact:
		return b.xact.open(h.info, major)
	case rmXLOG:
		return isXLOGEvent(h)
	case rmTablespace:
		return h.info&infoMask == infoTablespaceCreate
	default:
		return isStorageEvent(h, major)
	}
}

// isXLOGEvent reports whether a record of resource manager XLOG becomes an
// event.
func isXLOGEvent(h recordHeader) bool {
	switch h.info & infoMask {
	case infoShutdown, infoOnline, infoBackupEnd, infoRestorePoint, infoEndOfRecovery:
		return true
	default:
		return false
	}
}

// write reads the next bytes of the body.
func (b *body) write(p []byte) {
	if !b.parsed {
		limit := int(min(b.total, fragmentsLimit))
		n := copy(b.fragments[b.gathered:limit], p)
		b.gathered += n
		p = p[n:]
		if b.gathered < limit {
			return
		}
		b.parsed = true
		n, b.bad = b.parse(b.fragments[:limit])
		b.data(b.fragments[n:limit])
	}
	b.data(p)
}

// data reads the next bytes of block data and main data.
func (b *body) data(p []byte) {
	if b.bad != nil {
		return
	}
	n := min(b.pass, uint64(len(p)))
	b.pass -= n
	p = p[n:]
	if b.header.rm == rmXact {
		b.xact.write(p)
		return
	}
	b.have += copy(b.fixed[b.have:], p)
}

// parse reads the headers of the fragments, as DecodeXLogRecord does, and
// returns their length.
func (b *body) parse(p []byte) (int, error) {
	f := fragments{rest: p, compressed: imageCompressed15}
	if b.major < 15 {
		f.compressed = imageCompressed14
	}
	for !f.last && uint64(b.total) > uint64(len(p)-len(f.rest))+f.blockData {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := len(p) - len(f.rest)
	if uint64(n)+f.blockData+uint64(f.main) != uint64(b.total) {
		return 0, errors.New("lengths of the record's parts do not add up")
	}
	b.pass, b.rel = f.blockData, f.rel
	return n, nil
}

// fragments walks over the fragment headers of a record.
type fragments struct {
	rest       []byte
	compressed byte    // bits of bimg_info that mean compressed
	blockData  uint64  // bytes of images and block data
	rel        RelFile // of the first block
	main       uint32  // bytes of main data
	last       bool
}

// next reads one fragment header.
func (f *fragments) next() error {
	switch id := f.byte(); {
	case id == blockDataShort:
		f.main, f.last = uint32(f.byte()), true
	case id == blockDataLong:
		f.main, f.last = f.uint32(), true
	case id == blockOrigin:
		f.skip(2)
	case id == blockTopLevelXID:
		f.skip(4)
	case id <= maxBlockID:
		f.block()
	default:
		return fmt.Errorf("unknown block ID %d", id)
	}
	if f.rest == nil {
		return errors.New("record ends in its headers")
	}
	return nil
}

// block reads the rest of a block's header.
func (f *fragments) block() {
	flags := f.byte()
	f.blockData += uint64(f.uint16())
	if flags&blockHasImage != 0 {
		f.blockData += uint64(f.uint16())
		f.skip(2) // hole_offset
		image := f.byte()
		if image&imageHasHole != 0 && image&f.compressed != 0 {
			f.skip(2) // hole_length
		}
	}
	if flags&blockSameRel == 0 {
		rel := RelFile{Tablespace: f.uint32(), Database: f.uint32(), Number: f.uint32()}
		if f.rel == (RelFile{}) {
			f.rel = rel
		}
	}
	f.skip(4) // block number
}

// take returns the next n ≤ 8 bytes; rest becomes nil where they are missing.
func (f *fragments) take(n int) []byte {
	if f.rest == nil || len(f.rest) < n {
		f.rest = nil
		return make([]byte, n)
	}
	p := f.rest[:n]
	f.rest = f.rest[n:]
	return p
}

func (f *fragments) byte() byte     { return f.take(1)[0] }
func (f *fragments) uint16() uint16 { return binary.LittleEndian.Uint16(f.take(2)) }
func (f *fragments) uint32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fragments) skip(n int)     { f.take(n) }

// close returns the event of the record at [start, end).
func (b *body) close(start, end LSN) (any, error) {
	if b.bad != nil {
		return nil, b.bad
	}
	switch b.header.rm {
	case rmXact:
		e, err := b.xact.close(b.header.xid)
		if err != nil {
			return nil, err
		}
		e.Start, e.End = start, end
		return e, nil
	case rmXLOG:
		return b.closeXLOG(start, end)
	case rmTablespace:
		return b.closeTablespace(start, end)
	default:
		return b.closeStorage(start, end)
	}
}

// closeXLOG returns the event of a record of resource manager XLOG.
func (b *body) closeXLOG(start, end LSN) (any, error) {
	le, p := binary.LittleEndian, b.fixed[:b.have]
	info := b.header.info & infoMask
	if want := mainDataSize(info); len(p) < want {
		return nil, fmt.Errorf("main data has %d bytes, want %d", len(p), want)
	}
	switch info {
	case infoBackupEnd:
		return &BackupEnd{BackupStart: LSN(le.Uint64(p)), Start: start, End: end}, nil
	case infoRestorePoint:
		name, _, found := bytes.Cut(p[8:restorePointSize], []byte{0})
		if !found {
			return nil, fmt.Errorf("name of a restore point has no end in %d bytes", restorePointLength)
		}
		return &RestorePoint{Name: string(name), Time: Time(le.Uint64(p)), Start: start, End: end}, nil
	case infoEndOfRecovery:
		return &EndOfRecovery{
			Time: Time(le.Uint64(p)), Timeline: TimelineID(le.Uint32(p[8:])), Previous: TimelineID(le.Uint32(p[12:])),
			Start: start, End: end,
		}, nil
	default:
		return &Checkpoint{
			Shutdown: info == infoShutdown, Redo: LSN(le.Uint64(p)),
			Timeline: TimelineID(le.Uint32(p[8:])), Previous: TimelineID(le.Uint32(p[12:])),
			NextXID: le.Uint64(p[24:]), Time: Time((int64(le.Uint64(p[64:])) - epochSeconds) * microseconds),
			Start: start, End: end,
		}, nil
	}
}

// mainDataSize returns the least length of the main data of an event of
// resource manager XLOG, in bytes.
func mainDataSize(info uint8) int {
	switch info {
	case infoBackupEnd:
		return backupEndSize
	case infoRestorePoint:
		return restorePointSize
	case infoEndOfRecovery:
		return endOfRecoverySize
	default:
		return checkpointSize
	}
}
