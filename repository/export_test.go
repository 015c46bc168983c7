package repository

import (
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// HeaderErrors are the classes of failure in testdata/v1/header.
func HeaderErrors() map[string]error {
	return map[string]error{
		"short": errHeaderShort, "magic": errHeaderMagic, "version": errHeaderVersion,
		"crc": errHeaderCRC, "zero": errHeaderZero, "field": errHeaderField,
	}
}

// ParseTop parses the first line of an index.
func ParseTop(text []byte) ([]Pack, error) { return parseTop(text, 1000, compression.Zstd()) }

// ParseTable parses the line of a pack.
func ParseTable(text []byte, p Pack, tablespaces []Tablespace) (*PackTable, error) {
	return parseTable(text, p, tablespaces)
}

// EncodeTable writes the line of a pack.
func EncodeTable(t *PackTable) ([]byte, error) { return t.encode() }

// OpenedBytes is what a reader of an encrypted backup keeps of the objects that it opened.
func OpenedBytes(r *BackupReader) (bytes int) {
	r.parts.mu.Lock()
	defer r.parts.mu.Unlock()
	for _, o := range r.parts.opened {
		bytes += len(o.head) + len(o.tail)
	}
	return bytes
}

// ParseWALKey parses the key of a WAL object of system 7 on timeline 1.
func ParseWALKey(size wal.SegmentSize, key storage.Key) (Entry, bool) {
	return parseWALKey(timelinePrefix(7, 1), size, key)
}

// WALKey makes a key.
func WALKey(o WALObject, codec compression.Codec) storage.Key { return walKey(o, codec) }

// ParseBeatName parses the name of a beat.
func ParseBeatName(s string) (Beat, bool) { return parseBeatName(s) }

// BeatName makes the name of a beat.
func BeatName(b Beat) storage.Key { return b.name() }

// ParseGapName parses the name of a gap record.
func ParseGapName(s string) (Gap, bool) { return parseGapName(s) }

// GapName makes the name of a gap record.
func GapName(g Gap) storage.Key { return g.name() }

// ParseGap reads the content of a gap record.
func ParseGap(id wal.SystemID, text []byte) (Gap, error) { return parseGap(id, text) }

// EncodeGap makes the content of a gap record.
func EncodeGap(id wal.SystemID, g Gap) ([]byte, error) { return g.encode(id) }

// MaxStored is the bound of stored bytes.
func MaxStored(plain int64) int64 { return maxStored(plain) }

// EncodeSyncEvent returns the content of a record of synchronous mode.
func EncodeSyncEvent(id wal.SystemID, e SyncEvent) ([]byte, error) { return e.encode(id) }

// ParseSyncEvent reads what EncodeSyncEvent writes.
func ParseSyncEvent(id wal.SystemID, text []byte) (SyncEvent, error) {
	return parseSyncEvent(id, text)
}

// EncodeDrill returns the content of the report of a drill.
func EncodeDrill(d Drill) ([]byte, error) { return d.encode() }

// ParseDrill reads what EncodeDrill writes.
func ParseDrill(text []byte) (Drill, error) { return parseDrill(text) }

// ParseNames reads the plain bytes of the names of a drill.
func ParseNames(text []byte) (*Names, error) { return parseNames(text) }

// SetPatience sets how long a source may take.
func SetPatience(s *Sources, d time.Duration) { s.patience = d }

// EncodeReading makes the content of the record of a verification.
func EncodeReading(id wal.SystemID, r Reading) ([]byte, error) { return r.encode(id) }

// ParseReading reads the content of the record of a verification.
func ParseReading(id wal.SystemID, text []byte) (Reading, error) { return parseReading(id, text) }

// ReencodeOutline reads the note at the start of an encrypted object, and returns the bytes up to its end as they would be written.
func ReencodeOutline(key storage.Key, b []byte) ([]byte, error) {
	o, err := readOutline(key, b)
	if err != nil {
		return nil, err
	}
	note := o.note(o.Envelope)
	read, err := encryption.ReadNote(b)
	if err != nil || read != note {
		return nil, errOutlineField
	}
	return b[:encryption.PrefixSize], nil
}

// EncodeExpiry writes the content of an expiry record.
func EncodeExpiry(id wal.SystemID, e Expiry) ([]byte, error) { return e.encode(id) }

// ParseExpiry reads it.
func ParseExpiry(id wal.SystemID, text []byte) (Expiry, error) { return parseExpiry(id, text) }

// EncodeHold writes the content of a hold that says what is read.
func EncodeHold(id wal.SystemID, r Reads, why string) ([]byte, error) {
	return Hold{Reads: r, Why: why}.encode(id)
}

// ParseHold reads it.
func ParseHold(id wal.SystemID, text []byte) (Reads, string, error) { return parseHold(id, text) }

// EncodePin writes the content of a pin.
func EncodePin(id wal.SystemID, p Pin) ([]byte, error) { return p.encode(id) }

// ParsePin reads it.
func ParsePin(id wal.SystemID, text []byte) (Pin, error) { return parsePin(id, text) }

// EncodeCensus writes the content of a census, ParseCensus reads it.
func EncodeCensus(id wal.SystemID, n *Census) ([]byte, error) { return n.encode(id) }

// ParseCensus reads what EncodeCensus writes.
func ParseCensus(id wal.SystemID, text []byte) (*Census, error) { return parseCensus(id, text) }

// Count makes blocks of objects in the order of ListWAL.
func Count(size wal.SegmentSize, entries []Entry) []Block {
	n := counter{size: size}
	for _, e := range entries {
		n.add(e)
	}
	return n.end()
}

// Rely says of each block whether it is relied on: "r", listed and must be there: "p", or let go: "x".
func Rely(blocks []Block, size wal.SegmentSize, let func(wal.Range) bool, intN func(int) int) string {
	words := ""
	for _, u := range rely(blocks, size, let, intN) {
		words += string("rpx"[u])
	}
	return words
}
