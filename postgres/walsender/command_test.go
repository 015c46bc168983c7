package walsender

import (
	"errors"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for text, want := range map[string]any{
		"IDENTIFY_SYSTEM":                                   identifySystem{},
		"identify_system;":                                  identifySystem{},
		"TIMELINE_HISTORY 2":                                timelineHistory{2},
		"START_REPLICATION 0/3000000 TIMELINE 1":            startReplication{1, 0x3000000},
		`START_REPLICATION SLOT "pgark" 1A/0 TIMELINE 3`:    startReplication{3, 0x1A << 32},
		`START_REPLICATION SLOT "s" PHYSICAL 0/1000000`:     startReplication{0, 0x1000000},
		"START_REPLICATION PHYSICAL 0/1000000 TIMELINE 7\n": startReplication{7, 0x1000000},
	} {
		if got, err := parseCommand(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ";", "SELECT 1", "SHOW wal_segment_size", "BASE_BACKUP", "IDENTIFY_SYSTEM now", "TIMELINE_HISTORY", "CREATE_REPLICATION_SLOT x PHYSICAL",
		`START_REPLICATION SLOT "x" LOGICAL 0/0`, "START_REPLICATION", "START_REPLICATION 0/0 TIMELINE",
	} {
		if got, err := parseCommand(text); !errors.Is(err, errUnsupported) {
			t.Errorf("%q: got %+v, %v, want %v", text, got, err, errUnsupported)
		}
	}
	for _, text := range []string{"TIMELINE_HISTORY 0", "TIMELINE_HISTORY -1", "START_REPLICATION 0/0 TIMELINE x", "START_REPLICATION here TIMELINE 1", "START_REPLICATION SLOT"} {
		if got, err := parseCommand(text); err == nil || errors.Is(err, errUnsupported) {
			t.Errorf("%q: got %+v, %v, want a syntax error", text, got, err)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, text := range []string{"IDENTIFY_SYSTEM", "TIMELINE_HISTORY 2", `START_REPLICATION SLOT "a b" PHYSICAL 0/1 TIMELINE 1`, " ;"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseCommand(text)
		if got == nil && err == nil {
			t.Errorf("%q: neither a command nor an error", text)
		}
	})
}
