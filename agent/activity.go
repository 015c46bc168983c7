package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/verify"
)

const (
	// endedKept is how many jobs that ended are remembered.
	endedKept = 20
	// gapsKept is how many gaps are remembered: more than can come between two looks of who tells of each.
	gapsKept = 100
	// progressEvery is how often it is told that a job came on.
	progressEvery = time.Second
)

// activity keeps which jobs an agent has in hand and what came of the last ones, and tells of it. Its methods are safe for concurrent use; a nil one keeps
// nothing.
type activity struct {
	cluster string
	tell    func(status.Event) // nil tells nobody; it must not block

	mu           sync.Mutex
	next         uint64
	jobs         []status.Job // in hand
	ended        []status.Job // newest first
	gaps         []status.LiveGap
	verified     []status.LiveVerified
	backupFailed time.Time
}

// job is one in hand.
type job struct {
	activity *activity
	id       uint64
	told     time.Time // when it was told last that it came on; its goroutine's alone
}

// begin notes that a job begins. Its caller ends it.
func (a *activity) begin(kind status.JobKind) *job {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	a.next++
	one := status.Job{ID: a.next, Kind: kind, Began: time.Now().UTC()}
	a.jobs = append(a.jobs, one)
	a.mu.Unlock()
	a.say(one, false)
	return &job{activity: a, id: one.ID}
}

// progress notes how far it is: bytes of a phase. It is never called by two goroutines at once.
func (j *job) progress(phase string, done, total int64) {
	if j == nil {
		return
	}
	one, ok := j.change(func(s *status.Job) { s.Phase, s.Done, s.Total = phase, done, total })
	if now := time.Now(); ok && now.Sub(j.told) >= progressEvery {
		j.told = now
		j.activity.say(one, true)
	}
}

func (j *job) change(change func(*status.Job)) (status.Job, bool) {
	a := j.activity
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.jobs, func(s status.Job) bool { return s.ID == j.id })
	if i < 0 {
		return status.Job{}, false
	}
	change(&a.jobs[i])
	return a.jobs[i], true
}

// outcome is what came of a job.
type outcome struct {
	result          status.JobResult
	subject, detail string
	rto             *float64
}

// end notes what came of it. A job whose context has ended was stopped, whatever it says.
func (j *job) end(ctx context.Context, o outcome) {
	if j == nil {
		return
	}
	if ctx.Err() != nil && o.result == status.JobFailed {
		o.result, o.detail = status.JobStopped, ""
	}
	now := time.Now().UTC()
	one, ok := j.change(func(s *status.Job) {
		s.Phase, s.Done, s.Total = "", 0, 0
		s.Ended, s.Result, s.Subject, s.Detail, s.RTO = &now, o.result, o.subject, o.detail, o.rto
	})
	if !ok {
		return
	}
	a := j.activity
	a.mu.Lock()
	a.jobs = slices.DeleteFunc(a.jobs, func(s status.Job) bool { return s.ID == j.id })
	a.ended = append([]status.Job{one}, a.ended[:min(len(a.ended), endedKept-1)]...)
	if one.Kind == status.JobBackup && one.Result == status.JobFailed {
		a.backupFailed = now
	}
	a.mu.Unlock()
	a.say(one, false)
}

// say tells of a job.
func (a *activity) say(one status.Job, passing bool) {
	if a.tell != nil {
		a.tell(status.Event{Kind: status.EventJob, Passing: passing, Cluster: a.cluster, Time: time.Now().UTC(), Job: &one})
	}
}

// lost notes a gap that was recorded, and tells of it.
func (a *activity) lost(g repository.Gap) {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.gaps = append(a.gaps, status.LiveGap{
		Timeline: g.Timeline, Start: g.Range.Start, End: g.Range.End, Cause: g.Cause.Words(), Seen: g.FirstSeen.UTC(),
	})
	a.gaps = a.gaps[max(0, len(a.gaps)-gapsKept):]
	a.mu.Unlock()
	if a.tell != nil {
		a.tell(status.Event{Kind: status.EventGap, Cluster: a.cluster, Time: time.Now().UTC(), Text: gapText(g)})
	}
}

func gapText(g repository.Gap) string {
	return fmt.Sprintf("WAL %s to %s on timeline %d was lost (%s): a base backup is taken", g.Range.Start, g.Range.End, uint32(g.Timeline), g.Cause.Words())
}

// noteVerified adds what a verification found.
func (a *activity) noteVerified(r verify.Report) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range r.Repositories {
		i := slices.IndexFunc(a.verified, func(v status.LiveVerified) bool { return v.Repository == one.Name })
		if i < 0 {
			i = len(a.verified)
			a.verified = append(a.verified, status.LiveVerified{Repository: one.Name, Damaged: noDamage()})
		}
		v := &a.verified[i]
		ended, damaged := r.Ended.UTC(), false
		for _, d := range r.Damage {
			if d.Repository == one.Name {
				v.Damaged[string(d.Kind)]++
				damaged = damaged || !d.Healed
			}
		}
		switch {
		case damaged:
			v.Unsound = &ended
		case one.Error == "":
			v.Sound = &ended
		}
	}
}

func noDamage() map[string]uint64 {
	none := map[string]uint64{}
	for _, kind := range []verify.Kind{verify.Damaged, verify.Missing, verify.Different, verify.Unreadable} {
		none[string(kind)] = 0
	}
	return none
}

// fill adds what is known to a Live.
func (a *activity) fill(l *status.Live) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.Jobs, l.Ended = append(l.Jobs, a.jobs...), append(l.Ended, a.ended...)
	l.Gaps = append(l.Gaps, a.gaps...)
	for _, v := range a.verified {
		kinds := make(map[string]uint64, len(v.Damaged))
		for kind, n := range v.Damaged {
			kinds[kind] = n
		}
		v.Damaged = kinds
		l.Verified = append(l.Verified, v)
	}
	if !a.backupFailed.IsZero() {
		at := a.backupFailed
		l.BackupFailed = &at
	}
}
