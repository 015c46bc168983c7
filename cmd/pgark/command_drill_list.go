package main

import (
	"errors"
	"strings"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/repository"
)

// drillCluster opens the repositories that the flags name.
func (s *session) drillCluster(argument string, f func(*repository.Cluster) error) error {
	c, err := s.clusterToRead(argument)
	if err != nil {
		return err
	}
	return s.withSources(c, s.lookOptions(), func(c *repository.Cluster, _ *agent.Sources) error { return f(c) })
}

func listDrills(s *session) error {
	return s.drillCluster(s.argument(), func(c *repository.Cluster) error {
		drills, err := c.Drills(s.ctx, 0)
		if err != nil && !repository.OnlyUnreadable(err) {
			return err
		}
		if err != nil {
			s.note("a report cannot be read: %v", err)
		}
		if s.json {
			return s.printJSON(drills)
		}
		if len(drills) == 0 {
			s.printf("no drill yet: pgark drill run\n")
			return nil
		}
		rows := [][]string{{"DRILL", "TARGET (UTC)", "FROM", "BACKUP", "FETCH", "REPLAY", "OPEN", "RTO", "LOSS", "RESULT"}}
		for _, d := range drills {
			rows = append(rows, s.drillRow(d))
		}
		s.table(rows)
		return nil
	})
}

func (s *session) drillRow(d repository.Drill) []string {
	// What comes after a phase shows that it was passed.
	took := func(v, after repository.Seconds) string {
		if v == 0 && after == 0 {
			return "-"
		}
		return elapsed(v.Duration())
	}
	loss := "-"
	if d.DataLoss != nil {
		loss = elapsed(d.DataLoss.Duration())
	}
	result := string(d.Result)
	switch {
	case d.Result == repository.DrillFailed:
		result += ": " + string(d.Phase)
	case len(d.Missed) > 0:
		var missed []string
		for _, m := range d.Missed {
			missed = append(missed, strings.ToUpper(string(m)))
		}
		result += ", " + strings.Join(missed, " and ") + " missed"
	}
	return []string{
		d.ID, strings.TrimSuffix(drillTarget(d), " (random)"), d.Repository, d.Backup, took(d.Fetch.Seconds, d.RTO), took(d.Replay.Seconds, d.RTO), took(d.Open.Seconds, d.RTO), took(d.RTO, 0), loss, result,
	}
}

func showDrill(s *session) error {
	return s.drillCluster("", func(c *repository.Cluster) error {
		d, err := c.Drill(s.ctx, s.args[0])
		if errors.Is(err, repository.ErrNoDrill) {
			return &codeError{code: exitFailed, cause: err, fix: "pgark drill list shows the drills"}
		}
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(d)
		}
		s.printDrillHead(d, "")
		s.row("held", "%s on %s, %s", instant(d.Started), d.Host, elapsed(d.Ended.Sub(d.Started).Round(time.Millisecond)))
		s.printDrill(d)
		return nil
	})
}
