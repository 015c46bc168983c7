package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// The resource manager of tablespaces, and the record that makes one
// (src/include/access/rmgrlist.h, src/include/commands/tablespace.h).
const (
	rmTablespace         = 5
	infoTablespaceCreate = 0x00 // XLOG_TBLSPC_CREATE
)

// closeTablespace returns the event of the record at [start, end): an OID, and
// a path that ends with NUL (xl_tblspc_create_rec). A path that is longer than
// servers make any, or that has no end, is an error.
func (b *body) closeTablespace(start, end LSN) (any, error) {
	p := b.fixed[:b.have]
	if len(p) < 4 {
		return nil, errors.New("tablespace without an OID")
	}
	path, _, found := bytes.Cut(p[4:], []byte{0})
	if !found {
		return nil, errors.New("path of a tablespace has no end")
	}
	return &TablespaceCreate{Tablespace: binary.LittleEndian.Uint32(p), Path: string(path), Start: start, End: end}, nil
}
