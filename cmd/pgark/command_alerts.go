package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/metrics"
)

func alertsCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "alerts", Usage: "print alerting rules for Prometheus, with the clusters' names; connects to nothing",
		Description: "The rules take their thresholds from what the agents tell: the objectives, the schedules, the slot's limits. The names are for what nothing can tell any more:\n" +
			"a cluster whose agent is gone, or never came. deploy/prometheus/pgark.rules.yml is the same without names; where that is loaded, --absent prints what\n" +
			"it lacks, on the host of each agent. docs/ALERTS.md says what each alert means. With -o json the file is JSON, which Prometheus reads too.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "kubernetes", Usage: "print a PrometheusRule, for Prometheus's operator"},
			&cli.BoolFlag{Name: "absent", Usage: "print only the rules that need the clusters' names"},
		},
	}, noArguments, printAlerts)
}

// The names of what is printed: that of a group, and that of a manifest.
const (
	allRules    = "pgark"
	absentRules = "pgark-absent"
)

func printAlerts(s *session) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	clusters := c.Clusters
	if name := text(s.cli, "cluster"); name != "" {
		one, err := c.Select(name)
		if err != nil {
			return err
		}
		clusters = []config.Cluster{one}
	}
	var names []metrics.Cluster
	for _, one := range clusters {
		names = append(names, metrics.Cluster{Name: one.Name, Follows: one.Standby.Role == config.RoleFollow})
	}
	alerts, name := metrics.Alerts(names...), allRules
	if s.cli.Bool("absent") {
		alerts, name = slices.DeleteFunc(alerts, func(a metrics.Alert) bool { return a.Name != metrics.Absent }), absentRules
	}
	rules := metrics.Of(name, alerts)
	manifest := metrics.Manifest(name, rules)
	kubernetes := s.cli.Bool("kubernetes")
	switch {
	case s.json && kubernetes:
		return s.printJSON(manifest)
	case s.json:
		return s.printJSON(rules)
	case kubernetes:
		s.printf("%s", manifest.YAML())
	default:
		s.printf("%s", rules.YAML())
	}
	return nil
}
