package main

import (
	"slices"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/telemetry"
)

// verifyKinds are the checks that --verify asks for.
func (s *session) verifyKinds() ([]string, error) {
	var kinds []string
	switch v := s.cli.String("verify"); v {
	case "none":
		return nil, nil
	case "pages":
		kinds = []string{repository.CheckPages}
	case "amcheck":
		kinds = []string{repository.CheckPages, repository.CheckAmcheck}
	default:
		return nil, usagef("--verify %q: want none, pages or amcheck", v)
	}
	if !s.cli.Bool("start") || s.cli.Bool("pause") || s.cli.Bool("shutdown") {
		return nil, usagef("--verify needs --start, without --pause or --shutdown: a server that is open looks at its own pages")
	}
	return kinds, nil
}

// verify makes the checks that were asked for.
func (r *restoring) verify(got *restore.Recovered) {
	if len(r.kinds) == 0 {
		return
	}
	r.phases.Enter(telemetry.Check)
	opened := &drill.Opened{Server: got.Server, User: got.User, Database: got.Database, Owner: r.owner}
	r.checks = opened.CheckRestored(r.ctx, r.kinds, func(kind string) { r.meter.show(progress{phase: "check", text: kind}) })
}

// verified is what the exit code says of the checks. That a cluster has no page checksums is no fault of a restore.
func (r *restoring) verified() error {
	if len(r.kinds) > 0 && r.ctx.Err() != nil {
		return &codeError{code: exitCancelled}
	}
	wrong := func(c repository.DrillCheck) bool {
		return c.Result == repository.CheckFailed || c.Result == repository.CheckSkipped
	}
	if slices.ContainsFunc(r.checks, wrong) {
		return &codeError{code: exitDegraded}
	}
	return nil
}

// printChecks says what they found.
func (r *restoring) printChecks() {
	label, failed := "verify", false
	for _, c := range r.checks {
		r.wrapped(label, r.checkText(c))
		label, failed = "", failed || c.Result == repository.CheckFailed
	}
	if failed {
		r.wrapped("fix", "restore from an older base backup, with a target before this one was taken, and compare; docs/runbooks/drill.md, phase verify")
	}
}
