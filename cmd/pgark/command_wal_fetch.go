package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

const fetchName = "pgark wal fetch"

// defaultAhead is how many segments wal fetch reads ahead: enough to keep replay busy over a link
// of some 10 ms, little enough to cost no more than 64 MB of disk at the default segment size.
const defaultAhead = 4

func walFetchCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:      "fetch",
		Usage:     "PostgreSQL's restore_command: put the WAL file %f at the path %p",
		ArgsUsage: "%f %p",
		Description: "restore_command = 'pgark wal fetch --config /etc/pgark/pgark.yml %f %p'\n" +
			"Exit code 0: the file is in place. 1: the repository was reached and proves that it holds no such file.\n" +
			"200: anything else, so that PostgreSQL stops and does not take a failure for the end of WAL; 1 where\n" +
			"standby.signal lies in the working directory, because a standby asks again.",
		Flags: []cli.Flag{
			systemFlag(), fromFlag(), asOfFlag(),
			&cli.StringSliceFlag{Name: "also", Usage: "another repository of the cluster, for what the first does not give: `NAME=URL`", Hidden: true},
			&cli.StringFlag{Name: "identity-file", Usage: "the private keys that open what is encrypted: `FILE`", Hidden: true, TakesFile: true},
			&cli.StringFlag{Name: "until", Usage: "serve no byte from this `LSN` on", Hidden: true},
			&cli.StringFlag{Name: "timeline", Usage: "the timeline that --until is on: `N`", Hidden: true},
			&cli.UintFlag{Name: "segment-size", Usage: "wal_segment_size in bytes, if it is known", Hidden: true},
			&cli.StringFlag{Name: "within", Usage: "replay may make no tablespace outside of `DIR`", Hidden: true},
			&cli.StringSliceFlag{Name: "replaces", Usage: "`DIR` was a tablespace's of the cluster that this one replaces", Hidden: true},
			&cli.IntFlag{Name: "ahead", Usage: "read `N` segments ahead", Value: defaultAhead},
		},
	}, arguments("%f, the file's name", "%p, the path to put it at"), walFetch)
}

// isPlumbing tells whether the command line is one of wal fetch, also when it has faults.
func isPlumbing(args []string) bool {
	i := slices.Index(args, "wal")
	return i > 0 && slices.Contains(args[i:], "fetch")
}

// guardPlumbing makes a panic in any goroutine, and what Go calls a fatal error, end the process by
// SIGABRT: Go's own exit code for both is 2, which PostgreSQL reads as "no such WAL file".
func guardPlumbing() { debug.SetTraceback("crash") }

// fetchCode turns the end of a wal fetch into its exit code. Only a file that is in place gives 0:
// not help, and not a command line that did something else.
func (p *program) fetchCode(err error) int {
	code := restore.ExitCode(p.fetched, err, inStandby())
	if err != nil {
		f := p.explain(err)
		f.Code = code // what PostgreSQL is told, whatever another command would say
		p.printFailure(f, outputFormat(err))
	}
	return code
}

// inStandby tells whether a standby asks: the server calls from its data directory.
func inStandby() bool {
	_, err := os.Stat("standby.signal")
	return err == nil
}

func walFetch(s *session) error {
	o := restore.FetchOptions{
		Ahead: s.cli.Int("ahead"), Standby: inStandby(), Within: s.cli.String("within"), Replaces: s.cli.StringSlice("replaces"),
	}
	if v := s.cli.String("until"); v != "" {
		var err error
		if o.Until, err = wal.ParseLSN(v); err != nil {
			return usagef("until %q: want an LSN like 16/B374D848", v)
		}
		if o.Timeline, err = parseTimeline(s.cli.String("timeline")); err != nil {
			return err
		}
	}
	if v := s.cli.Uint("segment-size"); v != 0 {
		if o.SegmentSize = wal.SegmentSize(v); uint(o.SegmentSize) != v || o.SegmentSize.Validate() != nil {
			return usagef("segment-size %d: want a power of two from 1 MiB to 1 GiB", v)
		}
	}
	if v := text(s.cli, "timeout"); v != "" {
		var err error
		if o.Timeout, err = config.ParseDuration(v); err != nil {
			return usagef("timeout %q: want a duration like 10m", v)
		}
	}
	c, err := s.clusterToRead("")
	if err != nil {
		return err
	}
	if v := s.cli.String("identity-file"); v != "" {
		c.Repo.Encryption = config.Encryption{IdentityFile: v}
	}
	for _, v := range s.cli.StringSlice("also") {
		name, url, _ := strings.Cut(v, "=")
		c.Copies = append(c.Copies, config.Copy{Name: name, URL: url})
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	var sources *agent.Sources
	defer func() {
		if sources != nil {
			s.warnSubstitutes(sources)
			_ = sources.Close() // only reads were made
		}
	}()
	open := func(ctx context.Context) (*repository.Cluster, error) {
		// The time limit of the whole call bounds the patience.
		r, opened, err := agent.OpenSources(ctx, c, agent.StoreOptions{Patience: agent.Forever, Logger: s.log, AsOf: s.asOf})
		if err != nil {
			return nil, err
		}
		sources = opened
		if id != 0 {
			return r.Cluster(id), nil
		}
		return agent.SelectCluster(ctx, r, id)
	}
	result, err := restore.Fetch(s.ctx, open, s.args[0], s.args[1], o)
	if errors.Is(err, repository.ErrNoRepository) {
		err = fmt.Errorf("%w: a restore_command is never told that this is the end of WAL", err)
	}
	s.program.fetched = result
	return err
}

// warnSubstitutes tells the server's log of objects that the first repository holds damaged or not at all.
func (s *session) warnSubstitutes(sources *agent.Sources) {
	list, _ := sources.Substitutes()
	for _, one := range list {
		for _, f := range one.Faults {
			s.log.WarnContext(s.ctx, "object is damaged or missing; another repository gave it",
				"key", string(one.Key), "repo", f.Source, "err", f.Err, "from", one.Source)
		}
	}
}
