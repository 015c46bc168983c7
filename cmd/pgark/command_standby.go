package main

import (
	"errors"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

func standbyCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "standby", Usage: "a server that follows the archive, without a way to the primary",
		Subcommands: []*cli.Command{
			standbyCreateCommand(p), standbyStatusCommand(p),
			p.command(&cli.Command{
				Name:  "follow",
				Usage: "stream what comes to the archive to the standbys on this host",
				Description: "The standbys need in postgresql.conf:  primary_conninfo = 'host=/run/pgark'  and a restore_command for what lies further back.\n" +
					"It asks for no password: who may open the socket may read all WAL. Run it as the standby's own user.",
				Flags: []cli.Flag{
					systemFlag(), fromFlag(),
					socketDirFlag(),
					&cli.IntFlag{Name: "port", Usage: "port in the socket's name", Value: agent.FollowPort},
					&cli.StringFlag{Name: "interval", Usage: "look for new WAL every `DURATION`; every second one where nothing comes", Value: "1s"},
				},
			}, noArguments, follow),
			promoteCommand(p),
			fenceCommand(p),
		},
	})
}

// clusterToFollow is clusterToRead with the repository that standby.from chooses, where the command line chooses none.
func (s *session) clusterToFollow() (config.Cluster, error) {
	c, err := s.clusterToRead("")
	if err != nil || c.Standby.From == "" || s.cli.String("from") != "" || text(s.cli, "repo") != "" {
		return c, err
	}
	return c.From(c.Standby.From)
}

// socketDir is the folder of the follower's socket.
func (s *session) socketDir(c config.Cluster) string {
	if dir := s.cli.String("socket-dir"); dir != "" {
		return dir
	}
	return c.Standby.SocketDir
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
	c, err := s.clusterToFollow()
	if err != nil {
		return err
	}
	return s.withSources(c, s.storeOptions(), func(cluster *repository.Cluster, _ *agent.Sources) error {
		err := agent.Follow(s.ctx, cluster, agent.FollowOptions{
			SocketDir: s.socketDir(c), Port: s.cli.Int("port"), Interval: interval, Logger: s.log,
		})
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return &codeError{
				code: exitLocked, cause: err, why: "another follower serves the standbys here: one is enough for all on this host",
				fix: "leave it, or give this one a socket of its own: --socket-dir DIR",
			}
		case err == nil && s.program.interrupted() == syscall.SIGINT:
			return &codeError{code: exitCancelled}
		}
		return err
	})
}
