package repository_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
)

// TestRecordEachBit cuts the record at each byte and flips each bit.
func TestRecordEachBit(t *testing.T) {
	rec := goodRecord(t)
	text, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repository.ParseBackup(text); err != nil {
		t.Fatal(err)
	}
	for at := range text {
		if _, err := repository.ParseBackup(text[:at]); err == nil {
			t.Errorf("cut at %d: got nil", at)
		}
		for bit := range 8 {
			text[at] ^= 1 << bit
			if _, err := repository.ParseBackup(text); err == nil {
				t.Errorf("bit %d of byte %d flipped: got nil", bit, at)
			}
			text[at] ^= 1 << bit
		}
	}
}

// goodRecord returns a record as Commit makes it.
func goodRecord(t testing.TB) repository.Backup {
	b := record()
	b.Format, b.ID, b.Type, b.SystemID, b.SegmentSize, b.Timeline, b.StartLSN, b.Codec = 1, backupID, "full", system, 16*mib, 1, 0x2000028, "zstd"
	b.Index.Size, b.Index.Top.Size, b.Manifest.Size = 1000, 500, 1000
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordValidate(t *testing.T) {
	tests := map[string]func(*repository.Backup){
		"format":            func(b *repository.Backup) { b.Format = 0 },
		"id":                func(b *repository.Backup) { b.ID = "../../etc" },
		"id month":          func(b *repository.Backup) { b.ID = "20261321T024000Z" },
		"type":              func(b *repository.Backup) { b.Type = "incremental" },
		"system":            func(b *repository.Backup) { b.SystemID = 0 },
		"timeline":          func(b *repository.Backup) { b.Timeline = 0 },
		"history":           func(b *repository.Backup) { b.Timeline = 2 },
		"segment size":      func(b *repository.Backup) { b.SegmentSize = 3 },
		"range":             func(b *repository.Backup) { b.StopLSN = b.StartLSN - 1 },
		"codec":             func(b *repository.Backup) { b.Codec = "lz4" },
		"checksums":         func(b *repository.Backup) { b.Checksums = "perhaps" },
		"files":             func(b *repository.Backup) { b.Files = -1 },
		"index":             func(b *repository.Backup) { b.Index.Size = 1 << 40 },
		"top":               func(b *repository.Backup) { b.Index.Top.Size = b.Index.Size },
		"manifest":          func(b *repository.Backup) { b.Manifest.Size = 0 },
		"tablespace 0":      func(b *repository.Backup) { b.Tablespaces[0].OID = 0 },
		"tablespace path":   func(b *repository.Backup) { b.Tablespaces[0].Path = "a\x00b" },
		"tablespace twice":  func(b *repository.Backup) { b.Tablespaces = append(b.Tablespaces, b.Tablespaces[0]) },
		"tablespace nowere": func(b *repository.Backup) { b.Tablespaces[0].Path = "" },
	}
	for name, change := range tests {
		b := goodRecord(t)
		b.Tablespaces = slices.Clone(b.Tablespaces)
		change(&b)
		if err := b.Validate(); err == nil {
			t.Errorf("%s: got nil", name)
		}
		if _, err := b.Encode(); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
}

// TestRecordByHand verifies the hash on the last line as a person does, and reads fields as others do.
func TestRecordByHand(t *testing.T) {
	rec := goodRecord(t)
	text, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	sum := sha256.Sum256([]byte(strings.Join(lines[:len(lines)-1], "")))
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	if got, want := fields["sha256"], fmt.Sprintf("%x", sum); got != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for name, want := range map[string]any{"system_id": system.String(), "timeline": 1.0, "start_lsn": "0/2000028", "segment_size": float64(16 * mib), "started": "2026-11-21T02:40:00Z"} {
		if fields[name] != want {
			t.Errorf("%s: got %v, want %v", name, fields[name], want)
		}
	}
}
