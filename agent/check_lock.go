package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
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

// lock looks how the objects of a repository, which can be written, come under the lock that is configured for it, and whether that lasts as long as they are needed.
func (k *check) lock(ctx context.Context, p *checkedPlace) {
	if p.lock.IsZero() {
		return
	}
	held := p.lock
	found, err := storage.BucketLock(ctx, p.store)
	switch {
	case errors.Is(err, storage.ErrDenied):
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: p.label + "this credential may not see how the bucket locks objects, so each is sent with a lock of its own: " + p.lock.String(),
			Fix:  "pgark repo policy " + withoutQuery(p.url) + "   prints the policy with s3:GetBucketObjectLockConfiguration",
		})
	case err != nil:
		k.bad(SectionStorage, p.says(err))
		return
	case found.Covers(p.lock):
		k.good(SectionStorage, "%sObject Lock %s, by the bucket itself: this credential needs no right to lock", p.label, found)
		held = found
	default:
		k.good(SectionStorage, "%sObject Lock %s, sent with each object; the bucket's own default is %s", p.label, p.lock, found)
	}
	if need := lockNeeded(k.cluster); held.For < need {
		const day = 24 * time.Hour
		longer := storage.Lock{Mode: p.lock.Mode, For: (need + 2*day - 1).Truncate(day)}
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: fmt.Sprintf("%slocks of %s end while objects are needed, for up to %s: retain.window is %s, and base backups are up to %s apart",
				p.label, config.FormatDuration(held.For), config.FormatDuration(need), config.FormatDuration(k.cluster.Retain.Window),
				config.FormatDuration(need-k.cluster.Retain.Window)),
			Fix: fmt.Sprintf("lock: { mode: %s, for: %s }   and %s", longer.Mode, config.FormatDuration(longer.For), lockCommands(ctx, p.url, longer)),
		})
	}
}

// lockNeeded is for how long an object of the window is needed: the anchor of the window may be as much older as base backups are apart. It is 0
// where everything is kept for ever.
func lockNeeded(c config.Cluster) time.Duration {
	if c.Retain.Window == 0 {
		return 0
	}
	return c.Retain.Window + pauseBetween(c)
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
