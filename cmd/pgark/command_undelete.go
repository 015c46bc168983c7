package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/recall"
)

func undeleteCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "undelete", Usage: "bring back what was deleted from the repositories or put over since a time, from the older versions in their buckets",
		ArgsUsage: "[URL]",
		Description: "Shows what that is, and with --yes puts the version of then on top again. Nothing is removed: what lies there now stays as an older version. What\n" +
			"retention let go, and what pgark itself replaced, stays as it is. It may be broken off and called again, beside a working agent too.\n" +
			"It takes the credential of pgark repo policy --role repairer. docs/runbooks/bucket-lost.md",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: asOfName, Usage: "as they were at this `TIME`, the last at which they were right: a second before the first object was deleted or put over"},
			&cli.BoolFlag{Name: "expired", Usage: "bring back what retention let go since then, too"},
			fromFlag(),
		},
	}, atMostOne, undelete)
}

func undelete(s *session) error {
	o := recall.Options{At: s.asOf, Expired: s.cli.Bool("expired"), Act: s.yes}
	if o.At.IsZero() {
		u := usagef("--as-of TIME is missing: the last instant at which the repositories were right")
		u.fix = "pgark list and pgark restore --dry-run say when the first object that they need was lost; pgark list --as-of TIME shows how it was then\n" +
			"it takes buckets that keep versions (pgark check), and with --yes a credential that may put over objects (pgark repo policy --role repairer); docs/runbooks/bucket-lost.md"
		return u
	}
	c, err := s.clusterToRead(s.argument())
	if err != nil {
		return err
	}
	meter := s.newMeter()
	o.Progress = func(objects, bytes int64) {
		meter.show(progress{phase: "recall", done: bytes, text: count(int(objects), "object")})
	}
	options := s.storeOptions()
	options.AsOf = time.Time{} // what is now is compared with what was then
	all, err := agent.Undelete(s.ctx, c, options, o)
	meter.end()
	if s.json {
		if printErr := s.printJSON(map[string]any{"as_of": exact(o.At), "acted": o.Act, "repositories": all}); err == nil {
			err = printErr
		}
		return err
	}
	for _, u := range all {
		s.printUndeleted(u)
	}
	return err
}

// printUndeleted prints what was lost in one repository, by class.
func (s *session) printUndeleted(u agent.Undeleted) {
	s.printf("%s   %s   as of %s\n", s.paint(u.Name, "1"), u.Repository, instant(u.AsOf))
	rows := [][]string{}
	for _, k := range u.Kinds {
		for _, one := range []struct {
			recall.Amount
			what string
		}{{k.Deleted, "deleted"}, {k.Overwritten, "put over"}} {
			if one.Objects > 0 {
				rows = append(rows, []string{"  " + one.what, string(k.Class), count(int(one.Objects), "object"), size(one.Bytes)})
			}
		}
	}
	s.table(rows)
	if u.First != nil {
		s.printf("  the first %s, the last %s\n", instant(*u.First), instant(*u.Last))
	}
	if u.Expired.Objects > 0 {
		s.printf("  let go by retention, by its records: %s, %s; --expired brings them back too\n", count(int(u.Expired.Objects), "object"), size(u.Expired.Bytes))
	}
	if u.Lossy {
		s.printf("  %s\n", lossyText)
	}
	left := u.Lost.Objects - u.Back.Objects
	switch {
	case u.Error != "":
		s.printf("  NOT ALL IS DONE: %s of %s are back\n", count(int(u.Back.Objects), "object"), count(int(u.Lost.Objects), "object"))
	case u.Lost.Objects == 0:
		s.printf("  nothing was deleted or put over since\n")
	case left == 0:
		s.printf("  %s back, %s   then: pgark verify --deep\n", count(int(u.Back.Objects), "object"), size(u.Back.Bytes))
	default:
		s.printf("  %s to bring back, %s   pgark repo undelete … --yes\n", count(int(left), "object"), size(u.Lost.Bytes-u.Back.Bytes))
	}
}
