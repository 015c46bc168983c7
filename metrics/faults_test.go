package metrics_test

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/metrics"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// fault is something that goes wrong, and the alerts that fire then: these and no others, and none before and after.
type fault struct {
	name   string
	change func(*moment)
	// others are agents beside that on db1.
	others []host
	// lasts is how long it is wrong, half an hour if 0; settles how long until none fires, twenty minutes if 0.
	lasts, settles time.Duration
	want           []string
}

// when has a change made while it is wrong.
func when(change func(*moment)) func(*moment) {
	return func(m *moment) {
		if m.wrong() {
			change(m)
		}
	}
}

// refuses has the primary refuse what is put, so that nothing becomes durable.
func refuses(code string) func(*moment) {
	return when(func(m *moment) {
		m.stands()
		r := &m.facts.Live.Repositories[0]
		r.Failures = append(r.Failures, status.RequestFailures{Op: "put", Code: code, Count: uint64(m.since/time.Second) / 15})
		m.risk()
	})
}

// away has the primary answer nothing: neither WAL nor looks at it.
func away(m *moment) {
	m.stands()
	r := &m.facts.Live.Repositories[0]
	r.Up, r.Failures[1].Count = ptr(false), r.Failures[1].Count+uint64(m.since/(15*time.Second))
	if m.looked() {
		m.facts.Report = nil
	}
}

// follower is the agent of a standby in another region.
func follower(change func(*moment)) host {
	return host{"dr1:9868", func(m *moment) {
		l := &m.facts.Live
		l.Leader, l.Until, l.CaughtUp, l.Slot, l.Flush, l.Durable, l.Received, l.Verified, l.Repositories = false, nil, false, nil, 0, 0, nil, nil, nil
		l.Follows, l.Standby = true, &status.LiveStandby{Until: ptr(m.now.Add(-2 * time.Second)), Connected: true}
		if change != nil && m.wrong() {
			change(m)
		}
	}}
}

// waiting is an agent beside a standby of the cluster, which takes over when the first one fails.
func waiting(change func(*moment)) host {
	return host{"db2:9868", func(m *moment) {
		l := &m.facts.Live
		l.Leader, l.Until, l.CaughtUp, l.Slot, l.Flush, l.Durable, l.Received, l.Verified = false, nil, false, nil, 0, 0, nil, nil
		m.facts.Health.Archive.BackedUp = false
		for i := range l.Repositories {
			l.Repositories[i].Up = nil
		}
		if change != nil && m.wrong() {
			change(m)
		}
	}}
}

const day = 24 * time.Hour

// faults are those of docs/FAILURES.md that a metric can show.
var faults = []fault{
	{name: "the agent's host is lost", change: when(func(m *moment) { m.gone = true }), want: []string{"PgarkAbsent", "PgarkAgentGone"}},
	{name: "the agent is restarted", change: when(func(m *moment) { m.gone = true }), lasts: 2 * time.Minute},
	{name: "the agent that waits is gone", others: []host{waiting(func(m *moment) { m.gone = true })}, want: []string{"PgarkAgentGone"}},
	{
		name: "the leader's host is lost, and the agent that waits cannot take over", change: when(func(m *moment) { m.gone = true }),
		others: []host{waiting(func(m *moment) { m.facts.Report.RecoverableUntil = &m.frozen; m.risk() })},
		want:   []string{"PgarkAgentGone", "PgarkNotProtected", "PgarkNotStreaming", "PgarkRPOMissed"},
	},
	{
		name:   "the server is away, refuses the agent, or another program holds the slot",
		change: when(func(m *moment) { m.stands(); m.facts.Live.Leader = false; m.risk() }),
		want:   []string{"PgarkNotProtected", "PgarkNotStreaming", "PgarkRPOMissed"},
	},
	{
		name: "two servers take writes under one name", others: []host{waiting(func(m *moment) { m.facts.Live.Leader = true })},
		want: []string{"PgarkTwoLeaders"},
	},
	{
		name: "two agents meet for a minute in a failover", others: []host{waiting(func(m *moment) { m.facts.Live.Leader = true })}, lasts: time.Minute,
	},
	{name: "a new configuration has a fault", change: when(func(m *moment) { m.bad = errors.New("no") }), want: []string{"PgarkConfigReloadFailed"}},
	{
		name: "the store is away or hangs, and the server keeps WAL",
		change: when(func(m *moment) {
			away(m)
			m.facts.Live.Slot.Retained += int64(m.since.Seconds()) * 10e6
		}),
		lasts: 40 * time.Minute, want: []string{"PgarkLookFailed", "PgarkRPOMissed", "PgarkRepoDown", "PgarkSlotFilling"},
	},
	{
		name: "the store is away, and the slot's limit or the end of the disk comes near",
		change: when(func(m *moment) {
			away(m)
			m.facts.Live.Slot.Retained = min(60e9, m.facts.Live.Slot.Retained+int64(m.since.Seconds())*50e6)
		}),
		lasts: 40 * time.Minute, want: []string{"PgarkLookFailed", "PgarkRPOMissed", "PgarkRepoDown", "PgarkSlotNearLimit"},
	},
	{
		name: "the agent begins while the store is away",
		change: when(func(m *moment) {
			away(m)
			m.facts.Live.Until, m.facts.Report, m.facts.Live.Verified = nil, nil, nil
			m.facts.Health.Archive.BackedUp = false
		}),
		want: []string{"PgarkLookFailed", "PgarkRPOUnknown", "PgarkRepoDown"},
	},
	{
		name: "the store is slow, and the objective is missed by less than as much again", change: when(func(m *moment) { m.durable(m.now.Add(-8 * time.Second)) }),
		want: []string{"PgarkNotProtected"},
	},
	{name: "the store is slow for ten minutes", change: when(func(m *moment) { m.durable(m.now.Add(-8 * time.Second)) }), lasts: 10 * time.Minute},
	{name: "a put is denied (403)", change: refuses("denied"), want: []string{"PgarkNotProtected", "PgarkRPOMissed", "PgarkRepoRefuses"}},
	{name: "a credential expires and is not renewed", change: refuses("expired"), want: []string{"PgarkNotProtected", "PgarkRPOMissed", "PgarkRepoRefuses"}},
	{name: "the clock of the agent's host is wrong", change: refuses("skewed"), want: []string{"PgarkNotProtected", "PgarkRPOMissed", "PgarkRepoRefuses"}},
	{name: "the bucket is gone", change: refuses("no_bucket"), want: []string{"PgarkNotProtected", "PgarkRPOMissed", "PgarkRepoRefuses"}},
	{
		name: "the store may not be listed any more",
		change: when(func(m *moment) {
			r := &m.facts.Live.Repositories[0]
			r.Failures = append(r.Failures, status.RequestFailures{Op: "list", Code: "denied", Count: uint64(m.since / time.Minute)})
			m.facts.Report = nil
		}),
		want: []string{"PgarkLookFailed", "PgarkRepoRefuses"},
	},
	{
		name: "the server's clock is ahead", change: when(func(m *moment) { m.durable(m.now.Add(time.Minute)); m.risk() }),
		want: []string{"PgarkClockDiffers", "PgarkNotProtected"},
	},
	{
		name: "a look sees a hole that the next pieces of WAL close",
		change: func(m *moment) {
			if r := m.facts.Report; m.looked() { // durable goes on, and the look is as old as it is
				r.OpenGap = &status.Gap{From: m.frozen, Until: m.frozen, Start: 1, End: 2}
				m.facts.Live.Durable = 3
			}
		},
		lasts: 5 * time.Minute,
	},
	{
		name: "the store takes some of the WAL and hangs for the rest, which is on its way",
		change: when(func(m *moment) {
			m.stands()
			m.risk()
			if r := m.facts.Report; m.looked() {
				r.OpenGap = &status.Gap{From: m.frozen, Until: m.now, Start: m.facts.Live.Durable, End: m.facts.Live.Durable + 1}
			}
		}),
		want: []string{"PgarkNotProtected", "PgarkRPOMissed"},
	},
	{
		name: "the slot is lost, and a base backup ends the gap",
		change: func(m *moment) {
			r := m.facts.Report
			switch gap := (status.Gap{From: m.frozen, Until: m.frozen.Add(30 * time.Minute), Cause: repository.Cause("slot_lost")}); {
			case m.looked():
				r.OpenGap, r.RecoverableUntil = &gap, &m.frozen
				m.risk()
			case m.ended >= 0:
				r.Gaps = []status.Gap{gap}
			}
			if m.wrong() {
				m.facts.Live.Until, m.facts.Live.CaughtUp, m.facts.Live.Slot = nil, false, nil
				m.facts.Health.Archive.Lost = true
				if r.RecoverableUntil.After(m.frozen) {
					r.RecoverableUntil = &m.frozen
				}
			}
		},
		settles: 7 * time.Hour, want: []string{"PgarkGap", "PgarkNotProtected", "PgarkRPOMissed"},
	},
	{
		name: "nobody took a base backup yet",
		change: when(func(m *moment) {
			m.facts.Live.Until, m.facts.Live.CaughtUp, m.facts.Health.Archive.BackedUp = nil, false, false
			r := m.facts.Report
			r.Backups, r.RecoverableFrom, r.RecoverableUntil, r.Verdict = nil, nil, nil, status.Unprotected
		}),
		lasts: 90 * time.Minute, want: []string{"PgarkNoBackup"},
	},
	{
		name: "the bucket is emptied, and the agent makes a base backup anew",
		change: func(m *moment) {
			if r := m.facts.Report; m.since >= 0 && m.now.Before(m.frozen.Add(40*time.Hour)) {
				r.RecoverableFrom = ptr(m.frozen.Add(10 * time.Minute))
				r.Backups[0].Stopped = later(r.Backups[0].Stopped, *r.RecoverableFrom)
			}
		},
		settles: 25 * time.Hour, want: []string{"PgarkWindowCut"},
	},
	{
		name: "a base backup fails, and is tried again", change: when(func(m *moment) { m.facts.Live.BackupFailed = ptr(m.now.Truncate(10 * time.Minute)) }),
		want: []string{"PgarkBackupFailed"},
	},
	{
		name: "a base backup failed once, and the next one did not", change: when(func(m *moment) { m.facts.Live.BackupFailed = ptr(zero.Add(-2 * time.Hour)) }),
	},
	{
		name: "no base backup is taken any more, or those that are have wrong pages", change: when(func(m *moment) { m.facts.Report.Backups[0].Stopped = zero.Add(-32 * time.Hour) }),
		want: []string{"PgarkBackupTooOld"},
	},
	{
		name: "a drill failed", change: when(func(m *moment) {
			m.facts.Report.Drills = append(m.facts.Report.Drills, status.Drill{ID: "y", Started: m.frozen, Result: repository.DrillFailed})
			m.risk()
		}),
		want: []string{"PgarkDrillFailed", "PgarkNotProtected"},
	},
	{
		name: "no drill is held any more", change: when(func(m *moment) { m.facts.Report.Drills[0].Started = zero.Add(-49 * time.Hour) }),
		want: []string{"PgarkDrillTooOld"},
	},
	{
		name: "none is scheduled, and the last is long ago",
		change: when(func(m *moment) {
			delete(m.facts.Pauses, status.JobDrill)
			m.facts.Report.Drills[0].Started = zero.Add(-36 * day)
		}),
		want: []string{"PgarkDrillTooOld"},
	},
	{
		name: "none is scheduled, and the last is a week ago",
		change: when(func(m *moment) {
			delete(m.facts.Pauses, status.JobDrill)
			m.facts.Report.Drills[0].Started = zero.Add(-7 * day)
		}),
	},
	{name: "no drill was ever held", change: when(func(m *moment) { m.facts.Report.Drills = nil }), lasts: 50 * time.Hour, want: []string{"PgarkNeverDrilled"}},
	{
		name: "a restore takes longer than the objective", change: when(func(m *moment) { m.facts.Report.Drills[0].RTO = ptr(1200.0); m.risk() }),
		want: []string{"PgarkNotProtected", "PgarkRTOMissed"},
	},
	{
		name: "a copy's region is away",
		change: when(func(m *moment) {
			m.facts.Live.Repositories[1].Up = ptr(false)
			if m.looked() {
				m.facts.Report.Copies[1] = status.Copy{Name: "dr", Error: "it does not answer"}
			}
			m.risk()
		}),
		want: []string{"PgarkNotProtected", "PgarkRepoDown"},
	},
	{
		name: "a copy cannot keep up", change: when(func(m *moment) { m.facts.Report.Copies[1].Until = &m.frozen; m.risk() }),
		want: []string{"PgarkCopyBehind", "PgarkNotProtected"},
	},
	{
		name: "a copy that the bucket makes is ten minutes late",
		change: func(m *moment) {
			m.facts.Live.Repositories = m.facts.Live.Repositories[:1]
			if m.wrong() {
				m.facts.Report.Copies[1].Until = ptr(m.facts.Report.Now.Add(-10 * time.Minute))
			}
		},
	},
	{
		name: "the bucket does not copy any more",
		change: func(m *moment) {
			m.facts.Live.Repositories = m.facts.Live.Repositories[:1]
			if m.wrong() {
				m.facts.Report.Copies[1].Until = &m.frozen
				m.risk()
			}
		},
		lasts: 45 * time.Minute, want: []string{"PgarkCopyBehind", "PgarkNotProtected"},
	},
	{
		name: "the standby in the other region is stuck before a gap", others: []host{follower(func(m *moment) { m.facts.Live.Standby.Until = &m.frozen })},
		want: []string{"PgarkStandbyBehind"},
	},
	{
		name: "the standby in the other region does not answer", others: []host{follower(func(m *moment) { m.facts.Live.Standby.Connected = false })},
		want: []string{"PgarkStandbyStuck"},
	},
	{
		name: "the primary's region is lost, and its standby takes over later", change: when(func(m *moment) { m.gone = true }), others: []host{follower(func(m *moment) {
			m.facts.Live.Standby.Until = &m.frozen
			if m.looked() {
				m.facts.Report.Copies[0] = status.Copy{Name: "primary", Error: "it does not answer"}
				m.facts.Report.Copies[1].Until = &m.frozen
			}
		})},
		want: []string{"PgarkAbsent", "PgarkAgentGone", "PgarkStandbyBehind"},
	},
	{name: "versioning is suspended", change: when(func(m *moment) { m.facts.Live.Repositories[0].Versioned = ptr(false) }), want: []string{"PgarkVersioningOff"}},
	{
		name: "a verification finds damage, and the agent is restarted",
		change: when(func(m *moment) {
			if v := m.facts.Live.Verified; m.since < 15*time.Minute {
				v[1].Unsound, v[1].Damaged["missing"] = &m.frozen, 1
			} else {
				m.facts.Live.Verified = nil
			}
		}),
		settles: 25 * time.Hour, want: []string{"PgarkVerifyErrors"},
	},
	{
		name: "no verification is made any more", change: when(func(m *moment) { m.facts.Live.Verified[0].Sound = ptr(zero.Add(-5 * time.Hour)) }), lasts: 47 * time.Hour,
		want: []string{"PgarkVerifyTooOld"},
	},
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestRulesFire: for each fault the alerts fire that are about it, and no others; none fires before it, nor when it is mended. Prometheus's own engine evaluates
// the rules that are shipped, on what the exporter says of the facts.
func TestRulesFire(t *testing.T) {
	promtool(t)
	rules, err := filepath.Abs("../deploy/prometheus/pgark.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range faults {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			text := f.question(t, rules)
			if out, err := ask(t, text, "test", "rules"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		for _, name := range f.want {
			seen[name] = true
		}
	}
	for _, a := range metrics.Alerts() {
		if !seen[a.Name] {
			t.Errorf("no fault has %s fire", a.Name)
		}
	}
}

// question is promtool's file about a fault.
func (f fault) question(t *testing.T, rules string) string {
	t.Helper()
	h := history{hosts: append([]host{{"db1:9868", f.change}}, f.others...), wrong: 20 * time.Minute, interval: time.Minute}
	h.mended = h.wrong + cmp.Or(f.lasts, 30*time.Minute)
	h.length = h.mended + max(f.settles, 20*time.Minute)
	step := 2 * time.Minute
	switch {
	case h.length > 12*time.Hour:
		h.interval, step = 4*time.Minute, 20*time.Minute
	case h.length > 4*time.Hour:
		h.interval, step = 4*time.Minute, 10*time.Minute
	}
	// Whether an alert fires is known when rules are evaluated.
	h.length = h.length.Truncate(step) + step
	last := (h.mended - time.Second).Truncate(step)
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%s]\nevaluation_interval: %ds\ntests:\n  - interval: %ds\n    input_series:\n", yamlString(rules), int(step.Seconds()), int(h.interval.Seconds()))
	for _, one := range h.series(t) {
		b.WriteString("      " + one + "\n")
	}
	b.WriteString("    promql_expr_test:\n" + expected((h.wrong-time.Second).Truncate(step), nil) + expected(last, f.want) + expected(h.length, nil))
	return b.String()
}
