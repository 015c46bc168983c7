package notify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/notify"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

func ptr[T any](v T) *T { return &v }

// well is a cluster of which all is well at an instant.
func well(now time.Time) notify.Facts {
	before := now.Add(-time.Second)
	return notify.Facts{
		Live: status.Live{
			Cluster: "main", Now: now, Began: now.Add(-24 * time.Hour), Leader: true, Until: &before,
			Repositories: []status.LiveRepository{{Name: "primary", Up: ptr(true)}, {Name: "dr", Up: ptr(true)}},
			Slot:         &status.Slot{Name: "pgark", Exists: true, Active: ptr(true), WALStatus: "reserved"}, SlotSeen: &before,
			Ended: []status.Job{{Kind: status.JobVerify, Began: before, Ended: &before, Result: status.JobDone}, {Kind: status.JobBackup, Began: before, Ended: &before, Result: status.JobDone}},
		},
		Health: health.Facts{Target: 5 * time.Second, Archive: health.Archive{
			SystemID: 7, Compared: true, Streaming: true, Turned: before, BackedUp: true, Exposure: status.Exposure{Until: before}, Stored: before, Every: time.Second,
		}},
		Report: &status.Report{
			Now: now.Add(-3 * time.Minute), Verdict: status.Protected, Copies: []status.Copy{{Name: "primary"}, {Name: "dr", Behind: ptr(2.0)}},
			Drill: drill(now.Add(-3*time.Hour), repository.DrillPassed, 221), Drills: []status.Drill{*drill(now.Add(-3*time.Hour), repository.DrillPassed, 221)},
		},
		RTOTarget: 15 * time.Minute,
	}
}

func drill(at time.Time, result repository.DrillResult, rto float64) *status.Drill {
	return &status.Drill{ID: "20261120T030000Z", Started: at, Result: result, RTO: &rto, Phase: "replay", Failure: "no such WAL"}
}

// ill is what spoils facts, and the event that it is.
type ill struct {
	name  string
	kind  notify.Kind
	about string
	spoil func(*notify.Facts)
	// told says that the event begins within two minutes.
	told bool
}

func ills() []ill {
	at := func(f *notify.Facts) time.Time { return f.Live.Now.Add(-time.Minute) }
	failed := func(kind status.JobKind) func(*notify.Facts) {
		return func(f *notify.Facts) {
			ended := at(f)
			f.Live.Ended = append([]status.Job{{Kind: kind, Began: ended, Ended: &ended, Result: status.JobFailed, Detail: "no space"}}, f.Live.Ended...)
		}
	}
	return []ill{
		{"rpo", notify.RPOMissed, "", func(f *notify.Facts) { f.Health.Archive.Exposure.Until = f.Live.Now.Add(-time.Minute) }, true},
		{"no base backup", notify.RPOMissed, "", func(f *notify.Facts) { f.Health.Archive.BackedUp = false }, true},
		{"new, and the first base backup goes on", notify.RPOMissed, "", func(f *notify.Facts) {
			f.Health.Archive.BackedUp, f.Live.Jobs = false, []status.Job{{Kind: status.JobBackup}}
		}, false},
		{"rto", notify.RTOMissed, "", func(f *notify.Facts) { f.RTOTarget = time.Minute }, true},
		{"gap", notify.Gap, "", func(f *notify.Facts) { f.Health.Archive.Lost = true }, true},
		{"gap that nothing is recorded of", notify.Gap, "", func(f *notify.Facts) { f.Live.Durable, f.Report.OpenGap = 7, &status.Gap{From: at(f), Start: 3} }, false}, // TestHole
		{"backup", notify.BackupFailed, "", failed(status.JobBackup), true},
		{"drill", notify.DrillFailed, "", failed(status.JobDrill), true},
		{"drill on record", notify.DrillFailed, "", func(f *notify.Facts) { f.Report.Drill = drill(at(f), repository.DrillFailed, 0) }, true},
		{"verification", notify.VerifyFailed, "", failed(status.JobVerify), true},
		{"copy", notify.CopyBehind, "dr", func(f *notify.Facts) { f.Report.Copies[1].Behind = ptr(600.0) }, true},
		{"copy that cannot be used", notify.CopyBehind, "dr", func(f *notify.Facts) { f.Report.Copies[1].Error = "no such bucket" }, true},
		{"repository", notify.RepoDown, "dr", func(f *notify.Facts) { f.Live.Repositories[1].Up = ptr(false) }, true},
		{"slot", notify.SlotNearLimit, "", func(f *notify.Facts) { f.Live.Slot.Bound = &status.Bound{By: status.BoundByDisk, Limit: 100, Left: 10} }, true},
		{"slot that is lost", notify.SlotNearLimit, "", func(f *notify.Facts) { f.Live.Slot.WALStatus = "lost" }, true},
		{"slot of which nothing new is known", notify.SlotNearLimit, "", func(f *notify.Facts) {
			f.Live.Slot.WALStatus, f.Live.SlotSeen = "lost", ptr(at(f).Add(-time.Hour))
		}, false},
		{"standby, which has no archive of its own", notify.RPOMissed, "", func(f *notify.Facts) {
			f.Live.Standby, f.Health.Archive = &status.LiveStandby{}, health.Archive{}
		}, false},
	}
}

// days runs a journal over facts that are made for each instant, every five seconds, and returns what it says.
func days(j *notify.Journal, p notify.Policy, from time.Time, span time.Duration, facts func(time.Time) notify.Facts) []notify.Message {
	var all []notify.Message
	for at := from; at.Before(from.Add(span)); at = at.Add(5 * time.Second) {
		all = append(all, j.Next(facts(at), p)...)
	}
	return all
}

var epoch = time.Date(2026, 11, 20, 10, 41, 7, 0, time.UTC)

// TestEvents: each thing that goes wrong is told once when it begins and once when it ends, by its own word; what is not known is neither.
func TestEvents(t *testing.T) {
	for _, test := range ills() {
		t.Run(test.name, func(t *testing.T) {
			var j notify.Journal
			if told := days(&j, notify.Policy{}, epoch.Add(-time.Minute), time.Minute, well); len(told) != 0 {
				t.Fatalf("all is well, and it says %v", told)
			}
			ailing := func(now time.Time) notify.Facts {
				f := well(now)
				test.spoil(&f)
				return f
			}
			begun := days(&j, notify.Policy{}, epoch, 2*time.Minute, ailing)
			ended := days(&j, notify.Policy{}, epoch.Add(2*time.Minute), 10*time.Minute, well)
			if !test.told {
				if len(begun)+len(ended) != 0 {
					t.Errorf("said %v, then %v", begun, ended)
				}
				return
			}
			if len(begun) != 1 || len(ended) != 1 {
				t.Fatalf("said %v, then %v; want one message each", begun, ended)
			}
			b, e := begun[0], ended[0]
			if b.Event != test.kind || b.Repository != test.about || b.State != notify.Begun || b.Cluster != "main" || b.Text == "" || b.Since.After(b.Time) || b.AfterStart {
				t.Errorf("it begins with %+v", b)
			}
			if e.Event != test.kind || e.State != notify.Ended || e.ID != b.ID || !e.Since.Equal(b.Since) || !e.Time.After(b.Time) {
				t.Errorf("it began with %+v and ends with %+v", b, e)
			}
		})
	}
}

// TestNothingFlaps: what comes and goes faster than its patience is one event, or none, however long that goes on.
func TestNothingFlaps(t *testing.T) {
	wavering := func(every, bad time.Duration) func(time.Time) notify.Facts {
		return func(now time.Time) notify.Facts {
			f := well(now)
			if now.Sub(epoch)%every < bad {
				f.Health.Archive.Exposure.Until = now.Add(-time.Minute)
			}
			return f
		}
	}
	var j notify.Journal
	if told := days(&j, notify.Policy{}, epoch, time.Hour, wavering(time.Minute, 20*time.Second)); len(told) != 0 {
		t.Errorf("the RPO is missed for 20 seconds in each minute: said %v", told)
	}
	if told := days(&j, notify.Policy{}, epoch, time.Hour, wavering(2*time.Minute, 80*time.Second)); len(told) != 1 {
		t.Errorf("it is kept for 40 seconds in two minutes: said %v", told)
	}
}

// TestReminders: an event that lasts is said again at a bounded rate, with the same id, and only what is asked for is said at all.
func TestReminders(t *testing.T) {
	ailing := func(now time.Time) notify.Facts {
		f := well(now)
		f.Health.Archive.Lost, f.Live.Repositories[0].Up = true, ptr(false)
		return f
	}
	var j notify.Journal
	told := days(&j, notify.Policy{On: []notify.Kind{notify.Gap}, Remind: time.Hour}, epoch, 150*time.Minute, ailing)
	var said []string
	for _, m := range told {
		said = append(said, string(m.Event)+" "+string(m.State))
		if m.ID != told[0].ID || len(m.ID) == 0 {
			t.Errorf("another id: %+v", m)
		}
	}
	if got := strings.Join(said, ", "); got != "gap begun, gap lasts, gap lasts" {
		t.Errorf("said %s", got)
	}
	if !strings.Contains(told[0].String(), "pgark main: gap\n") || !strings.Contains(told[0].String(), "look pgark status --cluster main") {
		t.Errorf("for a person: %s", told[0])
	}
}

// TestAfterStart: an agent that begins while something is wrong says it, for it cannot know that it was said, and says that too; where the archive has the begin
// on record the id is the one that an agent before it gave.
func TestAfterStart(t *testing.T) {
	failed := epoch.Add(-20 * time.Hour)
	ailing := func(now time.Time) notify.Facts {
		f := well(now)
		f.Live.Began, f.Report.Drill = epoch.Add(-time.Minute), drill(failed, repository.DrillFailed, 0)
		return f
	}
	var one, other notify.Journal
	first, second := one.Next(ailing(epoch), notify.Policy{}), other.Next(ailing(epoch.Add(10*time.Minute)), notify.Policy{})
	if len(first) != 1 || len(second) != 1 || !first[0].AfterStart || !second[0].AfterStart || first[0].ID != second[0].ID || !first[0].Since.Equal(failed) {
		t.Errorf("said %+v and %+v", first, second)
	}
}

// TestUnmet: the heartbeat beats only while everything is known to be well.
func TestUnmet(t *testing.T) {
	if why := notify.Unmet(well(epoch), epoch); why != "" {
		t.Fatalf("all is well: got %q", why)
	}
	unmet := ills()
	for i := range unmet {
		switch unmet[i].name {
		case "backup", "verification", "copy", "copy that cannot be used", "repository", "slot", "slot that is lost", "slot of which nothing new is known":
			unmet[i].spoil = nil // no objective, or the verdict tells of it
		}
	}
	unmet = append(unmet,
		ill{name: "verdict", spoil: func(f *notify.Facts) {
			f.Report.Verdict, f.Report.Causes = status.AtRisk, []status.Cause{{What: "copy dr is behind"}}
		}},
		ill{name: "verdict without a cause", spoil: func(f *notify.Facts) { f.Report.Verdict = "" }},
		ill{name: "open gap", spoil: func(f *notify.Facts) { f.Report.OpenGap = &status.Gap{Cause: "slot_lost"} }},
		ill{name: "no look", spoil: func(f *notify.Facts) { f.Report = nil }},
		ill{name: "old look", spoil: func(f *notify.Facts) { f.Report.Now = epoch.Add(-time.Hour) }},
		ill{name: "agent that is stuck", spoil: func(f *notify.Facts) { f.Health.Archive.Turned = epoch.Add(-time.Hour) }},
		ill{name: "repository that refuses", spoil: func(f *notify.Facts) { f.Health.Archive.Refused = true }},
		ill{name: "repository that takes nothing", spoil: func(f *notify.Facts) { f.Health.Archive.Stored = epoch.Add(-time.Hour) }},
		ill{name: "agent that stops", spoil: func(f *notify.Facts) { f.Health.Archive.Stopping = true }},
		ill{name: "fence", spoil: func(f *notify.Facts) { f.Health.Archive.Fenced = true }},
		ill{name: "no drill for the objective", spoil: func(f *notify.Facts) { f.Report.Drill = nil }},
		ill{name: "nothing known", spoil: func(f *notify.Facts) { *f = notify.Facts{} }},
	)
	for _, test := range unmet {
		if test.spoil == nil {
			continue
		}
		f := well(epoch)
		test.spoil(&f)
		if notify.Unmet(f, epoch) == "" {
			t.Errorf("%s: the heartbeat goes on", test.name)
		}
	}
	f := well(epoch)
	f.RTOTarget, f.Report.Drill, f.Report.Drills = 0, nil, nil
	if why := notify.Unmet(f, epoch); why != "" {
		t.Errorf("without an objective for restores no drill is wanted: got %q", why)
	}
}

// TestEachGap: every gap that the agent recorded is told once as begun and once as ended, however soon a base backup ended it, also where the next came before that, and
// where nobody looked in between; one that was open when the agent began is told besides.
func TestEachGap(t *testing.T) {
	first := status.LiveGap{Timeline: 1, Start: 3 << 24, End: 4 << 24, Cause: "slot lost", Seen: epoch}
	second := status.LiveGap{Timeline: 1, Start: 7 << 24, End: 8 << 24, Cause: "slot lost", Seen: epoch.Add(time.Second)}
	// step is what is known five seconds after the step before.
	type step struct {
		gaps []status.LiveGap
		lost bool
	}
	for name, test := range map[string]struct {
		steps []step
		want  string
	}{
		"ended before anybody looked":            {[]step{{}, {[]status.LiveGap{first}, false}, {[]status.LiveGap{first}, false}}, "0/3000000 begun, 0/3000000 ended"},
		"seen open":                              {[]step{{}, {[]status.LiveGap{first}, true}, {[]status.LiveGap{first}, true}, {[]status.LiveGap{first}, false}}, "0/3000000 begun, 0/3000000 ended"},
		"two before anybody looked":              {[]step{{}, {[]status.LiveGap{first, second}, false}}, "0/3000000 begun, 0/3000000 ended, 0/7000000 begun, 0/7000000 ended"},
		"the next while one is open":             {[]step{{}, {[]status.LiveGap{first}, true}, {[]status.LiveGap{first, second}, true}, {[]status.LiveGap{first, second}, false}}, "0/3000000 begun, 0/7000000 begun, 0/3000000 ended, 0/7000000 ended"},
		"one after the other":                    {[]step{{[]status.LiveGap{first}, true}, {[]status.LiveGap{first}, false}, {[]status.LiveGap{first, second}, true}, {[]status.LiveGap{first, second}, false}}, "0/3000000 begun, 0/3000000 ended, 0/7000000 begun, 0/7000000 ended"},
		"one of an agent before, and then a new": {[]step{{nil, true}, {[]status.LiveGap{first}, true}, {[]status.LiveGap{first}, false}}, "? begun, 0/3000000 begun, ? ended, 0/3000000 ended"},
	} {
		var j notify.Journal
		var said []string
		ids := map[string]string{}
		for n, s := range test.steps {
			f := well(epoch.Add(time.Duration(n) * 5 * time.Second))
			f.Live.Gaps, f.Health.Archive.Lost = s.gaps, s.lost
			for _, m := range j.Next(f, notify.Policy{}) {
				place := "?"
				for _, g := range []status.LiveGap{first, second} {
					if strings.Contains(m.Text, "WAL "+g.Start.String()+" to "+g.End.String()+" on timeline 1 was lost (slot lost)") {
						place = g.Start.String()
					}
				}
				said = append(said, place+" "+string(m.State))
				if known, ok := ids[m.ID]; ok && known != place || m.Event != notify.Gap {
					t.Errorf("%s: %+v", name, m)
				}
				ids[m.ID] = place
			}
		}
		if got := strings.Join(said, ", "); got != test.want {
			t.Errorf("%s: said %s; want %s", name, got, test.want)
		}
		if events := strings.Count(test.want, "begun"); len(ids) != events {
			t.Errorf("%s: %d ids of %d events", name, len(ids), events)
		}
	}
}

// TestGapWhenTheAgentBeginsAnew: a reload, or an error, begins an agent anew in the same process, and without a site it has no memory of gaps then. One that is open does not
// end by that, nor is it told again; it ends when a base backup is known to end it.
func TestGapWhenTheAgentBeginsAnew(t *testing.T) {
	gap := []status.LiveGap{{Timeline: 1, Start: 3 << 24, End: 4 << 24, Cause: "slot lost", Seen: epoch}}
	for name, after := range map[string][]status.LiveGap{"remembered": gap, "forgotten": nil} {
		var j notify.Journal
		said := map[string][]string{}
		for n, step := range []struct {
			gaps           []status.LiveGap
			compared, lost bool
			want           int // messages so far
		}{
			{gap, true, true, 1},
			{after, false, false, 1}, // it has not reached the server yet
			{after, true, true, 1},
			{after, true, false, 2},
			{after, true, false, 2},
		} {
			f := well(epoch.Add(time.Duration(n) * 5 * time.Second))
			f.Live.Gaps, f.Health.Archive.Compared, f.Health.Archive.Lost = step.gaps, step.compared, step.lost
			total := 0
			for _, m := range j.Next(f, notify.Policy{On: []notify.Kind{notify.Gap}}) {
				said[m.ID] = append(said[m.ID], string(m.State))
			}
			for _, states := range said {
				total += len(states)
			}
			if total != step.want {
				t.Errorf("%s, step %d: said %v", name, n, said)
			}
		}
		for id, states := range said {
			if strings.Join(states, " ") != "begun ended" || len(said) != 1 {
				t.Errorf("%s: of %s was said %v", name, id, states)
			}
		}
	}
}

// TestHole: WAL that a look does not find may be on its way. It is told of only where the agent knows it to be durable and the next look lacks it too.
func TestHole(t *testing.T) {
	const begins, durable = wal.LSN(3 << 24), wal.LSN(4 << 24)
	for name, test := range map[string]struct {
		durable wal.LSN
		lasts   time.Duration
		want    int
	}{
		"lost": {durable, time.Hour, 2},
		"on its way while the store takes no more":   {begins, time.Hour, 0},
		"it came after the look and before the next": {durable, 5 * time.Minute, 0},
	} {
		var j notify.Journal
		told := days(&j, notify.Policy{}, epoch, 2*time.Hour, func(now time.Time) notify.Facts {
			f := well(now)
			f.Live.Durable = durable
			if since := now.Sub(epoch); since < test.lasts {
				f.Live.Durable, f.Report.OpenGap = test.durable, &status.Gap{From: epoch, Start: begins, End: durable}
			}
			return f
		})
		if len(told) != test.want || len(told) > 0 && (told[0].Event != notify.Gap || !strings.Contains(told[0].Text, begins.String())) {
			t.Errorf("%s: said %v", name, told)
		}
	}
}

// TestGapOfAnotherAgent: a gap that another agent recorded, while this one waited, is told of also by a process that remembers gaps of its own, which are over.
func TestGapOfAnotherAgent(t *testing.T) {
	own := status.LiveGap{Timeline: 1, Start: 3 << 24, End: 4 << 24, Cause: "slot lost", Seen: epoch}
	var j notify.Journal
	var said []string
	for n, open := range []*status.Gap{
		nil,
		{Timeline: 1, Start: own.Start, Cause: "slot lost"},              // its own, as the look has it
		{Timeline: 2, Start: 9 << 24, End: 10 << 24, Cause: "slot lost"}, // the other's
		nil,
	} {
		f := well(epoch.Add(time.Duration(n) * 5 * time.Second))
		f.Live.Gaps, f.Report.OpenGap, f.Health.Archive.Lost = []status.LiveGap{own}, open, open != nil
		for _, m := range j.Next(f, notify.Policy{}) {
			said = append(said, string(m.State)+" "+m.Text)
		}
	}
	others := 0
	for _, one := range said {
		if strings.Contains(one, "it lacks from 0/9000000 on timeline 2") {
			others++
		}
	}
	if others != 2 {
		t.Errorf("the other's gap was told of %d times: %q", others, said)
	}
}
