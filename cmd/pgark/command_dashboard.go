package main

import (
	"context"
	"errors"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/web"
)

// fleetLooks is how many clusters are looked at at a time.
const fleetLooks = 4

func dashboardCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "dashboard", Usage: "a page of all clusters whose repositories lie under a URL, read from the buckets alone",
		ArgsUsage: "[URL]",
		Description: "URL is a repository or a folder of repositories: s3://bucket, s3://bucket/prefix?region=…, file:///folder. Without one the clusters of the configuration are shown.\n" +
			"No server and no agent is asked, so that it works from any host that may read the buckets. It only reads, and ends with Ctrl-C.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT`; beyond this host only with --web-config", Value: "127.0.0.1:9868"},
			&cli.StringFlag{Name: "web-config", Usage: "TLS and passwords: a web configuration `FILE` as Prometheus' exporters take it", TakesFile: true},
		},
	}, atMostOne, showDashboard)
}

// showDashboard serves the page until a signal or --timeout ends it.
func showDashboard(s *session) error {
	members, err := s.fleet()
	if err != nil {
		return err
	}
	file := s.cli.String("web-config")
	listener, err := web.Listen(s.ctx, web.Options{Address: s.cli.String("listen"), ConfigFile: file, Logger: s.log})
	if err != nil {
		return err
	}
	guard := guardOf(listener.Address(), file)
	if guard.Closed != "" {
		_ = listener.Close() // nothing was answered
		return usagef("--listen %s: %s", s.cli.String("listen"), "the page would be open to everybody who reaches it: give --web-config, or listen on 127.0.0.1")
	}
	page := dashboard.New(s.dashboardOptions(guard, members))
	s.note("http://%s/", listener.Address())
	var looking sync.WaitGroup
	ctx, end := context.WithCancel(s.ctx)
	looking.Go(func() { page.Run(ctx) })
	err = listener.Serve(ctx, page.Handler())
	end()
	looking.Wait()
	if err == nil {
		return s.watchEnded()
	}
	return err
}

var errNoFleet = errors.New("no repository there, nor in the folders below")

// fleet returns the clusters that are shown.
func (s *session) fleet() ([]dashboard.Cluster, error) {
	place := s.argument()
	var c config.Config
	if place == "" {
		var err error
		if c, err = s.load(); err != nil {
			return nil, err
		}
	}
	turns := make(chan struct{}, fleetLooks)
	var shown []dashboard.Cluster
	add := func(name string, one config.Cluster, survey func(context.Context) (status.Report, error), restore string) {
		shown = append(shown, dashboard.Cluster{Name: name, Restore: restore, Survey: func(ctx context.Context) (status.Report, error) {
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
				return status.Report{}, context.Cause(ctx)
			}
			defer func() { <-turns }()
			r, err := survey(ctx)
			if err == nil {
				r.Cluster = name
				r.JudgeArchive(s.commands(c, one))
			}
			return r, err
		}})
	}
	o := agent.StoreOptions{Patience: surveyPatience, Bandwidth: s.bandwidth}
	for _, one := range c.Clusters {
		add(one.Name, one, func(ctx context.Context) (status.Report, error) { return agent.SurveyRepository(ctx, one, 0, o) }, s.restoreLine(c, one))
	}
	if place == "" {
		return shown, nil
	}
	members, more, err := agent.FindFleet(s.ctx, place, s.lookOptions())
	if err != nil {
		return nil, err
	}
	if len(members) == 0 {
		return nil, &codeError{code: exitNoRepository, cause: errNoFleet, fix: "pgark run makes a repository; name the folder above the repositories, at most four levels up"}
	}
	if more {
		s.note("there are more repositories than are shown: name a folder further down")
	}
	for _, m := range members {
		one := config.Cluster{Name: m.Name, Repo: config.Repo{URL: m.URL}, Required: config.Primary}
		restore := "pgark restore --repo " + quoteWord(m.URL)
		if m.SystemID != 0 {
			restore += " --system-id " + m.SystemID.String()
		}
		add(m.Name, one, func(ctx context.Context) (status.Report, error) {
			return agent.SurveyRepository(ctx, one, m.SystemID, o)
		}, restore)
	}
	return shown, nil
}
