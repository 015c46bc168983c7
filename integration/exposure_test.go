package integration_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestExposureFromTheBucketAlone guards I14: a host that sees only the repository is told how old the oldest byte is that may be lost. While the
// server is idle the agent proves anew that nothing is outstanding; when agent or server is away the number grows with the time.
func TestExposureFromTheBucketAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	elsewhere := s.tool
	elsewhere.env = append(elsewhere.env[:len(elsewhere.env):len(elsewhere.env)], "PGHOST="+filepath.Join(s.server.DataDir, "nowhere"))
	look := func(from tool) (seconds float64, known bool) {
		t.Helper()
		var report struct {
			Unprotected *float64 `json:"unprotected_seconds"`
		}
		out := from.must(t.Context(), t, "status", "-o", "json", s.url)
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		if report.Unprotected == nil {
			return 0, false
		}
		return *report.Unprotected, true
	}
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.waitArchived(t)
	if seconds, known := look(s.tool); !known || seconds != 0 {
		t.Errorf("beside the server, nothing outstanding: got %v s, known %t", seconds, known)
	}
	// A beat comes though nothing is written: the number falls by itself.
	last := 0.0
	eventually(t, time.Minute, "a beat to be seen from the bucket alone", func() bool {
		seconds, known := look(elsewhere)
		fell := known && last > 0 && seconds < last
		last = seconds
		return fell
	})
	grows := func(what string) {
		t.Helper()
		began := time.Now()
		first, _ := look(elsewhere)
		eventually(t, time.Minute, "the number to pass two beats, "+what, func() bool {
			seconds, _ := look(elsewhere)
			if most := first + time.Since(began).Seconds(); seconds < first || seconds > most {
				t.Fatalf("%s: %v s, after %v s it was between %v and %v", what, seconds, time.Since(began), first, most)
			}
			return seconds > 25
		})
	}
	agent.kill()
	grows("the agent is away")
	if seconds, _ := look(s.tool); seconds < 20 {
		t.Errorf("beside a server without an agent: got %v s", seconds)
	}
	agent = s.tool.start(t, "run", s.url)
	eventually(t, time.Minute, "a new agent to prove anew", func() bool { seconds, _ := look(elsewhere); return seconds < 15 })
	s.server.Kill(t)
	// Before it knows, it may still put what it proved a moment ago.
	eventually(t, waitLong, "the agent to miss the server", func() bool { return strings.Contains(agent.output(), "archiver lost the server") })
	grows("the server is away")
}
