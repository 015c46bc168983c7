package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

// Role is what a row of pg_authid says of a role.
type Role struct {
	OID          uint32
	Name         string
	Super, Login bool
}

// BootstrapRole is the OID of the superuser that initdb made, whatever it is called (src/include/catalog/pg_authid.dat).
const BootstrapRole = 10

// OIDs of the shared catalogs that are read (src/include/catalog/pg_authid.h, pg_database.h).
const (
	authidOID   = 1260
	databaseOID = 1262
)

// maxCatalog is how much of a catalog is read: some 100,000 roles.
const maxCatalog = 16 << 20

// Roles reads pg_authid from the files of a data directory, which is how to learn a role's name without a connection. What it returns are row versions
// as they lie on disk, in their order: one that is gone or was changed since may be among them, and one that only a running server's memory holds is not.
// A server that has been asked for a connection proves a name.
func Roles(data fs.FS) ([]Role, error) {
	var roles []Role
	err := readCatalog(data, authidOID, func(row []byte) {
		// oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, … in 14 to 18
		const super, login = 4 + nameLength, 4 + nameLength + 4
		if len(row) > login {
			roles = append(roles, Role{OID: binary.LittleEndian.Uint32(row), Name: nameAt(row), Super: row[super] == 1, Login: row[login] == 1})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read pg_authid: %w", err)
	}
	return roles, nil
}

// Databases reads the names in pg_database as Roles reads those of roles.
func Databases(data fs.FS) ([]string, error) {
	var names []string
	err := readCatalog(data, databaseOID, func(row []byte) {
		if len(row) >= 4+nameLength { // oid, datname, …
			names = append(names, nameAt(row))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read pg_database: %w", err)
	}
	return names, nil
}

// nameLength is NAMEDATALEN (src/include/pg_config_manual.h).
const nameLength = 64

// nameAt returns the name behind the OID that begins a row.
func nameAt(row []byte) string {
	name, _, _ := bytes.Cut(row[4:4+nameLength], []byte{0})
	return string(name)
}

// readCatalog calls each with the column data of all row versions of a shared catalog.
func readCatalog(data fs.FS, oid uint32, each func(row []byte)) error {
	m, err := fs.ReadFile(data, "global/pg_filenode.map")
	if err != nil {
		return err
	}
	file, err := mappedFile(m, oid)
	if err != nil {
		return err
	}
	f, err := data.Open("global/" + strconv.FormatUint(uint64(file), 10))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	heap, err := io.ReadAll(io.LimitReader(f, maxCatalog))
	if err != nil {
		return err
	}
	return eachRow(heap, each)
}

// mappedFile looks up the file of a catalog that moves without a row in pg_class telling so (RelMapFile in src/backend/utils/cache/relmapper.c): a magic number,
// the number of pairs, and those, catalog and file.
func mappedFile(m []byte, oid uint32) (uint32, error) {
	const magic, head, pair = 0x592717, 8, 8
	if len(m) < head || binary.LittleEndian.Uint32(m) != magic {
		return 0, fmt.Errorf("pg_filenode.map is not a relation map")
	}
	n := int64(binary.LittleEndian.Uint32(m[4:]))
	if n > int64(len(m)-head)/pair {
		return 0, fmt.Errorf("pg_filenode.map is cut: %d pairs in %d bytes", n, len(m))
	}
	for at := head; at < head+int(n)*pair; at += pair {
		if binary.LittleEndian.Uint32(m[at:]) == oid {
			return binary.LittleEndian.Uint32(m[at+4:]), nil
		}
	}
	return 0, fmt.Errorf("pg_filenode.map does not know catalog %d", oid)
}

// Offsets in PageHeaderData (src/include/storage/bufpage.h) and HeapTupleHeaderData (src/include/access/htup_details.h).
const (
	pageLower  = 12
	pageSize   = 18 // with the version of the layout in its low byte
	pageHead   = 24
	lineLength = 4 // of an ItemIdData: offset, flags, length in 15, 2 and 15 bits
	lineNormal = 1
	tupleHoff  = 22
	tupleHead  = 23
)

// eachRow calls each with the column data of every row version on the pages of a heap. A page that holds nonsense ends it with an error.
func eachRow(heap []byte, each func(row []byte)) error {
	for number := 0; len(heap) > 0; number++ {
		if len(heap) < pageHead {
			return fmt.Errorf("page %d is cut", number)
		}
		size := int(binary.LittleEndian.Uint16(heap[pageSize:])) &^ 0xff
		if size == 0 {
			return nil // a page that was never written
		}
		if size < pageHead || size > len(heap) {
			return fmt.Errorf("page %d of %d bytes, %d are there", number, size, len(heap))
		}
		page := heap[:size]
		heap = heap[size:]
		lower := int(binary.LittleEndian.Uint16(page[pageLower:]))
		if lower > size {
			return fmt.Errorf("page %d: its line pointers end at %d", number, lower)
		}
		for at := pageHead; at+lineLength <= lower; at += lineLength {
			line := binary.LittleEndian.Uint32(page[at:])
			offset, flags, length := int(line&0x7fff), line>>15&3, int(line>>17)
			if flags != lineNormal {
				continue
			}
			if length < tupleHead || offset+length > size || int(page[offset+tupleHoff]) > length {
				return fmt.Errorf("page %d: row at %d is not within it", number, offset)
			}
			each(page[offset+int(page[offset+tupleHoff]) : offset+length])
		}
	}
	return nil
}
