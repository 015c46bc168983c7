package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// pageSeen is what a browser saw of one state.
type pageSeen struct {
	Name, Verdict, RPO, RTO, Slot, Window, Title, Server, Strip, Latest, Keyed string
	Causes, Gaps, Copies, Backups, Drills, Jobs, Fleet, Errors, Barriers       []string
	Cost, Trade, Reports                                                       []string
	Report, Log                                                                string
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

// compareReport holds the report of a drill that was opened against what the API says of it.
func compareReport(t *testing.T, d repository.Drill, got string) {
	t.Helper()
	for _, want := range []string{
		d.ID, d.Host, d.Target.Time.Format("2006-01-02 15:04:05Z"), d.Backup, d.StartLSN.String(), d.Until.String(), fmt.Sprint(d.LastCommit.XID), d.ServerVersion,
		"1284 segments", "53,861,120 pages right", "1,204 relations ok", "sql orders_recent", d.Notes[0], "pgark drill show " + d.ID,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("drill %s: the page lacks %q in\n%s", d.ID, want, got)
		}
	}
	if failed := strings.Contains(got, "✗ failed"); failed != (d.Result == repository.DrillFailed) || failed != strings.Contains(got, "want “t”") {
		t.Errorf("drill %s, which %s: the page says\n%s", d.ID, d.Result, got)
	}
}

// compareCost holds what the page says of cost against the API.
func compareCost(t *testing.T, b *cost.Bill, got pageSeen) {
	t.Helper()
	all := strings.Join(got.Cost, "\n")
	switch {
	case b == nil:
		if all != "" {
			t.Errorf("%s: nothing is reckoned, and the page says %s", got.Name, all)
		}
		return
	case b.Repositories[0].Storage == nil:
		if !strings.Contains(all, "What it costs cannot be told") || !strings.Contains(all, b.Repositories[0].Unknown) {
			t.Errorf("%s: the page says %q", got.Name, all)
		}
		return
	}
	sum := func(of func(cost.Estimate) *float64) string {
		total := 0.0
		for _, e := range b.Repositories {
			total += *of(e)
		}
		if total >= 99.995 {
			return fmt.Sprintf("%.0f", total)
		}
		return fmt.Sprintf("%.2f", total)
	}
	said := func(all string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(all, want) {
				t.Errorf("%s: the page lacks %q in\n%s", got.Name, want, all)
			}
		}
	}
	said(all,
		"base backups "+sum(func(e cost.Estimate) *float64 { return e.StorageBase }), "WAL "+sum(func(e cost.Estimate) *float64 { return e.StorageWAL }),
		"Another week of the window adds "+sum(func(e cost.Estimate) *float64 { return e.Week }), cost.ListText)
	if b.Month == nil {
		said(all, "Storage "+sum(func(e cost.Estimate) *float64 { return e.Storage })+" USD a month", "What the rest costs cannot be told", b.Repositories[0].Unknown)
		return
	}
	said(all, "At most "+sum(func(e cost.Estimate) *float64 { return e.Month })+" USD a month",
		"requests at most "+sum(func(e cost.Estimate) *float64 { return e.RequestsUSD }), "transfer "+sum(func(e cost.Estimate) *float64 { return e.Transfer }))
	if len(got.Trade) != len(b.Trade) {
		t.Fatalf("%s: the page shows %d intervals, want %d", got.Name, len(got.Trade), len(b.Trade))
	}
	for i, c := range b.Trade {
		if row := got.Trade[i]; !strings.HasPrefix(row, fmt.Sprintf("%g s", c.Every)) || strings.Contains(row, "in force") != c.Chosen {
			t.Errorf("%s: an interval is %q, want that of %+v", got.Name, row, c)
		}
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
		if usd := r.Cost.Repositories[i].Month; usd != nil {
			want("a repository", got.Copies[i], fmt.Sprintf("%.2f", *usd))
		}
	}
	count("backups", got.Backups, min(8, max(1, len(r.Backups))))
	count("drills", got.Drills, min(8, max(1, len(r.Drills))))
	count("reports of drills", got.Reports, min(8, len(r.Drills)))
	for i, report := range got.Reports {
		compareReport(t, r.DrillReports[len(r.DrillReports)-1-i], report)
	}
	compareCost(t, r.Cost, got)
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
		want("a report that the keyboard opens", got.Report, r.Drill.ID)
		want("the log", got.Log, "10:40:01 INFO a base backup begins backup=20261120T104001Z", "10:41:31 INFO packs are stored packs=17")
		if strings.Contains(got.Log, "another cluster") {
			t.Errorf("the log of another cluster is shown: %s", got.Log)
		}
	}
}
