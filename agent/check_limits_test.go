package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
)

func TestNeedsOver(t *testing.T) {
	const MB, GB = 1_000_000, 1_000_000_000
	for _, tt := range []struct {
		name  string
		needs needs
		limit int64
		want  string // a part; "" for nothing
	}{
		{"room enough", needs{2 * MB, 100 * GB, 24 * time.Hour}, 50 * MB, ""},
		{"nothing known", needs{}, MB, ""},
		{"first backup", needs{MB, 900 * GB, 0}, 2 * MB, ""},
		{"WAL alone", needs{5 * MB, GB, time.Hour}, 5 * MB, "the WAL of late alone took 5.0 MB/s"},
		{"backup longer than a day", needs{MB, 100 * GB, 24 * time.Hour}, 2 * MB, "takes 27h47m0s at 2.0 MB/s: longer than the 24h0m0s"},
		{"just a day", needs{MB, 86400 * MB, 24 * time.Hour}, 2 * MB, ""},
	} {
		if got := tt.needs.over(tt.limit); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWALRate(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	entry := func(after time.Duration, stored int64) repository.Entry {
		return repository.Entry{Modified: at.Add(after), Stored: stored}
	}
	for _, tt := range []struct {
		name string
		all  []repository.Entry
		want int64
	}{
		{"none", nil, 0},
		{"too short a time", []repository.Entry{entry(0, 1000), entry(59*time.Second, 1000)}, 0},
		{"two minutes, in any order", []repository.Entry{entry(time.Minute, 5000), entry(2*time.Minute, 4000), entry(0, 3000)}, 100},
	} {
		if got := walRate(tt.all); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
