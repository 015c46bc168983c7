package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/metrics"
)

// grafana is what of a dashboard is judged.
type grafana struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID         int
		Title      string
		Datasource struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			Expr       string
			Datasource struct{ UID string }
		}
	}
}

func readDashboard(t *testing.T) grafana {
	t.Helper()
	raw, err := os.ReadFile("../deploy/grafana/pgark.json")
	if err != nil {
		t.Fatal(err)
	}
	var d grafana
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var variable = regexp.MustCompile(`\$\{?([a-z_]+)`)

// TestDashboard: what it asks for is told by somebody, its variables are there, and no panel lies over another.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	known := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		known[v.Name] = true
		if names := unknown(v.Definition); len(names) > 0 {
			t.Errorf("variable %s asks for %v", v.Name, names)
		}
	}
	if !known["datasource"] || !known["cluster"] || d.UID != "pgark" {
		t.Errorf("variables %v, uid %q", known, d.UID)
	}
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] != "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: another is %q, or it is of datasource %q, or asks for nothing", p.ID, p.Title, ids[p.ID], p.Datasource.UID)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			if names := unknown(target.Expr); len(names) > 0 {
				t.Errorf("panel %q asks for metrics that there are not: %v", p.Title, names)
			}
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, "$cluster") {
				t.Errorf("panel %q: %s is not of the datasource and the clusters that were chosen", p.Title, target.Expr)
			}
			for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !known[m[1]] {
					t.Errorf("panel %q: no variable $%s", p.Title, m[1])
				}
			}
		}
	}
}

// TestDashboardAnswers: Prometheus's engine parses each expression, and has an answer to it on a good day: labels that do not match give none.
func TestDashboardAnswers(t *testing.T) {
	promtool(t)
	empty := map[string]bool{"Damage that verifications found": true, "Base backup in hand": true, "Alerts that fire": true}
	h := history{hosts: []host{{"db1:9868", nil}, follower(nil)}, length: 20 * time.Minute, interval: time.Minute}
	var b strings.Builder
	b.WriteString("rule_files: []\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n")
	for _, one := range h.series(t) {
		b.WriteString("      " + one + "\n")
	}
	b.WriteString("    promql_expr_test:\n")
	fill := strings.NewReplacer("$cluster", ".*", "$__rate_interval", "5m")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			want := "[{ labels: '{}', value: 1 }]"
			if empty[p.Title] {
				want = "[]"
			}
			fmt.Fprintf(&b, "      - { eval_time: 20m, expr: %s, exp_samples: %s }\n", yamlString("group("+fill.Replace(target.Expr)+")"), want)
		}
	}
	if out, err := ask(t, b.String(), "test", "rules"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	broken := metrics.Of("x", []metrics.Alert{{Name: "Broken", Expr: "sum(pgark_leader"}})
	if _, err := ask(t, broken.YAML(), "check", "rules"); err == nil {
		t.Error("what cannot be parsed is taken for good")
	}
}
