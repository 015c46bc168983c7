package postgres

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/wal"
)

// Manifest is PostgreSQL's backup_manifest (documentation, "Backup Manifest
// Format"; src/common/parse_manifest.c).
type Manifest struct {
	Version   int          // 1 up to PostgreSQL 16, 2 since 17
	SystemID  wal.SystemID // 0 in version 1, which does not have it
	Files     []ManifestFile
	WALRanges []WALRange
}

// ManifestFile is a file of the backup. Directories, links and the manifest
// itself are not among them.
type ManifestFile struct {
	// Path is relative to the data directory; a file of a tablespace lies
	// under pg_tblspc/<OID>. It is local: neither absolute nor with "..".
	Path     string
	Size     int64 // bytes
	CRC32C   uint32
	Modified time.Time // in whole seconds, UTC; the zero time if not given
}

// WALRange is WAL that makes the backup consistent.
type WALRange struct {
	Timeline wal.TimelineID
	wal.Range
}

const manifestTime = "2006-01-02 15:04:05 GMT"

// manifestJSON is the file as it is written.
type manifestJSON struct {
	Version  int         `json:"PostgreSQL-Backup-Manifest-Version"`
	SystemID json.Number `json:"System-Identifier"`
	Files    []fileJSON  `json:"Files"`
	Ranges   []rangeJSON `json:"WAL-Ranges"`
	Checksum *string     `json:"Manifest-Checksum"`
}

type fileJSON struct {
	Path      *string `json:"Path"`
	Encoded   *string `json:"Encoded-Path"`
	Size      *int64  `json:"Size"`
	Modified  string  `json:"Last-Modified"`
	Algorithm string  `json:"Checksum-Algorithm"`
	Checksum  string  `json:"Checksum"`
}

type rangeJSON struct {
	Timeline uint32  `json:"Timeline"`
	Start    wal.LSN `json:"Start-LSN"`
	End      wal.LSN `json:"End-LSN"`
}

// ParseManifest reads a backup_manifest whose files have CRC32C checksums, the
// only kind that is ever asked for. It verifies the manifest's own SHA-256 and
// refuses paths that leave the data directory or appear twice.
func ParseManifest(b []byte) (Manifest, error) {
	m, err := parseManifest(b)
	if err != nil {
		return Manifest{}, fmt.Errorf("parse backup_manifest: %w", err)
	}
	return m, nil
}

func parseManifest(b []byte) (Manifest, error) {
	var in manifestJSON
	if !utf8.Valid(b) {
		return Manifest{}, errors.New("not UTF-8") // such paths come as Encoded-Path
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return Manifest{}, err
	}
	if err := verifyManifest(b, in.Checksum); err != nil {
		return Manifest{}, err
	}
	if in.Version != 1 && in.Version != 2 {
		return Manifest{}, fmt.Errorf("version %d: want 1 or 2", in.Version)
	}
	m := Manifest{Version: in.Version}
	if in.Version >= 2 {
		id, err := wal.ParseSystemID(string(in.SystemID))
		if err != nil {
			return Manifest{}, err
		}
		m.SystemID = id
	}
	if err := m.addFiles(in.Files); err != nil {
		return Manifest{}, err
	}
	for _, r := range in.Ranges {
		if r.Timeline == 0 || r.End < r.Start {
			return Manifest{}, fmt.Errorf("WAL range %s to %s on timeline %d is not valid", r.Start, r.End, r.Timeline)
		}
		m.WALRanges = append(m.WALRanges, WALRange{
			Timeline: wal.TimelineID(r.Timeline), Range: wal.Range{Start: r.Start, End: r.End},
		})
	}
	return m, nil
}

// verifyManifest checks the SHA-256 that stands in the last line and covers
// all lines before it.
func verifyManifest(b []byte, want *string) error {
	if want == nil {
		return errors.New("has no checksum of its own")
	}
	body, ended := bytes.CutSuffix(b, []byte("\n"))
	i := bytes.LastIndexByte(body, '\n')
	if !ended || i < 0 {
		return errors.New("does not end with a line for its checksum")
	}
	if !bytes.HasPrefix(b[i+1:], []byte(`"Manifest-Checksum"`)) {
		return errors.New("its checksum does not stand in the last line")
	}
	sum := sha256.Sum256(b[:i+1])
	if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, *want) {
		return fmt.Errorf("checksum is %s, want %s", got, *want)
	}
	return nil
}

func (m *Manifest) addFiles(files []fileJSON) error {
	m.Files = make([]ManifestFile, 0, len(files))
	seen := make(map[string]struct{}, len(files))
	for _, f := range files {
		file, err := f.decode()
		if err != nil {
			return err
		}
		if _, twice := seen[file.Path]; twice {
			return fmt.Errorf("file %q: appears twice", file.Path)
		}
		seen[file.Path] = struct{}{}
		m.Files = append(m.Files, file)
	}
	return nil
}

// decode checks one entry. A checksum is the bytes of pg_crc32c as they lie in
// the server's memory: little-endian on every machine we support.
func (f fileJSON) decode() (ManifestFile, error) {
	name, err := f.name()
	if err != nil {
		return ManifestFile{}, err
	}
	if f.Size == nil || *f.Size < 0 {
		return ManifestFile{}, fmt.Errorf("file %q: has no valid size", name)
	}
	if f.Algorithm != "CRC32C" {
		return ManifestFile{}, fmt.Errorf("file %q: checksum algorithm %q: want CRC32C", name, f.Algorithm)
	}
	sum, err := hex.DecodeString(f.Checksum)
	if err != nil || len(sum) != 4 {
		return ManifestFile{}, fmt.Errorf("file %q: checksum %q: want 8 hex digits", name, f.Checksum)
	}
	file := ManifestFile{Path: name, Size: *f.Size, CRC32C: binary.LittleEndian.Uint32(sum)}
	if f.Modified != "" {
		if file.Modified, err = time.Parse(manifestTime, f.Modified); err != nil {
			return ManifestFile{}, fmt.Errorf("file %q: %w", name, err)
		}
		file.Modified = file.Modified.UTC()
	}
	return file, nil
}

// name returns the path of the entry, checked to be local.
func (f fileJSON) name() (string, error) {
	var name string
	switch {
	case f.Path != nil && f.Encoded == nil:
		name = *f.Path
	case f.Path == nil && f.Encoded != nil:
		b, err := hex.DecodeString(*f.Encoded)
		if err != nil {
			return "", fmt.Errorf("encoded path %q: %w", *f.Encoded, err)
		}
		name = string(b)
	default:
		return "", errors.New("a file has no path, or two")
	}
	if name == "" || name == "." || name[0] == '/' || name != path.Clean(name) ||
		name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("path %q: not a path inside the data directory", name)
	}
	return name, nil
}
