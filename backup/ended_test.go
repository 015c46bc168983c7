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
	const began, silent = "2026-11-20T10:00:00Z", "0001-01-01T00:00:00Z"
	for name, test := range map[string]struct{ server, now, want string }{
		"rounded up":                      {"2026-11-20T10:00:00.1234561Z", began, "2026-11-20T10:00:00.124Z"},
		"a whole millisecond":             {"2026-11-20T10:00:00.124Z", began, "2026-11-20T10:00:00.124Z"},
		"our clock is behind":             {"2026-11-20T10:00:00.7Z", "2026-11-20T10:00:00.1Z", "2026-11-20T10:00:00.7Z"},
		"our clock is ahead":              {"2026-11-20T10:00:07.9999Z", "2026-11-20T12:00:00Z", "2026-11-20T10:00:08Z"},
		"the server's was set back":       {"2026-11-20T09:59:00Z", "2026-11-20T10:00:07Z", began},
		"it did not tell":                 {silent, "2026-11-20T11:00:07.9999+01:00", "2026-11-20T10:00:08Z"},
		"it did not tell, ours is behind": {silent, "2026-11-20T10:00:00.1Z", "2026-11-20T10:00:01Z"},
	} {
		if got := ended(at(began), at(test.server), at(test.now)); !got.Equal(at(test.want)) {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}
