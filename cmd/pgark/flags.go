package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// commonFlags are declared on the app and on every command, so that they may stand on either side
// of the command's name. Only the app's copy reads the environment: a command's copy that is not
// given must not hide the app's that is.
func commonFlags() []cli.Flag { return flagsReading(func(string) []string { return nil }) }

// appFlags are the app's copy of the common flags.
func appFlags() []cli.Flag { return flagsReading(func(name string) []string { return []string{name} }) }

func flagsReading(env func(name string) []string) []cli.Flag {
	const category = "Common"
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read settings from `FILE`; /etc/pgark/pgark.yml if it exists", EnvVars: env("PGARK_CONFIG"), Category: category, TakesFile: true},
		&cli.StringFlag{Name: "cluster", Usage: "`NAME` in the file, where it has several", EnvVars: env("PGARK_CLUSTER"), Category: category},
		&cli.StringFlag{Name: "repo", Usage: "repository `URL`: s3://bucket/prefix?region=… or file:///path", Category: category},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "text, json or yaml", Value: "text", Category: category},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print results and errors only", Category: category},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log more", Category: category},
		&cli.BoolFlag{Name: "no-color", Usage: "no colour, also by NO_COLOR", Category: category},
		&cli.StringFlag{Name: "progress", Usage: "auto, bar, plain, json or none", Value: "auto", Category: category},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", Category: category},
		&cli.StringFlag{Name: "timeout", Usage: "give up after `DURATION`: 30s, 10m", Category: category},
	}
}

// innermost returns the context, from the command outwards, on whose part of the line the flag
// was given; or the outermost, which holds the default and the environment's value.
func innermost(c *cli.Context, flag string) *cli.Context {
	lineage := c.Lineage()
	last := c
	for _, at := range lineage {
		if at.Command == nil || at.App == nil {
			continue
		}
		if slices.Contains(at.LocalFlagNames(), flag) {
			return at
		}
		last = at
	}
	return last
}

// text and set read a common flag wherever it was given.
func text(c *cli.Context, flag string) string { return innermost(c, flag).String(flag) }

func set(c *cli.Context, flag string) bool { return innermost(c, flag).Bool(flag) }

// checkJobs refuses a --jobs by which nothing would be done.
func (s *session) checkJobs() error {
	if jobs := s.cli.Int("jobs"); s.cli.IsSet("jobs") && jobs < 1 {
		return usagef("--jobs %d: want 1 or more", jobs)
	}
	return nil
}
