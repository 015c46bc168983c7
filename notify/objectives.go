package notify

import (
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// Unmet is why not every objective is met, "" where all are. It is pure, and what is not known, or is known only of some time ago, is never met:
// docs/NOTIFICATIONS.md has the list.
func Unmet(f Facts, now time.Time) string {
	if f.Live.Standby != nil {
		return "the server is a standby: of the archive the agent of its primary tells"
	}
	if answer := f.Health.Alive(now); !answer.OK {
		return answer.Text
	}
	if answer := f.Health.Ready(now); !answer.OK {
		return answer.Text
	}
	if answer := f.Health.RPO(now, 0); !answer.OK {
		return answer.Text
	}
	r := f.Report
	switch {
	case r == nil:
		return "the repositories do not answer, or were not looked at yet"
	case now.Sub(r.Now) > reportFor:
		return "the last look at the repositories is too old"
	case r.Verdict != status.Protected && len(r.Causes) > 0:
		return r.Causes[0].What
	case r.Verdict != status.Protected:
		return "the verdict is not protected"
	case r.OpenGap != nil:
		return "a gap is open"
	}
	return f.unproved()
}

// unproved is what drills say against it.
func (f Facts) unproved() string {
	r := f.Report
	job, held := f.newest(status.JobDrill)
	switch {
	case held && job.Result == status.JobFailed && (r.Drill == nil || !r.Drill.Started.After(job.Began)),
		r.Drill != nil && r.Drill.Result != repository.DrillPassed:
		return "the newest drill failed"
	case f.RTOTarget == 0:
		return ""
	case r.Drill == nil || r.Drill.RTO == nil:
		return "no drill has measured how long a restore takes, for which there is an objective"
	case *r.Drill.RTO > f.RTOTarget.Seconds():
		return "the restore of the newest drill took longer than the objective allows"
	}
	return ""
}
