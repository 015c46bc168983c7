package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

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
	which := fmt.Sprintf("write which one: --to '%s' or --to '%s'", zone.Candidates[0], zone.Candidates[1])
	if _, offset := s.program.now().Zone(); offset == 0 && !zone.Twice {
		which = fmt.Sprintf("this host's clock is in UTC: --to '%s'; or name the zone that is meant", zone.Candidates[0])
	}
	ambiguous := told(zone, which)
	if !s.mayAsk() {
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
