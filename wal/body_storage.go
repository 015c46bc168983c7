package wal

import (
	"encoding/binary"
	"fmt"
)

// Resource managers and the xl_info of their records that become events with
// StorageEvents (src/include/access/rmgrlist.h, catalog/storage_xlog.h,
// commands/dbcommands_xlog.h, storage/standbydefs.h, access/heapam_xlog.h).
const (
	rmSmgr    = 2
	rmDBase   = 4
	rmStandby = 8
	rmHeap    = 10

	infoSmgrCreate   = 0x10 // XLOG_SMGR_CREATE
	infoDBaseDrop14  = 0x10 // XLOG_DBASE_DROP, 14
	infoDBaseDrop15  = 0x20 // since 15
	infoRunningXacts = 0x10 // XLOG_RUNNING_XACTS

	heapOpMask   = 0x70 // XLOG_HEAP_OPMASK
	heapTruncate = 0x30 // XLOG_HEAP_TRUNCATE
	heapInPlace  = 0x70 // XLOG_HEAP_INPLACE

	smgrCreateSize   = relFileSize + 4 // xl_smgr_create
	dbaseDropSize    = 8               // xl_dbase_drop_rec without its tablespaces
	runningXactsSize = 24              // MinSizeOfXactRunningXacts
	heapTruncateSize = 12              // SizeOfHeapTruncate
	oidsLimit        = 64              // of one record
)

// isStorageEvent reports whether a record of a resource manager other than
// XLOG and Transaction becomes an event with StorageEvents.
func isStorageEvent(h recordHeader, major int) bool {
	switch op := h.info & infoMask; h.rm {
	case rmSmgr:
		return op == infoSmgrCreate
	case rmDBase:
		return op == infoDBaseDrop15 && major >= 15 || op == infoDBaseDrop14 && major < 15
	case rmStandby:
		return op == infoRunningXacts
	case rmHeap:
		return op&heapOpMask == heapTruncate || op&heapOpMask == heapInPlace
	}
	return false
}

// closeStorage returns the event of the record at [start, end).
func (b *body) closeStorage(start, end LSN) (any, error) {
	le, p := binary.LittleEndian, b.fixed[:b.have]
	if want := storageDataSize(b.header.rm, b.header.info); len(p) < want {
		return nil, fmt.Errorf("main data has %d bytes, want %d", len(p), want)
	}
	switch b.header.rm {
	case rmSmgr:
		return &RelFileCreate{File: parseRelFile(p), Fork: le.Uint32(p[relFileSize:]), Start: start, End: end}, nil
	case rmDBase:
		spaces, err := oids(p[dbaseDropSize:], le.Uint32(p[4:]))
		return &DatabaseDrop{Database: le.Uint32(p), Tablespaces: spaces, Start: start, End: end}, err
	case rmStandby:
		return &RunningXacts{NextXID: XID(le.Uint32(p[12:])), OldestXID: XID(le.Uint32(p[16:])), Start: start, End: end}, nil
	}
	if b.header.info&heapOpMask == heapInPlace {
		return &InPlaceUpdate{File: b.rel, Start: start, End: end}, nil
	}
	count := le.Uint32(p[4:])
	relations, err := oids(p[heapTruncateSize:], count)
	return &Truncate{Database: le.Uint32(p), Relations: relations, RelationCount: int(count), Start: start, End: end}, err
}

// storageDataSize returns the least length of the main data of an event, in
// bytes.
func storageDataSize(rm, info uint8) int {
	switch {
	case rm == rmSmgr:
		return smgrCreateSize
	case rm == rmDBase:
		return dbaseDropSize
	case rm == rmStandby:
		return runningXactsSize
	case info&heapOpMask == heapTruncate:
		return heapTruncateSize
	default:
		return 0
	}
}

// oids reads count OIDs, at most oidsLimit.
func oids(p []byte, count uint32) ([]uint32, error) {
	n := min(uint64(count), oidsLimit)
	if uint64(len(p)) < 4*n {
		return nil, fmt.Errorf("main data ends before its %d OIDs", count)
	}
	var list []uint32
	for i := range n {
		list = append(list, binary.LittleEndian.Uint32(p[4*i:]))
	}
	return list, nil
}
