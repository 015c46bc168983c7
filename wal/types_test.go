package wal_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

func TestLSN(t *testing.T) {
	tests := []struct {
		text, hex string
		lsn       wal.LSN
	}{
		{"0/0", "0000000000000000", 0},
		{"0/1000028", "0000000001000028", 0x1000028},
		{"16/B374D848", "00000016B374D848", 0x16B374D848},
		{"FFFFFFFF/FFFFFFFF", "FFFFFFFFFFFFFFFF", math.MaxUint64},
	}
	for _, test := range tests {
		if got, err := wal.ParseLSN(test.text); err != nil || got != test.lsn || got.String() != test.text {
			t.Errorf("ParseLSN(%q) = %s, %v", test.text, got, err)
		}
		if got, err := wal.ParseHexLSN(test.hex); err != nil || got != test.lsn || got.Hex() != test.hex {
			t.Errorf("ParseHexLSN(%q) = %s, %v", test.hex, got.Hex(), err)
		}
	}
	if got, err := wal.ParseLSN("00000016/0b374d848"[:17]); err != nil || got != 0x160b374d84 {
		t.Errorf("lower case and leading zeros: %s, %v", got, err)
	}
	for _, s := range []string{"", "/", "0", "0/", "/0", "0/0/0", "0/0 ", " 0/0", "0/0x", "+1/0", "-1/0", "0/+1", "0x1/0", "000000001/0", "0/123456789", "1_0/0", "0/G"} {
		if got, err := wal.ParseLSN(s); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", s, got)
		}
	}
	for _, s := range []string{"", "0", "000000000000000", "00000000000000000", "00000016b374d848", "+000000000000000", "0/000000000000 0"} {
		if got, err := wal.ParseHexLSN(s); err == nil {
			t.Errorf("ParseHexLSN(%q) = %s, want an error", s, got)
		}
	}
}

func TestRange(t *testing.T) {
	r := wal.Range{Start: 16, End: 32}
	if r.Len() != 16 || r.Empty() || r.Contains(15) || !r.Contains(16) || !r.Contains(31) || r.Contains(32) || r.String() != "[0/10, 0/20)" {
		t.Error(r, r.Len())
	}
	if r = (wal.Range{Start: 32, End: 16}); r.Len() != 0 || !r.Empty() || r.Contains(20) {
		t.Error(r, r.Len())
	}
}

func TestIdentifiers(t *testing.T) {
	for s, want := range map[string]wal.SystemID{"1": 1, "18446744073709551615": math.MaxUint64, "7301234567890123456": 7301234567890123456} {
		if got, err := wal.ParseSystemID(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseSystemID(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "01", "+1", "-1", " 1", "1 ", "0x1", "1_0", "18446744073709551616", "1.0"} {
		if got, err := wal.ParseSystemID(s); err == nil {
			t.Errorf("ParseSystemID(%q) = %s, want an error", s, got)
		}
	}
	for s, want := range map[string]wal.TimelineID{"00000001": 1, "0000000A": 10, "FFFFFFFF": math.MaxUint32} {
		if got, err := wal.ParseTimelineID(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseTimelineID(%q) = %s, %v", s, got, err)
		}
		name := s + ".history"
		if got, err := wal.ParseHistoryFileName(name); err != nil || got != want || got.HistoryFileName() != name {
			t.Errorf("ParseHistoryFileName(%q) = %s, %v", name, got, err)
		}
	}
	for _, s := range []string{"", "1", "00000000", "0000000a", "000000001", "+0000001", "0000001 "} {
		if got, err := wal.ParseTimelineID(s); err == nil {
			t.Errorf("ParseTimelineID(%q) = %s, want an error", s, got)
		}
		if got, err := wal.ParseHistoryFileName(s + ".history"); err == nil {
			t.Errorf("ParseHistoryFileName(%q) = %s, want an error", s+".history", got)
		}
	}
	if _, err := wal.ParseHistoryFileName("00000002.histor"); err == nil {
		t.Error("no suffix: no error")
	}
}

func TestJSON(t *testing.T) {
	type all struct {
		System   wal.SystemID
		Timeline wal.TimelineID
		LSN      wal.LSN
		Time     wal.Time
	}
	in := all{System: math.MaxUint64, Timeline: 2, LSN: 0x2000028, Time: 1}
	b, err := json.Marshal(in)
	want := `{"System":"18446744073709551615","Timeline":2,"LSN":"0/2000028","Time":"2000-01-01T00:00:00.000001Z"}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
	var out all
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("got %+v, %v", out, err)
	}
	for _, s := range []string{`{"System":"0"}`, `{"LSN":"x"}`, `{"Time":"2000-01-01 00:00:00"}`} {
		if err := json.Unmarshal([]byte(s), &out); err == nil {
			t.Errorf("%s: no error", s)
		}
	}
}

func TestTime(t *testing.T) {
	tests := map[string]wal.Time{
		"2000-01-01T00:00:00.000000Z": 0,
		"1999-12-31T23:59:59.999999Z": -1,
		"2026-11-21T03:15:41.615455Z": 848546141615455,
	}
	for text, want := range tests {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := wal.FromGo(at); got != want || got.String() != text || !got.Go().Equal(at) || got.Go().Location() != time.UTC {
			t.Errorf("%s is %d, want %d; prints %s", text, got, want, got)
		}
	}
	late := time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", 3600))
	if got, want := wal.FromGo(late), wal.FromGo(late.Truncate(time.Microsecond)); got != want {
		t.Errorf("nanoseconds: %s, want %s", got, want)
	}
	if infinity := wal.Time(math.MaxInt64); infinity.Go().Before(wal.Time(0).Go()) {
		t.Errorf("infinity is %s", infinity)
	}
}

func TestSegment(t *testing.T) {
	tests := []struct {
		size wal.SegmentSize
		lsn  wal.LSN
		name string
	}{
		{wal.DefaultSegmentSize, 0x1000028, "000000010000000000000001"},
		{wal.DefaultSegmentSize, 0x16B374D848, "0000000100000016000000B3"},
		{wal.DefaultSegmentSize, 0x1FFFFFFFFF, "000000010000001F000000FF"},
		{wal.MinSegmentSize, 0x16B374D848, "000000010000001600000B37"},
		{wal.MaxSegmentSize, 0x16B374D848, "000000010000001600000002"},
		{64 << 20, 0x16FFFFFFFF, "00000001000000160000003F"},
		{wal.MinSegmentSize, math.MaxUint64, "00000001FFFFFFFF00000FFF"},
	}
	for _, test := range tests {
		id := test.size.Segment(1, test.lsn)
		if got := test.size.FileName(id); got != test.name {
			t.Errorf("segment of %s is %s, want %s", test.lsn, got, test.name)
		}
		if got, err := test.size.ParseFileName(test.name); err != nil || got != id {
			t.Errorf("ParseFileName(%q) = %v, %v, want %v", test.name, got, err, id)
		}
		start := test.size.Start(id.Number)
		if test.size.Floor(test.lsn) != start || start+wal.LSN(test.size.Offset(test.lsn)) != test.lsn ||
			test.size.End(id.Number)-start != wal.LSN(test.size) || test.size.Range(id.Number).Start != start {
			t.Errorf("%s: segment starts at %s", test.lsn, start)
		}
	}
	for _, s := range []string{"", "00000001000000000000000", "0000000100000000000000011", "00000000000000000000000a", "000000000000000000000001", "000000010000000000000100", "00000001000000000000000+"} {
		if got, err := wal.DefaultSegmentSize.ParseFileName(s); err == nil {
			t.Errorf("ParseFileName(%q) = %v, want an error", s, got)
		}
	}
	for size, valid := range map[wal.SegmentSize]bool{0: false, 1 << 19: false, 1 << 20: true, 3 << 20: false, 1 << 30: true, 1 << 31: false} {
		if err := size.Validate(); (err == nil) != valid {
			t.Errorf("Validate of %d: %v", size, err)
		}
	}
}

func TestZeroTail(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 17, 100} {
		for last := range size + 1 { // where the last byte that is not zero is
			b := make([]byte, size)
			if last > 0 {
				b[last-1] = 1
			}
			if got := wal.ZeroTail(b); got != size-last {
				t.Errorf("%d bytes, %d before the zeros: got %d", size, last, got)
			}
		}
	}
}
