package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/repository"
)

const postgresMajors = "14 to 18"

func versionLine() string {
	return fmt.Sprintf("pgark %s  %s  %s/%s  repository format %d  PostgreSQL %s",
		agent.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, repository.Format, postgresMajors)
}

func versionCommand(p *program) *cli.Command {
	return p.command(&cli.Command{Name: "version", Usage: "version, format and the PostgreSQL majors it knows"}, noArguments,
		func(s *session) error {
			if s.json {
				return s.printJSON(map[string]any{
					"version": agent.Version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
					"repository_format": repository.Format, "postgresql": []int{14, 15, 16, 17, 18},
				})
			}
			s.printf("%s\n", versionLine())
			return nil
		})
}
