package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/verify"
)

// TestParseVerifications: nothing is verified by itself unless it is asked for.
func TestParseVerifications(t *testing.T) {
	for schedule, want := range map[string]bool{"": false, config.Off: false, "@daily": true, "30 4 * * *": true} {
		plan, err := parseVerifications(config.Cluster{Verify: config.Verify{Schedule: schedule}})
		if err != nil || (plan != nil) != want {
			t.Errorf("%q: got %v, %v", schedule, plan, err)
		}
	}
}

// TestVerificationIsTold: what a scheduled verification finds is in the log, damage as an error with the key, and so is that it could not be made.
func TestVerificationIsTold(t *testing.T) {
	for _, test := range []struct {
		script, level, want, err string
	}{
		{`echo '{"verdict":"sound","repositories":[{"read_objects":7}]}'`, "INFO", "objects=7", ""},
		{
			`echo '{"verdict":"impaired","damage":[{"repository":"dr","key":"7/wal/x","reason":"SHA-256 differs","start_lsn":"0/300000","timeline":1}]}'; exit 3`,
			"ERROR", "key=7/wal/x", "",
		},
		{`echo '{"verdict":"lost","damage":[{"key":"a"},{"key":"b"}]}'; exit 4`, "ERROR", "damaged=2", ""},
		{`echo '{"error":{"message":"no repository here","fix":"correct it","code":10}}' >&2; exit 10`, "", "", "no repository here; correct it"},
	} {
		var report verify.Report
		err := runJob(t.Context(), []string{"/bin/sh", "-c", test.script}, &report, nil)
		if got := ""; err != nil || test.err != "" {
			if err != nil {
				got = err.Error()
			}
			if got != test.err {
				t.Errorf("%s: got %q", test.script, got)
			}
			continue
		}
		var log bytes.Buffer
		tellVerified(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), report)
		if !strings.Contains(log.String(), "level="+test.level) || !strings.Contains(log.String(), test.want) {
			t.Errorf("%s: logged %s", test.script, log.String())
		}
	}
}

// TestIdentity: how a repository is reached does not make it another one.
func TestIdentity(t *testing.T) {
	for url, want := range map[string]string{
		"file:///srv/archive":                                   "file:///srv/archive",
		"s3://bucket/main?region=eu-west-1&profile=x":           "s3://bucket/main",
		"s3://bucket/main?endpoint=http://host:9000&region=x":   "s3://bucket/main?endpoint=http%3A%2F%2Fhost%3A9000",
		"s3://bucket/main?region=x&endpoint=http%3A//host:9000": "s3://bucket/main?endpoint=http%3A%2F%2Fhost%3A9000",
	} {
		if got := identity(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
