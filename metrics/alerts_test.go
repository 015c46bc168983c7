package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/metrics"
)

// ours finds the names of our metrics in PromQL.
var ours = regexp.MustCompile(`\bpgark_[a-z_]+`)

// unknown returns the metrics in an expression that nobody tells of. Those of a histogram have three names more.
func unknown(expr string) []string {
	var names []string
	for _, name := range ours.FindAllString(expr, -1) {
		plain := name
		for _, suffix := range []string{"_count", "_sum", "_bucket"} {
			plain = strings.TrimSuffix(plain, suffix)
		}
		if _, ok := metrics.List()[name]; ok {
			continue
		}
		if _, ok := metrics.List()[plain]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// TestAlertsAreWhole: each alert asks for metrics that there are, and has all that a person at night needs.
func TestAlertsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range metrics.Alerts() {
		if names := unknown(a.Expr); len(names) > 0 || !ours.MatchString(a.Expr) {
			t.Errorf("%s asks for metrics that there are not: %v", a.Name, names)
		}
		if seen[a.Name] || !strings.HasPrefix(a.Name, "Pgark") {
			t.Errorf("%s: there are two of that name, or it is not ours", a.Name)
		}
		seen[a.Name] = true
		if a.Severity != metrics.Critical && a.Severity != metrics.Warning {
			t.Errorf("%s: severity %q", a.Name, a.Severity)
		}
		for what, text := range map[string]string{"summary": a.Summary, "description": a.Description, "next": a.Next, "page": a.Page} {
			if text == "" || strings.Contains(text, "\n") || strings.TrimSpace(text) != text {
				t.Errorf("%s: %s is %q: want one line", a.Name, what, text)
			}
		}
		if len(a.Summary) > 160 {
			t.Errorf("%s: %d bytes of summary are too many for a pager", a.Name, len(a.Summary))
		}
		if sums := strings.Contains(a.Expr, "by (cluster"); sums != strings.Contains(a.Summary, "$labels.cluster") {
			t.Errorf("%s does not name the cluster, or has none to name: %s", a.Name, a.Summary)
		}
	}
}

// TestShippedRules: what is shipped is what the command prints without names.
func TestShippedRules(t *testing.T) {
	const file = "../deploy/prometheus/pgark.rules.yml"
	got := "# Alerting rules for Prometheus, for all clusters that it scrapes: docs/ALERTS.md. `pgark config alerts` prints them with the clusters' names, so that one\n" +
		"# whose agent never came, or has been gone for more than a day, is told of too.\n" + metrics.Of("pgark", metrics.Alerts()).YAML()
	golden(t, file, got)
}

// golden compares a file with what it is to be; with -update it is written anew.
func golden(t *testing.T, file, got string) {
	t.Helper()
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
		t.Errorf("%s is another; with -update it is written anew", file)
	}
}

// TestAlertsAreDescribed: docs/ALERTS.md has a section on each alert, made of the same texts.
func TestAlertsAreDescribed(t *testing.T) {
	const file, begin = "../docs/ALERTS.md", "<!-- sections: made of metrics/alerts.go, with go test ./metrics -update -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(page), begin)
	if !ok {
		t.Fatalf("%s lacks %s", file, begin)
	}
	var b strings.Builder
	plain := strings.NewReplacer("{{ $labels.cluster }}", "CLUSTER", "{{ $labels.repo }}", "REPO", "{{ $labels.instance }}", "HOST", "{{ $labels.code }}", "CODE",
		"{{ $value | humanizeDuration }}", "…", "{{ $value }}", "N")
	for _, a := range metrics.Alerts() {
		after := "at once"
		if a.For != "" {
			after = "after " + a.For
		}
		fmt.Fprintf(&b, "\n### %s\n%s, %s: %s\n\n%s\n\n- **Do first:** %s\n", a.Name, a.Severity, after, plain.Replace(a.Summary), plain.Replace(a.Description), plain.Replace(a.Next))
		if !strings.HasPrefix(a.Page, "ALERTS.md#") {
			fmt.Fprintf(&b, "- **Runbook:** [%s](%s)\n", a.Page, a.Page)
		}
		fmt.Fprintf(&b, "\n```\n%s\n```\n", a.Expr)
	}
	golden(t, file, head+begin+b.String())
}

// TestPages: what an alert points to is there.
func TestPages(t *testing.T) {
	page, err := os.ReadFile("../docs/ALERTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range metrics.Alerts() {
		if section, ok := strings.CutPrefix(a.Page, "ALERTS.md#"); ok {
			if section != strings.ToLower(a.Name) || !strings.Contains(string(page), "\n### "+a.Name+"\n") {
				t.Errorf("%s points to %s", a.Name, a.Page)
			}
			continue
		}
		if _, err := os.Stat("../docs/" + a.Page); err != nil || !strings.HasPrefix(a.Page, "runbooks/") {
			t.Errorf("%s points to %s: %v", a.Name, a.Page, err)
		}
	}
}

// TestRulesParse: Prometheus takes the rules, their templates too, whatever a cluster is called, in each form.
func TestRulesParse(t *testing.T) {
	promtool(t)
	awkward := metrics.Of("pgark", metrics.Alerts(metrics.Cluster{Name: "main"}, metrics.Cluster{Name: `it's "odd"`}, metrics.Cluster{Name: `back\slash`, Follows: true}, metrics.Cluster{Name: "o: r"}))
	raw, err := json.Marshal(awkward)
	if err != nil {
		t.Fatal(err)
	}
	manifest := metrics.Manifest("pgark", awkward).YAML()
	_, spec, _ := strings.Cut(manifest, "spec:\n")
	for name, text := range map[string]string{"yaml": awkward.YAML(), "json": string(raw), "spec": spec} {
		out, err := ask(t, text, "check", "rules")
		if err != nil || !strings.Contains(out, fmt.Sprintf("SUCCESS: %d rules found", len(awkward.Groups[0].Rules))) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if !strings.HasPrefix(manifest, "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: { name: pgark }\nspec:\n  groups:\n") {
		t.Errorf("the manifest is\n%s", manifest)
	}
	broken := metrics.Of("pgark", []metrics.Alert{{Name: "Broken", Expr: "max by (cluster (pgark_leader)"}})
	if out, err := ask(t, broken.YAML(), "check", "rules"); err == nil {
		t.Errorf("a rule that cannot be parsed passed: %s", out)
	}
}

// TestAbsentByName: with names there is a rule for each, and none that forgets after a day.
func TestAbsentByName(t *testing.T) {
	var got []string
	for _, a := range metrics.Alerts(metrics.Cluster{Name: "dr", Follows: true}, metrics.Cluster{Name: "main"}) {
		if a.Name == metrics.Absent {
			got = append(got, a.Expr)
		}
	}
	if want := []string{`absent(pgark_objective_seconds{cluster="dr", objective="rpo"})`, `absent(pgark_leader{cluster="main"})`}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
