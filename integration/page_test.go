package integration_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/status"
)

// pageSeen is what a browser saw of one state.
type pageSeen struct {
	Name, Verdict, RPO, RTO, Slot, Window, Title, Server, Strip, Latest, Keyed string
	Causes, Gaps, Copies, Backups, Drills, Jobs, Fleet, Errors, Barriers       []string
	RPOAfter, VerdictAfter, VerdictGone                                        string
	Before                                                                     string `json:"aim_before"`
	In                                                                         string `json:"aim_in"`
	Holes                                                                      int
}

// browse drives Chromium over the states. With PGARK_TEST_SCREENSHOTS=FOLDER it takes the pictures of docs/screenshots there.
func browse(t *testing.T, job map[string]any) map[string]pageSeen {
	t.Helper()
	folder, err := filepath.Abs("../.parts/browser")
	if err != nil {
		t.Fatal(err)
	}
	chromium, lookErr := exec.LookPath("chromium")
	node, nodeErr := exec.LookPath(filepath.Join(filepath.Dir(folder), "node", "bin", "node")) // where the one here is too old
	if nodeErr != nil {
		node, nodeErr = exec.LookPath("node")
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "playwright-core")); err != nil || lookErr != nil || nodeErr != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("REQUIRE_ALL=1: a browser is missing: integration/parts.sh browser")
		}
		t.Skip("a browser is missing: integration/parts.sh browser")
	}
	job["folder"], job["chromium"], job["shots"] = folder, chromium, os.Getenv("PGARK_TEST_SCREENSHOTS")
	input, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "page/page.mjs")
	cmd.Stdin = bytes.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	var all []pageSeen
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := map[string]pageSeen{}
	for _, one := range all {
		seen[one.Name] = one
	}
	return seen
}

// TestPage: in a browser the page says what the API says, in every state; it changes by itself, can be used without a mouse and without seeing the drawings, and does
// not go on to say that all is well when nobody answers.
func TestPage(t *testing.T) {
	t.Parallel()
	states := pageStates()
	var list []map[string]any
	const clock = "2006-01-02 15:04:05Z"
	shots := map[string][]string{"healthy": {"light", "dark", "phone"}, "at-risk": {"light", "dark", "phone"}, "gap": {"light"}, "unprotected": {"light", "phone"}, "no-drill": {"light"}, "fleet": {"light", "phone"}}
	for _, s := range states {
		page, flip := servePage(t, s)
		one := map[string]any{"name": s.name, "url": page.URL + "/", "shots": append([]string{}, shots[s.name]...), "fleet": s.live == nil, "refused": s.err != nil}
		switch s.name {
		case "healthy":
			one["flip"] = flip.URL + "/flip"
			r := s.reports[0]
			one["aims"] = map[string]string{"before": r.Gaps[0].From.Add(-time.Hour).Format(clock), "in": r.Gaps[0].From.Add(3 * time.Minute).Format(clock)}
			one["shot"] = r.Now.Add(-50 * time.Hour).Format(clock)
		case "gap":
			one["stop"] = flip.URL + "/stop"
		}
		list = append(list, one)
	}
	seen := browse(t, map[string]any{"states": list})
	for _, s := range states {
		got, ok := seen[s.name]
		if !ok {
			t.Fatalf("nothing was seen of %s", s.name)
		}
		for _, what := range got.Errors {
			t.Errorf("%s: the console says %s", s.name, what)
		}
		for _, what := range got.Barriers {
			t.Errorf("%s: %s", s.name, what)
		}
		comparePage(t, s, got)
	}
	healthy, r := seen["healthy"], states[0].reports[0]
	if want := "pgark restore --repo 's3://acme-pg/main?region=eu-west-1' --to 'latest' --into restored"; healthy.Latest != want {
		t.Errorf("the command is\n%s, want\n%s", healthy.Latest, want)
	}
	last := r.RecoverableUntil.Add(-time.Second)
	if !strings.Contains(healthy.Keyed, "--to '"+last.Format(time.RFC3339)+"'") {
		t.Errorf("a key to the left gives %s, want %s", healthy.Keyed, last)
	}
	before := r.Gaps[0].From.Add(-time.Hour)
	if !strings.HasSuffix(healthy.Before, "--to '"+before.Format(time.RFC3339)+"' --into restored") {
		t.Errorf("an instant before the gap gives\n%s", healthy.Before)
	}
	if !strings.Contains(healthy.In, "cannot be restored") || strings.Contains(healthy.In, "pgark") ||
		!strings.Contains(healthy.In, r.Gaps[0].From.Format(clock)) || !strings.Contains(healthy.In, r.Gaps[0].Until.Format(clock)) {
		t.Errorf("an instant in the gap gives\n%s", healthy.In)
	}
	if healthy.RPOAfter != "4m 12s" || healthy.VerdictAfter != "! AT RISK" {
		t.Errorf("after the change the page says %q, %q", healthy.RPOAfter, healthy.VerdictAfter)
	}
	if gone := seen["gap"].VerdictGone; !strings.HasPrefix(gone, "NOT KNOWN") {
		t.Errorf("when nobody answers the page says %q", gone)
	}
	if v := seen["no-answer"].Verdict; !strings.HasPrefix(v, "NOT KNOWN") {
		t.Errorf("when no look succeeds the page says %q", v)
	}
}

// comparePage holds what was seen against the documents.
func comparePage(t *testing.T, s pageState, got pageSeen) {
	t.Helper()
	if s.err != nil {
		return
	}
	r := s.reports[0]
	want := func(what, got string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s is %q, want %q in it", s.name, what, got, part)
			}
		}
	}
	count := func(what string, got []string, n int) {
		t.Helper()
		if len(got) != n {
			t.Errorf("%s: %d %s, want %d: %q", s.name, len(got), what, n, got)
		}
	}
	want("the verdict", got.Verdict, map[status.Verdict]string{status.Protected: "✓ PROTECTED", status.AtRisk: "! AT RISK", status.Unprotected: "✗ UNPROTECTED"}[r.Verdict])
	count("causes", got.Causes, len(r.Causes))
	for i := range min(len(got.Causes), len(r.Causes)) {
		want("a cause", got.Causes[i], r.Causes[i].What)
	}
	gaps := len(r.Gaps)
	if r.OpenGap != nil {
		gaps++
	}
	count("gaps", got.Gaps, gaps)
	if got.Holes < gaps {
		t.Errorf("%s: the strip shows %d gaps, want %d", s.name, got.Holes, gaps)
	}
	for i, g := range r.Gaps {
		want("a gap", got.Gaps[i], g.From.Format("2006-01-02 15:04:05Z"), g.Until.Format("2006-01-02 15:04:05Z"))
		want("the strip in words", got.Strip, g.From.Format("2006-01-02 15:04:05Z"))
	}
	if r.RecoverableFrom != nil {
		want("the window", got.Window, r.RecoverableFrom.Format("2006-01-02 15:04:05Z"), r.RecoverableUntil.Format("2006-01-02 15:04:05Z"))
	} else {
		want("the window", got.Window, "nothing can be restored")
	}
	count("repositories", got.Copies, max(1, len(r.Copies)))
	for i, c := range r.Copies {
		want("a repository", got.Copies[i], c.Name, strings.Split(c.Repository, "?")[0], []string{"eu-west-1", "us-east-1"}[i])
	}
	count("backups", got.Backups, min(8, max(1, len(r.Backups))))
	count("drills", got.Drills, min(8, max(1, len(r.Drills))))
	if r.Drill == nil {
		want("the RTO", got.RTO, "unknown")
		want("drills", got.Drills[0], "No drill yet")
	}
	want("the server", got.Server, r.Server.Version, r.Server.Address)
	if s.live == nil {
		count("clusters", got.Fleet, len(s.reports))
		for i, one := range s.reports {
			want("a cluster", got.Fleet[i], one.Cluster)
		}
		return
	}
	count("jobs", got.Jobs, max(1, len(s.live.Jobs)+min(6, len(s.live.Ended))))
	if s.live.RPO == nil {
		want("the RPO", got.RPO, "unknown")
	}
	if s.name == "healthy" {
		want("the RPO", got.RPO, "0.4 s")
		want("a job", got.Jobs[0], "Base backup · copy", "293 GB of 412 GB", "71 %")
		want("the slot", got.Slot, "3.2 MB")
	}
}
