package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/setup"
)

// mend prints the SQL of all findings, and runs it if the user says so. It does not look again: check does.
func (r *findings) mend(c config.Cluster) error {
	s := r.session
	var sql []string
	for _, f := range r.all {
		for _, command := range f.SQL {
			// What several need, as a reload, comes once and last.
			sql = append(slices.DeleteFunc(sql, func(other string) bool { return other == command }), command)
		}
	}
	if len(sql) == 0 {
		s.note("no SQL would mend anything")
		return nil
	}
	if !s.json { // there it stands with the findings
		s.printf("\nSQL       for a superuser; no restart\n")
		s.block(sql...)
	}
	if !s.yes {
		s.note("pgark check --fix --yes runs it")
		return nil
	}
	conn := s.cli.String("fix-as")
	if conn == "" {
		conn = c.Postgres
	}
	if err := setup.Apply(s.ctx, conn, sql); err != nil {
		f := s.program.explain(err)
		if errors.Is(err, postgres.ErrPrivilege) || strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error(), "must be superuser") {
			f.Code, f.Cause = exitDenied, "the agent's role may log in and replicate, and no more"
			f.Fix = "pgark check --fix --yes --fix-as 'user=postgres …'; or have a superuser paste it"
		}
		return &codeError{code: f.Code, cause: err, why: f.Cause, fix: f.Fix}
	}
	s.note("done; pgark check looks again")
	return nil
}
