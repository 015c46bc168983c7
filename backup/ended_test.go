package backup

import (
	"testing"
	"time"
)

// TestEnded: a backup serves for no instant before its end, however the clocks go.
func TestEnded(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, test := range [][3]string{
		{"2026-11-20T10:00:00Z", "2026-11-20T10:00:00.1234561Z", "2026-11-20T10:00:00.124Z"},
		{"2026-11-20T10:00:00Z", "2026-11-20T10:00:00.124Z", "2026-11-20T10:00:00.124Z"},
		{"2026-11-20T10:00:00Z", "2026-11-20T11:00:07.9999+01:00", "2026-11-20T10:00:08Z"},
		{"2026-11-20T10:00:09Z", "2026-11-20T10:00:07Z", "2026-11-20T10:00:09Z"}, // the server's clock is ahead
	} {
		if got := ended(at(test[0]), at(test[1])); !got.Equal(at(test[2])) {
			t.Errorf("began %s, now %s: got %s, want %s", test[0], test[1], got, test[2])
		}
	}
}
