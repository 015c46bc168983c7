package main

import (
	"errors"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
)

// followPort is only a part of the socket's name, that libpq takes if it is told no other.
const followPort = 5432

func standbyCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "standby", Usage: "a server that follows the archive, without a way to the primary",
		Subcommands: []*cli.Command{
			p.command(&cli.Command{
				Name:  "follow",
				Usage: "stream what comes to the archive to the standbys on this host",
				Description: "The standbys need in postgresql.conf:  primary_conninfo = 'host=/run/pgark'  and a restore_command for what lies further back.\n" +
					"It asks for no password: who may open the socket may read all WAL. Run it as the standby's own user.",
				Flags: []cli.Flag{
					systemFlag(), fromFlag(),
					&cli.StringFlag{Name: "socket-dir", Usage: "the socket's `FOLDER`, which primary_conninfo names as host", Value: "/run/pgark"},
					&cli.IntFlag{Name: "port", Usage: "port in the socket's name", Value: followPort},
					&cli.StringFlag{Name: "interval", Usage: "look for new WAL every `DURATION`; every second one where nothing comes", Value: "1s"},
				},
			}, noArguments, follow),
		},
	})
}

// follow serves WAL until it is told to stop.
func follow(s *session) error {
	interval, err := config.ParseDuration(s.cli.String("interval"))
	if err != nil || interval <= 0 {
		return usagef("interval %q: want a duration like 1s", s.cli.String("interval"))
	}
	file, err := s.loadWith("")
	if err != nil {
		return err
	}
	s.setLog(file.Log)
	c, err := s.clusterToRead("")
	if err != nil {
		return err
	}
	o := standby.Options{Interval: interval, Idle: 2 * interval, Logger: s.log}
	return s.withSources(c, func(cluster *repository.Cluster, _ *agent.Sources) error {
		follower, err := standby.NewFollower(s.ctx, cluster, o)
		if err != nil {
			return err
		}
		l, err := walsender.Listen(s.ctx, s.cli.String("socket-dir"), s.cli.Int("port"))
		if errors.Is(err, syscall.EADDRINUSE) {
			return &codeError{
				code: exitLocked, cause: err, why: "another follower serves the standbys here: one is enough for all on this host",
				fix: "leave it, or give this one a socket of its own: --socket-dir DIR",
			}
		}
		if err != nil {
			return err
		}
		state := follower.Status()
		s.log.InfoContext(s.ctx, "archive is followed", "timeline", state.Timeline.String(), "lsn", state.End.String(), "socket", l.Addr().String())
		server := walsender.New(follower, walsender.Options{Logger: s.log})
		group, ctx := errgroup.WithContext(s.ctx)
		group.Go(func() error {
			follower.Run(ctx)
			return nil
		})
		group.Go(func() error { return server.Serve(ctx, l) })
		err = group.Wait()
		if err == nil && s.program.interrupted() == syscall.SIGINT {
			return &codeError{code: exitCancelled}
		}
		return err
	})
}
