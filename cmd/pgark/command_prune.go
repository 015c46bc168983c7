package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
)

func pruneCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "prune", Usage: "show what retain: does not keep; with --yes remove it",
		Description: "Each repository is judged by what it holds itself. Nothing goes that an instant of retain.window needs, a pin, retain.keep_*, the last base\n" +
			"backup that a drill proved, or somebody who reads just now; and nothing at all if anything could not be read.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "sparing", Usage: "refuse to remove more than half of the base backups, as the agent does", Hidden: true},
			&cli.StringFlag{Name: "from", Usage: "prune this `REPOSITORY` alone: primary, a copy's name, or a URL"},
		},
	}, noArguments, prune)
}

func prune(s *session) error {
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	as := ""
	if from := s.cli.String("from"); from != "" {
		as = repositoryName(c, from)
		if c, err = c.From(from); err != nil {
			return err
		}
	}
	s.trace()
	meter := s.newMeter()
	o := agent.PruneOptions{As: as, Remove: s.yes, Sparing: s.cli.Bool("sparing"), Progress: func(name string, r retention.Removed) {
		meter.show(progress{phase: "prune", done: r.Bytes, text: name + ", " + count(int(r.Objects), "object")})
	}}
	if !s.json {
		o.Show = func(r retention.RepositoryReport) { s.printPlanned(c, r) }
	}
	report, err := agent.Prune(s.ctx, c, s.storeOptions(), o)
	meter.end()
	if err != nil {
		return err
	}
	if s.json {
		err = s.printJSON(report)
	} else {
		s.printPruned(report)
	}
	return cmp.Or(err, pruneFailure(report.Repositories))
}

// pruneFailure says which repositories could not be pruned, and of which locks were not made longer; nil if none.
func pruneFailure(repositories []retention.RepositoryReport) error {
	var failed, unlocked []error
	for _, r := range repositories {
		if r.Err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.Name, r.Err))
		}
		if r.Locks != nil && r.Locks.Failed > 0 {
			unlocked = append(unlocked, lockFailure(r.Name, r.Locks))
		}
	}
	all := errors.Join(append(failed, unlocked...)...)
	switch {
	case all == nil:
		return nil
	case len(failed) == 0:
		return &codeError{code: exitDegraded, cause: all, fix: lockFix}
	case len(failed) < len(repositories):
		return &codeError{code: exitDegraded, cause: all, fix: "pgark prune again when the repository answers; what was not removed is kept until then"}
	}
	return all
}

const lockFix = "pgark repo policy --role janitor   prints the policy with the right to make locks longer; then pgark prune --yes again"

// lockFailure says that locks of what stays end as they did.
func lockFailure(name string, l *retention.LocksReport) error {
	return fmt.Errorf("%s: the locks of %s that stay could not be seen or made longer: %s", name, count(l.Failed, "object"), l.Error)
}

// printLocks says which locks are longer now.
func (s *session) printLocks(name string, l *retention.LocksReport) {
	if l == nil || l.Extended == 0 && l.Left == 0 {
		return
	}
	lock := storage.Lock{Mode: l.Mode, For: time.Duration(l.For) * time.Second}
	s.printf("%s   locks of %s that stay were made longer: %s from now", name, count(l.Extended, "object"), lock)
	if l.Left > 0 {
		s.printf("; %s are looked at by the next runs", count(l.Left, "more object"))
	}
	s.printf("\n")
}

// printPlanned prints the plan for one repository.
func (s *session) printPlanned(c config.Cluster, r retention.RepositoryReport) {
	s.printf("%s   %s   %s\n", s.paint(r.Name, "1"), r.Repository, windowText(c, r))
	for _, one := range r.Clusters {
		if len(r.Clusters) > 1 {
			s.printf("  cluster %s%s\n", one.SystemID, retiredText(one))
		}
		if len(one.Unknown) > 0 {
			s.printf("  nothing of this cluster goes: the ancestry of timelines %v is not known; pgark verify says what is missing\n", one.Unknown)
		}
		rows := [][]string{}
		for _, b := range one.Backups {
			why := "keep    " + reasonText(b.Keep)
			if len(b.Keep) == 0 {
				why = s.paint("REMOVE", "1;33") + "  " + string(b.Remove)
			}
			rows = append(rows, []string{"  " + b.ID, b.Started.Format("2006-01-02 15:04"), size(b.Bytes), why})
		}
		s.table(rows)
		s.printf("  WAL     keeps %s, %s; removes %s, %s\n", size(one.WAL.KeptBytes), count(one.WAL.KeptObjects, "object"),
			size(one.WAL.RemovedBytes), count(one.WAL.RemovedObjects, "object"))
		if one.OtherObjects > 0 {
			s.printf("  others  removes %s, %s: old reports and beats, replaced pieces, what failed backups left\n", size(one.OtherBytes), count(int(one.OtherObjects), "object"))
		}
	}
	s.printf("  total   removes %s, %s%s\n", size(r.PlannedBytes), count(int(r.PlannedObjects), "object"), hiddenText(c, r))
	if v := r.Versions; v != nil {
		s.printf("  for good  %s, %s, with what was removed before%s\n", count(int(v.Planned), "version"), size(v.PlannedBytes), lockedText(v))
	}
}

// hiddenText says what a removal is in a bucket that keeps versions, where they stay.
func hiddenText(c config.Cluster, r retention.RepositoryReport) string {
	if c.Retain.Versions == config.RemoveVersions || r.PlannedObjects == 0 || strings.HasPrefix(r.Repository, "file:") {
		return ""
	}
	return "; where the bucket keeps versions they stay as older ones, and are paid for (retain.versions: keep)"
}

// lockedText says what of that is under lock, and until when.
func lockedText(v *retention.VersionsReport) string {
	if v.Locked == 0 {
		return ""
	}
	text := fmt.Sprintf("; %s, %s, stay paid for under lock", count(int(v.Locked), "version"), size(v.LockedBytes))
	switch {
	case v.FirstUntil == nil:
		text += ", the store does not tell until when,"
	case v.FirstUntil.Equal(*v.LastUntil):
		text += " until " + instant(*v.LastUntil)
	default:
		text += " until " + instant(*v.FirstUntil) + " to " + instant(*v.LastUntil)
	}
	return text + " and go in a run after that"
}

func windowText(c config.Cluster, r retention.RepositoryReport) string {
	if c.Retain.Window == 0 || r.From == nil {
		return "retain.window is not set: everything is kept"
	}
	return fmt.Sprintf("window %s: since %s, until %s", config.FormatDuration(c.Retain.Window), instant(*r.From), instant(*r.Until))
}

func retiredText(c retention.ClusterReport) string {
	if c.Retired {
		return ": another took over before the window began"
	}
	return ""
}

// reasonText says why a backup is kept.
func reasonText(reasons []retention.Reason) string {
	words := map[retention.Reason]string{
		retention.KeptWindow: "window", retention.KeptSpare: "spare for one that was not verified", retention.KeptPin: "pinned", retention.KeptProof: "the last one that a drill proved", retention.KeptLeast: "min_backups",
		retention.KeptDaily: "first of its day", retention.KeptWeekly: "first of its week", retention.KeptMonthly: "first of its month",
		retention.KeptYearly: "first of its year", retention.KeptReader: "somebody reads", retention.KeptGrace: "grace", retention.KeptUnknown: "unknown ancestry",
	}
	var said []string
	for _, r := range reasons {
		said = append(said, words[r])
	}
	return strings.Join(said, ", ")
}

func (s *session) printPruned(r retention.Report) {
	planned := int64(0)
	for _, one := range r.Repositories {
		planned += one.PlannedObjects + int64(one.Uploads)
		if one.Versions != nil {
			planned += one.Versions.Planned
		}
		if one.UploadsError != "" {
			s.printf("%s   uploads that nobody ended were not looked for: %s\n", one.Name, one.UploadsError)
		}
		s.printLocks(one.Name, one.Locks)
		if one.Uploads > 0 {
			s.printf("%s   %s that nobody ended, a week old or more, go too\n", one.Name, count(one.Uploads, "upload"))
		}
		switch {
		case one.Error != "":
			s.printf("%s   %s: %s\n", one.Name, s.paint("not pruned to the end", "1;31"), one.Error)
		case r.Removed && one.PlannedObjects > 0:
			s.printf("%s   removed %s, %s\n", one.Name, size(one.DeletedBytes), count(int(one.DeletedObjects), "object"))
		}
		if v := one.Versions; r.Removed && v != nil && v.Removed+v.Locked > 0 {
			s.printf("%s   removed for good %s, %s%s\n", one.Name, count(int(v.Removed), "version"), size(v.RemovedBytes), lockedText(v))
		}
	}
	if !r.Removed && planned > 0 {
		s.printf("Nothing was removed. pgark prune --yes removes it.\n")
	}
}

func keepCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "keep", Usage: "exempt a base backup from retention, or end that",
		Subcommands: []*cli.Command{
			p.command(&cli.Command{
				Name: "pin", Usage: "keep a base backup, with just the WAL that makes it consistent, whatever retain: says", ArgsUsage: "BACKUP",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "until", Usage: "keep it until `TIME`, or for a duration like 1y; without it, until it is unpinned"},
					&cli.StringFlag{Name: "note", Usage: "say `WHY`, for a person"},
				},
			}, oneArgument("BACKUP"), func(s *session) error { return s.pin(repository.Pinned) }),
			p.command(&cli.Command{
				Name: "unpin", Usage: "leave a base backup to retain: again", ArgsUsage: "BACKUP",
				Flags: []cli.Flag{&cli.StringFlag{Name: "note", Usage: "say `WHY`, for a person"}},
			}, oneArgument("BACKUP"), func(s *session) error { return s.pin(repository.Unpinned) }),
		},
	})
}

// pinnedJSON is what keep prints with -o json.
type pinnedJSON struct {
	Backup       string               `json:"backup"`
	Change       repository.PinChange `json:"change"`
	Until        *time.Time           `json:"until,omitempty"`
	Repositories []pinnedInJSON       `json:"repositories"`
}

type pinnedInJSON struct {
	Name  string                 `json:"name"`
	Error string                 `json:"error,omitempty"`
	Locks *retention.LocksReport `json:"locks,omitempty"`
}

func (s *session) pin(change repository.PinChange) error {
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // for people
	pin := repository.Pin{Backup: s.args[0], Change: change, Time: s.program.now(), Host: host, Note: s.cli.String("note")}
	out := pinnedJSON{Backup: pin.Backup, Change: change, Repositories: []pinnedInJSON{}}
	if until := s.cli.String("until"); until != "" {
		if pin.Until, err = s.later("until", until); err != nil {
			return err
		}
		out.Until = &pin.Until
	}
	pinned, err := agent.Pin(s.ctx, c, pin, s.storeOptions())
	if err != nil {
		return err
	}
	var lack []string
	var unlocked []error
	for _, one := range pinned {
		told := pinnedInJSON{Name: one.Name, Locks: one.Locks}
		if one.Locks != nil && one.Locks.Failed > 0 {
			unlocked = append(unlocked, lockFailure(one.Name, one.Locks))
		}
		if one.Err != nil {
			told.Error = one.Err.Error()
			lack = append(lack, one.Name+": "+told.Error)
		}
		out.Repositories = append(out.Repositories, told)
	}
	if s.json {
		err = s.printJSON(out)
	} else {
		text := "kept until it is unpinned"
		switch {
		case change == repository.Unpinned:
			text = "left to retain: again"
		case out.Until != nil:
			text = "kept until " + instant(pin.Until)
		}
		s.printf("%s is %s in %d of %s.\n", pin.Backup, text, len(pinned)-len(lack), map[bool]string{true: "1 repository", false: fmt.Sprintf("%d repositories", len(pinned))}[len(pinned) == 1])
	}
	if !s.json {
		for _, one := range pinned {
			s.printLocks(one.Name, one.Locks)
		}
	}
	if err == nil && len(unlocked) > 0 && len(lack) == 0 {
		return &codeError{code: exitDegraded, cause: errors.Join(unlocked...), why: "the pin itself is there", fix: lockFix}
	}
	if err == nil && len(lack) > 0 {
		return &codeError{code: exitDegraded, cause: errors.New(strings.Join(lack, "; ")), fix: "the same command again when the repository answers; the agent brings a copy up to date by itself"}
	}
	return err
}

// later reads a time to come, or a duration from now on.
func (s *session) later(flag, v string) (time.Time, error) {
	if d, err := config.ParseDuration(v); err == nil && d > 0 {
		return s.program.now().Add(d).UTC().Truncate(time.Second), nil
	}
	target, err := s.timeTarget(flag, v)
	if err != nil {
		return time.Time{}, err
	}
	at := target.Time.Go()
	if !at.After(s.program.now()) {
		return time.Time{}, usagef("%s %q: that is past", flag, v)
	}
	return at.UTC(), nil
}
