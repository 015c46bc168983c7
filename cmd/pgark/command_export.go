package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

func exportCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "export", Usage: "dump a database, or tables of it, as they were at an instant",
		ArgsUsage: "[URL] [-- PG_DUMP-OPTION…]",
		Description: "The cluster of that instant is restored into a sandbox, as a drill does it, dumped with pg_dump of its major, and removed again.\n" +
			"What stands behind -- is given to pg_dump: pgark export --at '10m ago' --database shop --table orders -- --format=custom\n" +
			"The file is there only when it is whole. The archived server is not touched.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "at", Aliases: []string{"to"}, Usage: "as of this `TIME`, or latest", Value: string(drill.Latest)},
			&cli.StringFlag{Name: "to-lsn", Usage: "as of this `LSN`"},
			&cli.StringFlag{Name: "to-xid", Usage: "as of the end of this transaction: `XID`"},
			&cli.StringFlag{Name: "to-name", Usage: "as of the restore point of this `NAME`"},
			&cli.StringFlag{Name: "to-backup", Usage: "as of the end of this base backup: `ID`"},
			&cli.BoolFlag{Name: "before", Usage: "as of just before it: with a time, LSN or XID"},
			&cli.StringFlag{Name: "timeline", Usage: "along current, latest or the timeline with this number: `TIMELINE`"},
			&cli.StringFlag{Name: "database", Aliases: []string{"d"}, Usage: "dump this database: `NAME`"},
			&cli.StringSliceFlag{Name: "table", Aliases: []string{"t"}, Usage: "only tables that match this `PATTERN` of pg_dump; may be repeated"},
			&cli.StringFlag{Name: "into", Usage: "write this `FILE`, which must not exist; DATABASE-TIME.sql here, or .dump where --format is given", TakesFile: true},
			&cli.StringFlag{Name: "dir", Usage: "make the sandbox below this `DIR`; drill.dir by default", TakesFile: true},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` requests at once; four for each processor"},
			&cli.StringFlag{Name: "bin-dir", Usage: "PostgreSQL's programs of the same major: `DIR`", TakesFile: true},
			&cli.StringFlag{Name: "owner", Usage: "as root: `USER` who is to run the server", Value: "postgres"},
			systemFlag(), fromFlag(), asOfFlag(),
		},
	}, func(args []string) error {
		before, _ := p.splitArguments(args)
		return atMostOne(before)
	}, export)
}

// splitArguments returns the arguments before and behind "--". The flag package leaves that word out where no argument stands before it.
func (p *program) splitArguments(args []string) (before, behind []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:]
	}
	if i := slices.Index(p.args, "--"); i >= 0 {
		if tail := p.args[i+1:]; len(tail) <= len(args) && slices.Equal(args[len(args)-len(tail):], tail) {
			return args[:len(args)-len(tail)], tail
		}
	}
	return args, nil
}

func export(s *session) error {
	o := drill.ExportOptions{Database: s.cli.String("database"), Tables: s.cli.StringSlice("table")}
	s.args, o.Arguments = s.program.splitArguments(s.args)
	if o.Database == "" {
		u := usagef("--database NAME is missing: what is to be dumped")
		u.fix = "pgark export --at '10m ago' --database NAME"
		return u
	}
	if err := s.checkJobs(); err != nil {
		return err
	}
	if err := drill.CheckArguments(o.Arguments); err != nil {
		u := usagef("option for pg_dump: %w", err)
		u.fix = "leave it out; behind -- stand options that say what is dumped, and how"
		return u
	}
	var err error
	if o.Target, err = s.target("at"); err != nil {
		return err
	}
	r := &restoring{session: s}
	if r.configured, err = s.clusterToRead(s.argument()); err != nil {
		return err
	}
	dir, err := s.sandboxDir(r.configured.Drill.Dir)
	if err != nil {
		return err
	}
	if r.owner, err = s.owner(); err != nil {
		return err
	}
	o.Place, o.Into = r.place(dir), s.dumpName(o)
	return agent.Hold(s.ctx, r.configured, "export", s.storeOptions(), func(h *agent.Holding) error {
		return s.withSources(r.configured, s.storeOptions(), func(c *repository.Cluster, sources *agent.Sources) error {
			r.cluster, r.sources, r.holding = c, sources, h
			return r.export(o)
		})
	})
}

// dumpName is the file that --into names, or one named for what it holds.
func (s *session) dumpName(o drill.ExportOptions) string {
	if into := s.cli.String("into"); into != "" {
		return into
	}
	at := s.program.now()
	if o.Target.Kind == restore.TargetTime {
		at = o.Target.Time.Go()
	}
	suffix := ".sql"
	if slices.ContainsFunc(o.Arguments, func(a string) bool { return strings.HasPrefix(a, "-F") || strings.HasPrefix(a, "--format") }) {
		suffix = ".dump"
	}
	return strings.ReplaceAll(o.Database, "/", "_") + "-" + at.UTC().Format("20060102T150405Z") + suffix
}

// export carries an export out and prints what came of it.
func (r *restoring) export(o drill.ExportOptions) error {
	r.meter = r.newMeter()
	defer r.meter.end()
	o.Planned = func(plan *restore.Plan) {
		r.plan = plan
		for _, note := range r.holds(plan) {
			r.note("%s", note)
		}
		r.meter.show(progress{phase: "fetch", total: plan.Backup.Plain})
	}
	o.Dumping = func() { r.meter.show(progress{phase: "dump", text: "pg_dump writes " + filepath.Base(o.Into)}) }
	done, err := drill.Export(r.ctx, r.cluster, o)
	r.away = r.sources.Away()
	r.meter.end()
	if err != nil {
		r.noteSubstitutes()
		return explainExport(err)
	}
	if r.json {
		return r.printJSON(r.exportJSON(o, done))
	}
	r.printf("Wrote %s, %s, in %s.\n", done.File, size(done.Bytes), elapsed(done.Took))
	r.fields("holds", exportedWhat(o), "as of "+exportedWhen(o, done))
	if c := done.Plan.LastCommit; c != nil {
		r.fields("", "last commit in it "+moment(c.Time.Go()), fmt.Sprintf("xid %d", uint32(c.XID)))
	}
	if note := r.asOfNote("no hold among it"); note != "" {
		r.wrapped("note", note)
	}
	for _, note := range lossyNotes(r.sources) {
		r.wrapped("note", note)
	}
	r.printSubstitutes(r.substitutes())
	for _, f := range r.away {
		r.wrapped("note", f.Source+" was left out: "+f.Err.Error())
	}
	for warning := range strings.Lines(done.Warnings) {
		r.wrapped("note", warning)
	}
	return nil
}

func exportedWhat(o drill.ExportOptions) string {
	what := "database " + o.Database
	if len(o.Tables) > 0 {
		what += ", " + strings.Join(o.Tables, ", ")
	}
	return what
}

func exportedWhen(o drill.ExportOptions, done *drill.Exported) string {
	switch {
	case o.Target.Kind == restore.TargetLatest:
		return "the end of the archive, " + done.Plan.Until.String()
	case o.Target.Kind == restore.TargetTime && !o.Target.Exclusive:
		return moment(o.Target.Time.Go())
	}
	return o.Target.String()
}

// exportJSON is what scripts get. docs/JSON.md describes it.
func (r *restoring) exportJSON(o drill.ExportOptions, done *drill.Exported) map[string]any {
	document := map[string]any{
		"file": done.File, "bytes": done.Bytes, "seconds": done.Took.Seconds(), "database": o.Database, "tables": listJSON(o.Tables),
		"target": o.Target.String(), "backup": done.Plan.Backup.ID, "last_transaction": commitJSON(done.Plan.LastCommit), "warnings": done.Warnings,
		"sources": r.sourcesJSON(), "substitutes": r.substitutesJSON(),
	}
	if !r.asOf.IsZero() {
		document["as_of"] = exact(r.asOf)
	}
	return document
}

// explainExport adds to an error what mends it, where the rooms' own words do not say it.
func explainExport(err error) error {
	var dump *drill.DumpError
	if program, missing := drill.MissingProgram(err); missing {
		return &codeError{code: exitUsage, cause: errors.New(program + " is not there"), fix: "install PostgreSQL's client programs of that major, or name their folder with --bin-dir"}
	}
	if errors.As(err, &dump) {
		return &codeError{code: exitFailed, cause: err, fix: "no file was written; check --database, --table and what stands behind --"}
	}
	return err
}
