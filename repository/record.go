package repository

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	backupFull = "full"

	// recordSumOpen and recordSumClose stand around the hash on the last line of record.json.
	recordSumOpen  = ` "sha256": "`
	recordSumClose = "\"}\n"
)

// recordLimit bounds a backup record in bytes.
const recordLimit = 16 << 20

// Checksums is PostgreSQL's verdict on the page checksums while it read the data directory.
type Checksums string

// The verdicts. They are parts of the format.
const (
	ChecksumsVerified Checksums = "verified"
	ChecksumsFailed   Checksums = "failed"
	ChecksumsOff      Checksums = "off"
)

// Backup is a backup record, FORMAT.md section 6. A backup whose record can be read is visible and whole.
type Backup struct {
	Format         int             `json:"format"`
	ID             string          `json:"id"`
	Type           string          `json:"type"`
	SystemID       wal.SystemID    `json:"system_id"`
	PGVersionNum   int             `json:"pg_version_num"`
	SegmentSize    wal.SegmentSize `json:"segment_size"` // bytes
	CatalogVersion uint32          `json:"catalog_version"`
	Timeline       wal.TimelineID  `json:"timeline"`
	StartLSN       wal.LSN         `json:"start_lsn"`
	StopLSN        wal.LSN         `json:"stop_lsn"`
	Started        time.Time       `json:"started"` // the server's clock
	Stopped        time.Time       `json:"stopped"` // ours
	Label          string          `json:"label"`
	Tablespaces    []Tablespace    `json:"tablespaces"`
	Checksums      Checksums       `json:"checksums"`
	// ChecksumFailures is above 0 only with ChecksumsFailed.
	ChecksumFailures int64             `json:"checksum_failures,omitzero"`
	Files            int64             `json:"files"`
	Plain            int64             `json:"plain"`  // bytes of the files
	Stored           int64             `json:"stored"` // bytes of all objects of the backup but the record
	Index            IndexObject       `json:"index"`
	Manifest         StoredObject      `json:"manifest"`
	History          []byte            `json:"history,omitempty"` // of Timeline, if that is above 1
	Codec            string            `json:"codec"`
	Writer           string            `json:"writer"`
	Labels           map[string]string `json:"labels,omitempty"`
	KeptUntil        time.Time         `json:"kept_until,omitzero"`
	// Encryption is that of packs, index and manifest; nil if they are not encrypted. Sizes and hashes of Index and Manifest are those of what is stored, that of
	// Index.Top is of the part inside.
	Encryption *BackupEncryption `json:"encryption,omitempty"`
}

// BackupEncryption is what the record says of an encrypted backup, FORMAT.md section 16.3.
type BackupEncryption struct {
	Scheme string       `json:"scheme"` // "age"
	Packs  []SealedPack `json:"packs"`  // all of them, by number
}

// SealedPack is an encrypted pack as it is stored.
type SealedPack struct {
	StoredObject

	Name string `json:"name"` // that of the pack inside, without .age
}

// Sealed reports whether the backup's data are encrypted.
func (b *Backup) Sealed() bool { return b.Encryption != nil }

// name returns the name of an object of the backup.
func (b *Backup) name(name storage.Key) storage.Key {
	if b.Sealed() {
		return name + sealSuffix
	}
	return name
}

// pack returns what the record says of a pack of an encrypted backup; of one that it does not name, that it has no bytes.
func (b *Backup) pack(name string) StoredObject {
	for _, p := range b.Encryption.Packs {
		if p.Name == name {
			return p.StoredObject
		}
	}
	return StoredObject{}
}

func (b *Backup) validateEncryption() error {
	if b.Encryption == nil {
		return nil
	}
	bad := func(what string, v any) error {
		return fmt.Errorf("%w: %s of the encryption: %v", errRecordField, what, v)
	}
	codec, err := compression.ByName(b.Codec)
	switch {
	case err != nil:
		return bad("codec", strconv.Quote(b.Codec))
	case b.Encryption.Scheme != schemeAge:
		return bad("scheme", strconv.Quote(b.Encryption.Scheme))
	case len(b.Encryption.Packs) > maxPacks:
		return bad("number of packs", len(b.Encryption.Packs))
	}
	for i, p := range b.Encryption.Packs {
		archive, _, _ := strings.Cut(p.Name, "-")
		if !validArchive(archive) || p.Name != packName(archive, i+1, codec) || p.Size <= HeaderSize {
			return bad("pack", fmt.Sprintf("%q of %d bytes", p.Name, p.Size))
		}
	}
	return nil
}

// Good reports whether the server found no page with a wrong checksum while it was taken.
func (b *Backup) Good() bool { return b.Checksums != ChecksumsFailed }

// StoredObject is the size and hash of an object as it is stored.
type StoredObject struct {
	Size   int64 `json:"size"` // bytes
	SHA256 Sum   `json:"sha256"`
}

// IndexObject is the index as it is stored. Top is its first part, header and first line, so that it can be read and
// verified without the rest.
type IndexObject struct {
	StoredObject

	Top StoredObject `json:"top"`
}

// Tablespace is a tablespace of the cluster and where the server had it. Path may hold any bytes but NUL.
type Tablespace struct {
	OID  uint32
	Path string
}

// tablespaceJSON is the form in record.json. As in backup_manifest, a path that is no UTF-8 is encoded in hex.
type tablespaceJSON struct {
	OID         uint32 `json:"oid"`
	Path        string `json:"path,omitempty"`
	EncodedPath string `json:"encoded_path,omitempty"`
}

// MarshalJSON writes the form of FORMAT.md.
func (t Tablespace) MarshalJSON() ([]byte, error) {
	j := tablespaceJSON{OID: t.OID}
	j.Path, j.EncodedPath = encodePath(t.Path)
	return json.Marshal(j)
}

// UnmarshalJSON reads the form of FORMAT.md.
func (t *Tablespace) UnmarshalJSON(b []byte) error {
	var j tablespaceJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	path, err := decodePath(j.Path, j.EncodedPath)
	*t = Tablespace{OID: j.OID, Path: path}
	return err
}

// encodePath returns path for the one or the other field: JSON holds no bytes that are no UTF-8.
func encodePath(path string) (plain, encoded string) {
	if utf8.ValidString(path) {
		return path, ""
	}
	return "", hex.EncodeToString([]byte(path))
}

var errTwoPaths = errors.New("a path and an encoded path")

func decodePath(plain, encoded string) (string, error) {
	if encoded == "" {
		return plain, nil
	}
	if plain != "" {
		return "", errTwoPaths
	}
	b, err := hex.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("encoded path: %w", err)
	}
	return string(b), nil
}

// Encode returns the content of record.json: indented JSON whose last line is the SHA-256 of all lines before it.
func (b *Backup) Encode() ([]byte, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("encode backup record: %w", err)
	}
	text, err := sealRecord(b)
	if err != nil {
		return nil, fmt.Errorf("encode backup record: %w", err)
	}
	return text, nil
}

// ParseBackup reads the content of record.json, verifies its hash and validates it. Fields it does not know are passed over. It
// returns a *FormatError for a record of a newer format.
func ParseBackup(text []byte) (Backup, error) {
	if err := checkRecordSum(text); err != nil {
		return Backup{}, fmt.Errorf("parse backup record: %w", err)
	}
	var b Backup
	if err := json.Unmarshal(text, &b); err != nil {
		return Backup{}, fmt.Errorf("parse backup record: %w", err)
	}
	if b.Format > Format {
		return Backup{}, fmt.Errorf("parse backup record: %w", &FormatError{Got: b.Format, Known: Format})
	}
	if err := b.Validate(); err != nil {
		return Backup{}, fmt.Errorf("parse backup record: %w", err)
	}
	return b, nil
}

var (
	errRecordSum   = errors.New("hash on the last line is missing or differs")
	errRecordField = errors.New("field out of range")
)

// sealRecord returns the content of a record: indented JSON whose last line is the SHA-256 of all lines before it.
func sealRecord(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return nil, err
	}
	text = append(bytes.TrimSuffix(text, []byte("\n}")), ",\n"...)
	sum := Sum(sha256.Sum256(text))
	return append(text, recordSumOpen+sum.String()+recordSumClose...), nil
}

// openRecord reads into v what sealRecord wrote, if it is a record of the cluster id and of a format that is known. Fields that v lacks are passed
// over; field is the error of one that cannot be.
func openRecord(id wal.SystemID, text []byte, v any, field error) error {
	if err := checkRecordSum(text); err != nil {
		return err
	}
	var head struct {
		Format   int          `json:"format"`
		SystemID wal.SystemID `json:"system_id"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	switch {
	case head.Format > Format:
		return &FormatError{Got: head.Format, Known: Format}
	case head.Format < 1:
		return fmt.Errorf("%w: format %d", field, head.Format)
	case head.SystemID != id:
		return fmt.Errorf("%w: system identifier %s", field, head.SystemID)
	}
	return json.Unmarshal(text, v)
}

func checkRecordSum(text []byte) error {
	last := len(text) - (len(recordSumOpen) + 2*sha256.Size + len(recordSumClose))
	if last < 0 {
		return errRecordSum
	}
	line, opens := strings.CutPrefix(string(text[last:]), recordSumOpen)
	digits, closes := strings.CutSuffix(line, recordSumClose)
	if !opens || !closes || Sum(sha256.Sum256(text[:last])).String() != digits {
		return errRecordSum
	}
	return nil
}

// Validate returns an error that names the first field that cannot be.
func (b *Backup) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errRecordField, what, v) }
	_, errID := parseStamp(b.ID)
	codec, errCodec := compression.ByName(b.Codec)
	switch {
	case b.Format < 1:
		return bad("format", b.Format)
	case errID != nil:
		return bad("id", errID)
	case b.Type != backupFull:
		return bad("type", strconv.Quote(b.Type))
	case b.SystemID == 0 || b.Timeline == 0:
		return bad("system identifier or timeline", 0)
	case b.SegmentSize.Validate() != nil:
		return bad("segment size", uint32(b.SegmentSize))
	case b.StartLSN == 0 || b.StopLSN < b.StartLSN:
		return bad("WAL range", wal.Range{Start: b.StartLSN, End: b.StopLSN})
	case errCodec != nil || codec == nil:
		return bad("codec", strconv.Quote(b.Codec))
	case b.Files < 0 || b.Plain < 0 || b.Stored < 0 || b.ChecksumFailures < 0:
		return bad("count below", 0)
	case b.Checksums != ChecksumsVerified && b.Checksums != ChecksumsFailed && b.Checksums != ChecksumsOff:
		return bad("checksums", strconv.Quote(string(b.Checksums)))
	case !b.Index.valid() || !b.Index.Top.valid() || b.Index.Top.Size >= b.Index.Size || !b.Manifest.valid():
		return bad("size of index or manifest", b.Index.Size)
	}
	return errors.Join(b.validateTablespaces(), b.validateHistory(), b.validateEncryption())
}

func (o StoredObject) valid() bool {
	return o.Size > HeaderSize && o.Size <= encryption.SealedSize(encryption.MaxHeader, HeaderSize+maxStored(maxObject))
}

func (b *Backup) validateTablespaces() error {
	seen := map[uint32]bool{}
	for _, t := range b.Tablespaces {
		if t.OID == 0 || t.Path == "" || strings.ContainsRune(t.Path, 0) || len(t.Path) > maxPath || seen[t.OID] {
			return fmt.Errorf("%w: tablespace %d at %q", errRecordField, t.OID, t.Path)
		}
		seen[t.OID] = true
	}
	return nil
}

func (b *Backup) validateHistory() error {
	if b.Timeline == 1 {
		return nil
	}
	if _, err := wal.ParseHistory(b.Timeline, b.History); err != nil {
		return fmt.Errorf("%w: history: %w", errRecordField, err)
	}
	return nil
}

// recordKey returns the key of a backup's record.
func recordKey(id wal.SystemID, backup string) storage.Key {
	return backupPrefix(id, backup) + recordName
}
