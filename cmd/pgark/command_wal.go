package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

func walCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "wal", Usage: "archived WAL: serve it to PostgreSQL, list it, read it",
		Subcommands: []*cli.Command{
			walFetchCommand(p),
			p.command(&cli.Command{
				Name: "ls", Usage: "list the WAL objects", ArgsUsage: "[URL]",
				Flags: []cli.Flag{
					systemFlag(),
					&cli.StringFlag{Name: "timeline", Usage: "of this timeline only: `N`"},
					&cli.StringFlag{Name: "from", Usage: "from the segment of this `LSN` on"},
				},
			}, atMostOne, walList),
			p.command(&cli.Command{
				Name: "cat", Usage: "write the plain bytes of a segment or history file to standard output", ArgsUsage: "NAME",
				Flags: []cli.Flag{systemFlag(), fromFlag()},
			}, oneArgument("NAME, a WAL file's name such as 000000010000000000000007"), walCat),
		},
	})
}

// withCluster opens the repository and calls f with the cluster that the flags name.
func (s *session) withCluster(c config.Cluster, f func(*repository.Cluster) error) error {
	id, err := s.systemID()
	if err != nil {
		return err
	}
	r, store, err := agent.OpenRepository(s.ctx, c, s.lookOptions())
	if err != nil {
		return s.hintPast(c, err)
	}
	defer func() { _ = store.Close() }() // only reads were made
	cluster, err := agent.SelectCluster(s.ctx, r, id)
	if err != nil {
		return s.hintPast(c, err)
	}
	return f(cluster)
}

// withSources opens the repository and its copies for reading and calls f with the cluster that the flags name.
func (s *session) withSources(c config.Cluster, o agent.StoreOptions, f func(*repository.Cluster, *agent.Sources) error) error {
	id, err := s.systemID()
	if err != nil {
		return err
	}
	r, sources, err := agent.OpenSources(s.ctx, c, o)
	if err != nil {
		return s.hintPast(c, err)
	}
	defer func() { _ = sources.Close() }() // only reads were made
	cluster, err := agent.SelectCluster(s.ctx, r, id)
	if err != nil {
		return s.hintPast(c, err)
	}
	return s.hintPast(c, f(cluster, sources))
}

// walRow is one object of the archive.
type walRow struct {
	Timeline wal.TimelineID `json:"timeline"`
	Kind     string         `json:"kind"`
	Start    wal.LSN        `json:"start_lsn"`
	End      wal.LSN        `json:"end_lsn"`
	Stored   int64          `json:"stored_bytes"`
	Key      string         `json:"key"`
}

func walList(s *session) error {
	var only wal.TimelineID
	if v := s.cli.String("timeline"); v != "" {
		n, err := parseTimeline(v)
		if err != nil {
			return err
		}
		only = n
	}
	var from wal.LSN
	if v := s.cli.String("from"); v != "" {
		var err error
		if from, err = wal.ParseLSN(v); err != nil {
			return usagef("from %q: want an LSN like 16/B374D848", v)
		}
	}
	configured, err := s.clusterWith(s.argument())
	if err != nil {
		return err
	}
	return s.withCluster(configured, func(c *repository.Cluster) error {
		timelines, err := c.Timelines(s.ctx)
		if err != nil {
			return err
		}
		rows := []walRow{}
		for _, tli := range timelines {
			if only != 0 && tli != only {
				continue
			}
			for e, err := range c.ListWAL(s.ctx, tli, from) {
				if err != nil {
					return err
				}
				row := walRow{e.Timeline, e.Kind.String(), e.Range.Start, e.Range.End, e.Stored, string(e.Key)}
				if s.json {
					rows = append(rows, row)
					continue
				}
				s.printf("%-8s %4d  %17s  %17s  %10s  %s\n", row.Kind, uint32(row.Timeline), row.Start, row.End, size(row.Stored), row.Key)
			}
		}
		if s.json {
			return s.printJSON(rows)
		}
		return nil
	})
}

func parseTimeline(v string) (wal.TimelineID, error) {
	var n uint32
	if _, err := fmt.Sscanf(v, "%d", &n); err != nil || fmt.Sprint(n) != v || n == 0 {
		return 0, usagef("timeline %q: want a decimal number from 1", v)
	}
	return wal.TimelineID(n), nil
}

func walCat(s *session) error {
	name := s.args[0]
	configured, err := s.clusterFrom("")
	if err != nil {
		return err
	}
	return s.withCluster(configured, func(c *repository.Cluster) error {
		plain, err := readWALFile(s, c, name)
		if errors.Is(err, repository.ErrNoWAL) {
			return &codeError{code: exitNotRecoverable, cause: fmt.Errorf("%s: %w", name, err), fix: "pgark wal ls lists what is there"}
		}
		if err != nil {
			return err
		}
		// Raw bytes: nothing may be taken for a secret in them.
		_, err = s.program.stdout.Write(plain)
		return err
	})
}

func readWALFile(s *session, c *repository.Cluster, name string) ([]byte, error) {
	if tli, err := wal.ParseHistoryFileName(name); err == nil {
		_, raw, err := c.History(s.ctx, tli)
		return raw, err
	}
	segmentSize, err := c.SegmentSize(s.ctx)
	if err != nil {
		return nil, err
	}
	segment, err := segmentSize.ParseFileName(name)
	if err != nil {
		return nil, usagef("%q is no WAL file's name: %v", name, err)
	}
	return c.ReadSegment(s.ctx, segmentSize, segment)
}
