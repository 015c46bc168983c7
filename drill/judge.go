package drill

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// Interval is a run of instants that can be restored, both ends included.
type Interval struct{ From, Until time.Time }

// Asked says which instant a drill is to restore.
type Asked string

// What can be asked for.
const (
	Random Asked = "random"
	Latest Asked = "latest"
	AtTime Asked = "time"
)

// newestTail is one in how many random drills restores the end of the archive: its pieces of segments that are not complete are what a disaster
// now would need, and no instant of a long window would ever hit them.
const newestTail = 4

// Draw draws an instant from a recovery window, any as likely as any other; one time in four, and where the window has no length, the end of the archive.
func Draw(window []Interval, random *rand.Rand) restore.Target {
	var total time.Duration
	for _, w := range window {
		total += w.Until.Sub(w.From)
	}
	if total <= 0 || random.IntN(newestTail) == 0 {
		return restore.Target{}
	}
	at := time.Duration(random.Int64N(int64(total)))
	for _, w := range window {
		length := w.Until.Sub(w.From)
		if at < length {
			return restore.Target{Kind: restore.TargetTime, Time: wal.FromGo(w.From.Add(at))}
		}
		at -= length
	}
	return restore.Target{}
}

// beatSlack is how far the end of WAL that a beat names may lie behind the end of the last record: the header of a page that begins a segment
// (SizeOfXLogLongPHD).
const beatSlack = 40

// coveredUntil returns up to when every commit is proved to be in what plan restores. A plan for a time is refused where that is not proved, by a
// transaction end past it or a beat; of the end of the archive the last transaction or the newest beat tells.
func coveredUntil(plan *restore.Plan, beat *repository.Beat) time.Time {
	if plan.Target.Kind == restore.TargetTime {
		return plan.Target.Time.Go()
	}
	until := plan.Backup.Stopped
	for _, end := range []*wal.TransactionEnd{plan.LastCommit, plan.LastEnd} {
		if end != nil && end.Time.Go().After(until) {
			until = end.Time.Go()
		}
	}
	if beat != nil && beat.Timeline == plan.Timeline && beat.LSN <= plan.Until+beatSlack && beat.Time.After(until) {
		until = beat.Time
	}
	return until.UTC()
}

// Turn returns the repositories that names lists in the order in which they are to be proved by drills that read one of them alone: those first of which held has
// none, then by how long ago the last one was, whatever it found; else as names has them.
func Turn(names []string, held []repository.Drill) []string {
	last := map[string]time.Time{}
	for _, d := range held {
		if d.Started.After(last[d.Repository]) {
			last[d.Repository] = d.Started
		}
	}
	turn := slices.Clone(names)
	slices.SortStableFunc(turn, func(a, b string) int { return last[a].Compare(last[b]) })
	return turn
}

// Objectives are what a drill is judged by; 0 is none.
type Objectives struct{ RPO, RTO time.Duration }

// idleSlack is how old the proof of an idle server's end may be while nothing is lost: the next beat is due, and may be on its way.
const idleSlack = 2 * repository.BeatInterval

// judge says which objectives a drill missed. One that did not get to an open server missed that of time. What lies before the end of the archive
// is at most what is lost: an idle server lost nothing, and proves that only once in a while.
func judge(d *repository.Drill, o Objectives) {
	d.RPOTarget, d.RTOTarget, d.Missed = repository.InSeconds(o.RPO), repository.InSeconds(o.RTO), nil
	slack := time.Duration(0)
	if d.Target.Latest {
		slack = idleSlack
	}
	if o.RPO > 0 && (d.DataLoss == nil || d.DataLoss.Duration() > max(o.RPO, slack)) {
		d.Missed = append(d.Missed, repository.ObjectiveRPO)
	}
	if o.RTO > 0 && (d.RTO == 0 || d.RTO.Duration() > o.RTO) {
		d.Missed = append(d.Missed, repository.ObjectiveRTO)
	}
}

// conclude passes a drill whose checks have none that failed, and says otherwise which.
func conclude(d *repository.Drill) {
	d.Result = repository.DrillPassed
	for _, c := range d.Checks {
		if c.Result != repository.CheckFailed {
			continue
		}
		d.Result, d.Phase = repository.DrillFailed, repository.DrillVerify
		d.Failure = repository.DrillText("check " + checkName(c) + ": " + checkWords(c))
		return
	}
}

// checkName is how a check is called in a sentence.
func checkName(c repository.DrillCheck) string {
	if c.Name != "" {
		return c.Name
	}
	return c.Kind
}

func checkWords(c repository.DrillCheck) string {
	if c.Detail != "" {
		return c.Detail
	}
	return "got " + quote(c.Got) + ", want " + quote(c.Want)
}

// margin is how much more than it needs must be free where a cluster is only tried, in bytes: others write there too.
func margin(needed uint64) uint64 { return needed/10 + 512<<20 }

// enough returns a *restore.SpaceError if a file system has not room for a sandbox and some more.
func enough(systems []restore.FileSystem) error {
	for _, f := range systems {
		if needed := f.Needed + margin(f.Needed); f.Needed > 0 && f.Free < needed {
			return &restore.SpaceError{Dir: f.Mount, Needed: needed, Free: f.Free}
		}
	}
	return nil
}
