package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/backup"
)

func backupCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:      "backup",
		Usage:     "take a base backup now, beside the agent that archives the WAL",
		ArgsUsage: "[URL]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "wait", Usage: "wait for the agent to archive the WAL however long it takes"},
			&cli.StringFlag{Name: "keep", Usage: "exempt it from retention until `TIME`, or for a duration like 1y"},
			&cli.StringSliceFlag{Name: "label", Usage: "put `KEY=VALUE` into the record; may be repeated"},
			rateLimitFlag("send"),
		},
	}, atMostOne, takeBackup)
}

func takeBackup(s *session) error {
	c, err := s.clusterWith(s.argument())
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, l := range s.cli.StringSlice("label") {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return usagef("label %q: want KEY=VALUE", l)
		}
		labels[k] = v
	}
	var kept time.Time
	if keep := s.cli.String("keep"); keep != "" {
		if kept, err = s.later("keep", keep); err != nil {
			return err
		}
	}
	var lack []string
	s.trace()
	meter := s.newMeter()
	began := time.Now()
	b, err := agent.Backup(s.ctx, c, agent.BackupOptions{
		Wait: s.cli.Bool("wait"), Labels: labels, KeptUntil: kept, Bandwidth: s.bandwidth, Logger: s.log,
		Progress: func(p backup.Progress) {
			meter.show(backupProgress(p))
		},
		Lacks: func(name string, err error) { lack = append(lack, fmt.Sprintf("copy %s lacks it: %v", name, err)) },
	})
	meter.end()
	if err != nil && b.ID == "" {
		return err
	}
	if s.json {
		if printErr := s.printJSON(b); printErr != nil {
			return printErr
		}
	} else {
		s.printf("Backup %s in %s: %s in %s, stored as %s. WAL %s to %s on timeline %d is in the repository.\n",
			b.ID, elapsed(time.Since(began)), size(b.Plain), count(int(b.Files), "file"), size(b.Stored), b.StartLSN, b.StopLSN, uint32(b.Timeline))
	}
	if err == nil && len(lack) > 0 {
		return &codeError{code: exitDegraded, cause: errors.New(strings.Join(lack, "; ")), fix: "the agent brings a copy up to date when it answers; pgark repo copy --to NAME does it now"}
	}
	return err
}

// backupProgress says in words what numbers do not.
func backupProgress(p backup.Progress) progress {
	shown := progress{phase: string(p.Phase), done: p.Done, total: p.Total}
	switch p.Phase {
	case backup.PhaseBegin:
		shown.text = "the server makes a checkpoint"
	case backup.PhaseWAL:
		shown.text = "waiting until the agent archives the WAL"
	case backup.PhaseCommit:
		shown.text = "writing the record"
	case backup.PhaseCopy:
	}
	return shown
}
