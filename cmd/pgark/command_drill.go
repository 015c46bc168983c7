package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/telemetry"
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
	failure error              // why it failed; nil if it passed or a check failed
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
	d.beginSpan(telemetry.Drill, d.whole)
	err = agent.Hold(s.ctx, d.whole, "drill", s.storeOptions(), func(h *agent.Holding) error {
		d.holding = h
		return d.withRepository(d.hold)
	})
	d.endSpan(cmp.Or(d.failure, err))
	return err
}

// readOptions reads the flags and the configuration.
func (d *drilling) readOptions() error {
	s, c := d.session, d.whole.Drill
	host, _ := os.Hostname()
	o := drill.Options{
		Asked: drill.Asked(c.Target), Amcheck: drill.Amcheck(c.Amcheck), Keep: s.cli.Bool("keep"), Host: host, Writer: agent.Version(),
		Objectives: drill.Objectives{RPO: d.whole.Objectives.RPO, RTO: d.whole.Objectives.RTO},
		Planned:    d.planned,
		Checking: func(kind string) {
			d.phases.Enter(telemetry.Check)
			d.meter.show(progress{phase: "check", text: kind})
		},
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
		facts, err := status.Survey(d.ctx, d.cluster, status.Options{})
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
	d.failure = held.Failure
	d.phases.End(held.Failure)
	d.span.Set(drillFacts(held.Report)...)
	held.Report.Notes = append(held.Report.Notes, d.lossy()...)
	d.redactReport(&held.Report)
	d.phases.Enter(telemetry.File)
	filed, err := d.file(held)
	if err != nil {
		filed = []agent.Filed{{Name: config.Primary, Err: err}}
	}
	d.phases.End(err)
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
	d.span.Set(planFacts(plan)...)
	d.phases.Enter(telemetry.Fetch)
	d.meter.show(progress{phase: "fetch", total: plan.Backup.Plain})
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
