package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
)

func thawCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "thaw", Usage: "have what a restore needs brought back from an archive class; without --yes it shows what that is", ArgsUsage: "[URL]",
		Description: "The target is given as to restore. What a lifecycle rule moved to GLACIER or DEEP_ARCHIVE must be thawed before it can be read, which takes from\n" +
			"minutes to two days and is billed. Called again it says how far that has come, and asks for what is lacking. Exits 0 when all can be read, and 3 before.",
		Flags: append(targetFlags(),
			&cli.IntFlag{Name: "days", Usage: "how long it stays readable: `N`", Value: 7},
			&cli.StringFlag{Name: "tier", Usage: "bulk, standard or expedited, the soonest and dearest, which DEEP_ARCHIVE has not: `TIER`", Value: string(storage.ThawStandard)},
			systemFlag(), fromFlag(), asOfFlag(),
		),
	}, atMostOne, thaw)
}

// targetFlags say where a recovery stops.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "to this `TIME`, or latest", Value: "latest"},
		&cli.StringFlag{Name: "to-lsn", Usage: "to this `LSN`"},
		&cli.StringFlag{Name: "to-xid", Usage: "to the end of this transaction: `XID`"},
		&cli.StringFlag{Name: "to-name", Usage: "to the restore point of this `NAME`"},
		&cli.StringFlag{Name: "to-backup", Usage: "to the end of this base backup: `ID`"},
		&cli.BoolFlag{Name: "before", Usage: "stop before the target instead of after it"},
		&cli.StringFlag{Name: "timeline", Usage: "along current, latest or the timeline with this number: `TIMELINE`"},
	}
}

func thaw(s *session) error {
	target, err := s.target("to")
	if err != nil {
		return err
	}
	how := storage.Thaw{Days: s.cli.Int("days"), Tier: storage.ThawTier(s.cli.String("tier"))}
	switch {
	case how.Days < 1 || how.Days > 365:
		return usagef("days %d: want 1 to 365", how.Days)
	case !slices.Contains([]storage.ThawTier{storage.ThawBulk, storage.ThawStandard, storage.ThawExpedited}, how.Tier):
		return usagef("tier %q: want bulk, standard or expedited", how.Tier)
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	c, err := s.clusterFrom(s.argument())
	if err != nil {
		return err
	}
	r, store, err := agent.OpenRepository(s.ctx, c, s.storeOptions())
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // nothing was written
	cluster, err := agent.SelectCluster(s.ctx, r, id)
	if err != nil {
		return err
	}
	plan, err := s.choose(cluster, target)
	if err != nil {
		return err
	}
	drills, _ := cluster.Drills(s.ctx, restore.EstimateDrills) // without one it goes by the sizes
	host, _ := os.Hostname()
	until := plan.Done(s.program.now(), restore.MakeEstimate(plan, drills, host))
	found := tally(plan.Archived, until)
	if s.yes && found.Frozen > found.Asked {
		if err := s.askFor(store, plan.Archived, until, how); err != nil {
			return err
		}
		found = tally(plan.Archived, until)
	}
	return s.printThaw(c.Repo.URL, plan, found)
}

// choose makes the plan of a restore.
func (s *session) choose(cluster *repository.Cluster, target restore.Target) (*restore.Plan, error) {
	inventory, err := restore.Survey(s.ctx, cluster)
	if err != nil {
		return nil, err
	}
	return restore.Choose(s.ctx, cluster, inventory, target)
}

// thawJobs is how many objects are asked for at a time.
const thawJobs = 16

// askFor has all objects thawed that are not, or not until an instant, and are not asked for yet, and notes that with each.
func (s *session) askFor(store storage.Store, objects []storage.Info, until time.Time, how storage.Thaw) error {
	group, ctx := errgroup.WithContext(s.ctx)
	group.SetLimit(thawJobs)
	for i := range objects {
		o := &objects[i]
		if o.Archive.Readability(until) == storage.Readable || o.Archive.Asked {
			continue
		}
		group.Go(func() error {
			err := storage.ThawObject(ctx, store, *o, how)
			switch {
			case err != nil:
			case o.Archive.Until.IsZero():
				o.Archive.Asked = true
			default: // it is thawed: the time alone is set
				o.Archive.Until = s.program.now().AddDate(0, 0, how.Days)
			}
			return err
		})
	}
	return group.Wait()
}

// archived sums up objects that lie in archives.
type archived struct {
	Objects int      `json:"objects"`
	Bytes   int64    `json:"bytes"`
	Classes []string `json:"classes"`
	Frozen  int      `json:"frozen"` // that cannot be read yet, or not for long enough
	Asked   int      `json:"asked"`  // of these, that are being thawed
	Brief   int      `json:"brief"`  // of these, that can be read now, and freeze again before a restore is done
	// Until is when the first freezes again of those that are thawed; absent if none is.
	Until *time.Time `json:"until,omitempty"`
}

// tally sums up for a restore that reads until an instant.
func tally(objects []storage.Info, until time.Time) archived {
	sum := archived{Classes: []string{}}
	for _, o := range objects {
		sum.Objects++
		sum.Bytes += o.Size
		if !slices.Contains(sum.Classes, o.Archive.Class) {
			sum.Classes = append(sum.Classes, o.Archive.Class)
		}
		thawed := o.Archive.Until
		if !thawed.IsZero() && (sum.Until == nil || thawed.Before(*sum.Until)) {
			sum.Until = &thawed
		}
		if o.Archive.Readability(until) == storage.Readable {
			continue
		}
		sum.Frozen++
		switch {
		case o.Archive.Asked:
			sum.Asked++
		case !thawed.IsZero():
			sum.Brief++
		}
	}
	return sum
}

// archivedJSON is the sum for scripts, null if nothing lies in an archive.
func archivedJSON(objects []storage.Info, until time.Time) any {
	if len(objects) == 0 {
		return nil
	}
	return tally(objects, until)
}

func (a archived) String() string {
	text := fmt.Sprintf("%s, %s, in %s", count(a.Objects, "object"), size(a.Bytes), strings.Join(a.Classes, " and "))
	switch {
	case a.Frozen == 0:
		return text + "; all are thawed until " + moment(*a.Until)
	case a.Asked == 0 && a.Brief == 0 && a.Frozen == a.Objects:
		return text
	}
	text = fmt.Sprintf("%s; %d thawed, %d being thawed, %d not asked for", text, a.Objects-a.Frozen, a.Asked, a.Frozen-a.Asked-a.Brief)
	if a.Brief > 0 {
		text += fmt.Sprintf(", %d thawed for too short a time, until %s", a.Brief, moment(*a.Until))
	}
	return text
}

// printArchived says, in a plan, what must be thawed first.
func (r *restoring) printArchived() {
	if len(r.plan.Archived) == 0 {
		return
	}
	sum := tally(r.plan.Archived, r.done())
	r.wrapped("archived", sum.String())
	if sum.Frozen > 0 {
		r.row("fix", "%s", r.thawLine())
	}
}

// done is when the restore is done that is planned.
func (r *restoring) done() time.Time { return r.plan.Done(r.program.now(), r.estimate) }

// thawLine is the command that thaws what a plan needs, to be pasted.
func (s *session) thawLine() string {
	var flags []string
	for _, flag := range targetFlags() {
		name := flag.Names()[0]
		switch {
		case !s.cli.IsSet(name):
		case name == "before":
			flags = append(flags, "--before")
		default:
			flags = append(flags, "--"+name, s.cli.String(name))
		}
	}
	return strings.Replace(s.sameArchive("repo", append(flags, "--yes")...), "pgark repo ", "pgark repo thaw ", 1)
}

func (s *session) printThaw(url string, plan *restore.Plan, sum archived) error {
	var err error
	if s.json {
		err = s.printJSON(map[string]any{"repository": url, "backup": plan.Backup.ID, "target": plan.Target.String(), "archived": sum})
	} else {
		if sum.Objects == 0 {
			s.printf("All that base backup %s and its WAL need can be read at once.\n", plan.Backup.ID)
		} else {
			s.printf("Base backup %s: %s.\n", plan.Backup.ID, sum)
		}
		if sum.Frozen > sum.Asked {
			s.row("fix", "%s   has them thawed, which is billed", s.thawLine())
		}
	}
	if err == nil && sum.Frozen > 0 {
		return &codeError{code: exitDegraded}
	}
	return err
}
