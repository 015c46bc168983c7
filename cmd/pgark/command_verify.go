package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/verify"
)

func verifyCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "verify", Usage: "read the repositories back: hashes, WAL without a hole, backups whole, copies equal",
		ArgsUsage: "[URL]",
		Description: "What was read and found right is not read again for the time that --since says; what was read is recorded in each repository, where\n" +
			"this credential may write. --repair puts what is damaged or missing right from another copy; what lay there is kept as an older\n" +
			"version. Exits 0 if all is sound, 3 if something is wrong that is healed or whole elsewhere, 4 if it is whole nowhere.",
		Flags: []cli.Flag{
			systemFlag(), asOfFlag(),
			&cli.StringFlag{Name: "from", Usage: "verify this `REPOSITORY` alone: primary, a copy's name, or a URL"},
			&cli.BoolFlag{Name: "deep", Usage: "read everything, whatever was read before"},
			&cli.StringFlag{Name: "since", Usage: "read again what was not read for this `DURATION`", Value: "7d"},
			&cli.BoolFlag{Name: "repair", Usage: "put right from another copy what is damaged or missing"},
			&cli.StringFlag{Name: "trust", Usage: "where two hold different objects that are both whole, believe this `REPOSITORY`: primary, or a copy's name"},
			&cli.BoolFlag{Name: "no-record", Usage: "write nothing, not even what was read"},
			&cli.IntFlag{Name: "jobs", Usage: "read this many objects at a time: `N`", Value: verify.DefaultJobs},
			rateLimitFlag("read"),
		},
	}, atMostOne, verifyRepositories)
}

func verifyRepositories(s *session) error {
	c, o, err := s.verifyOptions()
	if err != nil {
		return err
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	s.trace()
	o.Logger = s.log
	meter := s.newMeter()
	o.Progress = func(p verify.Progress) {
		meter.show(progress{phase: "verify", done: p.Bytes, text: count(int(p.Objects), "object") + ", " + size(p.Bytes)})
	}
	report, err := agent.Verify(s.ctx, c, id, s.storeOptions(), o)
	err = s.hintPast(c, err)
	meter.end()
	if err != nil {
		return err
	}
	if note := s.asOfNote("no record of what was read among it"); note != "" {
		report.Notes = append(report.Notes, note)
	}
	if s.json {
		err = s.printJSON(report)
	} else {
		s.printVerified(report)
		s.printRemedy(report)
	}
	if code := verifyCode(report.Verdict); err == nil && code != exitOK {
		return &codeError{code: code}
	}
	return err
}

// verifyOptions reads the flags.
func (s *session) verifyOptions() (config.Cluster, verify.Options, error) {
	c, err := s.clusterWith(s.argument())
	if err == nil && s.cli.String("from") != "" {
		c, err = s.clusterFrom(s.argument())
	}
	if err != nil {
		return c, verify.Options{}, err
	}
	if err := s.checkJobs(); err != nil {
		return c, verify.Options{}, err
	}
	since, err := config.ParseDuration(s.cli.String("since"))
	if err != nil || since <= 0 {
		return c, verify.Options{}, usagef("since %q: want a duration like 7d or 12h", s.cli.String("since"))
	}
	o := verify.Options{
		Since: since, Deep: s.cli.Bool("deep"), Repair: s.cli.Bool("repair"), Trust: s.cli.String("trust"), Forget: s.cli.Bool("no-record"),
		Jobs: s.cli.Int("jobs"),
	}
	names := []string{config.Primary}
	for _, one := range c.Copies {
		names = append(names, one.Name)
	}
	o.Forget = o.Forget || !s.asOf.IsZero()
	switch {
	case o.Jobs < 1:
		return c, o, usagef("jobs %d: want 1 or more", o.Jobs)
	case o.Trust != "" && !slices.Contains(names, o.Trust):
		return c, o, usagef("trust %q: want one of %s", o.Trust, strings.Join(names, ", "))
	case o.Repair && len(names) == 1:
		return c, o, usagef("repair: there is no other copy to take anything from")
	case o.Repair && !s.asOf.IsZero():
		return c, o, usagef("repair and as-of: what was cannot be put right")
	case o.Repair && o.Forget:
		return c, o, usagef("repair and no-record: the one writes, the other does not")
	}
	return c, o, nil
}

// verifyCode is the exit code of a verdict.
func verifyCode(v verify.Verdict) int {
	switch v {
	case verify.Healed, verify.Impaired:
		return exitDegraded
	case verify.Lost:
		return exitNotRecoverable
	case verify.Sound:
	}
	return exitOK
}

// mostDamage is how many objects are printed one by one. JSON has all.
const mostDamage = 50

func (s *session) printVerified(r verify.Report) {
	words := map[verify.Verdict]string{
		verify.Sound: s.paint("SOUND", "1;32"), verify.Healed: s.paint("HEALED", "1;33"),
		verify.Impaired: s.paint("DAMAGED", "1;33") + ", whole elsewhere or not needed", verify.Lost: s.paint("DAMAGED", "1;31") + ", whole nowhere",
	}
	how := "what was not read for " + config.FormatDuration(time.Duration(r.Since)*time.Second)
	if r.Deep {
		how = "everything"
	}
	s.printf("%s   read %s in %s   %s\n", s.paint(r.Cluster, "1"), how, elapsed(r.Ended.Sub(r.Began)), words[r.Verdict])
	rows := [][]string{}
	for _, p := range r.Repositories {
		if p.Error != "" {
			rows = append(rows, []string{"  " + p.Name, p.Repository, s.paint("not verified", "1;31") + ": " + p.Error})
			continue
		}
		rows = append(rows, []string{"  " + p.Name, p.Repository, count(int(p.Listed), "object"), "read " + count(int(p.Read), "object") + ", " + size(p.ReadBytes)})
	}
	s.table(rows)
	for i, d := range r.Damage {
		if i == mostDamage {
			s.printf("and %s; -o json names them\n", count(len(r.Damage)-i, "more object"))
			break
		}
		s.printDamage(d)
	}
	for _, u := range r.Unusable {
		s.printf("BACKUP  %s cannot be restored from %s: %s%s\n", u.Backup, u.Repository, strings.Join(u.Reasons, "; "), heldBy(u.Elsewhere, "can"))
	}
	for _, k := range r.Risks {
		s.printf("RISK    %s\n", riskText(k))
	}
	for _, n := range r.Notes {
		s.printf("NOTE    %s\n", n)
	}
	for _, p := range r.Repositories {
		if p.Unrecorded != "" {
			s.printf("NOTE    what was read in %s is not recorded, the next run reads it again: %s\n", p.Name, p.Unrecorded)
		}
	}
}

// printRemedy says what can be done about what was found.
func (s *session) printRemedy(r verify.Report) {
	healable := slices.ContainsFunc(r.Damage, func(d verify.Damage) bool { return len(d.Elsewhere) > 0 && !d.Healed && d.Error == "" })
	switch {
	case healable:
		s.printf("fix     pgark verify --repair   puts right what another copy holds; docs/runbooks/damage.md\n")
	case r.Verdict == verify.Lost, r.Verdict == verify.Impaired:
		s.printf("fix     docs/runbooks/damage.md says what can be done\n")
	}
}

func (s *session) printDamage(d verify.Damage) {
	s.printf("DAMAGE  %s   %s %s   %s\n", d.Repository, d.Class, d.Kind, d.Key)
	if d.End != 0 {
		s.printf("        WAL %s to %s on timeline %d\n", d.Start, d.End, uint32(d.Timeline))
	}
	state := heldBy(d.Elsewhere, "holds it right")
	switch {
	case d.Healed && d.Kind == verify.Missing:
		state = "; brought back from " + d.HealedFrom
	case d.Healed:
		state = "; healed from " + d.HealedFrom + ", the old object is kept"
	case d.Error != "":
		state += "; not healed: " + d.Error
	case d.Harmless:
		state += "; nothing needs it"
	}
	s.printf("        %s%s\n", d.Reason, state)
}

// heldBy says which repositories hold, or can, what another does not.
func heldBy(names []string, what string) string {
	if len(names) == 0 {
		return ""
	}
	return "; " + strings.Join(names, ", ") + " " + what
}

// riskText says which instants a repository cannot bring back.
func riskText(k verify.Risk) string {
	span := "instants"
	switch {
	case k.From != nil && k.Until != nil:
		span = fmt.Sprintf("instants between %s and %s", instant(*k.From), instant(*k.Until))
	case k.From != nil:
		span = "instants after " + instant(*k.From)
	case k.Until != nil:
		span = "instants before " + instant(*k.Until)
	}
	held := "; no other repository has them"
	if len(k.Elsewhere) > 0 {
		held = heldBy(k.Elsewhere, "has them")
		if len(k.Elsewhere) > 1 {
			held = heldBy(k.Elsewhere, "have them")
		}
	}
	return fmt.Sprintf("%s cannot be restored from %s: WAL %s to %s on timeline %d%s", span, k.Repository, k.Start, k.End, uint32(k.Timeline), held)
}
