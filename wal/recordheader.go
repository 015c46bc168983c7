package wal

import "encoding/binary"

const (
	recordHeaderSize = 24 // SizeOfXLogRecord
	crcOffset        = 20 // offsetof(XLogRecord, xl_crc)

	lastBuiltinRM = 21  // RM_LOGICALMSG_ID, 14 to 18
	firstCustomRM = 128 // RM_MIN_CUSTOM_ID, since 15
)

// recordHeader is XLogRecord (src/include/access/xlogrecord.h).
type recordHeader struct {
	length uint32
	xid    XID
	prev   LSN
	info   uint8
	rm     uint8
}

// parseRecordHeader reads the first 24 bytes of p.
func parseRecordHeader(p []byte) recordHeader {
	_ = p[recordHeaderSize-1]
	return recordHeader{
		length: binary.LittleEndian.Uint32(p),
		xid:    XID(binary.LittleEndian.Uint32(p[4:])),
		prev:   LSN(binary.LittleEndian.Uint64(p[8:])),
		info:   p[16],
		rm:     p[17],
	}
}

// isSwitch reports whether the rest of the segment is unused after the record.
func (h recordHeader) isSwitch() bool { return h.rm == rmXLOG && h.info&infoMask == infoSwitch }

// validRM reports whether a server of this major version has resource manager
// rm, built in or of an extension.
func validRM(rm uint8, major int) bool {
	return rm <= lastBuiltinRM || rm >= firstCustomRM && major >= 15
}

// align rounds up to 8, MAXALIGN.
func align(l LSN) LSN { return (l + 7) &^ 7 }
