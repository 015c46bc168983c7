package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Verdict says in a word how safe a cluster's data is.
type Verdict string

// The verdicts, best first.
const (
	// Protected: the archive is up to date, and all of it can be restored.
	Protected Verdict = "protected"
	// AtRisk: what was archived can be restored, but new commits are not safe now, or that is not known.
	AtRisk Verdict = "at_risk"
	// Unprotected: nothing can be restored, or new commits cannot become restorable without a person.
	Unprotected Verdict = "unprotected"
)

// severity orders verdicts, worst first.
func (v Verdict) severity() int { return slices.Index([]Verdict{Unprotected, AtRisk, Protected}, v) }

// Worse returns the worse of two verdicts.
func (v Verdict) Worse(other Verdict) Verdict {
	if other.severity() < v.severity() {
		return other
	}
	return v
}

// Cause is one reason why a cluster is not protected.
type Cause struct {
	What string `json:"what"`
	// Since is when it began, or nil if that is not known.
	Since *time.Time `json:"since,omitempty"`
	// Fix is what to paste: a command line, or SQL for a superuser.
	Fix string `json:"fix"`
}

// RPOTarget is how old the newest durable instant may be where there is no objective: a beat comes every ten seconds, so that two may
// be late. Clocks may differ by as much.
const RPOTarget = 30 * time.Second

// Commands are the command lines that mend what is wrong with one cluster.
type Commands struct {
	Run, Backup, Check, Drill string
	// Copy, with a repository's name behind it, copies there what it lacks.
	Copy string
	// SQL returns a line that runs one statement on the cluster's server.
	SQL func(statement string) string
}

// finding is a cause and how much it weighs.
type finding struct {
	Cause

	verdict Verdict
}

// Judge sets the verdict, its causes and the RPO. It is pure: what the report says decides. A gap that a
// later base backup ended is no cause: nothing mends it, and what is written now is safe; an open one is, and one
// that nothing is recorded of weighs more: it is damage.
func (r *Report) Judge(c Commands) {
	if r.Server != nil && r.Server.Slot != nil {
		r.Server.Slot.SetBound(r.rate())
	}
	r.measure()
	r.conclude(slices.Concat(r.judgeBackups(c), r.judgeRecords(c), r.judgeReach(c), r.judgeSync(c), r.judgeServer(c), r.judgeCopies(c), r.judgeDrill(c), r.judgeClock()))
}

// JudgeArchive is Judge for who reads repositories and asks no server: an agent that is gone shows by that nothing newer comes, not even while the server is idle.
func (r *Report) JudgeArchive(c Commands) {
	r.measure()
	r.conclude(slices.Concat(r.judgeBackups(c), r.judgeRecords(c), r.judgeReach(c), r.judgeSilence(c), r.judgeCopies(c), r.judgeDrill(c), r.judgeClock()))
}

// judgeSilence looks whether the archive goes on.
func (r *Report) judgeSilence(c Commands) []finding {
	if r.RecoverableUntil == nil || !r.stale() || r.ahead() > RPOTarget {
		return nil // told otherwise
	}
	return []finding{{verdict: AtRisk, Cause: Cause{
		What: "nothing newer has become durable: server, agent or store is away, or slower than the objective", Since: r.RecoverableUntil, Fix: c.Check,
	}}}
}

// measure sets the ages that a verdict goes by.
func (r *Report) measure() {
	if r.RPOTarget == 0 {
		r.RPOTarget = RPOTarget.Seconds()
	}
	if age, ok := r.exposure(); ok {
		seconds := age.Seconds()
		r.RPO = &seconds
	}
	r.Unprotected = r.unprotected()
}

// conclude sets verdict and causes.
func (r *Report) conclude(found []finding) {
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(a.verdict.severity(), b.verdict.severity()) })
	r.Verdict, r.Causes = Protected, []Cause{}
	for _, f := range found {
		r.Verdict = r.Verdict.Worse(f.verdict)
		r.Causes = append(r.Causes, f.Cause)
	}
}

// exposure is the age of the newest instant that can be restored. It is 0 when the server itself says
// that all it has flushed is durable, but only beside a program that receives: without one, nothing
// tells that from a clock that stands still. false if it is not known.
func (r Report) exposure() (time.Duration, bool) {
	if r.RecoverableUntil == nil {
		return 0, false
	}
	return Exposure{Until: *r.RecoverableUntil, CaughtUp: r.CaughtUp()}.Age(r.Now)
}

// unprotected is what Unprotected says; nil where nothing tells, or where the clocks differ too much for an age.
func (r Report) unprotected() *float64 {
	var seconds float64
	switch {
	case r.Server != nil && r.Server.Slot.Receiving() && r.Behind != nil && *r.Behind == 0:
	case r.DurableUntil == nil || r.DurableUntil.Sub(r.Now) > RPOTarget:
		return nil
	default:
		seconds = max(0, r.Now.Sub(*r.DurableUntil).Seconds())
	}
	return &seconds
}

// ahead is how far the newest instant lies before this host's clock; mostly negative.
func (r Report) ahead() time.Duration { return r.RecoverableUntil.Sub(r.Now) }

// CaughtUp tells whether a program receives and all that the server has flushed can be restored.
func (r Report) CaughtUp() bool {
	return r.Server != nil && r.Server.Slot.Receiving() && r.Behind != nil && *r.Behind == 0 &&
		r.RecoverableEnd != nil && *r.RecoverableEnd == *r.Durable && r.OpenGap == nil
}

// stale tells whether the newest instant that can be restored is older than it should be.
func (r Report) stale() bool {
	age, ok := r.exposure()
	return !ok || age > r.Target()
}

// Target is RPOTarget as a duration.
func (r Report) Target() time.Duration { return time.Duration(r.RPOTarget * float64(time.Second)) }

func (r Report) judgeBackups(c Commands) []finding {
	if len(r.Backups) == 0 {
		f := finding{verdict: Unprotected, Cause: Cause{What: "there is no base backup: nothing can be restored", Fix: c.Backup}}
		if r.Server != nil && !r.Server.Slot.Receiving() {
			f.Fix = c.Run // it takes the first one by itself, and backup wants its WAL archived
		}
		return []finding{f}
	}
	newest := slices.MaxFunc(r.Backups, func(a, b Backup) int { return a.Started.Compare(b.Started) })
	switch {
	case r.RecoverableFrom == nil:
		return []finding{{verdict: Unprotected, Cause: Cause{
			What: "no base backup can be restored: WAL that makes them consistent is missing", Since: &newest.Started, Fix: c.Backup,
		}}}
	case !newest.Restorable:
		return []finding{{verdict: AtRisk, Cause: Cause{
			What:  fmt.Sprintf("the newest base backup, %s, cannot be restored: WAL up to %s is missing", newest.ID, newest.StopLSN),
			Since: &newest.Started, Fix: c.Backup,
		}}}
	case newest.Checksums == "failed":
		return []finding{{verdict: AtRisk, Cause: Cause{
			What:  fmt.Sprintf("the newest base backup, %s, holds pages with wrong checksums: the server's disk or memory is failing", newest.ID),
			Since: &newest.Started, Fix: "pg_amcheck --all --heapallindexed",
		}}}
	}
	return nil
}

// judgeRecords tells of records that cannot be read: a backup without its record is none.
func (r Report) judgeRecords(c Commands) []finding {
	var found []finding
	for _, what := range r.Unreadable {
		found = append(found, finding{verdict: AtRisk, Cause: Cause{What: "a record of the repository cannot be read: " + what, Fix: c.Check}})
	}
	return found
}

// judgeReach looks for WAL that is lost, or archived behind the newest instant that can be restored.
func (r Report) judgeReach(c Commands) []finding {
	if g := r.OpenGap; g != nil && g.Cause != "" {
		what := fmt.Sprintf("WAL %s to %s on timeline %d was lost (%s): what was written since can be restored only once a new base backup is there; the agent takes one",
			g.Start, g.End, uint32(g.Timeline), g.Cause.Words())
		return []finding{{verdict: AtRisk, Cause: Cause{What: what, Since: &g.From, Fix: c.Backup}}}
	} else if g != nil {
		what := fmt.Sprintf("WAL %s to %s on timeline %d is missing, and nothing is recorded of it: what was written after it cannot be restored",
			g.Start, g.End, uint32(g.Timeline))
		return []finding{{verdict: Unprotected, Cause: Cause{What: what, Since: &g.From, Fix: c.Backup}}}
	}
	if r.RecoverableEnd == nil || *r.RecoverableEnd == *r.Durable || r.Server == nil || r.Server.Timeline == r.RecoverableEnd.Timeline {
		return nil // a branch that the server left, as far as is known
	}
	what := fmt.Sprintf("no base backup reaches timeline %d, which is archived now", uint32(r.Durable.Timeline))
	return []finding{{verdict: Unprotected, Cause: Cause{What: what, Since: r.RecoverableUntil, Fix: c.Backup}}}
}

func (r Report) judgeServer(c Commands) []finding {
	if r.Server == nil {
		what := "the server could not be asked, so it is not known whether an agent is receiving and how much WAL waits there: " + r.ServerError
		return []finding{{verdict: AtRisk, Cause: Cause{What: what, Since: r.serverAway(), Fix: c.Check}}}
	}
	found := append(r.judgeSlot(c), r.judgeBound(c)...)
	if r.Durable != nil && r.Server.Timeline != r.Durable.Timeline {
		what := fmt.Sprintf("the server is on timeline %d, and the archive ends on timeline %d: nothing the server writes now is durable",
			uint32(r.Server.Timeline), uint32(r.Durable.Timeline))
		found = append(found, finding{verdict: AtRisk, Cause: Cause{What: what, Since: r.RecoverableUntil, Fix: c.Check}})
	}
	return found
}

// judgeSlot asks whether an agent receives, and whether the server keeps WAL for it.
func (r Report) judgeSlot(c Commands) []finding {
	slot := r.Server.Slot
	switch {
	case slot == nil || slot.Exists && !slot.Lost() && slot.Active == nil:
		if !r.stale() {
			return nil
		}
		what := "whether an agent is receiving is not known"
		if r.RecoverableUntil != nil {
			what = "nothing newer has become durable; " + what
		}
		return []finding{{verdict: AtRisk, Cause: Cause{What: what, Since: r.RecoverableUntil, Fix: c.Run}}}
	case !slot.Exists && !r.stale():
		return []finding{{verdict: AtRisk, Cause: Cause{
			What: fmt.Sprintf("the server has no slot %s, though WAL was archived a moment ago: it was dropped since then, or the agent's slot has another name", slot.Name),
			Fix:  c.SQL("select slot_name, active, restart_lsn from pg_replication_slots"),
		}}}
	case !slot.Exists && slot.OnLimit == "drop":
		return []finding{{verdict: Unprotected, Cause: Cause{
			What: fmt.Sprintf("the server has no slot %s, and may remove WAL that is not archived: where the agent dropped it at slot.keep_max, it makes a new one as soon as the repository takes WAL again",
				slot.Name),
			Since: r.RecoverableUntil, Fix: c.Check,
		}}}
	case !slot.Exists:
		return []finding{{verdict: Unprotected, Cause: Cause{
			What:  fmt.Sprintf("the server has no slot %s: no agent is receiving from it, and the server may remove WAL that is not archived", slot.Name),
			Since: r.RecoverableUntil, Fix: c.Run,
		}}}
	case slot.Lost():
		return []finding{{verdict: Unprotected, Cause: Cause{
			What:  fmt.Sprintf("slot %s is lost: the server may have removed WAL that was not archived; the agent makes a new slot, records what is lost and takes a base backup", slot.Name),
			Since: cmp.Or(slot.InactiveSince, r.RecoverableUntil), Fix: c.Run,
		}}}
	}
	return r.judgeReceiver(slot, c)
}

// skips tells whether a slot that nobody holds keeps WAL only from behind the end of the archive: it was
// made anew, or serves another archive. One that is held moves on while the report is made.
func (r Report) skips(slot *Slot) bool {
	return !*slot.Active && r.Durable != nil && r.Durable.Timeline == r.Server.Timeline && slot.Restart > r.Durable.LSN
}

// judgeReceiver looks at a slot that keeps WAL and of which all is known.
func (r Report) judgeReceiver(slot *Slot, c Commands) []finding {
	var found []finding
	if slot.WALStatus == "unreserved" {
		found = append(found, finding{verdict: AtRisk, Cause: Cause{
			What: fmt.Sprintf("slot %s is over max_slot_wal_keep_size: the server may remove its WAL at the next checkpoint", slot.Name),
			Fix:  "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf();",
		}})
	}
	switch {
	case r.skips(slot):
		found = append(found, finding{verdict: Unprotected, Cause: Cause{
			What: fmt.Sprintf("no agent is receiving, and slot %s keeps WAL only from %s: this archive ends at %s, and what lies between may be gone",
				slot.Name, slot.Restart, r.Durable.LSN),
			Since: cmp.Or(slot.InactiveSince, r.RecoverableUntil), Fix: c.Run,
		}})
	case !*slot.Active:
		found = append(found, finding{verdict: AtRisk, Cause: Cause{
			What:  fmt.Sprintf("no agent is receiving from slot %s; the server keeps the WAL for it", slot.Name),
			Since: cmp.Or(slot.InactiveSince, r.RecoverableUntil), Fix: c.Run,
		}})
	case r.RPO != nil && r.stale() && *r.RecoverableEnd == *r.Durable:
		cause := r.stalled(slot)
		cause.Fix = c.Check
		found = append(found, finding{verdict: AtRisk, Cause: cause})
	}
	return found
}

// judgeClock refuses to tell an age from two clocks that differ.
func (r Report) judgeClock() []finding {
	if r.RecoverableUntil == nil || r.ahead() <= RPOTarget {
		return nil
	}
	return []finding{{verdict: AtRisk, Cause: Cause{
		What: fmt.Sprintf("the newest durable commit lies %s ahead of this host's clock: how old it is cannot be told",
			r.ahead().Round(time.Second)),
		Fix: "timedatectl status",
	}}}
}
