package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v2"

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
			"SIGTERM stops it gracefully: what is received is uploaded first. SIGHUP has it read its configuration anew; one with a fault changes nothing.",
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
	s.export()
	clusters, err := s.archived(c)
	if err != nil {
		return err
	}
	var adopt wal.SystemID
	if v := s.cli.String("adopt"); v != "" {
		if adopt, err = wal.ParseSystemID(v); err != nil {
			return usagef("adopt %q: want a system identifier", v)
		}
	}
	s.memories = &memories{}
	site, err := s.openSite(c, clusters)
	if err != nil {
		return err
	}
	var bandwidth atomic.Pointer[agent.Bandwidth]
	bandwidth.Store(s.bandwidth)
	f := &fleet{
		read: s.readAgain, reloads: &agent.Reloads{}, logger: s.log, now: s.program.now,
		limit: func(c config.Config) { bandwidth.Store(agent.NewBandwidth(c.Limits)) },
		level: func(c config.Config) { s.setLevel(c.Log) }, explain: s.program.explain,
		crew: func(c config.Config, clusters []config.Cluster) { s.answerFor(site, c, clusters) },
	}
	site.tellReloads(f.reloads)
	f.run = func(ctx context.Context, c config.Config, cluster config.Cluster) error {
		o := agent.Options{Logger: s.log.With("cluster", cluster.Name), Bandwidth: bandwidth.Load(), Adopt: adopt, Vitals: site.vitals(cluster)}
		return s.runAgent(ctx, c, cluster, site, o)
	}
	defer context.AfterFunc(s.ctx, agent.TellStopping)()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	err = site.serveWhile(s.ctx, s.log, func() error { return f.sail(s.ctx, c, clusters, hangups) })
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
	words := append(append([]string{self}, command...), "--output", "json", "--quiet", "--progress", "json")
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

// runAgent archives one cluster, and tells who is to be told of it.
func (s *session) runAgent(ctx context.Context, whole config.Config, c config.Cluster, site *site, o agent.Options) error {
	var errDrill, errVerify, errPrune error
	o.Drill, errDrill = s.ownWords(whole, c, "drill", "run", "--from", c.Drill.From)
	o.Verify, errVerify = s.ownWords(whole, c, "verify", "--since", config.FormatDuration(c.Verify.Since))
	o.Prune, errPrune = s.ownWords(whole, c, "prune", "--yes", "--sparing")
	if err := errors.Join(errDrill, errVerify, errPrune); err != nil {
		return err
	}
	h, err := s.newHerald(whole, c, site, &o)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	o.Logger.InfoContext(ctx, "agent starts", "url", c.Repo.URL, "slot", c.Slot)
	if err := h.tellWhile(ctx, func() error { return agent.Run(ctx, c, o) }); err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	o.Logger.InfoContext(ctx, "agent stopped")
	return nil
}

// archived returns the clusters of a configuration that this process archives: one that the command line names, or all.
func (s *session) archived(c config.Config) ([]config.Cluster, error) {
	name := text(s.cli, "cluster")
	if name == "" && !s.cli.IsSet("slot") {
		return c.Clusters, nil
	}
	one, err := c.Select(name)
	if err != nil {
		return nil, err
	}
	if s.cli.IsSet("slot") {
		one.Slot = s.cli.String("slot")
	}
	return []config.Cluster{one}, nil
}

// readAgain reads the configuration as it was read at the start, and refuses what no agent could begin with.
func (s *session) readAgain() (config.Config, []config.Cluster, error) {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return c, nil, err
	}
	clusters, err := s.archived(c)
	for _, cluster := range clusters {
		err = errors.Join(err, agent.Validate(cluster))
	}
	return c, clusters, err
}
