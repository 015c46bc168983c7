package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// systemFlag names the cluster inside a repository that holds several.
func systemFlag() cli.Flag {
	return &cli.StringFlag{Name: "system-id", Usage: "cluster with this system identifier, where the repository holds several: `ID`"}
}

func (s *session) systemID() (wal.SystemID, error) {
	v := s.cli.String("system-id")
	if v == "" {
		return 0, nil
	}
	id, err := wal.ParseSystemID(v)
	if err != nil {
		return 0, usagef("system-id %q: want a decimal system identifier", v)
	}
	return id, nil
}

// storeOptions end a storage call that fails for a while before --timeout ends all: so the error is
// the store's.
func (s *session) storeOptions() agent.StoreOptions {
	o := agent.StoreOptions{Patience: agent.Brief, Logger: s.log}
	if until, ok := s.ctx.Deadline(); ok {
		o.Patience = min(o.Patience, agent.Patience(max(time.Until(until)*3/4, time.Millisecond)))
	}
	return o
}

func statusCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "status", Usage: "what can be restored now, where there are gaps, how far the archive is behind",
		ArgsUsage: "[URL]",
		Flags: []cli.Flag{
			systemFlag(),
			&cli.BoolFlag{Name: "ascii", Usage: "draw without Unicode"},
			&cli.BoolFlag{Name: "all", Usage: "every cluster of the configuration"},
		},
	}, atMostOne, showStatus)
}

func showStatus(s *session) error {
	clusters, err := s.chosen()
	if err != nil {
		return err
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	if s.cli.Bool("ascii") {
		s.unicode = false
	}
	var reports []status.Report
	for _, c := range clusters {
		r, err := agent.Survey(s.ctx, c, id, s.storeOptions())
		if err != nil {
			return err
		}
		reports = append(reports, r)
	}
	if s.json && s.cli.Bool("all") {
		return s.printJSON(reports)
	}
	if s.json {
		return s.printJSON(reports[0])
	}
	for i, r := range reports {
		if i > 0 {
			s.printf("\n")
		}
		s.printStatus(r)
	}
	return nil
}

// chosen returns the clusters a command looks at: all of them with --all, otherwise one.
func (s *session) chosen() ([]config.Cluster, error) {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return nil, err
	}
	if s.cli.Bool("all") {
		return c.Clusters, nil
	}
	one, err := c.Select(text(s.cli, "cluster"))
	return []config.Cluster{one}, err
}

func (s *session) charset() status.Charset {
	if s.unicode {
		return status.Unicode
	}
	return status.ASCII
}

// arrow joins the two ends of a range.
func (s *session) arrow() string {
	if s.unicode {
		return " → "
	}
	return " to "
}

func (s *session) printStatus(r status.Report) {
	s.printf("%s\n\n", s.headline(r))
	if r.RecoverableUntil != nil {
		rpo := "idle or busy, up to date"
		if age := r.Now.Sub(*r.RecoverableUntil); age > 30*time.Second {
			rpo = s.paint("nothing newer has come since", "33")
		}
		s.row("RPO now", "%-8s  %s; proved durable up to %s", elapsed(r.Now.Sub(*r.RecoverableUntil)), rpo, instant(*r.RecoverableUntil))
	}
	if r.Behind != nil {
		held := ""
		if r.Server.Slot != nil && r.Server.Slot.Exists {
			held = fmt.Sprintf(" · slot %s holds %s on the server", r.Server.Slot.Name, size(r.Server.Slot.Retained))
		}
		s.row("WAL", "%s behind the server%s", size(*r.Behind), held)
	}
	if r.ServerError != "" {
		s.row("server", "not reached: %s", r.ServerError)
	}
	if r.Durable != nil {
		s.row("durable", "%s on timeline %d", r.Durable.LSN, uint32(r.Durable.Timeline))
	}
	s.row("stored", "%s   %s of base backups, %s of WAL in %s", size(r.Stored.Backups+r.Stored.WAL), size(r.Stored.Backups), size(r.Stored.WAL), r.Repository)
	s.printWindow(r)
	if n := len(r.Backups); n > 0 {
		last := r.Backups[n-1]
		s.printf("\n")
		s.row("backups", "%d, newest %s, %s ago, %s", n, last.ID, elapsed(r.Now.Sub(last.Started)), size(last.Plain))
	}
}

func (s *session) headline(r status.Report) string {
	name := r.Cluster
	if r.Server != nil {
		return fmt.Sprintf("%s   PostgreSQL %s · %s · timeline %d · system id %s", s.paint(name, "1"), r.Server.Version, r.Server.Address,
			uint32(r.Server.Timeline), r.SystemID)
	}
	return fmt.Sprintf("%s   system id %s", s.paint(name, "1"), r.SystemID)
}

// row prints a label and what it says.
func (s *session) row(label, format string, args ...any) {
	s.printf("  %-9s %s\n", label, fmt.Sprintf(format, args...))
}

// printWindow prints the recovery window: its ends, the strip, its dates, each gap.
func (s *session) printWindow(r status.Report) {
	if r.RecoverableFrom == nil {
		s.printf("\n  %s   nothing can be restored yet: no base backup with its WAL\n", s.paint("Recovery window", "1"))
		return
	}
	gaps := ""
	if n := len(r.Gaps); n > 0 {
		var total time.Duration
		for _, g := range r.Gaps {
			total += g.Until.Sub(g.From)
		}
		gaps = "    " + s.paint(fmt.Sprintf("%s, %s", count(n, "gap"), elapsed(total)), "33")
	}
	s.printf("\n  %s   %s   %s%s%s%s\n", s.paint("Recovery window", "1"), elapsed(r.RecoverableUntil.Sub(*r.RecoverableFrom)),
		instant(*r.RecoverableFrom), s.arrow(), instant(*r.RecoverableUntil), gaps)
	if strip := r.Strip(s.charset()); strip != "" {
		s.printf("  %s\n  %s\n", strip, axis(r.View()))
	}
	for _, g := range r.Gaps {
		s.printf("  gap %s%s%s (WAL %s to %s on timeline %d is missing)\n", instant(g.From), s.arrow(), instant(g.Until), g.Start, g.End, uint32(g.Timeline))
	}
}

// axis writes the time below the strip at its start, quarters and end.
func axis(v status.Interval) string {
	layout := "Jan 02"
	if v.Until.Sub(v.From) < 4*24*time.Hour {
		layout = "02 15:04"
	}
	if v.Until.Sub(v.From) < 2*time.Hour {
		layout = "15:04:05"
	}
	line := []byte(strings.Repeat(" ", status.StripWidth))
	end := v.Until.UTC().Format(layout)
	for quarter := range 4 {
		at := v.From.Add(v.Until.Sub(v.From) * time.Duration(quarter) / 4).UTC().Format(layout)
		start := quarter * status.StripWidth / 4
		if start+len(at)+1 > status.StripWidth-len(end) {
			break // it would run into the last one
		}
		copy(line[start:], at)
	}
	copy(line[status.StripWidth-len(end):], end)
	return string(line)
}
