package config

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
)

// ParseDuration reads a duration with its unit by Prometheus's rules: 300ms, 30s, 15m, 14d,
// 1w2d. A bare number other than 0 is refused.
func ParseDuration(s string) (time.Duration, error) {
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: want a number with its unit, like 300ms, 30s, 15m or 14d", s)
	}
	return time.Duration(d), nil
}

// FormatDuration writes d as ParseDuration reads it, to the millisecond.
func FormatDuration(d time.Duration) string { return model.Duration(d).String() }

// ParseSize reads a number of bytes with its unit: 64GB is 64·10⁹, 16MiB is 16·2²⁰. A bare
// number other than 0 is refused, for nobody can tell what it counts.
func ParseSize(s string) (int64, error) {
	wrong := fmt.Errorf("%q is not a size: want a number with its unit, like 200MB, 64GB or 16MiB", s)
	if s == "0" {
		return 0, nil
	}
	if s == "" || strings.TrimRight(s, "0123456789.,") == "" {
		return 0, wrong
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, wrong
	}
	return int64(n), nil
}

// FormatSize writes a number of bytes as ParseSize reads it, exactly.
func FormatSize(bytes int64) string {
	if bytes == 0 {
		return "0"
	}
	return fmt.Sprintf("%dB", bytes)
}

// ParseRate reads a size per second: 200MB/s, or 0.
func ParseRate(s string) (int64, error) {
	size, ok := strings.CutSuffix(s, "/s")
	if !ok && s != "0" {
		return 0, fmt.Errorf("%q is not a rate: want a size per second, like 200MB/s, or 0", s)
	}
	n, err := ParseSize(size)
	if err != nil {
		return 0, fmt.Errorf("%q is not a rate: want a size per second, like 200MB/s, or 0", s)
	}
	return n, nil
}

// FormatRate writes a rate as ParseRate reads it, exactly.
func FormatRate(bytes int64) string {
	if bytes == 0 {
		return "0"
	}
	return fmt.Sprintf("%dB/s", bytes)
}
