package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

// noLock says that a lock is configured, and the bucket cannot give any.
func (k *check) noLock(ctx context.Context, p *checkedPlace) {
	k.report(Finding{
		Section: SectionStorage, Verdict: Bad, Text: p.label + "the bucket has no Object Lock, and " + p.lock.String() + " is configured for it",
		Fix: lockCommands(ctx, p.url, p.lock), Err: storage.ErrNoLock,
	})
}

// lock looks how the objects of a repository, which can be written, come under the lock that is configured for it, whether what is there is under it, and whether that lasts
// as long as it is needed. t is of an object that was just put.
func (k *check) lock(ctx context.Context, p *checkedPlace, t trip) {
	if p.lock.IsZero() {
		return
	}
	held := p.lock
	found, err := storage.BucketLock(ctx, p.store)
	switch {
	case err != nil && !errors.Is(err, storage.ErrDenied):
		k.bad(SectionStorage, p.says(err))
		return
	case err == nil && found.Covers(p.lock):
		k.good(SectionStorage, "%sObject Lock %s, by the bucket itself: this credential needs no right to lock", p.label, found)
		held = found
	default:
		own := "the bucket's own default is " + found.String()
		if err != nil {
			own = "this credential may not see how the bucket locks objects"
		}
		f := judgeSent(p.lock, t, time.Now())
		f.Section, f.Text = SectionStorage, p.label+f.Text+own
		if f.Verdict == Bad {
			f.Fix = lockCommands(ctx, p.url, p.lock)
			k.report(f)
			return
		}
		if f.Verdict == Warning {
			f.Fix = "pgark repo policy --lock-headers " + withoutQuery(p.url) + "   prints the policy with s3:GetObjectRetention"
		}
		k.report(f)
	}
	renewed := k.stock(ctx, p, held)
	k.renewals(p, held, renewed)
	if need := neededFor(k.cluster); held.For < need {
		const day = 24 * time.Hour
		longer := storage.Lock{Mode: p.lock.Mode, For: (need + 2*day - 1).Truncate(day)}
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: fmt.Sprintf("%slocks of %s end while objects are needed, for up to %s: retain.window is %s, with a grace of %s, and base backups are up to %s apart",
				p.label, config.FormatDuration(held.For), config.FormatDuration(need), config.FormatDuration(k.cluster.Retain.Window),
				config.FormatDuration(k.cluster.Retain.Grace), config.FormatDuration(pauseBetween(k.cluster))),
			Fix: fmt.Sprintf("lock: { mode: %s, for: %s }   and %s", longer.Mode, config.FormatDuration(longer.For), lockCommands(ctx, p.url, longer)),
		})
	}
}

// judgeSent says whether an object that was sent with a lock at now is under it. The text goes on with how the bucket locks.
func judgeSent(l storage.Lock, t trip, now time.Time) Finding {
	const clocks = 20 * time.Minute // hosts whose clock differs by more are not answered
	sent := fmt.Sprintf("Object Lock %s, sent with each object; ", l)
	switch {
	case errors.Is(t.lockErr, storage.ErrDenied):
		return Finding{Verdict: Warning, Text: sent + "whether the store heeds it is not known, since this credential may not see the lock of an object; "}
	case t.lockErr != nil:
		return Finding{Verdict: Bad, Text: sent + "the lock of one that was just put cannot be seen: " + t.lockErr.Error() + "; ", Err: t.lockErr}
	case !(storage.Lock{Mode: t.lock, For: l.For}).Covers(l) || t.until.Sub(now) < l.For-clocks:
		return Finding{Verdict: Bad, Text: sent + "but the store does not heed it: one that was just put is not under it; ", Err: storage.ErrNoLock}
	default:
		return Finding{Verdict: Good, Text: sent}
	}
}

const (
	sampled    = 16     // records that the stock is judged by
	mostListed = 10_000 // objects that are listed to find them
)

// stock looks whether what is there is under lock, by the repository's own record and those of the oldest base backups: what was put before locks were configured is not until a run
// of prune has seen to it. It returns whether a lock was seen that is longer than those that are given now. A credential that may not see locks is told nothing.
func (k *check) stock(ctx context.Context, p *checkedPlace, held storage.Lock) (longer bool) {
	s := lookAtStock(ctx, p.store, held, mostListed)
	if s.bare > 0 {
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: fmt.Sprintf("%sof %d records that were looked at %d are under no lock: they were put before there was one, or it has ended", p.label, s.looked, s.bare),
			Fix:  "pgark prune --yes",
		})
	}
	return s.longer
}

// lockedStock is what a sample of what is there tells of locks.
type lockedStock struct {
	looked, bare int  // records, and those under no lock
	longer       bool // one was seen whose lock is longer than l: somebody made it longer, or it was put when locks were
}

// lookAtStock looks at the lock of the repository's own record and those of the oldest base backups, among the first objects of a list. Those that the credential may not see
// do not count.
func lookAtStock(ctx context.Context, store storage.Store, l storage.Lock, most int) (s lockedStock) {
	listed := 0
	objects := []repository.Object{{Key: repository.MarkerKey}}
	for o, err := range repository.ListAll(ctx, store) {
		if listed++; err != nil || len(objects) == sampled || listed == most {
			break
		}
		if o.Class == repository.ClassRecord {
			objects = append(objects, o)
		}
	}
	for _, o := range objects {
		mode, until, err := storage.Locked(ctx, store, storage.Info{Key: o.Key})
		if errors.Is(err, storage.ErrDenied) {
			break
		}
		if err != nil {
			continue // it may not be there
		}
		s.looked++
		if mode == storage.Unlocked || until.Before(time.Now()) {
			s.bare++
		} else if !o.Modified.IsZero() && until.Sub(o.Modified) > l.For+time.Hour {
			s.longer = true
		}
	}
	return s
}

// renewals tells where nothing makes locks longer in time.
func (k *check) renewals(p *checkedPlace, held storage.Lock, longer bool) {
	c := k.cluster
	need := "as long as they are kept"
	if c.Retain.Window == 0 {
		need = "for ever: retain.window is not set"
	} else if plan, err := parsePlan(c, 0); err == nil && plan == nil {
		need = "until another base backup is taken: backup.schedule is off"
	}
	const daily = "retain: { schedule: \"0 5 * * *\" }   or each day, with a janitor's credential: pgark prune --yes"
	plan, err := parsePruning(c)
	switch {
	case err != nil: // told elsewhere
	case plan == nil && longer:
		k.report(Finding{
			Section: SectionStorage, Verdict: Pending, Fix: daily,
			Text: fmt.Sprintf("%sthis agent makes no lock longer, since retain.schedule is off: some are longer than %s, by a run elsewhere or because they were made so",
				p.label, config.FormatDuration(held.For)),
		})
	case plan == nil:
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning, Fix: daily,
			Text: fmt.Sprintf("%sthis agent makes no lock longer, since retain.schedule is off, and no run elsewhere has: locks end after %s, and objects are needed %s",
				p.label, config.FormatDuration(held.For), need),
		})
	case longestPause(*plan) > retention.MostApart(p.lock):
		f := Finding{
			Section: SectionStorage, Verdict: Warning, Fix: daily,
			Text: fmt.Sprintf("%slocks of %s may end before they are made longer: runs of retain.schedule are up to %s apart, and should be %s at most",
				p.label, config.FormatDuration(p.lock.For), config.FormatDuration(longestPause(*plan)), config.FormatDuration(retention.MostApart(p.lock))),
		}
		const day = 24 * time.Hour
		if retention.MostApart(p.lock) < day {
			f.Fix = fmt.Sprintf("lock: { mode: %s, for: 4d }", p.lock.Mode)
		}
		k.report(f)
	}
}

// lockByBucket says of a copy that the primary's bucket makes that locks come with it, and who must make them longer.
func (k *check) lockByBucket(p *checkedPlace) {
	if p.lock.IsZero() {
		return
	}
	k.report(Finding{
		Section: SectionStorage, Verdict: Warning, Text: p.label + "locks in this copy, which the bucket makes, are made longer by no run of the agent's",
		Fix: "each day, with a janitor's credential for that bucket: pgark prune --yes --from " + p.name,
	})
}

// neededFor is up to which age an object may be needed at once: the window begins with a base backup that is up to one pause between two older than it, and where that is damaged, or
// nobody verified it, with the one before. It is 0 where everything is kept for ever.
func neededFor(c config.Cluster) time.Duration {
	if c.Retain.Window == 0 {
		return 0
	}
	return c.Retain.Window + 2*pauseBetween(c) + c.Retain.Grace
}

// pauseBetween is how far base backups are apart at most, by the schedule; 0 where there is none.
func pauseBetween(c config.Cluster) time.Duration {
	plan, err := parsePlan(c, 0)
	if err != nil || plan == nil {
		return 0
	}
	return longestPause(*plan)
}

// longestPause is the longest time between two runs of a schedule, by the runs of two years or the first thousand.
func longestPause(plan backup.Schedule) time.Duration {
	const runs = 1000
	first := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) // with a leap day
	longest := time.Duration(0)
	last := plan.Next(first)
	for range runs {
		next := plan.Next(last)
		if next.IsZero() || next.After(first.AddDate(2, 0, 0)) {
			break
		}
		longest = max(longest, next.Sub(last))
		last = next
	}
	return longest
}

// lockCommands are the commands by which the owner of a bucket has it lock new objects by itself, in one line.
func lockCommands(ctx context.Context, repoURL string, l storage.Lock) string {
	o, err := s3.ParseURL(repoURL)
	if err == nil {
		o, err = o.Located(ctx)
	}
	if err != nil {
		return "turn Object Lock on in the bucket"
	}
	return strings.Join(o.LockCommands(l), " && ")
}

func withoutQuery(repoURL string) string {
	place, _, _ := strings.Cut(repoURL, "?")
	return place
}
