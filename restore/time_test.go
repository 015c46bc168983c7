package restore_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// paris is two hours ahead of UTC at noon.
func noon(t testing.TB) time.Time {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 7, 1, 12, 0, 0, 0, zone)
}

func TestParseTime(t *testing.T) {
	now := noon(t)
	tests := map[string]string{
		"2026-11-20T10:31:00Z":                 "2026-11-20T10:31:00Z",
		"2026-11-20 10:31:00+00":               "2026-11-20T10:31:00Z",
		"2026-11-20 10:31:00 +05:30":           "2026-11-20T05:01:00Z",
		"2026-11-20 10:31:00+0530":             "2026-11-20T05:01:00Z",
		"2026-11-20 10:31:00-01":               "2026-11-20T11:31:00Z",
		"2026-11-20 10:31:00 Europe/Paris":     "2026-11-20T09:31:00Z",
		"2026-07-20 10:31:00 Europe/Paris":     "2026-07-20T08:31:00Z",
		"2026-11-20 10:31:00 America/New_York": "2026-11-20T15:31:00Z",
		"2026-11-20 10:31 UTC":                 "2026-11-20T10:31:00Z",
		"2026-11-20 10:31 gmt":                 "2026-11-20T10:31:00Z",
		"2026-11-20T10:31:00.25Z":              "2026-11-20T10:31:00.25Z",
		"2026-11-20 10:31:00.123456789+00":     "2026-11-20T10:31:00.123456Z",
		"  2026-11-20   10:31:00   Z ":         "2026-11-20T10:31:00Z",
		"1999-12-31 23:59:59.999999Z":          "1999-12-31T23:59:59.999999Z",
		"10m ago":                              "2026-07-01T09:50:00Z",
		"-10m":                                 "2026-07-01T09:50:00Z",
		"1d2h ago":                             "2026-06-30T08:00:00Z",
		"1w2d ago":                             "2026-06-22T10:00:00Z",
		"-1500ms":                              "2026-07-01T09:59:58.5Z",
		"today 09:30Z":                         "2026-07-01T09:30:00Z",
		"today 23:30:01 Europe/Paris":          "2026-07-01T21:30:01Z",
		"Yesterday 09:30 +02":                  "2026-06-30T07:30:00Z",
		"today 00:00 Pacific/Kiritimati":       "2026-07-01T10:00:00Z",
		"now":                                  "2026-07-01T10:00:00Z",
		"2026-03-29 01:59:59 Europe/Paris":     "2026-03-29T00:59:59Z",
		"2026-03-29 03:00:00 Europe/Paris":     "2026-03-29T01:00:00Z",
		"2026-10-25 03:00:00 Europe/Paris":     "2026-10-25T02:00:00Z",
		"2026-11-20 10:31:00 Asia/Kathmandu":   "2026-11-20T04:46:00Z",
	}
	for in, want := range tests {
		got, err := restore.ParseTime(in, now)
		if err != nil {
			t.Errorf("ParseTime(%q): %v", in, err)
			continue
		}
		if got := got.Format(time.RFC3339Nano); got != want {
			t.Errorf("ParseTime(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestParseTimeRefuses(t *testing.T) {
	now := noon(t)
	tests := map[string]string{
		"":                                   "empty",
		"2026-11-20":                         "without a time of day",
		"2026-11-20 10:31:00 EST":            "zone",
		"2026-11-20 10:31:00 CET":            "zone",
		"2026-11-20 10:31:00 Local":          "zone",
		"2026-11-20 10:31:00 Europe/Nowhere": "zone",
		"2026-11-20 10:31:00 Z Z":            "zone",
		"2026-02-30 10:31:00Z":               "want a time",
		"2026-11-20 24:00:00Z":               "HH:MM:SS",
		"2026-11-20 10:60:00Z":               "HH:MM:SS",
		"2026-11-20 10:31:60Z":               "HH:MM:SS",
		"2026-11-20 1:31:00Z":                "HH:MM:SS",
		"2026-11-20 13am Z":                  "HH:MM:SS",
		"2026-11-20 10:31:00.Z":              "digits",
		"2026-11-20 10:31:00.1234567890Z":    "digits",
		"2026-11-20 10:31:00+1":              "offset",
		"2026-11-20 10:31:00+01:5":           "offset",
		"2026-11-20 10:31:00+01:60":          "offset",
		"2026-11-20 10:31:00+99":             "offset",
		"2026-11-20 10:31:00+":               "offset",
		"2026-11-20 10:31:00+010":            "offset",
		"1.5h ago":                           "duration",
		"1h1d ago":                           "duration",
		"1h1h ago":                           "duration",
		"h ago":                              "duration",
		"-":                                  "duration",
		"10 ago":                             "duration",
		"-99999999999s":                      "duration",
		"-999999999y":                        "too long",
		"tomorrow 09:30Z":                    "want a time",
		"20.11.2026 10:31Z":                  "want a time",
		"2026-03-29 02:30:00 Europe/Paris":   "set forward",
	}
	for in, want := range tests {
		got, err := restore.ParseTime(in, now)
		if err == nil {
			t.Errorf("ParseTime(%q) = %s, want an error with %q", in, got, want)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTime(%q): got error %q, want one with %q", in, err, want)
		}
		var zone *restore.ZoneError
		if errors.As(err, &zone) {
			t.Errorf("ParseTime(%q): got a ZoneError: %v", in, err)
		}
	}
}

func TestParseTimeWithoutZone(t *testing.T) {
	tests := []struct {
		in   string
		now  time.Time
		want [2]string
	}{
		{"2026-11-20 10:31:00", noon(t), [2]string{"2026-11-20T10:31:00Z", "2026-11-20T10:31:00+01:00"}},
		{"2026-07-20T10:31", noon(t), [2]string{"2026-07-20T10:31:00Z", "2026-07-20T10:31:00+02:00"}},
		{"today 10:31", noon(t), [2]string{"2026-07-01T10:31:00Z", "2026-07-01T10:31:00+02:00"}},
		{"today 10:31", noon(t).UTC(), [2]string{"2026-07-01T10:31:00Z", "2026-07-01T10:31:00+00:00"}},
		{"2026-10-25 02:30:00 Europe/Paris", noon(t), [2]string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"}},
	}
	for _, tt := range tests {
		_, err := restore.ParseTime(tt.in, tt.now)
		var zone *restore.ZoneError
		if !errors.As(err, &zone) {
			t.Errorf("ParseTime(%q): got error %v, want a ZoneError", tt.in, err)
			continue
		}
		if zone.Candidates != tt.want {
			t.Errorf("ParseTime(%q): got candidates %q, want %q", tt.in, zone.Candidates, tt.want)
		}
		for _, c := range zone.Candidates {
			if _, err := restore.ParseTime(c, tt.now); err != nil {
				t.Errorf("ParseTime(%q), a candidate: %v", c, err)
			}
			if !strings.Contains(err.Error(), c) {
				t.Errorf("error %q does not name candidate %q", err, c)
			}
		}
	}
}

func TestParseTo(t *testing.T) {
	now := noon(t)
	if got, err := restore.ParseTo(" Latest ", now); err != nil || got.Kind != restore.TargetLatest {
		t.Errorf("ParseTo(latest) = %v, %v", got, err)
	}
	want := restore.Target{Kind: restore.TargetTime, Time: wal.FromGo(now.Add(-time.Minute))}
	if got, err := restore.ParseTo("1m ago", now); err != nil || got != want {
		t.Errorf("ParseTo(1m ago) = %v, %v, want %v", got, err, want)
	}
	if _, err := restore.ParseTo("yesterday", now); err == nil {
		t.Error("ParseTo(yesterday): got no error")
	}
}

func TestParseXID(t *testing.T) {
	tests := map[string]wal.XID{"3": 3, "88213401": 88213401, "4294967296003": 4294967296003 & 0xFFFFFFFF, "18446744073709551615": 1<<32 - 1}
	for in, want := range tests {
		if got, err := restore.ParseXID(in); err != nil || got != want {
			t.Errorf("ParseXID(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "2", "-5", "+5", "0x10", "12 ", "4294967296", "18446744073709551616"} {
		if got, err := restore.ParseXID(in); err == nil {
			t.Errorf("ParseXID(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseTimeline(t *testing.T) {
	exact := func(id wal.TimelineID) restore.TimelineChoice {
		return restore.TimelineChoice{Rule: restore.TimelineExact, ID: id}
	}
	tests := map[string]restore.TimelineChoice{
		"": {}, "current": {Rule: restore.TimelineCurrent}, "latest": {Rule: restore.TimelineLatest},
		"1": exact(1), "10": exact(10), "0xA": exact(10), "4294967295": exact(1<<32 - 1),
	}
	for in, want := range tests {
		if got, err := restore.ParseTimeline(in); err != nil || got != want {
			t.Errorf("ParseTimeline(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "00000010", "0x", "0x0", "-1", "A", "4294967296", "Latest", "1.5"} {
		if got, err := restore.ParseTimeline(in); err == nil {
			t.Errorf("ParseTimeline(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseTimeline(f *testing.F) {
	f.Add("0x10")
	f.Add("current")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := restore.ParseTimeline(s)
		if err == nil && (c.Rule == restore.TimelineExact) != (c.ID != 0) {
			t.Errorf("ParseTimeline(%q) = %v", s, c)
		}
		if x, err := restore.ParseXID(s); err == nil && x < 3 {
			t.Errorf("ParseXID(%q) = %d", s, x)
		}
	})
}
