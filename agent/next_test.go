package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

// TestNextJobs: what is scheduled, and held at all, in its order; in the zone of the schedules.
func TestNextJobs(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 41, 7, 0, time.UTC)
	for _, tt := range []struct {
		change func(*config.Cluster)
		want   string
	}{
		{func(*config.Cluster) {}, "backup 21 02:00"},
		{func(c *config.Cluster) { c.Backup.Schedule = config.Off }, ""},
		{func(c *config.Cluster) { c.Backup.Timezone = "Europe/Paris" }, "backup 21 01:00"},
		{func(c *config.Cluster) {
			c.Drill.Dir, c.Retain.Window, c.Verify.Schedule = "/var/lib/pgark/drill", 14*24*time.Hour, "0 12 * * *"
		}, "verify 20 12:00, backup 21 02:00, drill 21 03:00, prune 21 05:00"},
	} {
		loaded, err := config.Load(config.Sources{Text: "clusters: { main: { repo: \"file:///a\" } }\n"})
		if err != nil {
			t.Fatal(err)
		}
		c := loaded.Clusters[0]
		tt.change(&c)
		var got []string
		for _, n := range nextJobs(c, now) {
			got = append(got, fmt.Sprintf("%s %s", n.Kind, n.At.Format("02 15:04")))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("got %q, want %q", text, tt.want)
		}
	}
}
