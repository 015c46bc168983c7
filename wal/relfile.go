package wal

import (
	"encoding/binary"
	"fmt"
)

// RelFile names the storage of a relation: a table, an index, a sequence, a
// materialized view (RelFileLocator, src/include/storage/relfilelocator.h;
// RelFileNode before 16). A relation gets another one when it is rewritten or
// truncated; its OID stays.
type RelFile struct {
	Tablespace uint32 // OID
	Database   uint32 // OID; 0 for a relation shared by all databases
	Number     uint32 // relfilenode
}

// RelationID names a relation for as long as it exists.
type RelationID struct {
	Database uint32 // OID; 0 for a relation shared by all databases
	OID      uint32 // 0 is all relations of the database, or of all databases
}

// OIDs of the tablespaces that every cluster has
// (src/include/catalog/pg_tablespace.dat).
const (
	DefaultTablespace uint32 = 1663 // pg_default
	GlobalTablespace  uint32 = 1664 // pg_global
)

const relFileSize = 12 // sizeof(RelFileLocator)

// String returns where its first file lies in the data directory
// (GetRelationPath, src/common/relpath.c): "base/5/16384", "global/1262". In
// a tablespace of its own the name of the version's folder is left open, as in
// a shell: "pg_tblspc/16400/*/5/16385".
func (f RelFile) String() string {
	switch f.Tablespace {
	case GlobalTablespace:
		return fmt.Sprintf("global/%d", f.Number)
	case DefaultTablespace:
		return fmt.Sprintf("base/%d/%d", f.Database, f.Number)
	}
	return fmt.Sprintf("pg_tblspc/%d/*/%d/%d", f.Tablespace, f.Database, f.Number)
}

// parseRelFile reads the first 12 bytes of p.
func parseRelFile(p []byte) RelFile {
	_ = p[relFileSize-1]
	le := binary.LittleEndian
	return RelFile{Tablespace: le.Uint32(p), Database: le.Uint32(p[4:]), Number: le.Uint32(p[8:])}
}
