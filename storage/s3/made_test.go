package s3

import (
	"testing"
	"time"
)

func TestMade(t *testing.T) {
	modified := time.Date(2026, 11, 21, 22, 6, 48, 0, time.UTC)
	for id, want := range map[string]time.Time{
		"01M802BMV9H4DET4E0QJZ33SY5":             time.Date(2026, 11, 21, 22, 6, 48, 0, time.UTC), // of that second
		"null":                                   modified,
		"3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRC": modified, // as Amazon's
		"81M802BMV9H4DET4E0QJZ33SY5":             modified,
		"00000000000000000000000000":             modified, // a number
		"01M802BMV9H4DET4E0QJZ33SY5X":            modified,
		"7b9e7e7c-6f1e-4f0e-9a55-f0ad0a6e7a0c":   modified, // as MinIO's
		"":                                       modified,
	} {
		if got := made(id, modified); !got.Equal(want) {
			t.Errorf("%q: got %s, want %s", id, got, want)
		}
	}
	if got := made("01M802BMV9H4DET4E0QJZ33SY5", modified.Add(time.Hour)); got.Before(modified) || got.After(modified.Add(time.Second)) {
		t.Errorf("put over an hour later: got %s", got)
	}
}
