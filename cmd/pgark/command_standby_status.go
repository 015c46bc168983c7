package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/standby"
)

// lateAfter is how many seconds a standby may be behind where --max-lag says nothing.
const lateAfter = 60 * time.Second

func standbyStatusCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:  "status",
		Usage: "how far the standby is, whether it could be promoted, and how long that would take",
		Description: "It asks the server that the configuration names, or PGHOST and the like: the standby on this host; and the archive that\n" +
			"it follows. A standby at the end of the archive is told apart from one that is stuck, and will never be newer.",
		Flags: []cli.Flag{
			fromFlag(),
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with 3 if it is behind by more than --max-lag, is no standby, or the archive is away; with 4 if it is stuck"},
			&cli.StringFlag{Name: "max-lag", Usage: "how far it may be behind the archive: `DURATION`", Value: config.FormatDuration(lateAfter)},
		},
	}, noArguments, standbyStatus)
}

func standbyStatus(s *session) error {
	most, err := config.ParseDuration(s.cli.String("max-lag"))
	if err != nil || most <= 0 {
		return usagef("max-lag %q: want a duration like 60s", s.cli.String("max-lag"))
	}
	c, err := s.clusterToFollow()
	if err != nil {
		return err
	}
	r, err := agent.LookAtStandby(s.ctx, c, s.lookOptions())
	if err != nil {
		return err
	}
	if s.json {
		err = s.printJSON(r)
	} else {
		s.printStandby(r)
	}
	if err != nil || !s.cli.Bool("exit-code") {
		return err
	}
	if code := standbyCode(r, most); code != exitOK {
		return &codeError{code: code}
	}
	return nil
}

// standbyCode is the exit code that --exit-code gives a standby.
func standbyCode(r agent.StandbyReport, most time.Duration) int {
	switch {
	case r.State == standby.AtGap, r.State == standby.Foreign:
		return exitNotRecoverable
	case r.State == standby.AtEnd, r.State == standby.Behind && r.Late != nil && *r.Late <= most.Seconds():
		return exitOK
	}
	return exitDegraded
}

// printStandby prints a row for the standby, and below it what a person should know.
func (s *session) printStandby(r agent.StandbyReport) {
	host, _ := os.Hostname()
	replayed := r.Replayed.String()
	if r.LastCommit != nil {
		replayed = r.LastCommit.Format("15:04:05.000Z") + "  " + replayed
	}
	rows := [][]string{
		{"STANDBY", "REGION", "SOURCE", "REPLAYED TO", "BEHIND", "STATE"},
		{host, regionOf(r.Repository), r.Repository, replayed, behindText(r), stateText(r)},
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2)
		}
		s.printf("%s\n", strings.TrimRight(line, " "))
	}
	note := func(format string, args ...any) { s.printf("          "+format+"\n", args...) }
	if r.Reason != "" {
		note("%s", r.Reason)
	}
	switch {
	case r.State == standby.AtGap:
		note("it answers queries, and gets no newer: make it anew behind the hole: pgark standby create")
	case r.State == standby.Foreign:
		note("it gets no newer: rewind it with pg_rewind, or make it anew: pgark standby create")
	case r.Error != "":
		note("%s", r.Error)
	}
	if r.State.Ready() && !r.Streams {
		note("nothing streams to it: it takes WAL by files; pgark standby follow, or pgark run with standby.role follow, streams")
	}
	if p := r.Promotion; p != nil && p.Bytes > 0 {
		note("promotion: %s to replay at %s/s, and %s to open", size(int64(p.Bytes)), size(int64(p.Rate)), elapsed(time.Duration(p.Open*float64(time.Second))))
	}
	switch {
	case r.State == standby.Primary:
	case r.PrimarySeen != nil:
		note("primary last seen %s, %s ago", moment(*r.PrimarySeen), elapsed(max(r.Time.Sub(*r.PrimarySeen), 0)))
	case r.Error == "":
		note("primary never seen in this archive")
	}
}

// behindText is how far the standby is behind the archive.
func behindText(r agent.StandbyReport) string {
	switch {
	case r.State == standby.AtEnd:
		return "-"
	case r.Bytes == nil:
		return "?"
	case r.Late == nil:
		return size(int64(*r.Bytes))
	}
	return fmt.Sprintf("%.1f s, %s", *r.Late, size(int64(*r.Bytes)))
}

func stateText(r agent.StandbyReport) string {
	text := map[standby.State]string{
		standby.AtEnd: "ready, at the end of the archive", standby.Behind: "ready, catching up", standby.AtGap: "STUCK AT A GAP", standby.Foreign: "STUCK, FOREIGN TIMELINE",
		standby.Paused: "PAUSED", standby.Primary: "PRIMARY, no standby", standby.Unknown: "unknown: the archive does not answer",
	}[r.State]
	if p := r.Promotion; p != nil {
		text += fmt.Sprintf(" · promote ≈ %s", elapsed(time.Duration(p.Seconds*float64(time.Second))))
	}
	return text
}

// regionOf is the region in a repository's URL.
func regionOf(repo string) string {
	u, err := url.Parse(repo)
	if err != nil {
		return "-"
	}
	return cmp.Or(u.Query().Get("region"), "-")
}
