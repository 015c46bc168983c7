package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// LackingError says that a repository cannot be restored from alone: each base backup in it lacks something.
type LackingError struct {
	Backup string // the newest one
	Lacks  []repository.Lack
}

// Error names the backup and the first object.
func (e *LackingError) Error() string {
	return fmt.Sprintf("no base backup here can be restored: %s", lacking(e.Backup, e.Lacks))
}

func lacking(backup string, lacks []repository.Lack) string {
	if len(lacks) == 0 {
		return backup + " lacks WAL"
	}
	text := fmt.Sprintf("%s lacks %s", backup, lacks[0])
	if len(lacks) > 1 {
		text += fmt.Sprintf(", and %d more", len(lacks)-1)
	}
	return text
}

// recovery proves of each repository, as far as that can be without a restore, that it can be restored from alone: that a base backup
// has all its objects, and from where to where WAL goes on without a hole.
func (k *check) recovery(ctx context.Context) {
	told := false
	for _, p := range k.places {
		if p.away {
			continue
		}
		cluster, f, err := k.holdings(ctx, p)
		if err == nil {
			err = k.backups(ctx, p, cluster, f)
		}
		if err == nil && len(f.backups) > 0 && !told {
			k.drill(f.report.Drill) // every repository has the same reports
			told = true
		}
		switch {
		case err == nil, errors.Is(err, repository.ErrNoRepository): // the storage section has told the latter
		case errors.Is(err, ErrEmpty):
			k.report(Finding{Section: SectionRecovery, Verdict: Pending, Text: p.label + "nothing is archived yet"})
		default:
			k.bad(SectionRecovery, p.says(err))
		}
	}
}

// drill tells what the newest drill found. That there was none is nothing wrong.
func (k *check) drill(d *status.Drill) {
	const run = "pgark drill run"
	switch {
	case d == nil:
		k.report(Finding{Section: SectionRecovery, Verdict: Pending, Text: "no drill yet", Fix: run})
	case d.Result == repository.DrillFailed:
		k.report(Finding{Section: SectionRecovery, Verdict: Bad, Text: fmt.Sprintf("drill %s failed (%s): %s", d.ID, d.Phase, d.Failure), Fix: run})
	default:
		k.good(SectionRecovery, "drill %s passed", d.ID)
	}
}

// holdings surveys a repository.
func (k *check) holdings(ctx context.Context, p *checkedPlace) (*repository.Cluster, holdings, error) {
	r, err := k.open(ctx, p.store)
	if err != nil {
		return nil, holdings{}, err
	}
	cluster, err := SelectCluster(ctx, r, k.system.ID)
	if err != nil {
		return nil, holdings{}, err
	}
	report, err := surveyRepository(ctx, r, cluster.SystemID(), "") // by what is listed, whatever was counted
	if err != nil {
		return nil, holdings{}, err
	}
	backups, err := cluster.Backups(ctx)
	return cluster, holdings{report, backups}, err
}

// holdings are what a repository holds.
type holdings struct {
	report  status.Report
	backups []repository.Backup
}

// backups looks for the newest base backup that has everything, and says what newer ones lack.
func (k *check) backups(ctx context.Context, p *checkedPlace, cluster *repository.Cluster, f holdings) error {
	if len(f.backups) == 0 {
		k.report(Finding{Section: SectionRecovery, Verdict: Pending, Text: p.label + "no base backup yet"})
		return nil
	}
	var first *LackingError
	for _, b := range slices.Backward(f.backups) {
		inventory, err := cluster.Inventory(ctx, b)
		if err != nil {
			return err
		}
		if len(inventory.Lacks) == 0 && f.restorable(b.ID) {
			if first != nil {
				k.report(Finding{
					Section: SectionRecovery, Verdict: Warning, Text: p.label + "base backup " + lacking(first.Backup, first.Lacks), Fix: p.mend(),
				})
			}
			k.whole(p, f.report, b, inventory)
			return nil
		}
		if first == nil {
			first = &LackingError{b.ID, inventory.Lacks}
		}
	}
	k.report(Finding{Section: SectionRecovery, Verdict: Bad, Text: p.label + first.Error(), Err: first, Fix: p.mend()})
	return nil
}

func (f holdings) restorable(id string) bool {
	return slices.ContainsFunc(f.report.Backups, func(b status.Backup) bool { return b.ID == id && b.Restorable })
}

// whole tells of a base backup that has everything, and of the WAL behind it.
func (k *check) whole(p *checkedPlace, r status.Report, b repository.Backup, i repository.Inventory) {
	k.good(SectionRecovery, "%sbase backup %s has all it needs, by name and size (%d objects, %d bytes); WAL goes on to %s on timeline %d",
		p.label, b.ID, i.Objects, i.Bytes, r.RecoverableEnd.LSN, uint32(r.RecoverableEnd.Timeline))
	if gap := r.OpenGap; gap != nil {
		lacks := "is missing"
		if gap.Cause != "" {
			lacks = "was lost (" + gap.Cause.Words() + ")"
		}
		k.report(Finding{
			Section: SectionRecovery, Verdict: Warning, Fix: p.mend(),
			Text: fmt.Sprintf("%sWAL %s to %s on timeline %d %s: what lies behind it cannot be restored from here",
				p.label, gap.Start, gap.End, uint32(gap.Timeline), lacks),
		})
	}
}

// mend is the line that fills a repository; "" where the check knows no other.
func (p *checkedPlace) mend() string {
	switch {
	case p.label == "":
		return ""
	case p.name == config.Primary:
		return "pgark backup"
	default:
		return "pgark repo copy --to " + p.name
	}
}

// read looks whether a repository that the agent does not write answers.
func (k *check) read(ctx context.Context, p *checkedPlace) error {
	began := time.Now()
	_, err := repository.Open(ctx, p.store)
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		k.report(Finding{Section: SectionStorage, Verdict: Pending, Text: p.label + p.url + "   no repository there yet"})
	case err != nil:
		return err
	default:
		k.good(SectionStorage, "%s%s   get %s", p.label, p.url, round(time.Since(began)))
		k.lockByBucket(p)
	}
	return nil
}

// replication says how the primary's bucket makes the copies that it is to make.
func (k *check) replication(ctx context.Context, stores *places) {
	if !slices.ContainsFunc(stores.all, func(one place) bool { return one.byBucket }) {
		return
	}
	primary, f, err := k.holdings(ctx, k.places[0])
	if err != nil {
		return // that the primary does not answer, or holds nothing, is told elsewhere
	}
	for _, one := range stores.all {
		f.report.Copies = append(f.report.Copies, status.Copy{Name: one.name, Repository: one.url})
	}
	stores.lookAtReplication(ctx, primary, &f.report)
	for i, to := range f.report.Copies {
		if to.Replication != nil {
			k.replicationTo(k.places[i], *to.Replication)
		}
	}
}

func (k *check) replicationTo(p *checkedPlace, r status.Replication) {
	report := func(v Verdict, text, fix string) {
		k.report(Finding{Section: SectionStorage, Verdict: v, Text: p.label + text, Fix: fix})
	}
	if r.Error != "" {
		report(Warning, "how far the primary's bucket has copied is not known: "+r.Error,
			"allow s3:GetReplicationConfiguration and s3:GetBucketVersioning on the primary's bucket")
		return
	}
	fix := "aws s3api get-bucket-replication shows the rules"
	if r.Failed+r.Unreplicated > 0 {
		fix = p.mend() + "   brings what is lacking; " + fix
	}
	for _, fault := range r.Faults {
		report(Bad, fault, fix)
	}
	if r.Deletes {
		report(Warning, "what is deleted in the primary's bucket is deleted here too: one mistake, or one thief, destroys both",
			"set DeleteMarkerReplication of the rule to Disabled")
	}
	if len(r.Faults) == 0 && r.Lag != nil {
		text := fmt.Sprintf("the newest %d objects are there", r.Newest)
		if r.Pending > 0 {
			text = fmt.Sprintf("%d of the newest %d objects on the way, the oldest for %.0f s", r.Pending, r.Newest, *r.Lag)
		}
		report(Good, strings.TrimSpace("made by the bucket's rule "+r.Rule)+": "+text, "")
	}
}
