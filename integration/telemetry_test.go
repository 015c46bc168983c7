package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/telemetry/otlptest"
)

// isListed: what came is what docs/TELEMETRY.md lists, with the header that the variables name, and without secrets.
func isListed(t testing.TB, r *otlptest.Receiver) {
	t.Helper()
	if strays := r.Strays(); len(strays) > 0 {
		t.Errorf("not listed: %v", strays)
	}
	for _, h := range r.Headers() {
		if got := h.Get("Authorization"); got != "Bearer "+planted().header {
			t.Errorf("the header is %d bytes, and not that of the variable", len(got))
			break
		}
	}
	planted().look("what was exported in "+t.Name(), r.Raw())
}

// has returns the first span of a name that went well, or that failed where an ErrorType is wanted, and wants these attributes in it: those with an empty
// value are only to be there.
func has(t testing.TB, r *otlptest.Receiver, name telemetry.Name, want map[telemetry.Key]string) otlptest.Span {
	t.Helper()
	_, failed := want[telemetry.ErrorType]
	for _, s := range r.Named(name) {
		if s.Failed != failed {
			continue
		}
		for key, value := range want {
			if got := s.Attributes[string(key)]; got == "" || value != "" && got != value {
				t.Errorf("%s: %s is %q, want %q", name, key, got, value)
			}
		}
		return s
	}
	names := map[string]int{}
	for _, s := range r.Spans() {
		names[s.Name]++
	}
	t.Errorf("no span %s that failed %t, but %v", name, failed, names)
	return otlptest.Span{}
}

// below wants these spans right below one, each once or more.
func below(t testing.TB, r *otlptest.Receiver, above otlptest.Span, want ...string) {
	t.Helper()
	got := r.Below(above)
	slices.Sort(got)
	if got = slices.Compact(got); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("below %s are %v, want %v", above.Name, got, want)
	}
}

// uploaded wants a span for each batch of WAL, with each repository below it, that follow each other without a hole.
func uploaded(t testing.TB, r *otlptest.Receiver, repos ...string) {
	t.Helper()
	took := map[string]bool{}
	for _, s := range r.Named(telemetry.Put) {
		took[s.Attributes[string(telemetry.Repo)]] = true
	}
	if got := slices.Sorted(maps.Keys(took)); fmt.Sprint(got) != fmt.Sprint(repos) {
		t.Errorf("attempts at %v, want %v", got, repos)
	}
	up := has(t, r, telemetry.Upload, map[telemetry.Key]string{
		telemetry.Cluster: "main", telemetry.SystemID: "", telemetry.LSN: "", telemetry.EndLSN: "", telemetry.Timeline: "1",
		telemetry.Bytes: "", telemetry.StoredBytes: "", telemetry.Retries: "0",
	})
	below(t, r, up, "wal.put")
	if up.Resource["service.name"] != "pgark" || up.Resource["host.name"] == "" {
		t.Errorf("the resource is %v", up.Resource)
	}
}

// tourOfSpans: agent and commands have told what they did; a restore tells it too, below the span of who called it.
func (s *site) tourOfSpans(t *testing.T, r *otlptest.Receiver) {
	t.Helper()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	whole := s.tool
	s.tool = s.tool.with("TRACEPARENT=00-" + trace + "-b7ad6b7169203331-01")
	if _, o := s.restore(t.Context(), t, "--verify", "pages"); o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.tool = whole
	s.tool.must(t.Context(), t, "verify", s.url)
	isListed(t, r)
	uploaded(t, r, "primary")
	facts := map[telemetry.Key]string{
		telemetry.Cluster: "main", telemetry.BackupID: "", telemetry.LSN: "", telemetry.EndLSN: "", telemetry.Bytes: "", telemetry.Files: "", telemetry.SystemID: "",
	}
	joined := r.Of(trace)
	below(t, joined, has(t, joined, telemetry.Restore, facts), "restore.fetch", "restore.open", "restore.plan", "restore.replay", "restore.verify")
	facts[telemetry.DBSystem], facts[telemetry.ServerAddress], facts[telemetry.StoredBytes] = "postgresql", "", ""
	below(t, r, has(t, r, telemetry.Backup, facts), "backup.begin", "backup.commit", "backup.copy", "backup.wal")
	if n := len(r.Named(telemetry.Backup)); n < 2 {
		t.Errorf("%d base backups, want the agent's and the command's", n)
	}
	has(t, r, telemetry.Backup, map[telemetry.Key]string{telemetry.ErrorType: ""}) // of another cluster's repository
	has(t, r, telemetry.Verify, map[telemetry.Key]string{telemetry.Result: "sound", telemetry.Objects: ""})
	// The log came too, with the keys that it has on standard error.
	found := slices.ContainsFunc(r.Lines(), func(l otlptest.Line) bool {
		return l.Text == "base backup done" && l.Severity == "INFO" && l.Attributes["cluster"] == "main" && l.Attributes["backup"] != "" && !strings.HasPrefix(l.Trace, "0000")
	})
	if !found {
		t.Errorf("no line tells of the base backup below its span, of %d lines", len(r.Lines()))
	}
}

// exported: agent and drill told what they did.
func (d *drills) exported(t *testing.T, r *otlptest.Receiver, report repository.Drill) {
	t.Helper()
	isListed(t, r)
	uploaded(t, r, "near", "primary")
	has(t, r, telemetry.Copy, map[telemetry.Key]string{telemetry.Cluster: "main", telemetry.Repo: "near"})
	held := has(t, r, telemetry.Drill, map[telemetry.Key]string{
		telemetry.Cluster: "main", telemetry.DrillID: report.ID, telemetry.BackupID: report.Backup, telemetry.Result: "passed", telemetry.RTO: "",
		telemetry.Bytes: fmt.Sprint(report.Fetch.Bytes), telemetry.EndLSN: report.Until.String(),
	})
	below(t, r, held, "drill.fetch", "drill.file", "drill.open", "drill.plan", "drill.replay", "drill.verify")
}
