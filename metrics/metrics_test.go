package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/metrics"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

var update = flag.Bool("update", false, "write golden files anew")

var epoch = time.Date(2026, 11, 20, 10, 41, 7, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// full is a cluster with two copies of which everything is known, on a bad day.
func full() metrics.Facts {
	report := status.Report{
		Cluster: "main", Now: epoch.Add(-time.Minute), Verdict: status.Protected,
		RecoverableFrom: ptr(epoch.Add(-14 * 24 * time.Hour)), RecoverableUntil: ptr(epoch.Add(-time.Minute)),
		Gaps: []status.Gap{{From: epoch.Add(-72 * time.Hour), Until: epoch.Add(-71 * time.Hour)}},
		Backups: []status.Backup{
			{ID: "a", Type: "full", Started: epoch.Add(-49 * time.Hour), Stopped: epoch.Add(-48 * time.Hour), Plain: 400e9, Stored: 90e9, Restorable: true, Checksums: "verified"},
			{ID: "b", Type: "full", Started: epoch.Add(-9 * time.Hour), Stopped: epoch.Add(-8 * time.Hour), Plain: 412e9, Stored: 98e9, Restorable: true, Checksums: "verified"},
			{ID: "c", Type: "full", Started: epoch.Add(-2 * time.Hour), Stopped: epoch.Add(-time.Hour), Plain: 1, Stored: 1, Restorable: true, Checksums: "failed"},
		},
		Drills: []status.Drill{
			{ID: "x", Started: epoch.Add(-32 * time.Hour), Result: repository.DrillPassed, RTO: ptr(221.0), DataLoss: ptr(0.01), Fetch: 161, Replay: 54, Opening: 6},
			{ID: "y", Started: epoch.Add(-8 * time.Hour), Result: repository.DrillFailed},
		},
		Stored: status.Stored{WAL: 213e9, Backups: 686e9},
	}
	report.Cost = &cost.Bill{Month: ptr(48.2)}
	for _, name := range []string{"primary", "dr", "far"} {
		report.Copies = append(report.Copies, status.Copy{
			Name: name, Durable: &status.Position{Timeline: 4, LSN: 0x1a38f2a1c40}, Until: ptr(epoch.Add(-2 * time.Minute)), Stored: report.Stored,
		})
	}
	live := status.Live{
		Cluster: "main", Now: epoch, Began: epoch.Add(-time.Hour), State: "streaming", Leader: true, Until: ptr(epoch.Add(-400 * time.Millisecond)),
		RPO: ptr(0.4), Flush: 0x1a38f2a1d00, Durable: 0x1a38f2a1c40, Received: ptr(uint64(123456789)),
		Slot: &status.Slot{Name: "pgark", Exists: true, Retained: 3200000, Active: ptr(true), Bound: &status.Bound{By: status.BoundByServer, Limit: 64e9, Left: 60e9}},
		Jobs: []status.Job{{ID: 7, Kind: status.JobBackup, Done: 50, Total: 200}}, BackupFailed: ptr(epoch.Add(-30 * time.Hour)),
	}
	codes := []string{"denied", "unavailable"}
	for _, name := range []string{"primary", "dr", "far"} {
		r := status.LiveRepository{Name: name, Up: ptr(name != "far"), Versioned: ptr(name != "dr"), StoredWAL: 1e6}
		for _, code := range codes {
			for _, op := range []string{"get", "list", "put"} {
				r.Failures = append(r.Failures, status.RequestFailures{Op: op, Code: code, Count: 2})
			}
		}
		live.Repositories = append(live.Repositories, r)
		live.Verified = append(live.Verified, status.LiveVerified{
			Repository: name, Sound: ptr(epoch.Add(-5 * time.Hour)), Unsound: ptr(epoch.Add(-29 * time.Hour)), Damaged: map[string]uint64{"damaged": 0, "missing": 1, "differs": 0, "unreadable": 0},
		})
	}
	f := metrics.Facts{Live: live, Report: &report, RTOTarget: 15 * time.Minute, Window: 14 * 24 * time.Hour, Health: health.Facts{Target: 5 * time.Second}}
	f.Unsaid = new(uint64)
	f.Health.Archive = health.Archive{BackedUp: true, Exposure: status.Exposure{Until: *live.Until}}
	f.Pauses = map[status.JobKind]time.Duration{}
	for _, kind := range []status.JobKind{status.JobBackup, status.JobDrill, status.JobVerify, status.JobPrune} {
		f.Pauses[kind] = 24 * time.Hour
	}
	return f
}

// text is what an exporter of these clusters tells.
func text(t *testing.T, all ...metrics.Facts) string {
	t.Helper()
	var sources []metrics.Source
	for _, f := range all {
		sources = append(sources, func() metrics.Facts { return f })
	}
	return scrape(metrics.New(metrics.Build{Version: "1.0.0", Revision: "abc"}, sources))
}

func scrape(e *metrics.Exporter) string {
	answer := httptest.NewRecorder()
	e.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func TestExposition(t *testing.T) {
	idle := metrics.Facts{Live: status.Live{Cluster: "idle", Now: epoch, CaughtUp: true, Until: ptr(epoch.Add(-time.Hour)), Leader: true}}
	standby := metrics.Facts{
		Live:   status.Live{Cluster: "dr", Now: epoch, Follows: true, Standby: &status.LiveStandby{Until: ptr(epoch.Add(-3 * time.Second)), Connected: true}},
		Report: &status.Report{Now: epoch, Verdict: status.Protected, RecoverableUntil: ptr(epoch.Add(-time.Minute))},
	}
	for name, f := range map[string]metrics.Facts{"full": full(), "unknown": {Live: status.Live{Cluster: "new", Now: epoch}}, "idle": idle, "standby": standby} {
		got, file := text(t, f), "testdata/"+name+".prom"
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not %s; with -update it is written anew. Got:\n%s", name, file, got)
		}
		problems, err := promlint.New(strings.NewReader(got)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: promlint: %v %v", name, err, problems)
		}
	}
}

// series counts the lines of an exposition that hold a value of a cluster.
func series(text, cluster string) int {
	n := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, `cluster="`+cluster+`"`) {
			n++
		}
	}
	return n
}

// TestSeries: a cluster with two copies, many requests of which fail, is under 100 series.
func TestSeries(t *testing.T) {
	e := metrics.New(metrics.Build{}, []metrics.Source{full})
	for _, name := range []string{"primary", "dr", "far"} {
		e.Uploaded("main")(name, 40*time.Millisecond)
	}
	if n := series(scrape(e), "main"); n == 0 || n >= 100 {
		t.Errorf("%d series, want fewer than 100", n)
	}
}

// TestProtected: what the agent knows since the last look counts, so that a report that was good a while ago does not hide an outage.
func TestProtected(t *testing.T) {
	value := func(f metrics.Facts) string {
		m := regexp.MustCompile(`(?m)^pgark_protected\{.*\} (.*)$`).FindStringSubmatch(text(t, f))
		if m == nil {
			return "absent"
		}
		return m[1]
	}
	if got := value(full()); got != "1" {
		t.Errorf("all is well: %s", got)
	}
	stale := full()
	stale.Health.Archive.Exposure.Until = epoch.Add(-time.Minute)
	if got := value(stale); got != "0" {
		t.Errorf("nothing durable for a minute: %s", got)
	}
	bad := full()
	bad.Report.Verdict = status.AtRisk
	if got := value(bad); got != "0" {
		t.Errorf("at risk by the last look: %s", got)
	}
	unknown := full()
	unknown.Report = nil
	if got := value(unknown); got != "absent" {
		t.Errorf("no look yet: %s", got)
	}
}

func TestReload(t *testing.T) {
	e := metrics.New(metrics.Build{}, nil)
	has := func(line string) bool { return strings.Contains(scrape(e), line) }
	if has("pgark_config_last_reload_successful") {
		t.Error("told before anything was read")
	}
	known, result := false, error(nil)
	e.ReloadFrom(func() (bool, error) { return known, result })
	if has("pgark_config_last_reload_successful") {
		t.Error("told before anything was read")
	}
	known, result = true, errors.New("no")
	if !has("\npgark_config_last_reload_successful 0\n") {
		t.Error("a failed reload is not told")
	}
	result = nil
	if !has("\npgark_config_last_reload_successful 1\n") {
		t.Error("a good reload is not told")
	}
}

// TestDocs compares docs/METRICS.md with the code: every metric with its unit, its labels and what it means.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range bytes.Lines(page) {
		if m := regexp.MustCompile("^\\| `(pgark_[a-z_]+)").FindSubmatch(line); m != nil {
			rows[string(m[1])] = strings.TrimSpace(string(line))
		}
	}
	for name, m := range metrics.List() {
		labels := slices.DeleteFunc(slices.Clone(m.Labels), func(l string) bool { return l == "cluster" })
		written := name
		if len(labels) > 0 {
			written += "{" + strings.Join(labels, ",") + "}"
		}
		want := "| `" + written + "` | " + m.Unit + " | " + m.Help + " |"
		if rows[name] != want {
			t.Errorf("docs/METRICS.md\ngot  %s\nwant %s", rows[name], want)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/METRICS.md tells of %s, which there is not", name)
	}
}

// BenchmarkScrape: a scrape is to take less than 5 ms.
func BenchmarkScrape(b *testing.B) {
	e := metrics.New(metrics.Build{}, []metrics.Source{full})
	for b.Loop() {
		scrape(e)
	}
}
