package config_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"300ms": 300 * time.Millisecond, "30s": 30 * time.Second, "14d": 14 * 24 * time.Hour, "1w2d": 9 * 24 * time.Hour, "0": 0,
	} {
		if got, err := config.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "1.5h", "-1s", "1 s", "s", "1s1d"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "64GB": 64e9, "16MiB": 16 << 20, "1.5kB": 1500, "7B": 7} {
		if got, err := config.ParseSize(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "1.5", "-1MB", "MB", "1XB", "99999999999EB"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "200MB/s": 200e6, "32KiB/s": 32 << 10} {
		if got, err := config.ParseRate(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "200MB", "/s", "5/s", "200MB/m"} {
		if got, err := config.ParseRate(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestSchedules(t *testing.T) {
	for _, text := range []string{"off", "@daily", "@every 6h", "30 3 * * 0"} {
		c, err := config.Load(config.Sources{Repo: "file:///r", Environment: []string{"PGARK_BACKUP_SCHEDULE=" + text}})
		if err != nil || c.Clusters[0].Backup.Schedule != text {
			t.Errorf("%q: got %+v, %v", text, c, err)
		}
	}
	for _, text := range []string{"TZ=", "CRON_TZ=x 0 2 * * *", "60 * * * *"} {
		if _, err := config.Load(config.Sources{Repo: "file:///r", Environment: []string{"PGARK_BACKUP_SCHEDULE=" + text}}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// FuzzParseDuration holds that what --timeout, --since and every key of time take is written as it is read, and never negative.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"300ms", "30s", "14d", "1w2d", "1y1w1d1h1m1s1ms", "0", "0s", "9223372036854775807s", "292y", "1.5h", "-1s", "１s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := config.ParseDuration(s)
		if err != nil {
			return
		}
		again, err := config.ParseDuration(config.FormatDuration(d))
		if err != nil || again != d || d < 0 {
			t.Errorf("%q is %s, and %q is read as %s, %v", s, d, config.FormatDuration(d), again, err)
		}
	})
}
