package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/web"
)

func configCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "config", Usage: "validate the configuration, show what is in force or may be set, or print alerts for it; try who is notified",
		Subcommands: []*cli.Command{
			p.command(&cli.Command{
				Name: "validate", Usage: "read file and environment and report every fault at once; connects to nothing",
			}, noArguments, validateConfig),
			p.command(&cli.Command{
				Name: "show", Usage: "show every setting in force, secrets left out",
			}, noArguments, showConfig),
			p.command(&cli.Command{
				Name: "schema", Usage: "print the JSON Schema of the file, for editors: pgark config schema > pgark.schema.json",
			}, noArguments, printSchema),
			p.command(&cli.Command{
				Name: "env", Usage: "print every variable of the environment, with its default",
			}, noArguments, printVariables),
			alertsCommand(p),
			p.command(&cli.Command{
				Name: "notify", Usage: "send a test message to each target of notify.to, and say what came of it; the heartbeat is left alone",
			}, noArguments, tryNotify),
		},
	})
}

func validateConfig(s *session) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	for _, cluster := range c.Clusters {
		if err := agent.Validate(cluster); err != nil {
			why := s.program.explain(err)
			return &codeError{code: exitUsage, cause: fmt.Errorf("cluster %s: %w", cluster.Name, err), why: why.Cause, fix: why.Fix}
		}
	}
	if err := web.Validate(c.HTTP.WebConfigFile); err != nil {
		return err
	}
	from := c.File
	if from == "" {
		from = "the environment"
	}
	if s.json {
		return s.printJSON(map[string]any{"valid": true, "file": c.File, "clusters": len(c.Clusters)})
	}
	s.printf("%s %s   %s\n", s.sign(agent.Good), from, count(len(c.Clusters), "cluster"))
	return nil
}

func showConfig(s *session) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	if s.json {
		document, hide := map[string]any{}, newRedactor(s.program.environment)
		for _, k := range config.GlobalKeys() {
			document[k.Path] = k.Value(c, config.Cluster{})
		}
		clusters := map[string]map[string]string{}
		for _, cluster := range c.Clusters {
			clusters[cluster.Name] = map[string]string{}
			for _, k := range config.ClusterKeys() {
				// before JSON puts backslashes into what is quoted
				clusters[cluster.Name][k.Path] = hide.redact(printable(k, c, cluster))
			}
		}
		document["clusters"] = clusters
		return s.printJSON(document)
	}
	var rows [][]string
	for _, k := range config.GlobalKeys() {
		rows = append(rows, []string{k.Path, k.Value(c, config.Cluster{})})
	}
	for _, cluster := range c.Clusters {
		for _, k := range config.ClusterKeys() {
			rows = append(rows, []string{"clusters." + cluster.Name + "." + k.Path, printable(k, c, cluster)})
		}
	}
	for _, row := range rows {
		s.printf("%s: %s\n", row[0], strings.TrimSpace(row[1]))
	}
	return nil
}

// printable is the value of a key as it may be printed.
func printable(k config.Key, c config.Config, cluster config.Cluster) string {
	v := k.Value(c, cluster)
	if k.Secret && v != "" {
		return redacted
	}
	return v
}
