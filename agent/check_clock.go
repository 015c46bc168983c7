package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/storage"
)

// clockTolerance is how far two clocks may differ: an RPO is told by several, and an objective of a few seconds would be judged wrong.
const clockTolerance = time.Second

// judgeClock says how far a clock is from this host's. What is measured is good to within only.
func judgeClock(section, whose string, ahead, within time.Duration) Finding {
	f := Finding{Section: section, Verdict: Good}
	off, side := ahead.Abs(), "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	if off <= within {
		f.Text = fmt.Sprintf("%s clock agrees with this host's, to within %s", whose, round(within))
		return f
	}
	f.Text = fmt.Sprintf("%s clock is %s %s this host's, give or take %s", whose, round(off), side, round(within))
	if off-within > clockTolerance {
		f.Verdict, f.Text = Warning, f.Text+": how old the archive is may be told wrong by as much"
		f.Fix = "timedatectl status   on both hosts; the one that is not synchronized needs NTP"
	}
	return f
}

// pulse tells how many walsenders are free, beside the check's own, and how far the server's clock is from this host's.
func (k *check) pulse(ctx context.Context, most int) {
	p, err := postgres.AskPulse(ctx, k.cluster.Postgres)
	if err != nil {
		k.report(Finding{
			Section: SectionPostgres, Verdict: Pending, Text: "free walsenders and the server's clock are not known, without an ordinary connection: " + err.Error(),
			Fix: "in pg_hba.conf, for the agent's role, a line for the database postgres beside the one for replication",
		})
		return
	}
	k.report(walsenders{most: most, free: most - max(0, p.Walsenders-1), atWork: k.attached(ctx)}.judge())
	k.report(judgeClock(SectionPostgres, "the server's", p.Ahead, p.Within))
}

// attached reports whether somebody receives from the slot, as far as that can be told.
func (k *check) attached(ctx context.Context) bool {
	state, err := postgres.AskSlot(ctx, k.cluster.Postgres, k.cluster.Slot)
	return err == nil && state.Active
}

// walsenders are those of a server, and whether the agent's is one of them.
type walsenders struct {
	most, free int
	atWork     bool
}

// judge says whether those that are free are enough: one for the agent, unless it is at work, and one more for a base backup.
func (w walsenders) judge() Finding {
	f := Finding{Section: SectionPostgres, Verdict: Good, Text: fmt.Sprintf("%d of %d walsenders are free", w.free, w.most)}
	needed, what := 2, "the agent needs one, and a base backup one more"
	if w.atWork {
		needed, what = 1, "a base backup needs one beside the agent's"
	}
	if w.free < needed {
		f.Verdict, f.Text = Warning, f.Text+": "+what
		f.Fix = "end one that nobody needs (SELECT pid, application_name FROM pg_stat_replication), or raise max_wal_senders and restart PostgreSQL"
	}
	return f
}

// skew tells how far the store's clock is from this host's: requests are signed with the time, and Amazon refuses what is 15 minutes off.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
func (k *check) skew(ctx context.Context, p *checkedPlace) {
	skew, err := storage.ClockSkew(ctx, p.store)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		k.bad(SectionStorage, p.says(err))
	default:
		f := judgeClock(SectionStorage, p.label+"the store's", skew.Ahead, skew.Within)
		k.report(f)
	}
}

// probePuts is how often a put is tried to tell how long one takes.
const probePuts = 8

// puts are how long some puts took, the shortest first.
type puts []time.Duration

// String tells the middle and the longest, and of how many: with so few the longest stands for what one in a hundred takes.
func (p puts) String() string {
	if len(p) == 1 {
		return round(p[0]).String()
	}
	return fmt.Sprintf("%s, at most %s (%d tried)", round(p[len(p)/2]), round(p[len(p)-1]), len(p))
}

// more tries further puts after a first one, each of an object that is deleted again. Where that is not allowed the first one tells alone: nothing is
// left behind for a figure.
func (p *checkedPlace) more(ctx context.Context, first trip) puts {
	took := puts{first.put}
	for !first.kept && p.lock.IsZero() && len(took) < probePuts {
		next, err := p.roundTrip(ctx, storage.ProbeKey+"-check", []byte("pgark check\n"))
		if err != nil {
			break // the first one went well; what is wrong now another part of the check meets
		}
		took = append(took, next.put)
	}
	slices.Sort(took)
	return took
}
