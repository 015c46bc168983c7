package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/wal"
)

func runCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:      "run",
		Usage:     "the agent: stream WAL into the repository and take base backups on schedule",
		ArgsUsage: "[URL]",
		Description: "Zero configuration: PGHOST=/var/run/postgresql pgark run s3://bucket/prefix?region=eu-west-1\n" +
			"The role needs LOGIN REPLICATION and a replication line in pg_hba.conf; PostgreSQL needs no restart.\n" +
			"SIGTERM stops it gracefully: what is received is uploaded first.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "slot", Usage: "`NAME` of the replication slot; pgark by default"},
			&cli.StringFlag{Name: "adopt", Usage: "archive the cluster with this `SYSTEM-ID`, beside the other one that the repository keeps, as after pg_upgrade, or because it was restored and replaces its source; needed once"},
		},
	}, atMostOne, runAgents)
}

func runAgents(s *session) error {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return err
	}
	s.setLog(c.Log)
	clusters := c.Clusters
	if name := text(s.cli, "cluster"); name != "" || s.cli.IsSet("slot") {
		one, err := c.Select(name)
		if err != nil {
			return err
		}
		if s.cli.IsSet("slot") {
			one.Slot = s.cli.String("slot")
		}
		clusters = []config.Cluster{one}
	}
	var adopt wal.SystemID
	if v := s.cli.String("adopt"); v != "" {
		if adopt, err = wal.ParseSystemID(v); err != nil {
			return usagef("adopt %q: want a system identifier", v)
		}
	}
	site, err := s.openSite(c.HTTP)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(s.ctx)
	for _, cluster := range clusters {
		vitals := site.vitals(cluster)
		group.Go(func() error {
			logger := s.log
			if len(clusters) > 1 {
				logger = logger.With("cluster", cluster.Name)
			}
			drill, errDrill := s.ownWords(c, cluster, "drill", "run", "--from", cluster.Drill.From)
			verify, errVerify := s.ownWords(c, cluster, "verify", "--since", config.FormatDuration(cluster.Verify.Since))
			prune, errPrune := s.ownWords(c, cluster, "prune", "--yes", "--sparing")
			if err := errors.Join(errDrill, errVerify, errPrune); err != nil {
				return err
			}
			return runAgent(ctx, cluster, agent.Options{
				Logger: logger, Bandwidth: s.bandwidth, Adopt: adopt, Drill: drill, Verify: verify, Prune: prune, Vitals: vitals,
			})
		})
	}
	err = site.serveWhile(ctx, s.log, group.Wait)
	if errors.Is(context.Cause(s.ctx), context.Canceled) || s.program.interrupted() != nil {
		if err == nil && s.program.interrupted() == syscall.SIGINT {
			return &codeError{code: exitCancelled}
		}
	}
	return err
}

// ownWords is the command with which an agent holds a drill of its cluster, or verifies it: this program, with the configuration of this call.
func (s *session) ownWords(c config.Config, cluster config.Cluster, command ...string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	words := append(append([]string{self}, command...), "--output", "json", "--quiet")
	if c.File != "" {
		file, err := filepath.Abs(c.File)
		if err != nil {
			return nil, err
		}
		words = append(words, "--config", file)
		if len(c.Clusters) > 1 || text(s.cli, "cluster") != "" {
			words = append(words, "--cluster", cluster.Name)
		}
	}
	if s.argument() != "" || text(s.cli, "repo") != "" {
		words = append(words, "--repo", cluster.Repo.URL)
	}
	return words, nil
}

func runAgent(ctx context.Context, c config.Cluster, o agent.Options) error {
	o.Logger.LogAttrs(ctx, slog.LevelInfo, "agent starts", slog.String("repo", c.Repo.URL), slog.String("slot", c.Slot))
	if err := agent.Run(ctx, c, o); err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	o.Logger.InfoContext(ctx, "agent stopped")
	return nil
}
