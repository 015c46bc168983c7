package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/restore"
)

const asOfName = "as-of"

// asOfFlag is for commands that read: they see the repositories as they were at an instant.
func asOfFlag() cli.Flag {
	return &cli.StringFlag{Name: asOfName, Usage: "read the repositories as they were at this `TIME`, from the older versions in their buckets; nothing is written to them"}
}

// setAsOf reads --as-of, where the command has it.
func (s *session) setAsOf() error {
	if !s.cli.IsSet(asOfName) {
		return nil
	}
	t, err := s.timeTarget(asOfName, s.cli.String(asOfName))
	switch {
	case err != nil:
		return err
	case t.Kind != restore.TargetTime:
		return usagef("--as-of %s: want a time: without the flag the repositories are read as they are", s.cli.String(asOfName))
	}
	s.asOf = t.Time.Go().UTC()
	if s.asOf.After(s.program.now()) {
		return usagef("--as-of %s lies in the future", instant(s.asOf))
	}
	return nil
}

// pastError is an error of reading what a bucket still holds an earlier version of.
type pastError struct {
	error

	hint string
}

func (e *pastError) Unwrap() error { return e.error }

// hintPast adds to an error of reading how the repository is read as it was, where it holds earlier versions of the object that the error speaks of.
func (s *session) hintPast(c config.Cluster, err error) error {
	if err == nil || !s.asOf.IsZero() || s.ctx.Err() != nil {
		return err
	}
	p := agent.FindPast(s.ctx, c, err, s.lookOptions())
	var target *restore.TargetError
	switch {
	case p == nil && errors.As(err, &target) && len(target.Notes) > 0 && strings.HasPrefix(c.Repo.URL, "s3:"):
		return &pastError{err, "--as-of TIME reads the repository as it was before somebody put others over its objects; docs/runbooks/bucket-lost.md"}
	case p == nil:
		return err
	}
	flag := "--" + asOfName
	if !slices.ContainsFunc(s.cli.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), asOfName) }) {
		flag = "pgark list " + flag
	}
	return &pastError{err, pastHint(p, flag)}
}

// pastHint says what became of an object, how it is read all the same, by a flag or a command, and how it is brought back.
func pastHint(p *agent.Past, flag string) string {
	became, reads := "put over "+instant(p.Lost), "reads the repository as it was before"
	switch {
	case p.Deleted:
		became = "deleted " + instant(p.Lost)
	case p.Begun:
		became = "put over, " + instant(p.Lost) + " at the earliest: its upload began then"
		reads = "reads it in its first version, and hides no WAL that came since"
	}
	hint := fmt.Sprintf("%s was %s; %s keeps %s, the newest of %s\n%s '%s' %s",
		p.Key, became, p.Repository, count(p.Earlier, "earlier version"), instant(p.Newest), flag, instant(p.AsOf()), reads)
	if !p.Begun {
		hint += fmt.Sprintf("\npgark repo undelete --as-of '%s' brings it back", instant(p.AsOf()))
	}
	return hint + "; docs/runbooks/bucket-lost.md"
}

// asOfNote tells a person of what is done without because the past cannot be written to; "" without --as-of.
func (s *session) asOfNote(without string) string {
	if s.asOf.IsZero() {
		return ""
	}
	return "the repositories are read AS OF " + instant(s.asOf) + ": what was put or deleted since is not seen; nothing is written to them, " + without
}

// lossyNotes tells of repositories that cannot be read wholly as they were.
func lossyNotes(sources *agent.Sources) []string {
	var notes []string
	for _, name := range sources.Lossy() {
		notes = append(notes, name+": "+lossyText)
	}
	return notes
}

const lossyText = "versioning is or was suspended since then: what was put and deleted or put over meanwhile left no version, so that this may be older than what was there"
