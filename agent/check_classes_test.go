package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

func TestJudgeClasses(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		all     string
		classes config.StorageClasses
		window  time.Duration
		want    []string // verdict and a part of the text
	}{
		{"nothing set", "", config.StorageClasses{}, 14 * day, nil},
		{"long enough", "", config.StorageClasses{Backups: "STANDARD_IA"}, 30 * day, nil},
		{"kept for ever", "", config.StorageClasses{Backups: "GLACIER_IR", WAL: "STANDARD_IA"}, 0, nil},
		{"another store's word", "COLD", config.StorageClasses{Backups: "NEARLINE"}, day, nil},
		{"all of it", "STANDARD_IA", config.StorageClasses{}, 90 * day, []string{"warning 128 KB for 30 days"}},
		{"an archive", "DEEP_ARCHIVE", config.StorageClasses{}, 90 * day, []string{"error thawed"}},
		{"too short", "", config.StorageClasses{Backups: "GLACIER_IR", WAL: "ONEZONE_IA"}, 29 * day, []string{"warning GLACIER_IR for 90 days", "warning ONEZONE_IA for 30 days"}},
	} {
		got := judgeClasses(tt.all, tt.classes, tt.window)
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %+v, want %v", tt.name, got, tt.want)
			continue
		}
		for i, f := range got {
			verdict, text, _ := strings.Cut(tt.want[i], " ")
			if string(f.Verdict) != verdict || !strings.Contains(f.Text, text) || f.Fix == "" {
				t.Errorf("%s: got %+v, want %s", tt.name, f, tt.want[i])
			}
		}
	}
}
