package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
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
		Flags: append(targetFlags(),
			&cli.StringFlag{Name: "into", Usage: "new data directory: `DIR`; it must not exist, or be empty", TakesFile: true},
			&cli.BoolFlag{Name: "in-place", Usage: "replace the cluster in --into, or PGDATA: its server must not run; files that are right already are kept"},
			&cli.StringSliceFlag{Name: "tablespace", Usage: "put the tablespace with this OID, or that lay there, into a new folder: `NAME=DIR`"},
			&cli.BoolFlag{Name: "start", Usage: "start the server, recover, and prove where it stopped"},
			&cli.IntFlag{Name: "port", Usage: "port in the name of the started server's socket: `N`", Value: 5433},
			&cli.BoolFlag{Name: "pause", Usage: "pause at the target instead of promoting"},
			&cli.BoolFlag{Name: "shutdown", Usage: "shut down at the target instead of promoting"},
			&cli.StringFlag{Name: "verify", Usage: "once the server is open: none, pages (every page checksum) or amcheck (tables and indexes too): `WHAT`", Value: "none"},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` requests at once; four for each processor"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and stop"},
			&cli.StringFlag{Name: "bin-dir", Usage: "PostgreSQL's programs of the same major: `DIR`", TakesFile: true},
			&cli.StringFlag{Name: "owner", Usage: "as root: `USER` who is to own the cluster and run the server", Value: "postgres"},
			systemFlag(), fromFlag(), asOfFlag(), rateLimitFlag("fetch the base backup with"),
			hidden("target-time", "to"), hidden("target-lsn", "to-lsn"), hidden("target-xid", "to-xid"),
			hidden("target-name", "to-name"), hidden("target-timeline", "timeline"),
		),
	}, atMostOne, restoreCluster)
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
	meter      *meter
	kinds      []string                // of checks to make once the server is open
	checks     []repository.DrillCheck // what they came to
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
	if err := r.directory(); err != nil {
		return err
	}
	if r.action, err = s.action(); err != nil {
		return err
	}
	if r.kinds, err = s.verifyKinds(); err != nil {
		return err
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
	if r.spaces, err = s.tablespaces(); err != nil {
		return err
	}
	if r.configured, err = s.clusterToRead(s.argument()); err != nil {
		return err
	}
	if s.cli.IsSet(rateLimit) { // what is configured is for what runs beside the database every day
		s.ctx = agent.Patient(s.ctx)
	}
	restore := func(h *agent.Holding) error {
		return s.withSources(r.configured, func(c *repository.Cluster, sources *agent.Sources) error {
			r.cluster, r.sources, r.holding = c, sources, h
			return r.run(target)
		})
	}
	if s.cli.Bool("dry-run") {
		return restore(r.holding) // which writes nothing anywhere
	}
	return agent.Hold(s.ctx, r.configured, "restore", s.storeOptions(), restore)
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

// directory reads where the cluster goes.
func (r *restoring) directory() (err error) {
	r.inPlace = r.cli.Bool("in-place")
	into := r.cli.String("into")
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
	yes, err := r.confirm()
	if err != nil {
		return err
	}
	if !yes {
		r.note("nothing was written")
		return &codeError{code: exitRefused}
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
			facts, err := status.Survey(ctx, r.cluster)
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
	o := r.options()
	o.RestoreCommand, o.Action, o.Jobs, o.Progress = r.command, r.action, r.cli.Int("jobs"), r.showFetch
	r.holding.Leave(true) // the same command goes on from what is there, or a server that is started by hand
	laid, err := restore.LayDown(r.ctx, r.cluster, r.plan, o)
	if err != nil {
		r.meter.end()
		r.noteSubstitutes()
		return r.unfetched(err)
	}
	r.showFetch(laid.Bytes, laid.Bytes)
	r.meter.finish()
	if !r.cli.Bool("start") {
		r.meter.end()
		return r.printLaid(laid)
	}
	recovered, err := restore.Recover(r.ctx, r.cluster, r.plan, laid.Dir, restore.RecoverOptions{
		BinDir: r.binaries.dir, Port: r.cli.Int("port"), Action: r.action, RestoreCommand: r.command, Owner: r.owner,
		Progress: r.showRecovery,
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
		r.meter.show(progress{phase: "start", text: "the server starts"})
	case restore.PhaseReplaying:
		replay(p.LSN)
	case restore.PhaseOpening:
		replay(p.Stop) // the stop is reached, also where replay took no time
		r.meter.show(progress{phase: "open", text: "the target is reached"})
	}
}

// unfetched says what is left of a restore whose files did not all come.
func (r *restoring) unfetched(err error) error {
	if r.inPlace {
		if !restore.Unfinished(r.into) {
			r.holding.Leave(false)
			return err
		}
		return r.unfinished(err,
			fmt.Sprintf("no server can start in %s: it has no pg_control until all of it is restored", r.into),
			"the same command goes on from the files that are right; another target may be given")
	}
	var left []string
	dirs := []string{r.into}
	for _, t := range r.site.Tablespaces {
		dirs = append(dirs, t.To)
	}
	for _, dir := range dirs {
		if restore.Interrupted(dir) {
			left = append(left, quoteWord(restore.Partial(dir)))
		}
	}
	if len(left) == 0 {
		r.holding.Leave(false)
		return err
	}
	return r.unfinished(err,
		fmt.Sprintf("no server can start: %s is not there; what was written lies in %s", r.into, strings.Join(left, " ")),
		"the same command goes on from the files that are right; to give the space back: rm -r "+strings.Join(left, " "))
}

// unrecovered says what is left of a restore whose server did not get to the target.
func (r *restoring) unrecovered(err error, dir string) error {
	why := fmt.Sprintf("the files are complete in %s; recovery did not get to its end, and no server runs", dir)
	fix := ""
	// A server that was found elsewhere than planned is not to be started again.
	if proof := new(restore.ProofError); !errors.As(err, &proof) {
		dirs := []string{quoteWord(dir)}
		for _, t := range r.site.Tablespaces {
			dirs = append(dirs, quoteWord(t.To))
		}
		fix = "to recover to the same target: " + r.pgCtl(dir, "start")
		if r.inPlace {
			fix += "\nor begin anew: the same command"
		} else {
			fix += fmt.Sprintf("\nor begin anew: rm -r %s, and the same command", strings.Join(dirs, " "))
		}
	}
	if server := new(restore.ServerError); errors.As(err, &server) {
		why += "\nthe server's log says more, also of pgark wal fetch where that did not get a file: " + server.Log
	}
	return r.unfinished(err, why, fix)
}

// unfinished adds to what is known of an error what it left behind.
func (r *restoring) unfinished(err error, why, fix string) error {
	f := r.program.explain(err)
	lines := func(a, b string) string { return strings.Trim(a+"\n"+b, "\n") }
	return &codeError{code: f.Code, cause: &reworded{err, f.Message}, why: lines(f.Cause, why), fix: lines(f.Fix, fix)}
}

// reworded is an error in words for a person.
type reworded struct {
	error

	words string
}

func (e *reworded) Error() string { return e.words }

func (e *reworded) Unwrap() error { return e.error }

// target reads the flags that say where recovery stops; timeFlag is the one for a time.
func (s *session) target(timeFlag string) (restore.Target, error) {
	value := func(names ...string) (string, bool) {
		for _, name := range names {
			if s.cli.IsSet(name) {
				return s.cli.String(name), true
			}
		}
		return "", false
	}
	var targets []restore.Target
	var err error
	add := func(t restore.Target, parseErr error) {
		targets, err = append(targets, t), errors.Join(err, parseErr)
	}
	if v, ok := value(timeFlag, "target-time"); ok {
		add(s.timeTarget(timeFlag, v))
	}
	if v, ok := value("to-lsn", "target-lsn"); ok {
		lsn, parseErr := wal.ParseLSN(v)
		add(restore.Target{Kind: restore.TargetLSN, LSN: lsn}, parseErr)
	}
	if v, ok := value("to-xid", "target-xid"); ok {
		xid, parseErr := restore.ParseXID(v)
		add(restore.Target{Kind: restore.TargetXID, XID: xid}, parseErr)
	}
	if v, ok := value("to-name", "target-name"); ok {
		add(restore.Target{Kind: restore.TargetName, Name: v}, nil)
	}
	if v, ok := value("to-backup"); ok {
		add(restore.Target{Kind: restore.TargetImmediate, Backup: v}, nil)
	}
	var coded *codeError
	switch {
	case errors.As(err, &coded):
		return restore.Target{}, coded
	case err != nil:
		return restore.Target{}, usagef("%w", err)
	case len(targets) > 1:
		return restore.Target{}, usagef("more than one target: give one of --%s, --to-lsn, --to-xid, --to-name, --to-backup", timeFlag)
	case len(targets) == 0:
		targets = []restore.Target{{}}
	}
	t := targets[0]
	t.Exclusive = s.cli.Bool("before")
	if v, ok := value("timeline", "target-timeline"); ok {
		if t.Timeline, err = restore.ParseTimeline(v); err != nil {
			return restore.Target{}, usagef("%w", err)
		}
	}
	if t.Exclusive && t.Kind != restore.TargetTime && t.Kind != restore.TargetLSN && t.Kind != restore.TargetXID {
		return restore.Target{}, usagef("--before needs --to TIME, --to-lsn or --to-xid")
	}
	if err := t.Validate(); err != nil {
		return restore.Target{}, usagef("%w", err)
	}
	return t, nil
}

// timeForms are the times that a flag takes, told of --to.
const timeForms = `--to 2026-11-20T10:31:00Z                 in UTC
--to '2026-11-20 10:31:00.25+05:30'       with an offset
--to '2026-11-20 10:31 Europe/Paris'      in a zone by its name
--to 'today 09:30Z'                       or yesterday
--to '10m ago'                            also 1d2h, 90s; or latest`

// timeTarget reads the time that a flag was given. A time without a zone is never guessed: a person is asked, a script is told.
func (s *session) timeTarget(flag, v string) (restore.Target, error) {
	told := func(err error, fix string) error {
		return &codeError{code: exitUsage, cause: err, fix: strings.ReplaceAll(fix, "--to ", "--"+flag+" ")}
	}
	t, err := restore.ParseTo(v, s.program.now())
	var zone *restore.ZoneError
	if err != nil && !errors.As(err, &zone) {
		return t, told(err, timeForms)
	}
	if zone == nil {
		return t, nil
	}
	ambiguous := told(zone, fmt.Sprintf("write which one: --to '%s' or --to '%s'", zone.Candidates[0], zone.Candidates[1]))
	if s.yes || s.json || !s.program.isTerminal(s.program.stdin) || s.program.variable("PGARK_NO_INPUT") != "" {
		return t, ambiguous
	}
	_, _ = fmt.Fprintf(s.stderr, "%s has no zone, or happened twice. Which one?\n  1  %s\n  2  %s\n[1/2] ", v, zone.Candidates[0], zone.Candidates[1])
	answer, readErr := s.readWord()
	if readErr != nil {
		return t, readErr
	}
	if answer != "1" && answer != "2" {
		return t, ambiguous
	}
	return restore.ParseTo(zone.Candidates[answer[0]-'1'], s.program.now())
}

func (s *session) action() (restore.Action, error) {
	pause, shutdown := s.cli.Bool("pause"), s.cli.Bool("shutdown")
	switch {
	case pause && shutdown:
		return "", usagef("--pause and --shutdown exclude each other")
	case pause:
		return restore.ActionPause, nil
	case shutdown:
		return restore.ActionShutdown, nil
	}
	return restore.ActionPromote, nil
}

func (s *session) tablespaces() (map[string]string, error) {
	spaces := map[string]string{}
	for _, v := range s.cli.StringSlice("tablespace") {
		name, dir, ok := strings.Cut(v, "=")
		if !ok || name == "" || dir == "" {
			return nil, usagef("tablespace %q: want NAME=DIR", v)
		}
		if _, twice := spaces[name]; twice {
			return nil, usagef("tablespace %s is mapped twice", name)
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		spaces[name] = abs
	}
	return spaces, nil
}
