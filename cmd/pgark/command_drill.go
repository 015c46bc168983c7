package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
)

func drillCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "drill", Usage: "prove that the archive can be restored: restore it for real, check it, measure it",
		Subcommands: []*cli.Command{
			p.command(&cli.Command{
				Name: "run", Usage: "hold a drill now", ArgsUsage: "[URL]",
				Description: "The cluster of a random instant is restored into a sandbox: a folder of its own, a server that listens on a socket there only,\n" +
					"does not archive and starts nothing that reaches out. Pages, tables and indexes are checked, and what --sql asks. The sandbox is removed\n" +
					"again, and a report is written into every repository that takes it. The archived server is not touched.\n" +
					"A file of checks: \"-- check: NAME\", then maybe \"-- database: NAME\" and \"-- expect: ANSWER\", then a query.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "to", Usage: "restore random, latest or this `TIME`; drill.target by default"},
					&cli.BoolFlag{Name: "keep", Usage: "leave the restored cluster there, stopped"},
					&cli.StringFlag{Name: "sql", Usage: "check also what this `FILE` asks; drill.checks.sql by default", TakesFile: true},
					&cli.StringFlag{Name: "where", Usage: "`local`, on this host; no other place is known", Value: "local"},
					&cli.StringFlag{Name: "dir", Usage: "make the sandbox below this `DIR`; drill.dir by default", TakesFile: true},
					&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` requests at once; four for each processor"},
					&cli.StringFlag{Name: "bin-dir", Usage: "PostgreSQL's programs of the same major: `DIR`", TakesFile: true},
					&cli.StringFlag{Name: "owner", Usage: "as root: `USER` who is to run the server", Value: "postgres"},
					systemFlag(), asOfFlag(),
					&cli.StringFlag{Name: "from", Usage: "restore from this `REPOSITORY` alone: primary, a copy's name, or a URL; each: from the one whose turn it is; any: from all of them, as a restore does"},
					rateLimitFlag("fetch the base backup with"),
				},
			}, atMostOne, holdDrill),
			p.command(&cli.Command{
				Name: "list", Usage: "the drills that were held, newest last", ArgsUsage: "[URL]", Flags: []cli.Flag{systemFlag(), fromFlag()},
			}, atMostOne, listDrills),
			p.command(&cli.Command{
				Name: "show", Usage: "the report of one drill", ArgsUsage: "ID", Flags: []cli.Flag{systemFlag(), fromFlag()},
			}, oneArgument("ID, such as 20261120T104500Z: pgark drill list shows them"), showDrill),
		},
	})
}

// drilling is one drill on its way.
type drilling struct {
	*restoring

	whole   config.Cluster // with all its repositories
	options drill.Options
	archive repository.Marker
	before  []repository.Drill // the newest ones held before, for the estimate
	lossy   func() []string    // tells which repositories cannot be read wholly as they were, by what was read
}

func holdDrill(s *session) error {
	d := &drilling{restoring: &restoring{session: s}}
	var err error
	if d.whole, err = s.clusterWith(s.argument()); err != nil {
		return err
	}
	if err := d.readOptions(); err != nil {
		return err
	}
	s.ctx = agent.Patient(s.ctx)
	return agent.Hold(s.ctx, d.whole, "drill", s.storeOptions(), func(h *agent.Holding) error {
		d.holding = h
		return d.withRepository(d.hold)
	})
}

// readOptions reads the flags and the configuration.
func (d *drilling) readOptions() error {
	s, c := d.session, d.whole.Drill
	host, _ := os.Hostname()
	o := drill.Options{
		Asked: drill.Asked(c.Target), Amcheck: drill.Amcheck(c.Amcheck), Keep: s.cli.Bool("keep"), Host: host, Writer: agent.Version(),
		Objectives: drill.Objectives{RPO: d.whole.Objectives.RPO, RTO: d.whole.Objectives.RTO},
		Planned:    d.planned,
		Checking:   func(kind string) { d.meter.show(progress{phase: "check", text: kind}) },
	}
	switch to := s.cli.String("to"); to {
	case "":
	case string(drill.Random), string(drill.Latest):
		o.Asked = drill.Asked(to)
	default:
		target, err := s.timeTarget("to", to)
		if err != nil {
			return err
		}
		o.Asked, o.Time = drill.AtTime, target
	}
	if err := s.checkJobs(); err != nil {
		return err
	}
	if err := config.CheckWhere(s.cli.String("where")); err != nil {
		return usagef("--where %w", err)
	}
	var err error
	if o.Checks, err = s.checks(c); err != nil {
		return err
	}
	dir, err := s.sandboxDir(c.Dir)
	if err != nil {
		return err
	}
	if d.owner, err = s.owner(); err != nil {
		return err
	}
	o.Place = d.place(dir)
	d.options = o
	return nil
}

// checks are those of --sql, or of the configuration.
func (s *session) checks(c config.Drill) ([]drill.Check, error) {
	file := s.cli.String("sql")
	if file == "" {
		file = c.SQL
	}
	if file == "" {
		var list []drill.Check
		for _, one := range c.Checks {
			list = append(list, drill.Check{Name: one.Name, Database: one.Database, Query: one.Query, Want: one.Expect})
		}
		return list, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	list, err := drill.ParseChecks(string(text))
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return list, nil
}

// sandboxDir is the folder in which sandboxes are made: --dir, or that of the configuration.
func (s *session) sandboxDir(configured string) (string, error) {
	if dir := s.cli.String("dir"); dir != "" {
		return dir, nil
	}
	if configured == "" {
		u := usagef("no folder to restore into")
		u.fix = "--dir DIR, or drill.dir in the configuration: a folder with room for the cluster"
		return "", u
	}
	return configured, nil
}

// place is where a sandbox is made for what is restored and thrown away.
func (r *restoring) place(dir string) drill.Place {
	return drill.Place{
		Dir: dir, BinDir: r.cli.String("bin-dir"), Owner: r.owner, Jobs: r.cli.Int("jobs"),
		RestoreCommand: func(plan *restore.Plan, within string) (string, error) {
			r.plan, r.within = plan, within
			return r.restoreCommand()
		},
		Fetched: r.showFetch, Recovering: r.showRecovery,
	}
}

// hold holds the drill, files its report and prints it.
func (d *drilling) hold() error {
	if d.options.Asked == drill.Random {
		facts, err := status.Survey(d.ctx, d.cluster)
		if err != nil {
			return err
		}
		for _, w := range status.Make(facts, d.program.now()).Window {
			d.options.Window = append(d.options.Window, drill.Interval(w))
		}
	}
	if note := d.asOfNote("no hold and no report among it"); note != "" {
		d.options.Notes = append(d.options.Notes, note)
	}
	d.before, _ = d.cluster.Drills(d.ctx, restore.EstimateDrills) // without an estimate it is a drill all the same
	d.meter = d.newMeter()
	defer d.meter.end()
	held, err := drill.Run(d.ctx, d.cluster, d.options)
	d.meter.end()
	if err != nil {
		return err
	}
	held.Report.Notes = append(held.Report.Notes, d.lossy()...)
	d.redactReport(&held.Report)
	filed, err := d.file(held)
	if err != nil {
		filed = []agent.Filed{{Name: config.Primary, Err: err}}
	}
	if d.json {
		err = d.printJSON(d.heldJSON(held, filed))
	} else {
		d.printHeld(held, filed)
	}
	if err != nil {
		return err
	}
	return drillCode(held.Report)
}

// file writes the report into the repositories. What is proved of them as they were says nothing of them as they are, and is not kept there.
func (d *drilling) file(held *drill.Held) (filed []agent.Filed, err error) {
	if !d.asOf.IsZero() {
		return nil, errAsOf
	}
	held.Report, filed, err = agent.FileDrill(d.ctx, d.whole, agent.HeldDrill{Archive: d.archive, Report: held.Report, Names: held.Names}, d.storeOptions())
	return filed, err
}

var errAsOf = errors.New("a drill of the repositories as they were is not kept there")

// redactReport takes secrets out of the words of others: a report is kept where more can read it than could read this host's screen.
func (d *drilling) redactReport(r *repository.Drill) {
	secrets := newRedactor(d.program.environment)
	words := []*string{&r.Failure}
	for i := range r.Notes {
		words = append(words, &r.Notes[i])
	}
	for i := range r.Substitutes {
		words = append(words, &r.Substitutes[i].Reason)
	}
	for i := range r.Checks {
		words = append(words, &r.Checks[i].Detail, &r.Checks[i].Got)
	}
	for _, w := range words {
		*w = repository.DrillText(secrets.redact(*w))
	}
}

// drillCode is the exit code of a drill that was held.
func drillCode(r repository.Drill) error {
	switch {
	case r.Result != repository.DrillPassed:
		return &codeError{code: exitFailed}
	case len(r.Missed) > 0 || r.Substituted > 0:
		return &codeError{code: exitDegraded}
	}
	return nil
}

// planned prints the first lines, before anything is fetched: what will be restored, and how long that will take by the drills before.
func (d *drilling) planned(report repository.Drill, plan *restore.Plan) {
	d.estimate = restore.MakeEstimate(plan, d.before, d.options.Host)
	if d.estimate != nil {
		d.estimate.Plan = report.Plan.Seconds.Duration() // the RTO of a drill begins with it
	}
	if !d.json {
		d.printDrillHead(report, d.options.Place.Dir)
		if d.estimate != nil {
			d.printEstimate()
		}
	}
	for _, note := range d.holds(plan) {
		d.note("%s", note)
	}
	d.meter.show(progress{phase: "fetch", total: plan.Backup.Plain})
}

func (d *drilling) printHeld(held *drill.Held, filed []agent.Filed) {
	report := held.Report
	if report.ServerVersion == "" { // it did not get to its plan
		d.printDrillHead(report, d.options.Place.Dir)
	}
	d.printDrill(report)
	if held.Failure != nil {
		if f := d.program.explain(held.Failure); f.Fix != "" {
			d.wrapped("fix", f.Fix)
		}
	}
	if held.Kept != "" {
		d.row("kept", "%s", held.Kept)
		d.row("look", "%s", d.as(d.binariesDir()+"/pg_ctl", "-D", held.Kept+"/data", "start"))
		d.row("", "%s", d.as("psql", "-h", held.Kept+"/s", "-p", fmt.Sprint(held.Restored.Server.Port), "-U", held.Restored.User, "-d", held.Restored.Database))
		d.wrapped("", "it listens there only, and starts nothing by itself; rm -r "+held.Kept+" afterwards")
	}
	var there []string
	for _, f := range filed {
		if f.Err == nil {
			there = append(there, f.Name)
			continue
		}
		d.wrapped("report", "not in "+f.Name+": "+f.Err.Error())
	}
	if len(there) > 0 {
		d.row("report", "drills/%s.json in %s", report.ID, strings.Join(there, ", "))
	}
}

// binariesDir is the folder of the server's programs.
func (r *restoring) binariesDir() string {
	dir, err := restore.FindBinaries(context.WithoutCancel(r.ctx), r.plan.Backup.PGVersionNum/10000, r.cli.String("bin-dir"))
	if err != nil {
		return "postgres"
	}
	return dir
}

func (d *drilling) heldJSON(held *drill.Held, filed []agent.Filed) map[string]any {
	rows := []map[string]any{}
	for _, f := range filed {
		row := map[string]any{"name": f.Name}
		if f.Err != nil {
			row["error"] = f.Err.Error()
		}
		rows = append(rows, row)
	}
	document := map[string]any{"report": held.Report, "repositories": rows, "estimate": d.estimateJSON()}
	if held.Kept != "" {
		document["kept"] = held.Kept
	}
	return document
}

// drillTarget says what was restored.
func drillTarget(d repository.Drill) string {
	text := instant(d.Target.Time)
	if d.Target.Latest {
		text = "latest"
	}
	if d.Target.Asked == string(drill.Random) {
		text += " (random)"
	}
	return text
}

func (s *session) printDrillHead(d repository.Drill, sandbox string) {
	where := ""
	if sandbox != "" {
		where = "   sandbox in " + sandbox
	}
	s.printf("%s %s   target %s   from %s%s\n", s.paint("Drill", "1"), d.ID, drillTarget(d), d.Repository, where)
}

// printDrill prints what a drill found, phase by phase, and what it comes to.
func (s *session) printDrill(d repository.Drill) {
	phases := []struct {
		phase repository.DrillPhase
		took  repository.Seconds
		words string
	}{
		{repository.DrillFetch, d.Fetch.Seconds, fmt.Sprintf("base %s, %s", d.Backup, size(d.Fetch.Bytes))},
		{repository.DrillReplay, d.Replay.Seconds, size(int64(d.Replay.Bytes)) + " WAL, " + stoppedAt(d)},
		{repository.DrillOpen, d.Open.Seconds, "PostgreSQL " + d.ServerVersion + " accepts connections"},
	}
	failed := d.Result == repository.DrillFailed
	if failed && d.Phase == repository.DrillPlan {
		s.wrapped("plan", s.sign(agent.Bad)+" "+d.Failure)
	}
	for _, p := range phases {
		if failed && d.Phase == p.phase {
			s.wrapped(string(p.phase), s.sign(agent.Bad)+" "+d.Failure)
			break
		}
		if d.Phase == repository.DrillPlan {
			break
		}
		s.row(string(p.phase), "%s %-64s %7s", s.sign(agent.Good), p.words, elapsed(p.took.Duration()))
	}
	label := "verify"
	for _, c := range d.Checks {
		s.wrapped(label, s.checkText(c))
		label = ""
	}
	if failed && d.Phase == repository.DrillVerify && len(d.Checks) == 0 {
		s.wrapped(label, s.sign(agent.Bad)+" "+d.Failure)
	}
	s.printSubstitutes(d.Substitutes, d.Substituted)
	for _, note := range d.Notes {
		s.wrapped("note", note)
	}
	s.printf("%s\n", strings.Join(s.drillEnd(d), "   "))
}

// drillEnd is the last line of a drill.
func (s *session) drillEnd(d repository.Drill) []string {
	word := s.paint("PASS", "1;32")
	if d.Result == repository.DrillFailed {
		word = s.paint("FAIL", "1;31")
	}
	parts := []string{word}
	if d.RTO > 0 {
		parts = append(parts, "RTO "+elapsed(d.RTO.Duration())+s.objective(d, repository.ObjectiveRTO, d.RTOTarget))
	}
	if d.DataLoss != nil {
		most := ""
		if d.Target.Latest && d.DataLoss.Duration() > 0 {
			most = "at most " // an idle server proves its end only once in a while
		}
		parts = append(parts, "data loss at target "+most+elapsed(d.DataLoss.Duration())+s.objective(d, repository.ObjectiveRPO, d.RPOTarget))
	}
	return parts
}

// objective says what a measured time was judged by.
func (s *session) objective(d repository.Drill, which repository.Objective, target repository.Seconds) string {
	if target == 0 {
		return ""
	}
	word := "ok"
	for _, missed := range d.Missed {
		if missed == which {
			word = s.paint("MISSED", "1;31")
		}
	}
	return fmt.Sprintf(" (target %s, %s)", targetText(target.Duration()), word)
}

func stoppedAt(d repository.Drill) string {
	if d.LastCommit == nil {
		return "no commit after the base backup"
	}
	return fmt.Sprintf("last commit %s xid %d", instant(d.LastCommit.Time), uint32(d.LastCommit.XID))
}

// checkText says what one check came to.
func (s *session) checkText(c repository.DrillCheck) string {
	verdict := map[repository.CheckResult]agent.Verdict{
		repository.CheckPassed: agent.Good, repository.CheckFailed: agent.Bad, repository.CheckOff: agent.Pending, repository.CheckSkipped: agent.Pending,
	}[c.Result]
	what := map[string]string{repository.CheckPages: "page checksums", repository.CheckAmcheck: "amcheck", repository.CheckSQL: "sql " + c.Name}[c.Kind]
	switch {
	case c.Detail != "":
		what += ": " + strings.ReplaceAll(c.Detail, "\n", "; ")
	case c.Kind == repository.CheckSQL && c.Result == repository.CheckPassed:
		what += fmt.Sprintf(" = %q", c.Want) // what it got is not kept beside encrypted contents
	case c.Kind == repository.CheckSQL && c.Result == repository.CheckFailed && c.Got == "":
		what += fmt.Sprintf(": want %q; got nothing, or it is not kept beside encrypted contents", c.Want)
	case c.Kind == repository.CheckSQL:
		what += fmt.Sprintf(" = %q, want %q", c.Got, c.Want)
	case c.Result == repository.CheckFailed:
		what += " failed; what was found is not kept beside encrypted contents"
	case c.Kind == repository.CheckPages && c.By == repository.ByBaseBackup:
		what += " right in " + size(c.Bytes) + ", read by the server itself"
	case c.Kind == repository.CheckPages:
		what += " of " + count(int(c.Count), "page") + " right"
	case c.Kind == repository.CheckAmcheck:
		what += " of " + count(int(c.Count), "relation") + " ok"
		if c.By == repository.BySample {
			what += " (a sample)"
		}
	}
	return s.sign(verdict) + " " + what
}

// drillCluster opens the repositories that the flags name.
func (s *session) drillCluster(argument string, f func(*repository.Cluster) error) error {
	c, err := s.clusterToRead(argument)
	if err != nil {
		return err
	}
	return s.withSources(c, func(c *repository.Cluster, _ *agent.Sources) error { return f(c) })
}

func listDrills(s *session) error {
	return s.drillCluster(s.argument(), func(c *repository.Cluster) error {
		drills, err := c.Drills(s.ctx, 0)
		if err != nil && !repository.OnlyUnreadable(err) {
			return err
		}
		if err != nil {
			s.note("a report cannot be read: %v", err)
		}
		if s.json {
			return s.printJSON(drills)
		}
		if len(drills) == 0 {
			s.printf("no drill yet: pgark drill run\n")
			return nil
		}
		rows := [][]string{{"DRILL", "TARGET (UTC)", "FROM", "BACKUP", "FETCH", "REPLAY", "OPEN", "RTO", "LOSS", "RESULT"}}
		for _, d := range drills {
			rows = append(rows, s.drillRow(d))
		}
		s.table(rows)
		return nil
	})
}

func (s *session) drillRow(d repository.Drill) []string {
	// What comes after a phase shows that it was passed.
	took := func(v, after repository.Seconds) string {
		if v == 0 && after == 0 {
			return "-"
		}
		return elapsed(v.Duration())
	}
	loss := "-"
	if d.DataLoss != nil {
		loss = elapsed(d.DataLoss.Duration())
	}
	result := string(d.Result)
	switch {
	case d.Result == repository.DrillFailed:
		result += ": " + string(d.Phase)
	case len(d.Missed) > 0:
		var missed []string
		for _, m := range d.Missed {
			missed = append(missed, strings.ToUpper(string(m)))
		}
		result += ", " + strings.Join(missed, " and ") + " missed"
	}
	return []string{
		d.ID, strings.TrimSuffix(drillTarget(d), " (random)"), d.Repository, d.Backup, took(d.Fetch.Seconds, d.RTO), took(d.Replay.Seconds, d.RTO), took(d.Open.Seconds, d.RTO), took(d.RTO, 0), loss, result,
	}
}

func showDrill(s *session) error {
	return s.drillCluster("", func(c *repository.Cluster) error {
		d, err := c.Drill(s.ctx, s.args[0])
		if errors.Is(err, repository.ErrNoDrill) {
			return &codeError{code: exitFailed, cause: err, fix: "pgark drill list shows the drills"}
		}
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(d)
		}
		s.printDrillHead(d, "")
		s.row("held", "%s on %s, %s", instant(d.Started), d.Host, elapsed(d.Ended.Sub(d.Started).Round(time.Millisecond)))
		s.printDrill(d)
		return nil
	})
}
