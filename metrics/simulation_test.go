package metrics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/metrics"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// zero is when promtool's time begins.
var zero = time.Unix(0, 0).UTC()

// moment is what is known on a host at one time, and how long ago what goes wrong began: below zero before it does, and again after it was mended.
type moment struct {
	now    time.Time
	since  time.Duration // since it went wrong; negative while all is well
	ended  time.Duration // since it was mended; negative before
	frozen time.Time     // when it went wrong
	facts  metrics.Facts
	gone   bool  // nobody answers
	bad    error // why the configuration was not taken
}

func (m *moment) wrong() bool { return m.since >= 0 && m.ended < 0 }

// durable sets what is durable: all that the server has at a time, which is then not all that it has.
func (m *moment) durable(until time.Time) {
	m.facts.Live.Until, m.facts.Live.CaughtUp = &until, false
	m.facts.Health.Archive.Exposure = status.Exposure{Until: until}
}

// stands has nothing become durable since it went wrong.
func (m *moment) stands() { m.durable(m.frozen) }

// looked reports whether the last look at the repositories, one in five minutes, was while it was wrong.
func (m *moment) looked() bool {
	at := m.facts.Report.Now
	return m.wrong() && !at.Before(m.frozen)
}

// risk has the last look say so.
func (m *moment) risk() {
	if m.facts.Report != nil && m.looked() {
		m.facts.Report.Verdict = status.AtRisk
	}
}

// well is a cluster with a copy of which all is known, on a good day. Base backups and drills are held each night, prune lets go of a day.
func well(now time.Time) metrics.Facts {
	const day = 24 * time.Hour
	midnight := now.Truncate(day)
	look := now.Truncate(5 * time.Minute)
	until := now.Add(-400 * time.Millisecond)
	report := status.Report{
		Cluster: "main", Now: look, Verdict: status.Protected, RecoverableFrom: ptr(midnight.Add(-15 * day)), RecoverableUntil: ptr(look),
		Backups: []status.Backup{{ID: "b", Type: "full", Started: midnight.Add(-time.Hour), Stopped: midnight.Add(-50 * time.Minute), Plain: 412e9, Stored: 98e9, Restorable: true, Checksums: "verified"}},
		Drills: []status.Drill{
			{ID: "x", Started: midnight.Add(-30 * time.Minute), Result: repository.DrillPassed, RTO: ptr(221.0), DataLoss: ptr(0.01), Fetch: 161, Replay: 54, Opening: 6},
		},
		Stored: status.Stored{WAL: 213e9, Backups: 686e9},
	}
	for _, name := range []string{"primary", "dr"} {
		report.Copies = append(report.Copies, status.Copy{
			Name: name, Durable: &status.Position{Timeline: 4, LSN: 0x1a38f2a1c40}, Until: ptr(look.Add(-3 * time.Second)), Stored: report.Stored, Backups: 1,
		})
	}
	live := status.Live{
		Cluster: "main", Now: now, Began: zero.Add(-day), State: "streaming", Leader: true, Until: &until, CaughtUp: true, RPO: ptr(0.0),
		Flush: 0x1a38f2a1d00, Durable: 0x1a38f2a1c40, Received: ptr(uint64(now.Unix()) * 500_000),
		Slot: &status.Slot{Name: "pgark", Exists: true, Retained: 3_200_000 + now.Unix()%7*1_000_000, Active: ptr(true), Bound: &status.Bound{By: status.BoundByServer, Limit: 64e9}},
	}
	for _, name := range []string{"primary", "dr"} {
		live.Repositories = append(live.Repositories, status.LiveRepository{
			Name: name, Up: ptr(true), Versioned: ptr(true), StoredWAL: uint64(now.Unix()) * 200_000,
			Failures: []status.RequestFailures{{Op: "delete", Code: "denied", Count: uint64(now.Unix() / 60)}, {Op: "put", Code: "unavailable", Count: uint64(now.Unix() / 600)}},
		})
		live.Verified = append(live.Verified, status.LiveVerified{Repository: name, Sound: ptr(midnight.Add(-5 * time.Hour)), Damaged: map[string]uint64{"damaged": 0, "missing": 0}})
	}
	f := metrics.Facts{
		Live: live, Report: &report, RTOTarget: 15 * time.Minute, Window: 14 * day, Health: health.Facts{Target: 5 * time.Second},
		Pauses: map[status.JobKind]time.Duration{status.JobBackup: day, status.JobDrill: day, status.JobVerify: day, status.JobPrune: day},
	}
	f.Health.Archive = health.Archive{BackedUp: true, Exposure: status.Exposure{Until: until, CaughtUp: true}}
	return f
}

// host is an agent that Prometheus scrapes; it changes a good moment into what it is.
type host struct {
	name   string
	change func(*moment)
}

// history is what is scraped of some hosts: one of them is scraped as the agent answers, by the exporter itself.
type history struct {
	hosts            []host
	wrong, mended    time.Duration // when it goes wrong, and when it is mended
	length, interval time.Duration
}

// series returns all series of a history, in promtool's form.
func (h history) series(t *testing.T) []string {
	t.Helper()
	steps := int(h.length/h.interval) + 1
	values := map[string][]string{}
	for _, one := range h.hosts {
		var m moment
		exporter := metrics.New(metrics.Build{Version: "1.0.0"}, []metrics.Source{func() metrics.Facts { return m.facts }})
		exporter.ReloadFrom(func() (bool, error) { return true, m.bad })
		for i := range steps {
			at := time.Duration(i) * h.interval
			now := zero.Add(at)
			m = moment{now: now, since: at - h.wrong, ended: at - h.mended, frozen: zero.Add(h.wrong), facts: well(now)}
			if h.wrong == 0 && h.mended == 0 {
				m.since = -1
			}
			if one.change != nil {
				one.change(&m)
			}
			if m.gone {
				continue
			}
			exporter.Uploaded("main")("primary", 40*time.Millisecond)
			for line := range strings.Lines(scrape(exporter)) {
				if name, value, ok := scraped(line, one.name); ok {
					if values[name] == nil {
						values[name] = make([]string, steps)
					}
					values[name][i] = value
				}
			}
		}
	}
	var all []string
	for name, list := range values {
		all = append(all, fmt.Sprintf("- { series: %s, values: '%s' }", yamlString(name), compact(list)))
	}
	slices.Sort(all)
	return all
}

// scraped is the series and the value of a line of an exposition, with the labels that Prometheus adds.
func scraped(line, instance string) (name, value string, ok bool) {
	line = strings.TrimSpace(line)
	at := strings.LastIndex(line, " ")
	if at < 0 || strings.HasPrefix(line, "#") {
		return "", "", false
	}
	name, value = line[:at], line[at+1:]
	labels := `instance="` + instance + `",job="pgark"}`
	if cut, has := strings.CutSuffix(name, "}"); has {
		return cut + "," + labels, value, true
	}
	return name + "{" + labels, value, true
}

// compact writes values in promtool's form. One that is missing behind one that was there is marked, as Prometheus marks it.
func compact(list []string) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && list[i+n] == list[i] {
			n++
		}
		switch v := list[i]; {
		case v == "" && i == 0:
			fmt.Fprintf(&b, "_x%d ", n)
		case v == "" && n == 1:
			b.WriteString("stale ")
		case v == "":
			fmt.Fprintf(&b, "stale _x%d ", n-1)
		case n == 1:
			b.WriteString(v + " ")
		default:
			fmt.Fprintf(&b, "%s+0x%d ", v, n-1)
		}
		i += n
	}
	return strings.TrimSpace(b.String())
}

func yamlString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// expected is what promtool is to find firing at a time.
func expected(at time.Duration, alerts []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "      - expr: group by (alertname) (ALERTS{alertstate=\"firing\"})\n        eval_time: %ds\n        exp_samples:\n", int(at.Seconds()))
	if len(alerts) == 0 {
		return strings.TrimSuffix(b.String(), "exp_samples:\n") + "exp_samples: []\n"
	}
	for _, name := range alerts {
		fmt.Fprintf(&b, "          - { labels: %s, value: 1 }\n", yamlString(`{alertname="`+name+`"}`))
	}
	return b.String()
}
