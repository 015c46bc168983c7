package main

import (
	"fmt"
	"strings"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
)

func (d *drilling) printHeld(held *drill.Held, filed []agent.Filed) {
	report := held.Report
	if report.ServerVersion == "" { // it did not get to its plan
		d.printDrillHead(report, d.options.Place.Dir)
	}
	d.printDrill(report)
	if held.Failure != nil {
		if f := d.program.explain(held.Failure); f.Fix != "" {
			d.wrapped("fix", f.Fix)
		}
	}
	if held.Kept != "" {
		d.row("kept", "%s", held.Kept)
		d.row("look", "%s", d.as(d.binariesDir()+"/pg_ctl", "-D", held.Kept+"/data", "start"))
		d.row("", "%s", d.as("psql", "-h", held.Kept+"/s", "-p", fmt.Sprint(held.Restored.Server.Port), "-U", held.Restored.User, "-d", held.Restored.Database))
		d.wrapped("", "it listens there only, and starts nothing by itself; rm -r "+held.Kept+" afterwards")
	}
	var there []string
	for _, f := range filed {
		if f.Err == nil {
			there = append(there, f.Name)
			continue
		}
		d.wrapped("report", "not in "+f.Name+": "+f.Err.Error())
	}
	if len(there) > 0 {
		d.row("report", "drills/%s.json in %s", report.ID, strings.Join(there, ", "))
	}
}

// drillTarget says what was restored.
func drillTarget(d repository.Drill) string {
	text := instant(d.Target.Time)
	if d.Target.Latest {
		text = "latest"
	}
	if d.Target.Asked == string(drill.Random) {
		text += " (random)"
	}
	return text
}

func (s *session) printDrillHead(d repository.Drill, sandbox string) {
	where := ""
	if sandbox != "" {
		where = "   sandbox in " + sandbox
	}
	s.printf("%s %s   target %s   from %s%s\n", s.paint("Drill", "1"), d.ID, drillTarget(d), d.Repository, where)
}

// printDrill prints what a drill found, phase by phase, and what it comes to.
func (s *session) printDrill(d repository.Drill) {
	phases := []struct {
		phase repository.DrillPhase
		took  repository.Seconds
		words string
	}{
		{repository.DrillFetch, d.Fetch.Seconds, fmt.Sprintf("base %s, %s", d.Backup, size(d.Fetch.Bytes))},
		{repository.DrillReplay, d.Replay.Seconds, size(int64(d.Replay.Bytes)) + " WAL, " + stoppedAt(d)},
		{repository.DrillOpen, d.Open.Seconds, "PostgreSQL " + d.ServerVersion + " accepts connections"},
	}
	failed := d.Result == repository.DrillFailed
	if failed && d.Phase == repository.DrillPlan {
		s.wrapped("plan", s.sign(agent.Bad)+" "+d.Failure)
	}
	for _, p := range phases {
		if failed && d.Phase == p.phase {
			s.wrapped(string(p.phase), s.sign(agent.Bad)+" "+d.Failure)
			break
		}
		if d.Phase == repository.DrillPlan {
			break
		}
		s.row(string(p.phase), "%s %-64s %7s", s.sign(agent.Good), p.words, elapsed(p.took.Duration()))
	}
	label := "verify"
	for _, c := range d.Checks {
		s.wrapped(label, s.checkText(c))
		label = ""
	}
	if failed && d.Phase == repository.DrillVerify && len(d.Checks) == 0 {
		s.wrapped(label, s.sign(agent.Bad)+" "+d.Failure)
	}
	s.printSubstitutes(d.Substitutes, d.Substituted)
	for _, note := range d.Notes {
		s.wrapped("note", note)
	}
	s.printf("%s\n", strings.Join(s.drillEnd(d), "   "))
}

// drillEnd is the last line of a drill.
func (s *session) drillEnd(d repository.Drill) []string {
	word := s.paint("PASS", "1;32")
	if d.Result == repository.DrillFailed {
		word = s.paint("FAIL", "1;31")
	}
	parts := []string{word}
	if d.RTO > 0 {
		parts = append(parts, "RTO "+elapsed(d.RTO.Duration())+s.objective(d, repository.ObjectiveRTO, d.RTOTarget))
	}
	if d.DataLoss != nil {
		most := ""
		if d.Target.Latest && d.DataLoss.Duration() > 0 {
			most = "at most " // an idle server proves its end only once in a while
		}
		parts = append(parts, "data loss at target "+most+elapsed(d.DataLoss.Duration())+s.objective(d, repository.ObjectiveRPO, d.RPOTarget))
	}
	return parts
}

// objective says what a measured time was judged by.
func (s *session) objective(d repository.Drill, which repository.Objective, target repository.Seconds) string {
	if target == 0 {
		return ""
	}
	word := "ok"
	for _, missed := range d.Missed {
		if missed == which {
			word = s.paint("MISSED", "1;31")
		}
	}
	return fmt.Sprintf(" (target %s, %s)", targetText(target.Duration()), word)
}

func stoppedAt(d repository.Drill) string {
	if d.LastCommit == nil {
		return "no commit after the base backup"
	}
	return fmt.Sprintf("last commit %s xid %d", instant(d.LastCommit.Time), uint32(d.LastCommit.XID))
}

// checkText says what one check came to.
func (s *session) checkText(c repository.DrillCheck) string {
	verdict := map[repository.CheckResult]agent.Verdict{
		repository.CheckPassed: agent.Good, repository.CheckFailed: agent.Bad, repository.CheckOff: agent.Pending, repository.CheckSkipped: agent.Pending,
	}[c.Result]
	what := map[string]string{repository.CheckPages: "page checksums", repository.CheckAmcheck: "amcheck", repository.CheckSQL: "sql " + c.Name}[c.Kind]
	switch {
	case c.Detail != "":
		what += ": " + strings.ReplaceAll(c.Detail, "\n", "; ")
	case c.Kind == repository.CheckSQL && c.Result == repository.CheckPassed:
		what += fmt.Sprintf(" = %q", c.Want) // what it got is not kept beside encrypted contents
	case c.Kind == repository.CheckSQL && c.Result == repository.CheckFailed && c.Got == "":
		what += fmt.Sprintf(": want %q; got nothing, or it is not kept beside encrypted contents", c.Want)
	case c.Kind == repository.CheckSQL:
		what += fmt.Sprintf(" = %q, want %q", c.Got, c.Want)
	case c.Result == repository.CheckFailed:
		what += " failed; what was found is not kept beside encrypted contents"
	case c.Kind == repository.CheckPages && c.By == repository.ByBaseBackup:
		what += " right in " + size(c.Bytes) + ", read by the server itself"
	case c.Kind == repository.CheckPages:
		what += " of " + count(int(c.Count), "page") + " right"
	case c.Kind == repository.CheckAmcheck:
		what += " of " + count(int(c.Count), "relation") + " ok"
		if c.By == repository.BySample {
			what += " (a sample)"
		}
	}
	return s.sign(verdict) + " " + what
}
