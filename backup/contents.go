package backup

import (
	"fmt"

	"github.com/pgark/pgark/postgres"
)

// contents are the files that a backup holds, by their path in the data directory, to be compared with
// the server's manifest.
type contents struct {
	files map[string]fileSum
	plain int64
}

type fileSum struct {
	size int64
	crc  uint32
}

// manifestPath is the path under which the manifest lists a file of an archive
// (AddFileToBackupManifest, src/backend/backup/backup_manifest.c).
func manifestPath(tablespace uint32, path string) string {
	if tablespace == 0 {
		return path
	}
	return fmt.Sprintf("pg_tblspc/%d/%s", tablespace, path)
}

// add takes a file in. A path that comes twice is an error: the server sent a directory that changed
// under its hands, and unpacking keeps one of the two only.
func (c *contents) add(path string, size int64, crc uint32) error {
	if _, double := c.files[path]; double {
		return &ContentError{Path: path, Reason: "the server sent it twice; take the backup again"}
	}
	c.files[path] = fileSum{size: size, crc: crc}
	c.plain += size
	return nil
}

// check compares the files with the manifest, which lists every regular file the server sent, with
// backup_label, tablespace_map and pg_control, and no other.
func (c *contents) check(m postgres.Manifest) error {
	for _, f := range m.Files {
		got, ok := c.files[f.Path]
		switch {
		case !ok:
			return &ContentError{Path: f.Path, Reason: "the manifest lists it, the server did not send it"}
		case got.size != f.Size:
			return &ContentError{Path: f.Path, Reason: fmt.Sprintf("size: got %d bytes, manifest says %d", got.size, f.Size)}
		case got.crc != f.CRC32C:
			return &ContentError{Path: f.Path, Reason: fmt.Sprintf("CRC32C: got %08x, manifest says %08x", got.crc, f.CRC32C)}
		}
		delete(c.files, f.Path)
	}
	for path := range c.files {
		return &ContentError{Path: path, Reason: "the server sent it, the manifest does not list it"}
	}
	return nil
}
