package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

func restoreCommand(p *program) *cli.Command {
	hidden := func(name, of string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: "the same as --" + of, Hidden: true}
	}
	return p.command(&cli.Command{
		Name:      "restore",
		Usage:     "bring the cluster of any instant back, into a new data directory",
		ArgsUsage: "[URL]",
		Description: "TIME is 2026-11-20T10:31:00Z, '2026-11-20 10:31 Europe/Paris', '10m ago', 'today 09:30Z' or latest.\n" +
			"A plan is printed and nothing is written before you agree. The restored cluster does not archive;\n" +
			"with --start it listens on a socket only, is promoted at the target, and proves where it stopped.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "to this `TIME`, or latest", Value: "latest"},
			&cli.StringFlag{Name: "to-lsn", Usage: "to this `LSN`"},
			&cli.StringFlag{Name: "to-xid", Usage: "to the end of this transaction: `XID`"},
			&cli.StringFlag{Name: "to-name", Usage: "to the restore point of this `NAME`"},
			&cli.StringFlag{Name: "to-backup", Usage: "to the end of this base backup: `ID`"},
			&cli.BoolFlag{Name: "before", Usage: "stop before the target instead of after it"},
			&cli.StringFlag{Name: "timeline", Usage: "along current, latest or the timeline with this number: `TIMELINE`"},
			&cli.StringFlag{Name: "into", Usage: "new data directory: `DIR`; it must not exist, or be empty", TakesFile: true},
			&cli.StringSliceFlag{Name: "tablespace", Usage: "put the tablespace with this OID, or that lay there, into a new folder: `NAME=DIR`"},
			&cli.BoolFlag{Name: "start", Usage: "start the server, recover, and prove where it stopped"},
			&cli.IntFlag{Name: "port", Usage: "port in the name of the started server's socket: `N`", Value: 5433},
			&cli.BoolFlag{Name: "pause", Usage: "pause at the target instead of promoting"},
			&cli.BoolFlag{Name: "shutdown", Usage: "shut down at the target instead of promoting"},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` requests at once; four for each processor"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and stop"},
			&cli.StringFlag{Name: "bin-dir", Usage: "PostgreSQL's programs of the same major: `DIR`", TakesFile: true},
			&cli.StringFlag{Name: "owner", Usage: "as root: `USER` who is to own the cluster and run the server", Value: "postgres"},
			systemFlag(),
			hidden("target-time", "to"), hidden("target-lsn", "to-lsn"), hidden("target-xid", "to-xid"),
			hidden("target-name", "to-name"), hidden("target-timeline", "timeline"),
		},
	}, atMostOne, restoreCluster)
}

// restoring is one restore on its way.
type restoring struct {
	*session

	cluster *repository.Cluster
	plan    *restore.Plan
	command string // restore_command
	into    string
	action  restore.Action
	owner   *restore.Owner
	meter   *meter
}

func restoreCluster(s *session) error {
	target, err := s.target()
	if err != nil {
		return err
	}
	r := &restoring{session: s, into: s.cli.String("into"), meter: s.newMeter()}
	if r.into == "" && !s.cli.Bool("dry-run") {
		return usagef("--into DIR is missing: the new data directory")
	}
	if r.action, err = s.action(); err != nil {
		return err
	}
	if r.owner, err = s.owner(); err != nil {
		return err
	}
	spaces, err := s.tablespaces()
	if err != nil {
		return err
	}
	return s.withCluster(s.argument(), func(c *repository.Cluster) error {
		r.cluster = c
		return r.run(target, spaces)
	})
}

func (r *restoring) run(target restore.Target, spaces map[string]string) error {
	if err := r.makePlan(target); err != nil {
		return err
	}
	binaries := ""
	if r.cli.Bool("start") {
		var err error
		// Before a byte is written: a cluster that cannot be started here need not be laid down here.
		if binaries, err = restore.FindBinaries(r.ctx, r.plan.Backup.PGVersionNum/10000, r.cli.String("bin-dir")); err != nil {
			return err
		}
	}
	if !r.json {
		r.printPlan(binaries)
	}
	if err := r.plan.SpaceNeeded(); err != nil {
		return err
	}
	if r.cli.Bool("dry-run") {
		if r.json {
			return r.printJSON(map[string]any{"plan": r.planJSON()})
		}
		return nil
	}
	if r.program.isTerminal(r.program.stdin) && !r.json {
		yes, err := r.ask("Proceed?")
		if err != nil {
			return err
		}
		if !yes {
			r.note("nothing was written")
			return &codeError{code: exitRefused}
		}
	}
	var err error
	if r.command, err = r.restoreCommand(); err != nil {
		return err
	}
	return r.act(spaces)
}

func (r *restoring) makePlan(target restore.Target) error {
	inventory, err := restore.Survey(r.ctx, r.cluster)
	if err != nil {
		return err
	}
	if r.into != "" {
		// What cannot be asked is not known; LayDown looks again where it writes.
		if free, _, err := restore.Free(existing(r.into)); err == nil {
			inventory.Free = free
		}
	}
	r.plan, err = restore.Resolve(r.ctx, r.cluster, inventory, target)
	return err
}

// existing returns the nearest folder above a path that exists.
func existing(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for abs != "/" {
		if _, err := os.Stat(abs); err == nil {
			break
		}
		abs = filepath.Dir(abs)
	}
	return abs
}

// act lays the cluster down and, with --start, has it recover.
func (r *restoring) act(spaces map[string]string) error {
	began := time.Now()
	laid, err := restore.LayDown(r.ctx, r.cluster, r.plan, restore.LayOptions{
		Dir: r.into, Tablespaces: spaces, RestoreCommand: r.command, Action: r.action, Jobs: r.cli.Int("jobs"), Owner: r.owner,
		Progress: func(done, total int64) {
			r.meter.show(progress{phase: "fetch", done: done, total: total})
		},
	})
	r.meter.end()
	if err != nil {
		return err
	}
	if !r.cli.Bool("start") {
		return r.printLaid(laid)
	}
	recovered, err := restore.Recover(r.ctx, r.cluster, r.plan, laid.Dir, restore.RecoverOptions{
		BinDir: r.cli.String("bin-dir"), Port: r.cli.Int("port"), Action: r.action, Owner: r.owner,
		Progress: func(p restore.Progress) { r.showRecovery(p) },
	})
	r.meter.end()
	if err != nil {
		return &codeError{code: r.program.explain(err).Code, cause: err, fix: r.program.explain(err).Fix, why: "the files are laid down in " + laid.Dir + "; recovery did not get to its end"}
	}
	return r.printRecovered(laid, recovered, time.Since(began))
}

func (r *restoring) showRecovery(p restore.Progress) {
	left := ""
	if p.Left > 0 {
		left = "   eta " + elapsed(p.Left)
	}
	switch p.Phase {
	case restore.PhaseReplaying:
		r.meter.show(progress{phase: "replay", text: fmt.Sprintf("%s of %s%s", p.LSN, p.Stop, left), done: int64(p.LSN), total: int64(p.Stop)})
	case restore.PhaseOpening:
		r.meter.show(progress{phase: "open", text: "the target is reached"})
	case restore.PhaseStarting:
		r.meter.show(progress{phase: "start", text: "the server starts"})
	}
}

// restoreCommand is what the restored server runs for each WAL file.
func (r *restoring) restoreCommand() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	words := []string{self, "wal", "fetch"}
	c, err := r.loadWith(r.argument())
	if err != nil {
		return "", err
	}
	cluster, err := c.Select(text(r.cli, "cluster"))
	if err != nil {
		return "", err
	}
	if c.File != "" {
		file, err := filepath.Abs(c.File)
		if err != nil {
			return "", err
		}
		words = append(words, "--config", file, "--cluster", cluster.Name)
	}
	o := r.plan.FetchOptions()
	words = append(words, "--repo", cluster.Repo.URL, "--system-id", r.cluster.SystemID().String(),
		"--until", o.Until.String(), "--timeline", fmt.Sprint(uint32(o.Timeline)), "--segment-size", fmt.Sprint(uint32(o.SegmentSize)),
		"--ahead", fmt.Sprint(o.Ahead))
	for i, word := range words {
		// The server replaces % itself; the shell takes the rest as it is within quotes.
		words[i] = quoteWord(strings.ReplaceAll(word, "%", "%%"))
	}
	return strings.Join(append(words, "%f", `"%p"`), " "), nil
}

func quoteWord(word string) string {
	plain := strings.IndexFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:,", r)
	}) < 0
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// target reads the flags that say where recovery stops.
func (s *session) target() (restore.Target, error) {
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
	if v, ok := value("to", "target-time"); ok {
		add(s.timeTarget(v))
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
	var zone *restore.ZoneError
	switch {
	case errors.As(err, &zone):
		return restore.Target{}, zone
	case err != nil:
		return restore.Target{}, usagef("%w", err)
	case len(targets) > 1:
		return restore.Target{}, usagef("more than one target: give one of --to, --to-lsn, --to-xid, --to-name, --to-backup")
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

// timeTarget reads --to. A time without a zone is never guessed: a person is asked, a script is told.
func (s *session) timeTarget(v string) (restore.Target, error) {
	t, err := restore.ParseTo(v, s.program.now())
	var zone *restore.ZoneError
	if !errors.As(err, &zone) || s.yes || s.json || !s.program.isTerminal(s.program.stdin) || s.program.variable("PGARK_NO_INPUT") != "" {
		return t, err
	}
	_, _ = fmt.Fprintf(s.stderr, "%s has no zone, or happened twice. Which one?\n  1  %s\n  2  %s\n[1/2] ", v, zone.Candidates[0], zone.Candidates[1])
	answer, readErr := s.readWord()
	if readErr != nil {
		return t, readErr
	}
	if answer != "1" && answer != "2" {
		return t, err
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
