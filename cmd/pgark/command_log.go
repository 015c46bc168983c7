package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

const (
	dropsWithin  = time.Hour       // how far --drops looks by itself: they are rare
	quietReading = 2 * time.Second // how long reading may take before progress is shown
)

func logCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:      "log",
		Usage:     "commits, dropped relations and restore points near a time, from the archived WAL",
		ArgsUsage: "[URL]",
		Description: "TIME is 2026-11-20T10:31:00Z, '2026-11-20 10:31 Europe/Paris', '10m ago', 'today 09:30Z' or latest.\n" +
			"To find the moment of a mistake: pgark log --drops --around TIME. Below each removal stands the command that\n" +
			"restores to just before it. The order is that of the WAL, as recovery would apply it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "around", Usage: "near this `TIME`, or latest: the end of the archive", Value: "latest"},
			&cli.StringFlag{Name: "within", Usage: "as far around it as `DURATION`; 15m, with --drops 1h"},
			&cli.BoolFlag{Name: "drops", Usage: "only transactions that removed relations: DROP, TRUNCATE, rewrites"},
			&cli.StringFlag{Name: "xid", Usage: "only this transaction, or the one it is part of; without --around wherever it is: `XID`"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` on each side of the time, the nearest; 0 is all", Value: 20},
			&cli.StringFlag{Name: "timeline", Usage: "along current, latest or the timeline with this number: `TIMELINE`"},
			systemFlag(), fromFlag(), asOfFlag(),
		},
	}, atMostOne, showLog)
}

func showLog(s *session) error {
	q, err := s.logQuery()
	if err != nil {
		return err
	}
	timeline, err := restore.ParseTimeline(s.cli.String("timeline"))
	if err != nil {
		return usagef("%w", err)
	}
	configured, err := s.clusterToRead(s.argument())
	if err != nil {
		return err
	}
	return s.withSources(configured, s.lookOptions(), func(c *repository.Cluster, sources *agent.Sources) error {
		if q.Timeline, err = s.logTimeline(c, timeline); err != nil {
			return err
		}
		log, err := s.readLog(c, q)
		if err != nil {
			return err
		}
		if note := s.asOfNote("which looking never does"); note != "" {
			log.Notes = append(log.Notes, note)
		}
		log.Notes = append(log.Notes, lossyNotes(sources)...)
		for _, f := range sources.Away() {
			log.Notes = append(log.Notes, fmt.Sprintf("%s IS LEFT OUT: %v; what it alone holds, perhaps the newest WAL, is not in this log", f.Source, f.Err))
		}
		if list, all := sources.Substitutes(); all > 0 {
			log.Notes = append(log.Notes, fmt.Sprintf("%s damaged or missing in one repository, given by another; the first: %s from %s; %s. pgark verify finds all",
				count(all, "object"), list[0].Key, list[0].Source, list[0].Reason()))
		}
		v := logView{session: s, log: log, query: q, configured: configured}
		return v.print()
	})
}

// logQuery reads the flags.
func (s *session) logQuery() (commitlog.Query, error) {
	q := commitlog.Query{Drops: s.cli.Bool("drops"), Limit: s.cli.Int("limit")}
	if q.Limit < 0 {
		return q, usagef("--limit %d: want 0, which is all, or more", q.Limit)
	}
	if v := s.cli.String("xid"); s.cli.IsSet("xid") {
		var err error
		if q.XID, err = restore.ParseXID(v); err != nil {
			return q, usagef("%w", err)
		}
	}
	if q.Drops {
		q.Within = dropsWithin
	}
	if v := s.cli.String("within"); s.cli.IsSet("within") {
		var err error
		if q.Within, err = config.ParseDuration(v); err != nil || q.Within <= 0 {
			return q, usagef("--within %q: want a duration like 10m, 6h or 2d", v)
		}
		if q.XID != 0 && !s.cli.IsSet("around") {
			return q, usagef("--within needs --around: --xid alone looks everywhere")
		}
	}
	t, err := s.timeTarget("around", s.cli.String("around"))
	q.Around = t.Time
	return q, err
}

// logTimeline returns the timeline whose history is followed, 0 for the newest.
func (s *session) logTimeline(c *repository.Cluster, choice restore.TimelineChoice) (wal.TimelineID, error) {
	if choice.Rule != restore.TimelineCurrent {
		return choice.ID, nil
	}
	backups, err := c.Backups(s.ctx)
	if err != nil && (len(backups) == 0 || !repository.OnlyUnreadable(err)) {
		return 0, err
	}
	var newest repository.Backup
	for _, b := range backups {
		if newest.ID == "" || b.Stopped.After(newest.Stopped) {
			newest = b
		}
	}
	if newest.ID == "" {
		return 0, &codeError{code: exitNotRecoverable, cause: repository.ErrNoBackup, fix: "--timeline current is that of the newest base backup; give a number, or leave it out"}
	}
	return newest.Timeline, nil
}

// readLog answers the query, and shows how far it is where that takes a while.
func (s *session) readLog(c *repository.Cluster, q commitlog.Query) (*commitlog.Log, error) {
	m := s.newMeter()
	defer m.end()
	began := s.program.now()
	q.Progress = func(done, total int64) {
		if s.program.now().Sub(began) > quietReading {
			m.show(progress{phase: "read", done: done, total: total})
		}
	}
	log, err := commitlog.Read(s.ctx, c, q)
	if errors.Is(err, repository.ErrNoWAL) {
		return nil, &codeError{code: exitNotRecoverable, cause: err, fix: "pgark list shows what the archive holds, and pgark wal ls the WAL"}
	}
	if err != nil {
		return nil, err
	}
	if q.XID != 0 && q.Around == 0 && log.Applied == 0 {
		why := "it was never archived, is still in progress, or wrote nothing"
		if len(log.Entries) > 0 {
			why = fmt.Sprintf("WAL is missing or damaged at %s, and it may lie there", log.Entries[0].Range)
		}
		return nil, &codeError{
			code: exitNotRecoverable, cause: fmt.Errorf("no end of transaction %d along timeline %d", uint32(q.XID), uint32(log.Timeline)), why: why,
			fix: "pgark log --around TIME shows what is there; another history: --timeline N",
		}
	}
	return log, nil
}
