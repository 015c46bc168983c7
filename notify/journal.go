package notify

import (
	"slices"
	"time"

	"github.com/pgark/pgark/status"
)

// patience is how long a condition holds before its event begins, and how long it does not before that ends: nothing is told twice because it came and went.
type patience struct{ begin, end time.Duration }

func patienceFor(k Kind) patience {
	switch k {
	case RPOMissed:
		return patience{30 * time.Second, time.Minute}
	case RepoDown:
		return patience{time.Minute, time.Minute}
	case SlotNearLimit:
		return patience{20 * time.Second, 5 * time.Minute}
	case CopyBehind: // by the last look, of which there is one in five minutes
		return patience{time.Minute, time.Minute}
	case Gap, RTOMissed, BackupFailed, DrillFailed, VerifyFailed: // what a job found, which does not waver
		return patience{}
	}
	return patience{}
}

// afterStart is how long after an agent's begin its messages say so.
const afterStart = 15 * time.Minute

// Policy is what is told.
type Policy struct {
	// On are the kinds; nil is all of them.
	On []Kind
	// Remind is how often it is said that an event lasts; 0 is never.
	Remind time.Duration
}

// Journal remembers which events are on and what was said of them. The zero value knows of none. It is for one goroutine at a time.
type Journal struct {
	entries map[subject]*entry
	gaps    []status.LiveGap // that agents recorded, oldest first
}

// mostGaps is how many gaps are remembered: of those beyond it the oldest ended long ago.
const mostGaps = 100

// recall adds to the facts the gaps that agents recorded before: one that begins anew knows of none, and its base backup ends those too.
func (j *Journal) recall(f *Facts) {
	for _, g := range f.Live.Gaps {
		if !slices.Contains(j.gaps, g) {
			j.gaps = append(j.gaps, g)
		}
	}
	j.gaps = j.gaps[max(0, len(j.gaps)-mostGaps):]
	f.Live.Gaps = j.gaps
}

// subject is what an event is about.
type subject struct {
	kind       Kind
	repository string
	about      string
}

// entry is what is known of one subject.
type entry struct {
	held, clear time.Time // since when the condition holds, or does not; one of them is zero
	open        bool
	over        bool      // it is told from begin to end, and cannot come again
	since, said time.Time // of an open one: its begin, and the last message
	id, text    string
}

// Next returns what is to be said of the conditions at f.Live.Now, which never goes back.
func (j *Journal) Next(f Facts, p Policy) []Message {
	if j.entries == nil {
		j.entries = map[subject]*entry{}
	}
	j.recall(&f)
	var all []Message
	for _, c := range Conditions(f) {
		if c.Holds == Unknown || p.On != nil && !slices.Contains(p.On, c.Kind) {
			continue
		}
		about := subject{c.Kind, c.Repository, c.About}
		e := j.entries[about]
		if e == nil {
			e = &entry{}
			j.entries[about] = e
			if c.Happened && c.Holds == No { // nobody looked while it held
				held := c
				held.Holds = Yes
				all = append(all, e.say(f, held, p)...)
			}
		}
		all = append(all, e.say(f, c, p)...)
	}
	return all
}

// say returns what is to be said of a condition: nothing, or one message.
func (e *entry) say(f Facts, c Condition, p Policy) []Message {
	now := f.Live.Now
	state, say := e.take(now, c, f.Live.Cluster, p.Remind)
	if !say {
		return nil
	}
	m := Message{
		Version: messageVersion, ID: e.id, Event: c.Kind, State: state, Cluster: f.Live.Cluster, Repository: c.Repository,
		Time: now.UTC(), Since: e.since.UTC(), Text: e.text, Fix: "pgark status --cluster " + f.Live.Cluster,
		AfterStart: state == Begun && now.Sub(f.Live.Began) < afterStart,
	}
	if state == Ended {
		m.Text = "it is over: " + e.text
	}
	return []Message{m}
}

// take notes what a condition says now, and tells what is to be said of it.
func (e *entry) take(now time.Time, c Condition, cluster string, remind time.Duration) (State, bool) {
	wait := patienceFor(c.Kind)
	wait.begin = max(wait.begin, c.Lasts)
	if e.over {
		return "", false
	}
	if c.Holds == No {
		e.held = time.Time{}
		if e.clear.IsZero() {
			e.clear = now
		}
		if e.open && now.Sub(e.clear) >= wait.end {
			e.open, e.over = false, c.Happened
			return Ended, true
		}
		return "", false
	}
	e.clear = time.Time{}
	if e.held.IsZero() {
		e.held = now
	}
	e.text = c.Text
	switch {
	case !e.open && now.Sub(e.held) >= wait.begin:
		e.open, e.said, e.since = true, now, e.held
		if !c.Since.IsZero() {
			e.since = c.Since
		}
		e.id = idOf(cluster, c, e.since)
		return Begun, true
	case e.open && remind > 0 && now.Sub(e.said) >= remind:
		e.said = now
		return Lasts, true
	}
	return "", false
}
