package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/status"
)

// TestAxisLabelsStandApart: with the long labels of a short window the last quarter's would run into the end's.
func TestAxisLabelsStandApart(t *testing.T) {
	from := time.Date(2026, 11, 21, 4, 18, 50, 0, time.UTC)
	for _, window := range []time.Duration{8 * time.Second, time.Hour, 26 * time.Hour, 14 * 24 * time.Hour} {
		got := axis(status.Interval{From: from, Until: from.Add(window)})
		if len(got) != status.StripWidth {
			t.Errorf("%v: got %d characters, want %d", window, len(got), status.StripWidth)
		}
		for _, label := range strings.Split(strings.Join(strings.Fields(strings.ReplaceAll(got, "  ", "|")), " "), "|") {
			if strings.Count(label, ":") > 2 {
				t.Errorf("%v: labels run together: %q", window, got)
			}
		}
	}
}
