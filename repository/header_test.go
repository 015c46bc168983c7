package repository_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// vector is a file of testdata/v1/header: a comment, the class of failure or ok, the bytes in hex. The files are frozen; they were not
// made by this package.
type vector struct {
	name, expect string
	bytes        []byte
}

func headerVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/v1/header/*.txt")
	if err != nil || len(files) < 40 {
		t.Fatalf("got %d vectors, %v", len(files), err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		var digits strings.Builder
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if expect, ok := strings.CutPrefix(line, "expect: "); ok {
				v.expect = expect
			} else if !strings.HasPrefix(line, "#") {
				digits.WriteString(strings.ReplaceAll(line, " ", ""))
			}
		}
		if v.bytes, err = hex.DecodeString(digits.String()); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestHeaderVectors(t *testing.T) {
	classes := repository.HeaderErrors()
	for _, v := range headerVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			var h repository.Header
			err := h.UnmarshalBinary(v.bytes)
			if v.expect != "ok" {
				if want := classes[v.expect]; want == nil || !errors.Is(err, want) {
					t.Fatalf("got %v, want %s", err, v.expect)
				}
				if !reflect.ValueOf(h).IsZero() {
					t.Error("a refused header changed its receiver")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := h.MarshalBinary()
			if err != nil || !bytes.Equal(got, v.bytes) {
				t.Errorf("got %x, %v\nwant %x", got, err, v.bytes)
			}
		})
	}
}

// exampleHeader is what FORMAT.md says of the header that it prints.
func exampleHeader() repository.Header {
	h := repository.Header{Plain: 8192, Stored: 500}
	h.SystemID, h.Timeline, h.SegmentSize = 7312345678901234567, 1, 16<<20
	h.Kind, h.Range = repository.KindPiece, wal.Range{Start: 0x1000000, End: 0x1002000}
	h.Summary = repository.Summary{
		Ends: 3, RestorePoints: 1, FirstXID: 740, LastXID: 742,
		FirstTime: 848544000123456, LastTime: 848544001123456, MinTime: 848544000123456, MaxTime: 848544001123456,
	}
	sum, _ := hex.DecodeString("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	copy(h.SHA256[:], sum)
	return h
}

func TestFormatExample(t *testing.T) {
	text, err := os.ReadFile("../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), "Example: the header of a piece.\n\n```\n")
	if !ok {
		t.Fatal("docs/FORMAT.md has no example")
	}
	example, _, _ = strings.Cut(example, "```")
	var digits strings.Builder
	for line := range strings.Lines(example) {
		digits.WriteString(strings.Join(strings.Fields(line)[1:], ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	var got repository.Header
	if err := got.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if want := exampleHeader(); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestHeaderCutAtEachByte(t *testing.T) {
	for _, v := range headerVectors(t) {
		for cut := range v.bytes {
			var h repository.Header
			if err := h.UnmarshalBinary(v.bytes[:cut]); !errors.Is(err, repository.HeaderErrors()["short"]) {
				t.Errorf("%s cut at %d: got %v", v.name, cut, err)
			}
		}
	}
}

func TestHeaderEachBitFlipped(t *testing.T) {
	h := exampleHeader()
	b, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		var got repository.Header
		if err := got.UnmarshalBinary(b); err == nil {
			t.Errorf("bit %d of byte %d flipped: not seen", bit%8, bit/8)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestSummaryAdd(t *testing.T) {
	var s repository.Summary
	s.Add(wal.Record{})
	s.Add(wal.Record{Event: &wal.TransactionEnd{XID: 10, Time: 500}})
	s.Add(wal.Record{XID: 99, Event: &wal.TransactionEnd{Kind: wal.AbortPrepared, XID: 9, Time: 400}})
	s.Add(wal.Record{Event: &wal.RestorePoint{Name: "a"}})
	s.Add(wal.Record{Event: &wal.TransactionEnd{XID: 11, Time: 450}})
	s.Add(wal.Record{Event: &wal.Checkpoint{Shutdown: true}})
	s.Add(wal.Record{Event: &wal.Checkpoint{}})
	want := repository.Summary{
		Ends: 3, RestorePoints: 1, FirstXID: 10, LastXID: 11, FirstTime: 500, LastTime: 450,
		MinTime: 400, MaxTime: 500, ShutdownCheckpoint: true,
	}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func FuzzHeader(f *testing.F) {
	for _, v := range headerVectors(f) {
		f.Add(v.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h repository.Header
		if h.UnmarshalBinary(b) != nil {
			return
		}
		again, err := h.MarshalBinary()
		if err != nil || !bytes.Equal(again, b[:repository.HeaderSize]) {
			t.Errorf("got %x, %v, want %x", again, err, b)
		}
	})
}
