package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
)

func checkCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "check", Usage: "try everything an agent needs, end to end; changes nothing without --fix --yes",
		ArgsUsage: "[URL]",
		Description: "Each finding that is not right has a fix to paste. -o nagios prints one line with performance data, and exits as the\n" +
			"Monitoring Plugins do: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "fix", Usage: "print the SQL that mends what it finds; with --yes run it"},
			&cli.StringFlag{Name: "fix-as", Usage: "`CONNECTION` of a superuser, to run that SQL by; by default the agent's own"},
			&cli.StringFlag{Name: "only", Usage: "some of postgres,storage,e2e,recovery: `SECTIONS`; or live: whether the agent on this host works, by its /healthz"},
			&cli.StringFlag{Name: "from", Usage: "look only whether this `REPOSITORY` can be restored from: primary, a copy's name, or a URL; writes nothing"},
		},
	}, atMostOne, check)
}

func check(s *session) error {
	if s.cli.String("only") == "live" {
		return checkLive(s)
	}
	alone := s.cli.String("from") != ""
	whole, err := s.loadWith(s.argument())
	if err != nil {
		return err
	}
	c, err := whole.Select(text(s.cli, "cluster"))
	if alone {
		c, err = s.clusterFrom(s.argument())
	}
	if err != nil {
		return err
	}
	var only []string
	if v := s.cli.String("only"); v != "" {
		only = strings.Split(v, ",")
		for _, section := range only {
			if !slices.Contains([]string{"postgres", "storage", "e2e", "recovery"}, section) {
				return usagef("only %q: want some of postgres,storage,e2e,recovery, or live alone", section)
			}
		}
	}
	r := findings{session: s, silent: s.json || s.nagios, cluster: c.Name, known: func(err error) error { return s.withSince(whole, c, err) }}
	r.add(agent.Finding{Section: agent.SectionConfig, Verdict: agent.Good, Text: "cluster " + c.Name + ", repository " + c.Repo.URL})
	if err := agent.Check(s.ctx, c, agent.CheckOptions{Only: only, ReadOnly: alone, FirstAnswer: s.firstAnswer(), Bandwidth: s.bandwidth, Logger: s.log}, r.add); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if s.nagios {
		return r.endForNagios()
	}
	err = r.end()
	if s.cli.Bool("fix") {
		return cmp.Or(r.mend(c), err)
	}
	return err
}

// findings collects what a check finds and prints it as it comes.
type findings struct {
	session  *session
	silent   bool // nothing is printed before the end
	cluster  string
	known    func(error) error // what an agent knows of an error besides; nil where none is asked
	all      []printedFinding
	section  string
	code     int
	errors   int
	warnings int
}

type printedFinding struct {
	agent.Finding

	Since string `json:"since,omitempty"`
	Cause string `json:"cause,omitempty"`
}

func (r *findings) add(f agent.Finding) {
	p := printedFinding{Finding: f}
	switch f.Verdict {
	case agent.Bad:
		r.errors++
		code := exitFailed
		if f.Err != nil {
			why := r.session.program.explain(r.since(f.Err))
			code, p.Since, p.Cause = why.Code, why.Since, why.Cause
			if p.Fix == "" {
				p.Fix = why.Fix
			}
		}
		if r.code == exitOK {
			r.code = code
		}
	case agent.Warning:
		r.warnings++
	case agent.Good, agent.Pending:
	}
	r.all = append(r.all, p)
	if !r.silent {
		r.print(p)
	}
}

// since adds to an error since when it is so, where that can be known.
func (r *findings) since(err error) error {
	if r.known == nil {
		return err
	}
	return r.known(err)
}

func (r *findings) print(p printedFinding) {
	s := r.session
	label := ""
	if p.Section != r.section {
		label, r.section = p.Section, p.Section
	}
	s.printf("%-9s %s %s\n", label, s.sign(p.Verdict), p.Text)
	for _, line := range []struct{ label, text string }{{"since", p.Since}, {"cause", p.Cause}, {"fix", p.Fix}} {
		if line.text != "" {
			s.printf("            %-6s %s\n", line.label, strings.ReplaceAll(line.text, "\n", "\n                   "))
		}
	}
}

// end prints the sum and returns the code: that of the first error, and 0 with warnings alone, for
// a check that never turns green is not read.
func (r *findings) end() error {
	s := r.session
	if s.json {
		err := s.printJSON(map[string]any{"findings": r.all, "errors": r.errors, "warnings": r.warnings, "code": r.code})
		if err != nil {
			return err
		}
	} else {
		s.printf("%s, %s\n", count(r.errors, "error"), count(r.warnings, "warning"))
	}
	if r.code != exitOK {
		return &codeError{code: r.code}
	}
	return nil
}
