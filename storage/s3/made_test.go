package s3

import (
	"testing"
	"time"
)

func TestMade(t *testing.T) {
	modified := time.Date(2026, 11, 21, 22, 6, 48, 0, time.UTC)
	for id, want := range map[string]time.Time{
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
	for _, dated := range []time.Time{modified, modified.Add(time.Hour), modified.Add(-time.Hour)} { // whatever the store says of it
		if got := made("01M802BMV9H4DET4E0QJZ33SY5", dated); !got.Truncate(time.Second).Equal(modified) {
			t.Errorf("dated %s: got %s", dated, got)
		}
	}
}
