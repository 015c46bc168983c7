package main

import (
	"fmt"
	"strings"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/setup"
)

// printFirstRun prints what init found, did and leaves to do.
func (s *session) printFirstRun(r firstRun) error {
	r.HBA, r.Ident, r.HBAFile, r.Password, r.Problems = r.plan.HBA, r.plan.Ident, r.server.HBAFile, r.plan.NeedsPassword, r.plan.Problems
	r.Next = r.checkCommandLine()
	if s.json {
		for _, list := range []*[]string{&r.SQL, &r.HBA, &r.Ident, &r.Problems} {
			if *list == nil {
				*list = []string{}
			}
		}
		return s.printJSON(r)
	}
	f := findings{session: s}
	f.print(printedFinding{Finding: agent.Finding{Section: "Server", Verdict: agent.Good, Text: r.found()}})
	for _, one := range r.others {
		f.print(printedFinding{Finding: agent.Finding{
			Section: "Server", Verdict: agent.Pending, Text: fmt.Sprintf("another server listens on port %d", one.Port),
			Fix: fmt.Sprintf("pgark init --postgres 'host=%s port=%d' --cluster NAME --config FILE URL", one.Host, one.Port),
		}})
	}
	if r.wish.Service == "" && len(r.services) > 0 {
		f.print(printedFinding{Finding: agent.Finding{
			Section: "Server", Verdict: agent.Pending, Text: "libpq knows the services " + strings.Join(r.services, ", "), Fix: "PGSERVICE=NAME pgark init …   uses one",
		}})
	}
	for _, problem := range r.Problems {
		f.print(printedFinding{Finding: agent.Finding{Section: "Server", Verdict: agent.Bad, Text: problem}})
	}
	s.printConfigPart(&f, r)
	if r.Storage != nil {
		f.print(*r.Storage)
	}
	s.printSQLPart(&f, r)
	s.printAccessPart(&f, r)
	s.printf("\nNext      %s\n", r.Next)
	s.printf("          %s   the agent; PostgreSQL needs no restart\n", strings.Replace(r.Next, "pgark check", "pgark run", 1))
	return nil
}

func (r firstRun) found() string {
	where := make([]string, 0, len(r.server.Endpoints))
	for _, e := range r.server.Endpoints {
		where = append(where, fmt.Sprintf("%s:%d", e.Host, e.Port))
	}
	text := fmt.Sprintf("PostgreSQL %s on %s", r.server.Version, strings.Join(where, ", "))
	if r.wish.Service != "" {
		text += ", service " + r.wish.Service
	}
	if r.wish.Free > 0 {
		text += fmt.Sprintf("; its disk has %s left", size(int64(r.wish.Free)))
	}
	return text
}

// letsOwnUserIn reports whether the server would let the role in if the agent's user had its name.
func (r firstRun) letsOwnUserIn() bool {
	wish := r.wish
	wish.User = wish.Role
	p := setup.Make(r.server, wish)
	return len(p.HBA) == 0 && !p.NeedsPassword && !p.Guessed
}

// block prints lines to be pasted.
func (s *session) block(lines ...string) {
	for _, line := range lines {
		s.printf("            %s\n", line)
	}
}

func (s *session) printConfigPart(f *findings, r firstRun) {
	found := agent.Finding{Section: "Config", Verdict: agent.Good, Text: "written to " + r.File}
	if !r.Written {
		found.Verdict, found.Text = agent.Pending, r.File+" was not written: "+r.Why
	}
	f.print(printedFinding{Finding: found})
	s.block(strings.Split(strings.TrimRight(r.YAML, "\n"), "\n")...)
}

func (s *session) printSQLPart(f *findings, r firstRun) {
	found := agent.Finding{Section: "SQL", Verdict: agent.Good}
	switch {
	case r.Applied:
		found.Text = "applied"
	case len(r.SQL) == 0:
		found.Text = "nothing is lacking: role " + r.wish.Role + " may replicate, and the slot has a limit"
	default:
		found.Verdict, found.Text = agent.Pending, "run this as a superuser, or: pgark init --apply"
	}
	f.print(printedFinding{Finding: found})
	s.block(r.SQL...)
}

func (s *session) printAccessPart(f *findings, r firstRun) {
	access := func(v agent.Verdict, text string, lines ...string) {
		f.print(printedFinding{Finding: agent.Finding{Section: "Access", Verdict: v, Text: text}})
		s.block(lines...)
	}
	file := r.HBAFile
	if file == "" {
		file = "pg_hba.conf"
	}
	if len(r.HBA) > 0 {
		access(agent.Warning, "the server does not let "+r.wish.Role+" in yet: put this above the other lines of "+file, r.HBA...)
		if len(r.Ident) > 0 {
			access(agent.Warning, "and this into pg_ident.conf beside it, because the agent runs as "+r.wish.User, r.Ident...)
		}
		access(agent.Warning, "then, without a restart", "SELECT pg_reload_conf();")
		if len(r.Ident) > 0 && r.letsOwnUserIn() {
			access(agent.Pending, "or run the agent as a user of the role's name, whom the server lets in as it is", "sudo useradd --system "+r.wish.Role)
		}
	}
	if r.Password {
		access(agent.Warning, "the server asks "+r.wish.Role+" for a password: set one, and put it where libpq looks",
			`psql -c '\password `+setup.QuoteName(r.wish.Role)+`'`,
			fmt.Sprintf("echo '%s:%d:*:%s:PASSWORD' >> ~/.pgpass && chmod 600 ~/.pgpass", r.server.Endpoints[0].Host, r.server.Endpoints[0].Port, r.wish.Role))
	}
	switch {
	case r.plan.Guessed:
		access(agent.Pending, "whether pg_hba.conf lets "+r.wish.Role+" in could not be told here: pgark check tries it")
	case len(r.HBA) == 0 && !r.Password:
		access(agent.Good, "pg_hba.conf lets "+r.wish.Role+" in, for an agent that runs as "+r.wish.User)
	}
}
