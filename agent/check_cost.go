package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/cost"
)

// cost tells what the upload interval costs, and what it may lose. It is no fault, whatever that is.
func (k *check) cost(ctx context.Context) {
	var all []cost.Repository
	for _, one := range k.cluster.Repositories() {
		all = append(all, billed(ctx, k.cluster, one, StoreOptions{}))
	}
	if f, ok := judgeCost(k.cluster, k.waits, all); ok {
		k.report(f)
	}
}

// worthSaving is what another interval must save for it to be told, USD a month.
const worthSaving = 1

// judgeCost says what the interval in force is worth, and of one that the objective allows; false where nothing is billed, or commits wait for the archive.
func judgeCost(c config.Cluster, waits bool, all []cost.Repository) (Finding, bool) {
	at := func(every time.Duration) (cost.Choice, bool) {
		habits := habitsOf(c, waits, StoreOptions{})
		habits.Every = every
		for _, one := range cost.Of(all, habits).Trade {
			if one.Chosen {
				return one, true
			}
		}
		return cost.Choice{}, false
	}
	now, ok := at(c.Repo.Every)
	if !ok {
		return Finding{}, false
	}
	f := Finding{Section: SectionStorage, Verdict: Good, Text: fmt.Sprintf("WAL is put every %s: at most %.2f USD a month, about %s s of commits lost with the host; pgark repo cost tells the whole",
		config.FormatDuration(c.Repo.Every), now.Month, humanize.Ftoa(now.RPO))}
	follows := cost.Auto(c.Objectives.RPO)
	if then, _ := at(follows); c.Objectives.RPO > 0 && follows > c.Repo.Every && now.Month-then.Month > worthSaving {
		f.Verdict, f.Fix = Pending, "repo.upload: { every: auto }"
		f.Text += fmt.Sprintf("; objectives.rpo allows every %s, for %.2f USD", config.FormatDuration(follows), then.Month)
	}
	return f, true
}
