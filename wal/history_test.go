package wal_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/pgark/pgark/wal"
)

func TestParseHistory(t *testing.T) {
	// As a server writes it: an empty line before each line but the first.
	h, err := wal.ParseHistory(4, []byte("1\t0/3000148\tno recovery target specified\n\n# comment\n 2\t1/A\tat restore point \"x\"\n\n3\t1/1000000"))
	want := wal.History{Timeline: 4, Parents: []wal.Switch{
		{Timeline: 1, At: 0x3000148, Reason: "no recovery target specified"},
		{Timeline: 2, At: 0x10000000A, Reason: `at restore point "x"`},
		{Timeline: 3, At: 0x101000000},
	}}
	if err != nil || !reflect.DeepEqual(h, want) || h.FileName() != "00000004.history" {
		t.Errorf("got %+v, %v, want %+v", h, err, want)
	}
	if h, err := wal.ParseHistory(1, nil); err != nil || h.Timeline != 1 || len(h.Parents) != 0 {
		t.Errorf("timeline 1: %+v, %v", h, err)
	}
	// PostgreSQL 15 told to recover along timeline 2 to an LSN before it began.
	h, err = wal.ParseHistory(3, []byte("1\t0/3018970\tno recovery target specified\n\n2\t0/3000128\tafter LSN 0/30000E8\n"))
	if at, ok := h.SwitchOf(1); err != nil || !ok || at != 0x3000128 || h.TimelineAt(at) != 3 || h.TimelineAt(at-1) != 1 {
		t.Errorf("LSNs that fall: %+v, %v: timeline 1 ends at %s", h, err, at)
	}
	bad := map[string]string{
		"no parent":        "\n#\n",
		"not a number":     "x\t0/1\t\n",
		"signed":           "+1\t0/1\t\n",
		"no LSN":           "1\n",
		"bad LSN":          "1\t0/1x\treason\n",
		"LSN 0":            "1\t0/0\treason\n",
		"timeline 0":       "0\t0/1\treason\n",
		"itself":           "4\t0/1\treason\n",
		"a later timeline": "5\t0/1\treason\n",
		"falls":            "2\t0/1\treason\n1\t0/2\treason\n",
		"repeats":          "2\t0/1\treason\n2\t0/2\treason\n",
		"too large":        "4294967297\t0/1\treason\n",
	}
	for name, text := range bad {
		if h, err := wal.ParseHistory(4, []byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, h)
		}
	}
	if _, err := wal.ParseHistory(0, nil); err == nil {
		t.Error("timeline 0: no error")
	}
	if _, err := wal.ParseHistory(1, []byte("1\t0/1\t\n")); err == nil {
		t.Error("parent of timeline 1: no error")
	}
}

func TestHistory(t *testing.T) {
	plain := wal.History{Timeline: 5, Parents: []wal.Switch{{Timeline: 1, At: 100}, {Timeline: 3, At: 200}}}
	// Recovery along timeline 2, which began at 300, ended at 150, and so on 1.
	before := wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 300}, {Timeline: 2, At: 150}}}
	tests := []struct {
		history wal.History
		ranges  map[wal.TimelineID]wal.Range
	}{
		{plain, map[wal.TimelineID]wal.Range{1: {End: 100}, 3: {Start: 100, End: 200}, 5: {Start: 200, End: math.MaxUint64}}},
		{before, map[wal.TimelineID]wal.Range{1: {End: 150}, 2: {Start: 150, End: 150}, 3: {Start: 150, End: math.MaxUint64}}},
		{wal.History{Timeline: 1}, map[wal.TimelineID]wal.Range{1: {End: math.MaxUint64}}},
	}
	for _, test := range tests {
		h := test.history
		for tli, want := range test.ranges {
			got, ok := h.RangeOf(tli)
			if !ok || got != want || !h.Contains(tli) {
				t.Errorf("%+v: timeline %d has %s, want %s", h, tli, got, want)
			}
			at, ended := h.SwitchOf(tli)
			if ended != (tli != h.Timeline) || ended && at != want.End {
				t.Errorf("%+v: timeline %d ends at %s, %v", h, tli, at, ended)
			}
			for _, lsn := range []wal.LSN{want.Start, want.End - 1} {
				if want.Contains(lsn) && h.TimelineAt(lsn) != tli {
					t.Errorf("%+v: %s is on timeline %d, want %d", h, lsn, h.TimelineAt(lsn), tli)
				}
			}
		}
		if _, ok := h.RangeOf(9); ok || h.Contains(9) {
			t.Errorf("%+v contains timeline 9", h)
		}
		if _, ok := h.SwitchOf(9); ok {
			t.Errorf("%+v: timeline 9 has an end", h)
		}
	}
}
