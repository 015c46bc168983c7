package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

// Options say what a drill restores and how it is checked. Place and Writer are needed; the zero value of all else is valid.
type Options struct {
	Place Place
	// Asked is Latest if it is empty. Time is the instant for AtTime, Window what is drawn from for Random, and Random draws; nil is a good source.
	Asked  Asked
	Time   restore.Target
	Window []Interval
	Random *rand.Rand
	// Repositories are the names of those that are restored from: one, or those that Sources reads as one, in their order.
	Repositories []string
	Sources      *repository.Sources
	// Notes are put into the report.
	Notes []string
	// Checks are the user's; Amcheck has tables and indexes checked where pg_amcheck is there.
	Checks     []Check
	Amcheck    Amcheck
	Objectives Objectives
	// Keep leaves the restored cluster behind, stopped.
	Keep         bool
	Host, Writer string
	// Planned is called before anything is fetched; nil: nobody.
	Planned func(repository.Drill, *restore.Plan)
	// Checking is called as checks begin, with their kind; nil: nobody.
	Checking func(kind string)
}

// Held is a drill that was held, whether it passed or not.
type Held struct {
	Report repository.Drill
	// Names are those of the relations of the restored cluster; nil if it did not open.
	Names *repository.Names
	// Failure is why it failed; nil if it passed or a check failed.
	Failure error
	// Kept is the folder of the sandbox that was left, with Options.Keep.
	Kept string
	// Restored says what the server proved; nil if it did not open.
	Restored *restore.Recovered
}

// Run holds a drill and returns what came of it. The error says that none could be held, and nothing of the archive: ctx has ended, the host has no room or
// no programs (*restore.SpaceError, *restore.BinariesError, *restore.RefusedError) or no private key (*repository.KeyError), or an instant that was asked for cannot be restored
// (*restore.TargetError). What the sandbox held is removed in any case, but for what Options.Keep keeps.
func Run(ctx context.Context, cluster *repository.Cluster, o Options) (held *Held, err error) {
	if o.Random == nil {
		o.Random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // nothing depends on its secrecy
	}
	d := &running{cluster: cluster, options: o}
	place := o.Place
	place.Recovering = d.recovering
	if d.sandbox, err = NewSandbox(ctx, place); err != nil {
		return nil, err
	}
	d.begin()
	defer func() {
		if err == nil && o.Keep && d.restored != nil {
			if err = d.sandbox.Keep(context.WithoutCancel(ctx)); err == nil {
				held.Kept = d.sandbox.Dir
			}
			return
		}
		if closed := d.sandbox.Close(ctx); closed != nil {
			err = errors.Join(err, closed)
		}
	}()
	phase, failure := d.run(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if failure != nil && notTheArchive(failure, o.Asked) {
		return nil, failure
	}
	conclude(&d.report)
	if failure != nil {
		d.report.Result, d.report.Phase, d.report.Failure = repository.DrillFailed, phase, repository.DrillText(failure.Error())
	}
	if d.restored == nil { // what is in it was not seen
		d.report.CoveredUntil, d.report.DataLoss = time.Time{}, nil
	}
	d.describeSources(ctx)
	judge(&d.report, o.Objectives)
	d.report.Ended = time.Now().UTC().Truncate(time.Millisecond)
	return &Held{Report: d.report, Names: d.names, Failure: failure, Restored: d.restored}, nil
}

// begin starts the clock: what others left is gone, and from here on all is needed for a restore.
func (d *running) begin() {
	d.began = time.Now()
	d.report = repository.Drill{
		ID: repository.NewDrillID(d.began), SystemID: d.cluster.SystemID(), Format: repository.Format,
		Started: d.began.UTC().Truncate(time.Millisecond), Host: repository.DrillText(d.options.Host), Writer: d.options.Writer,
		Repository: strings.Join(d.options.Repositories, "+"), Notes: slices.Clone(d.options.Notes),
		Target: repository.DrillTarget{Asked: string(d.options.Asked), Time: d.began.UTC().Truncate(time.Microsecond)},
	}
}

// notTheArchive reports whether a drill could not be held for a reason that says nothing of the archive.
func notTheArchive(err error, asked Asked) bool {
	var target *restore.TargetError
	if errors.As(err, &target) {
		return asked == AtTime
	}
	var key *repository.KeyError
	if errors.As(err, &key) { // that a key does not open it is what a drill is to find out; that there is none is the host's
		return key.NoKey()
	}
	var space *restore.SpaceError
	var binaries *restore.BinariesError
	var refused *restore.RefusedError
	return errors.As(err, &space) || errors.As(err, &binaries) || errors.As(err, &refused) || errors.Is(err, syscall.ENOSPC)
}

// running is one drill on its way.
type running struct {
	cluster  *repository.Cluster
	options  Options
	began    time.Time
	sandbox  *Sandbox
	report   repository.Drill
	plan     *restore.Plan
	restored *restore.Recovered
	names    *repository.Names
	reached  bool // recovery came to its stop
}

// run goes through the phases, and returns the one that failed and why.
func (d *running) run(ctx context.Context) (repository.DrillPhase, error) {
	for _, step := range []struct {
		phase repository.DrillPhase
		do    func(context.Context) error
	}{
		{repository.DrillPlan, d.makePlan}, {repository.DrillFetch, d.fetch}, {repository.DrillReplay, d.recover}, {repository.DrillVerify, d.verify},
	} {
		if err := step.do(ctx); err != nil {
			if step.phase == repository.DrillReplay && d.reached {
				return repository.DrillOpen, err
			}
			return step.phase, err
		}
	}
	return "", nil
}

// makePlan decides what is restored, and looks whether there is room for it.
func (d *running) makePlan(ctx context.Context) error {
	target := d.options.Time
	switch d.options.Asked {
	case Random:
		target = Draw(d.options.Window, d.options.Random)
	case AtTime:
	case Latest:
		target = restore.Target{}
	}
	if target.Kind == restore.TargetTime {
		d.report.Target.Time = target.Time.Go().UTC()
	} else {
		d.report.Target.Latest = true
	}
	inventory, err := restore.Survey(ctx, d.cluster)
	if err != nil {
		return err
	}
	plan, err := restore.Choose(ctx, d.cluster, inventory, target)
	if err != nil {
		return err
	}
	d.plan = plan
	d.describe(inventory.Beat)
	if err := d.sandbox.Look(ctx, d.cluster, plan); err != nil {
		return err
	}
	d.report.ServerVersion = d.sandbox.version
	d.report.Plan.Seconds = repository.InSeconds(time.Since(d.began))
	if d.options.Planned != nil {
		d.options.Planned(d.report, plan)
	}
	return nil
}

// describe writes the plan into the report.
func (d *running) describe(beat *repository.Beat) {
	p, r := d.plan, &d.report
	r.Backup, r.PGVersionNum, r.Timeline = p.Backup.ID, p.Backup.PGVersionNum, p.Timeline
	r.StartLSN, r.Until = p.Backup.StartLSN, p.Until
	r.Fetch.Stored = p.Backup.Stored
	r.Replay.Segments, r.Replay.Bytes = p.Segments, p.WAL
	if c := p.LastCommit; c != nil {
		r.LastCommit = &repository.DrillCommit{XID: c.XID, Time: c.Time.Go().UTC(), LSN: c.Start}
	}
	for _, note := range p.Notes {
		r.Notes = append(r.Notes, repository.DrillText(note))
	}
	r.CoveredUntil = coveredUntil(p, beat)
	loss := repository.InSeconds(max(0, r.Target.Time.Sub(r.CoveredUntil)))
	r.DataLoss = &loss
}

// describeSources writes into the report which repositories were read, and what did not come from the first.
func (d *running) describeSources(ctx context.Context) {
	if len(d.options.Repositories) < 2 {
		return
	}
	d.cluster.Forgive(ctx)
	d.report.Sources = d.options.Repositories
	d.report.NoteSubstitutes(d.options.Sources.Substitutes())
	for _, f := range d.options.Sources.Away() {
		d.report.Notes = append(d.report.Notes, repository.DrillText(f.Source+" was left out: "+f.Err.Error()))
	}
}

func (d *running) fetch(ctx context.Context) error {
	laid, err := d.sandbox.LayDown(ctx, d.cluster, d.plan)
	if err != nil {
		return err
	}
	f := &d.report.Fetch
	f.Seconds, f.Files, f.Bytes = repository.InSeconds(laid.Took), laid.Files, laid.Bytes
	for _, note := range laid.Notes {
		d.report.Notes = append(d.report.Notes, repository.DrillText(note))
	}
	return nil
}

// recovering passes on how far recovery is, and notes that it came to its stop.
func (d *running) recovering(p restore.Progress) {
	d.reached = d.reached || p.Phase == restore.PhaseOpening
	if d.options.Place.Recovering != nil {
		d.options.Place.Recovering(p)
	}
}

func (d *running) recover(ctx context.Context) error {
	got, err := d.sandbox.Recover(ctx, d.cluster, d.plan)
	if err != nil {
		return err
	}
	d.restored = got
	if !got.Server.Confined {
		d.report.Notes = append(d.report.Notes, "the restored server was not wholly held within its sandbox: that takes Landlock as of Linux 6.2")
	}
	for _, name := range got.Invalid {
		d.report.Notes = append(d.report.Notes, repository.DrillText(fmt.Sprintf("database %s is invalid: DROP DATABASE was at work on it at this instant", name)))
	}
	d.report.Replay.Seconds = repository.InSeconds(got.Replay)
	d.report.Open.Seconds = repository.InSeconds(got.Open)
	d.report.RTO = repository.InSeconds(time.Since(d.began))
	return nil
}

// verify checks what was restored: first what takes a running server, then its files.
func (d *running) verify(ctx context.Context) error {
	var err error
	if d.names, err = gatherNames(ctx, d.sandbox); err != nil {
		return fmt.Errorf("read the names of relations: %w", err)
	}
	if scope := d.options.Amcheck; scope == AmcheckAll || scope == AmcheckSample {
		var only []string
		if scope == AmcheckSample {
			only = sampled(d.names, d.options.Random)
		}
		if err := d.check(ctx, repository.CheckAmcheck, func(ctx context.Context) (repository.DrillCheck, error) {
			return d.sandbox.opened().amcheck(ctx, only)
		}); err != nil {
			return err
		}
	}
	for _, c := range d.options.Checks {
		if err := d.check(ctx, repository.CheckSQL, func(ctx context.Context) (repository.DrillCheck, error) {
			return d.sandbox.ask(ctx, c, d.names, d.report.Target.Time), nil
		}); err != nil {
			return err
		}
	}
	return d.check(ctx, repository.CheckPages, d.sandbox.checkPages)
}

// check makes one check and notes what it came to. The error says that it could not be made.
func (d *running) check(ctx context.Context, kind string, do func(context.Context) (repository.DrillCheck, error)) error {
	if d.options.Checking != nil {
		d.options.Checking(kind)
	}
	began := time.Now()
	c, err := do(ctx)
	if err != nil {
		return fmt.Errorf("check %s: %w", kind, err)
	}
	c.Kind, c.Seconds = kind, repository.InSeconds(time.Since(began))
	d.report.Checks = append(d.report.Checks, c)
	return nil
}
