package notify

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// Holds says whether a condition holds.
type Holds int

// Not to know is neither: an event does not begin by it, and does not end by it.
const (
	Unknown Holds = iota
	No
	Yes
)

// Condition is what is known of one kind of event.
type Condition struct {
	Kind       Kind
	Repository string
	// About tells apart several events of one kind that are told each by itself; "" where there is one at a time.
	About string
	Holds Holds
	// Happened says that it held, if only for a moment: it is told even where it does not any more.
	Happened bool
	// Lasts is for how long it must hold before its event begins, where that is longer than for others of its kind.
	Lasts time.Duration
	// Since is when it began by what is on record; zero where nothing is.
	Since time.Time
	Text  string
}

const (
	// reportFor is how long the last look counts. There is one every five minutes, of up to a minute, and more where somebody watches.
	reportFor = 12 * time.Minute
	// slotFor is how long the last look at the slot counts: the agent looks every ten seconds.
	slotFor = time.Minute
	// firstBackup is how long a cluster that is new may be without a base backup that is being taken.
	firstBackup = 10 * time.Minute
)

// Conditions are what the facts say of each kind. It is pure.
func Conditions(f Facts) []Condition {
	conditions := []Condition{f.backup(), f.drill(), f.verification()}
	conditions = append(conditions, f.repositories()...)
	if f.Live.Standby != nil {
		return conditions // of the archive its primary's agent tells
	}
	return append(append(conditions, f.rpo(), f.rto(), f.gap(), f.hole(), f.slot()), append(f.gaps(), f.copies()...)...)
}

// report is the last look, if it counts.
func (f Facts) report() *status.Report {
	if f.Report == nil || f.Live.Now.Sub(f.Report.Now) > reportFor {
		return nil
	}
	return f.Report
}

func (f Facts) rpo() Condition {
	c := Condition{Kind: RPOMissed, Holds: No}
	answer := f.Health.RPO(f.Live.Now, 0)
	switch {
	case answer.OK:
		return c
	case f.Health.Archive.Lost, f.beginning(): // of a gap its own event tells
		c.Holds = Unknown
		return c
	}
	c.Holds, c.Text = Yes, "more would be lost with the server than the objective allows: "+answer.Text
	if f.Live.Error != "" {
		c.Text += "; " + f.Live.Error
	}
	if f.Live.Until != nil {
		c.Since = *f.Live.Until
	}
	return c
}

// beginning says that the cluster is new: its first base backup is being taken, or is to come. That is no fault.
func (f Facts) beginning() bool {
	return !f.Health.Archive.BackedUp && (f.Live.Now.Sub(f.Live.Began) < firstBackup ||
		slices.ContainsFunc(f.Live.Jobs, func(j status.Job) bool { return j.Kind == status.JobBackup }))
}

func (f Facts) rto() Condition {
	c := Condition{Kind: RTOMissed}
	if f.RTOTarget == 0 {
		return c
	}
	d := f.newestPassed()
	if d == nil || d.RTO == nil {
		return c
	}
	c.Holds, c.Since = No, d.Started
	if *d.RTO > f.RTOTarget.Seconds() {
		took := time.Duration(*d.RTO * float64(time.Second)).Round(time.Second)
		c.Holds, c.Text = Yes, fmt.Sprintf("the restore of drill %s took %s; the objective is %s", d.ID, took, f.RTOTarget)
	}
	return c
}

// newestPassed is the newest drill that passed; nil where none is known of.
func (f Facts) newestPassed() *status.Drill {
	if f.report() == nil {
		return nil
	}
	for i, d := range slices.Backward(f.Report.Drills) {
		if d.Result == repository.DrillPassed {
			return &f.Report.Drills[i]
		}
	}
	return nil
}

// gaps are those that the agents of this process recorded. Each is told of by itself, also one that a base backup ended before anybody looked.
func (f Facts) gaps() []Condition {
	var all []Condition
	for _, g := range f.Live.Gaps {
		c := Condition{
			Kind: Gap, About: fmt.Sprintf("%d %s %s", uint32(g.Timeline), g.Start, g.End), Holds: No, Happened: true, Since: g.Seen,
			Text: fmt.Sprintf("WAL %s to %s on timeline %d was lost (%s): what was written since can be restored only once a new base backup is there", g.Start, g.End, uint32(g.Timeline), g.Cause),
		}
		switch {
		case f.Health.Archive.Lost: // as long as any is open
			c.Holds = Yes
		case !f.Health.Archive.Compared: // an agent that begins anew has not looked yet
			c.Holds = Unknown
		}
		all = append(all, c)
	}
	return all
}

// gap is one that no agent of this process recorded: it was open when the agent began, or another agent found it.
func (f Facts) gap() Condition {
	c := Condition{Kind: Gap}
	open := (*status.Gap)(nil)
	if r := f.report(); r != nil && r.OpenGap != nil && r.OpenGap.Cause != "" {
		open = r.OpenGap
	}
	switch {
	case f.Health.Archive.Lost && len(f.Live.Gaps) > 0 && (open == nil || f.recorded(*open)):
		return c // one that the agent recorded is told by itself
	case f.Health.Archive.Lost:
		c.Holds, c.Text = Yes, "WAL was lost: what was written since can be restored only once a new base backup is there"
	case f.Health.Archive.Compared: // the agent knows of every gap that is on record
		c.Holds = No
	}
	if open != nil {
		c.Since = open.From
		if c.Holds == Yes {
			c.Text += fmt.Sprintf("; it lacks from %s on timeline %d", open.Start, uint32(open.Timeline))
		}
	}
	return c
}

// recorded reports whether an agent of this process recorded a gap.
func (f Facts) recorded(g status.Gap) bool {
	return slices.ContainsFunc(f.Live.Gaps, func(one status.LiveGap) bool {
		return one.Timeline == g.Timeline && one.Start <= g.Start && g.Start < one.End
	})
}

// hole is WAL that is not in the repositories, though there is some behind it, and of whose loss nothing is recorded. It may be on its way: pieces are put side by side,
// and a look comes in between, or the store takes some and not others. So it counts only where it lies before what the agent knows to be durable, and only once a
// second look has found it.
func (f Facts) hole() Condition {
	c := Condition{Kind: Gap, About: "hole", Lasts: reportFor}
	r := f.report()
	switch {
	case r == nil:
		return c
	case r.OpenGap == nil, r.OpenGap.Cause != "", r.OpenGap.Start >= f.Live.Durable:
		c.Holds = No
		return c
	}
	c.Holds, c.Since = Yes, r.OpenGap.From
	c.Text = fmt.Sprintf("WAL from %s on timeline %d is missing in the repositories, and nothing says why: what was written since can be restored only once a new base backup is there",
		r.OpenGap.Start, uint32(r.OpenGap.Timeline))
	return c
}

// newest is the job of a kind that ended last, by itself; false if there is none.
func (f Facts) newest(kind status.JobKind) (status.Job, bool) {
	for _, j := range f.Live.Ended {
		if j.Kind == kind && j.Result != status.JobStopped {
			return j, true
		}
	}
	return status.Job{}, false
}

// job is what the newest job of a kind says.
func (f Facts) job(kind status.JobKind, about Kind, what string) Condition {
	c := Condition{Kind: about}
	switch j, ok := f.newest(kind); {
	case !ok:
	case j.Result == status.JobFailed:
		c.Holds, c.Since, c.Text = Yes, *cmp.Or(j.Ended, &j.Began), what
		if j.Detail != "" {
			c.Text += ": " + j.Detail
		}
	default:
		c.Holds = No
	}
	return c
}

func (f Facts) backup() Condition {
	c := f.job(status.JobBackup, BackupFailed, "a base backup failed")
	if r := f.report(); c.Holds == Yes && r != nil {
		for _, b := range r.Backups {
			if b.Restorable && b.Started.After(c.Since) {
				c.Holds = No // taken by hand
			}
		}
	}
	return c
}

// drillStamp is how a drill's id says when it began.
const drillStamp = "20060102T150405Z"

func (f Facts) drill() Condition {
	c := f.job(status.JobDrill, DrillFailed, "a drill failed: the archive did not restore as it should, or the drill could not be held")
	job, held := f.newest(status.JobDrill)
	if began, err := time.Parse(drillStamp, job.Subject); err == nil {
		c.Since = began // as the archive has it
	}
	r := f.report()
	if r == nil || r.Drill == nil || held && !r.Drill.Started.After(job.Began) {
		return c
	}
	c.Holds = No
	if r.Drill.Result == repository.DrillFailed {
		c.Holds, c.Since = Yes, r.Drill.Started
		c.Text = fmt.Sprintf("drill %s failed in its phase %s: %s", r.Drill.ID, r.Drill.Phase, r.Drill.Failure)
	}
	return c
}

func (f Facts) verification() Condition {
	return f.job(status.JobVerify, VerifyFailed, "repositories were not verified, or are damaged")
}

func (f Facts) repositories() []Condition {
	var all []Condition
	for _, one := range f.Live.Repositories {
		c := Condition{Kind: RepoDown, Repository: one.Name}
		switch {
		case one.Up == nil:
		case *one.Up:
			c.Holds = No
		default:
			c.Holds, c.Text = Yes, "repository "+one.Name+" does not answer, or refuses what is asked of it"
		}
		all = append(all, c)
	}
	return all
}

func (f Facts) slot() Condition {
	c := Condition{Kind: SlotNearLimit}
	s := f.Live.Slot
	if s == nil || f.Live.SlotSeen == nil || f.Live.Now.Sub(*f.Live.SlotSeen) > slotFor {
		return c
	}
	keeps := fmt.Sprintf("the server keeps %d bytes of WAL for slot %s", s.Retained, s.Name)
	switch {
	case s.Lost():
		c.Holds, c.Text = Yes, "slot "+s.Name+" is lost: the server has removed WAL that was kept for it"
	case s.WALStatus == "unreserved":
		c.Holds, c.Text = Yes, keeps+", more than max_slot_wal_keep_size: it may remove them at the next checkpoint"
	case s.Bound != nil && s.Bound.Near():
		c.Holds, c.Text = Yes, fmt.Sprintf("%s; %d more reach the limit (%s)", keeps, s.Bound.Left, s.Bound.By)
	default:
		c.Holds = No
	}
	return c
}

func (f Facts) copies() []Condition {
	r := f.report()
	if r == nil {
		return nil
	}
	var all []Condition
	for _, one := range r.Copies {
		c := Condition{Kind: CopyBehind, Repository: one.Name, Holds: No}
		switch {
		case one.Error != "":
			c.Holds, c.Text = Yes, "repository "+one.Name+" cannot be used: "+one.Error
		case one.Behind != nil && *one.Behind > one.Patience().Seconds():
			behind := time.Duration(*one.Behind * float64(time.Second)).Round(time.Second)
			c.Holds, c.Text = Yes, fmt.Sprintf("repository %s is %s behind", one.Name, behind)
			if one.Until != nil {
				c.Since = *one.Until
			}
		}
		all = append(all, c)
	}
	return all
}
