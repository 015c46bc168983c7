package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answer is what an agent told Prometheus at a time.
type answer struct {
	at   time.Time
	text string
}

// scrapedNow asks an agent as Prometheus does.
func scrapedNow(t testing.TB, address string) answer {
	t.Helper()
	at := time.Now()
	_, text := ask(t, "http://"+address+"/metrics")
	return answer{at, text}
}

// phase is an answer of an agent as it would be scraped for a while: with time passing, or standing still, as a fault that lasts has it; and the alerts that fire at
// its end.
type phase struct {
	told   answer
	stands bool
	want   []string
}

// phaseSteps is how many minutes each phase lasts.
const phaseSteps = 10

// judgeAlerts has Prometheus's engine evaluate the shipped rules on what an agent told in one phase after the other.
func judgeAlerts(t *testing.T, phases ...phase) {
	t.Helper()
	tool, err := exec.LookPath("../.parts/promtool")
	if err != nil {
		tool, err = exec.LookPath("promtool")
	}
	switch {
	case err == nil:
	case os.Getenv("REQUIRE_ALL") == "1":
		t.Fatalf("part missing: promtool: integration/parts.sh promtool: %v", err)
	default:
		t.Logf("alerts are not judged: promtool is missing: %v", err)
		return
	}
	if tool, err = filepath.Abs(tool); err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../deploy/prometheus/pgark.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for i, p := range phases {
		for line := range strings.Lines(p.told.text) {
			at := strings.LastIndex(line, " ")
			if at < 0 || !strings.HasPrefix(line, "pgark_") {
				continue
			}
			name, value := line[:at], strings.TrimSpace(line[at+1:])
			if values[name] == nil {
				values[name] = make([]string, len(phases)*phaseSteps)
			}
			for step := range phaseSteps {
				minutes := i * phaseSteps
				if !p.stands {
					minutes += step
				}
				values[name][i*phaseSteps+step] = p.value(t, name, value, phases[0].told.at, time.Duration(minutes)*time.Minute)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: ['%s']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n", rules)
	for name, all := range values {
		labels := `instance="db1:9868",job="pgark"}`
		if cut, has := strings.CutSuffix(name, "}"); has {
			name = cut + "," + labels
		} else {
			name += "{" + labels
		}
		for i := range all {
			if all[i] == "" {
				all[i] = "stale"
			}
		}
		fmt.Fprintf(&b, "      - { series: '%s', values: '%s' }\n", name, strings.Join(all, " "))
	}
	b.WriteString("    promql_expr_test:\n")
	for i, p := range phases {
		fmt.Fprintf(&b, "      - expr: group by (alertname) (ALERTS{alertstate=\"firing\"})\n        eval_time: %dm\n        exp_samples: [", (i+1)*phaseSteps-1)
		for _, name := range p.want {
			fmt.Fprintf(&b, "{ labels: '{alertname=\"%s\"}', value: 1 },", name)
		}
		b.WriteString("]\n")
	}
	file := filepath.Join(t.TempDir(), "alerts.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// moving are the instants that go on with the time while all is well; all others are of something that happened.
var moving = regexp.MustCompile(`_(until|look|replayed)_timestamp_seconds`)

// value is what a series has so long after the beginning. promtool's time begins in 1970: instants are as far from the scrape, or from the first one, as they were.
func (p phase) value(t *testing.T, name, value string, first time.Time, after time.Duration) string {
	t.Helper()
	if !strings.Contains(name, "_timestamp_seconds") {
		return value
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatal(err)
	}
	at := first
	if moving.MatchString(name) {
		at = p.told.at.Add(-after)
	}
	return strconv.FormatFloat(v-float64(at.UnixMilli())/1000, 'f', 3, 64)
}
