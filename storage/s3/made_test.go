package s3

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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

// TestBegun: what was sent in parts may be dated when its upload began, unless its id tells when it was put.
func TestBegun(t *testing.T) {
	for name, test := range map[string]struct {
		id, etag string
		want     bool
	}{
		"at once":                     {"3sL4kqtJlcpXroDTDmJ", `"5d41402abc4b2a76b9719d911017c592"`, false},
		"in parts":                    {"3sL4kqtJlcpXroDTDmJ", `"5d41402abc4b2a76b9719d911017c592-3"`, true},
		"the store does not tell":     {"3sL4kqtJlcpXroDTDmJ", "", true},
		"in parts, and dated exactly": {"01M802BMV9H4DET4E0QJZ33SY5", `"5d41402abc4b2a76b9719d911017c592-3"`, false},
	} {
		if got := begun(types.ObjectVersion{VersionId: &test.id, ETag: &test.etag}); got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
	}
}
