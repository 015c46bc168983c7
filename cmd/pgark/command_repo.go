package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
)

func repoCommand(p *program) *cli.Command {
	return p.group(&cli.Command{
		Name: "repo", Usage: "repositories: bring a copy up to date by hand, tell what they cost, print what a credential needs, bring back what was deleted",
		Subcommands: []*cli.Command{
			p.command(&cli.Command{
				Name: "copy", Usage: "copy what another repository lacks, in an order in which it can be restored from at every moment",
				Description: "REPOSITORY is primary, a copy's name, or a URL: any store can be copied to any other. Every object with a hash is verified\n" +
					"on its way. Nothing is overwritten or deleted, and it may be broken off and called again, beside a working agent too.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "to", Usage: "the `REPOSITORY` that gets what it lacks"},
					fromFlag(), rateLimitFlag("read and send"),
				},
			}, noArguments, copyRepository),
			costCommand(p),
			policyCommand(p),
			undeleteCommand(p),
			thawCommand(p),
		},
	})
}

func copyRepository(s *session) error {
	if s.cli.String("to") == "" {
		return usagef("missing --to: the repository that gets what it lacks")
	}
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	from, err := c.From(s.cli.String("from"))
	if err != nil {
		return err
	}
	to, err := c.From(s.cli.String("to"))
	if err != nil {
		return err
	}
	if from.Repo.URL == to.Repo.URL {
		return usagef("--from and --to are the same repository: %s", from.Repo.URL)
	}
	s.trace()
	meter := s.newMeter()
	began := time.Now()
	done, err := agent.CopyRepository(s.ctx, from, to, s.storeOptions(), func(c agent.Copied) {
		meter.show(progress{phase: "copy", done: c.Bytes, text: count(int(c.Objects), "object")})
	})
	meter.end()
	if s.json && (err == nil || done.Objects > 0) {
		printErr := s.printJSON(map[string]any{
			"from": from.Repo.URL, "to": to.Repo.URL, "objects": done.Objects, "bytes": done.Bytes, "seconds": time.Since(began).Seconds(),
		})
		if err == nil {
			return printErr
		}
	}
	if err != nil {
		return err
	}
	if !s.json {
		s.printf("Copied %s, %s, in %s. %s now holds what %s held.\n",
			count(int(done.Objects), "object"), size(done.Bytes), elapsed(time.Since(began)), to.Repo.URL, from.Repo.URL)
	}
	return nil
}
