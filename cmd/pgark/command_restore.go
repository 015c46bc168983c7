package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/wal"
)

func restoreCommand(p *program) *cli.Command {
	hidden := func(name, of string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: "the same as --" + of, Hidden: true}
	}
	return p.command(&cli.Command{
		Name:      "restore",
		Usage:     "bring the cluster of any instant back, into a new data directory or in place",
		ArgsUsage: "[URL]",
		Description: "TIME is 2026-11-20T10:31:00Z, '2026-11-20 10:31 Europe/Paris', '10m ago', 'today 09:30Z' or latest.\n" +
			"A plan is printed and nothing is written before you agree. The restored cluster does not archive;\n" +
			"with --start it listens on a socket only, is promoted at the target, and proves where it stopped.\n" +
			"A restore that was killed goes on when the same command is given again.",
		Flags: append(append(targetFlags(), layFlags()...),
			&cli.BoolFlag{Name: "start", Usage: "start the server, recover, and prove where it stopped"},
			&cli.BoolFlag{Name: "standby", Usage: "make it a standby that follows the archive, as pgark standby create does"},
			primaryConninfoFlag(), socketDirFlag(),
			&cli.BoolFlag{Name: "pause", Usage: "pause at the target instead of promoting"},
			&cli.BoolFlag{Name: "shutdown", Usage: "shut down at the target instead of promoting"},
			&cli.StringFlag{Name: "verify", Usage: "once the server is open: none, pages (every page checksum) or amcheck (tables and indexes too): `WHAT`", Value: "none"},
			asOfFlag(),
			hidden("target-time", "to"), hidden("target-lsn", "to-lsn"), hidden("target-xid", "to-xid"),
			hidden("target-name", "to-name"), hidden("target-timeline", "timeline"),
		),
	}, atMostOne, restoreCluster)
}

// layFlags say where a cluster is laid down, and how.
func layFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "into", Usage: "new data directory: `DIR`; it must not exist, or be empty", TakesFile: true},
		&cli.BoolFlag{Name: "in-place", Usage: "replace the cluster in --into, or PGDATA: its server must not run; files that are right already are kept"},
		&cli.StringSliceFlag{Name: "tablespace", Usage: "put the tablespace with this OID, or that lay there, into a new folder: `NAME=DIR`"},
		&cli.IntFlag{Name: "port", Usage: "port in the name of the started server's socket: `N`", Value: 5433},
		&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` requests at once; four for each processor"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and stop"},
		&cli.StringFlag{Name: "bin-dir", Usage: "PostgreSQL's programs of the same major: `DIR`", TakesFile: true},
		&cli.StringFlag{Name: "owner", Usage: "as root: `USER` who is to own the cluster and run the server", Value: "postgres"},
		systemFlag(), fromFlag(), rateLimitFlag("fetch the base backup with"),
	}
}

// restoring is one restore on its way.
type restoring struct {
	*session

	configured config.Cluster
	cluster    *repository.Cluster
	sources    *agent.Sources
	holding    *agent.Holding     // tells nobody where nothing is written anywhere
	away       []repository.Fault // sources that did not answer when the plan was made
	plan       *restore.Plan
	site       *restore.Site     // nil without --into
	window     *status.Report    // nil if it is not shown
	estimate   *restore.Estimate // nil where no drill measured anything
	binaries   binaries
	command    string // restore_command
	into       string // absolute, or empty
	inPlace    bool
	action     restore.Action
	owner      *restore.Owner
	spaces     map[string]string
	within     string   // outside of this folder replay makes no tablespace; empty: it may
	replaced   []string // folders of tablespaces of the cluster that is replaced
	meter      *meter
	standby    *restore.Standby        // nil unless it is to follow the archive
	kinds      []string                // of checks to make once the server is open
	checks     []repository.DrillCheck // what they came to
	traced
}

// binaries are the server programs on this host, or why there are none.
type binaries struct {
	dir, version string
	err          error
}

func restoreCluster(s *session) error {
	target, err := s.target("to")
	if err != nil {
		return err
	}
	r := &restoring{session: s, holding: &agent.Holding{}}
	if s.cli.Bool("standby") {
		return r.createStandby(s.clusterToRead)
	}
	if s.cli.IsSet("primary-conninfo") || s.cli.IsSet("socket-dir") {
		return usagef("--primary-conninfo and --socket-dir need --standby")
	}
	if err := r.directory(""); err != nil {
		return err
	}
	if err := r.flags(); err != nil {
		return err
	}
	if r.configured, err = s.clusterToRead(s.argument()); err != nil {
		return err
	}
	return r.from(target)
}

// flags reads those that a restore and a standby have in common.
func (r *restoring) flags() (err error) {
	s := r.session
	if r.action, err = s.action(); err != nil {
		return err
	}
	if s.cli.IsSet("verify") {
		if r.kinds, err = s.verifyKinds(); err != nil {
			return err
		}
	}
	switch port := s.cli.Int("port"); {
	case port < 1 || port > 65535:
		return usagef("--port %d: want 1 to 65535", port)
	case s.cli.IsSet("port") && !s.cli.Bool("start"):
		return usagef("--port needs --start: without it the server listens where its postgresql.conf says")
	}
	if err := s.checkJobs(); err != nil {
		return err
	}
	if r.owner, err = s.owner(); err != nil {
		return err
	}
	r.spaces, err = s.tablespaces()
	return err
}

// from opens the repositories and carries the restore out.
func (r *restoring) from(target restore.Target) (err error) {
	s := r.session
	r.beginSpan(telemetry.Restore, r.configured)
	defer func() { r.endSpan(err) }()
	if s.cli.IsSet(rateLimit) { // what is configured is for what runs beside the database every day
		s.ctx = agent.Patient(s.ctx)
	}
	opening := s.storeOptions()
	restore := func(h *agent.Holding) error {
		return s.withSources(r.configured, opening, func(c *repository.Cluster, sources *agent.Sources) error {
			r.cluster, r.sources, r.holding = c, sources, h
			return r.run(target)
		})
	}
	if s.cli.Bool("dry-run") {
		opening = s.lookOptions()
		return restore(r.holding) // which writes nothing anywhere
	}
	return agent.Hold(s.ctx, r.configured, "restore", opening, restore)
}

// holds tells the repositories what the plan reads. It returns what is to be said of that.
func (r *restoring) holds(plan *restore.Plan) []string {
	var notes []string
	held := r.holding.Name(r.ctx, plan.SystemID, plan.Reads())
	for _, name := range held.Goes {
		notes = append(notes, name+": retention had begun to let go of what is read here, and may go on")
	}
	for _, one := range held.Unheld {
		notes = append(notes, fmt.Sprintf("%s is not told that it is read here: %v; what no rule of its retention keeps may be let go after the grace, a day by default: prune nothing there meanwhile",
			one.Repository, one.Err))
	}
	return notes
}

// directory reads where the cluster goes: into configured where the command line does not say.
func (r *restoring) directory(configured string) (err error) {
	r.inPlace = r.cli.Bool("in-place")
	into := cmp.Or(r.cli.String("into"), configured)
	if into == "" && r.inPlace {
		into = r.program.variable("PGDATA")
	}
	switch {
	case into != "":
		r.into, err = filepath.Abs(into)
	case r.inPlace:
		return usagef("--in-place needs the data directory: --into DIR, or PGDATA")
	case !r.cli.Bool("dry-run"):
		return usagef("--into DIR is missing: the new data directory")
	}
	return err
}

// options are what laying down and looking have in common.
func (r *restoring) options() restore.LayOptions {
	return restore.LayOptions{Dir: r.into, InPlace: r.inPlace, Tablespaces: r.spaces, Owner: r.owner}
}

// run plans, shows the plan, and carries it out. What stands against it is said behind the plan and
// before anything is written.
func (r *restoring) run(target restore.Target) error {
	if err := r.makePlan(target); err != nil {
		return err
	}
	refused := r.look()
	if !r.json {
		r.printPlan()
	}
	if r.cli.Bool("dry-run") {
		if !r.json {
			return refused
		}
		return errors.Join(r.printJSON(map[string]any{"plan": r.planJSON()}), refused)
	}
	if refused != nil {
		return refused
	}
	r.phases.End(nil) // a person's time is no part of it
	yes, err := r.confirm()
	if err != nil {
		return err
	}
	if !yes {
		r.note("nothing was written")
		return &codeError{code: exitRefused}
	}
	if r.inPlace {
		r.replaced = restore.TablespaceFolders(r.into)
	}
	if r.command, err = r.restoreCommand(); err != nil {
		return err
	}
	return r.act()
}

// confirm asks a person. Who replaces a cluster types its name; without a terminal that takes --yes.
func (r *restoring) confirm() (bool, error) {
	terminal := r.program.isTerminal(r.program.stdin) && !r.json
	switch {
	case r.yes:
		return true, nil
	case r.inPlace && (!terminal || r.program.variable("PGARK_NO_INPUT") != ""):
		return false, &codeError{
			code: exitRefused, cause: fmt.Errorf("nobody to ask: this replaces %s (%s)", r.into, size(int64(r.site.Held))), fix: "give --yes",
		}
	case r.inPlace:
		_, _ = fmt.Fprintf(r.stderr, "This replaces %s (%s). Type the cluster name to continue: ", r.into, size(int64(r.site.Held)))
		word, err := r.readWord()
		return word == r.configured.Name, err
	case terminal:
		return r.ask("Proceed?")
	}
	return true, nil
}

// makePlan resolves the target. For a person the recovery window is read beside it.
func (r *restoring) makePlan(target restore.Target) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	var window sync.WaitGroup
	var drills []repository.Drill
	window.Go(func() {
		drills, _ = r.cluster.Drills(ctx, restore.EstimateDrills) // a plan without an estimate is still the plan
	})
	if !r.json {
		window.Go(func() {
			facts, err := status.Survey(ctx, r.cluster, status.Options{})
			if err != nil {
				return // a plan without a picture of the window is still the plan
			}
			report := status.Make(facts, r.program.now())
			r.window = &report
		})
	}
	inventory, err := restore.Survey(ctx, r.cluster)
	if err == nil {
		r.plan, err = restore.Choose(ctx, r.cluster, inventory, target)
	}
	if err != nil {
		cancel() // there is no plan to draw the window in
	}
	window.Wait()
	if err != nil {
		return err
	}
	r.span.Set(planFacts(r.plan)...)
	host, _ := os.Hostname()
	r.estimate = restore.MakeEstimate(r.plan, drills, host)
	r.away = r.sources.Away()
	if note := r.asOfNote("no hold among it: do not prune them meanwhile"); note != "" {
		r.plan.Notes = append(r.plan.Notes, note)
	}
	r.plan.Notes = append(append(r.plan.Notes, lossyNotes(r.sources)...), r.awayNotes()...)
	r.plan.Notes = append(r.plan.Notes, r.holds(r.plan)...)
	return nil
}

// look finds out where the cluster would lie and what would run it. Its error is what stands against
// the restore.
func (r *restoring) look() error {
	b := &r.binaries
	if b.dir, b.err = restore.FindBinaries(r.ctx, r.plan.Backup.PGVersionNum/10000, r.cli.String("bin-dir")); b.err == nil {
		b.version, b.err = restore.ServerVersion(r.ctx, b.dir)
	}
	refused := r.plan.Frozen(r.done())
	if refused != nil {
		return refused
	}
	if r.into != "" {
		r.site, refused = restore.Look(r.ctx, r.cluster, r.plan, r.options())
		r.plan.Notes = append(r.plan.Notes, r.replaceNotes()...)
	}
	if r.cli.Bool("start") && b.err != nil {
		// A cluster that cannot be started here need not be laid down here.
		return b.err
	}
	return refused
}

// act lays the cluster down and, with --start, has it recover.
func (r *restoring) act() error {
	began := time.Now()
	r.meter = r.newMeter()
	defer r.meter.end()
	defer context.AfterFunc(r.ctx, r.meter.end)() // at once: stopping the server takes a while
	r.meter.show(progress{phase: "fetch", total: r.plan.Backup.Plain})
	r.phases.Enter(telemetry.Fetch)
	o := r.options()
	o.RestoreCommand, o.Action, o.Jobs, o.Progress, o.Standby = r.command, r.action, r.cli.Int("jobs"), r.showFetch, r.standby
	r.holding.Leave(true) // the same command goes on from what is there, or a server that is started by hand
	laid, err := restore.LayDown(r.ctx, r.cluster, r.plan, o)
	if err != nil {
		r.meter.end()
		r.noteSubstitutes()
		return r.unfetched(err)
	}
	r.phases.End(nil)
	r.span.Set(telemetry.Files.Int64(laid.Files), telemetry.Bytes.Int64(laid.Bytes))
	r.showFetch(laid.Bytes, laid.Bytes)
	r.meter.finish()
	if r.standby != nil {
		return r.actStandby(laid)
	}
	if !r.cli.Bool("start") {
		r.meter.end()
		return r.printLaid(laid)
	}
	recovered, err := restore.Recover(r.ctx, r.cluster, r.plan, laid.Dir, restore.RecoverOptions{
		BinDir: r.binaries.dir, Port: r.cli.Int("port"), Action: r.action, RestoreCommand: r.command, Owner: r.owner,
		Replaces: r.replaced, Progress: r.showRecovery,
	})
	if err != nil {
		r.meter.end()
		r.noteSubstitutes()
		return r.unrecovered(err, laid.Dir)
	}
	r.holding.Leave(r.action != restore.ActionPromote) // one that is not promoted may yet read
	r.showRecovery(restore.Progress{Phase: restore.PhaseOpening, Start: r.plan.Backup.StartLSN, Stop: r.plan.Until})
	took := time.Since(began)
	r.verify(recovered)
	r.meter.end()
	return r.printRecovered(laid, recovered, took)
}

// showFetch shows the bytes laid down. When all are, they have yet to become durable.
func (r *restoring) showFetch(done, total int64) {
	r.meter.show(progress{phase: "fetch", done: done, total: total})
	if done >= total {
		r.meter.show(progress{phase: "sync", text: "making all of it durable"})
	}
}

func (r *restoring) showRecovery(p restore.Progress) {
	replay := func(at wal.LSN) {
		all := wal.Range{Start: p.Start, End: p.Stop}
		r.meter.show(progress{
			phase: "replay", place: fmt.Sprintf("%s of %s", at, p.Stop),
			done: int64(wal.Range{Start: p.Start, End: min(at, p.Stop)}.Len()), total: int64(all.Len()),
		})
	}
	switch p.Phase {
	case restore.PhaseStarting:
		r.phases.Enter(telemetry.Replay)
		r.meter.show(progress{phase: "start", text: "the server starts"})
	case restore.PhaseReplaying:
		r.phases.Enter(telemetry.Replay)
		replay(p.LSN)
	case restore.PhaseOpening:
		r.phases.Enter(telemetry.Open)
		replay(p.Stop) // the stop is reached, also where replay took no time
		r.meter.show(progress{phase: "open", text: "the target is reached"})
	}
}
