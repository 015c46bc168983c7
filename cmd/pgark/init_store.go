package main

import (
	"errors"
	"strings"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

// lookAtStore asks the bucket of a new configuration whether it is there and answers this user, and writes nothing into it. What it finds is no fault of what init does: the
// agent may be another user, with a credential of its own, and the bucket may be made later. Of a folder there is nothing to find out: the agent makes it.
func (s *session) lookAtStore(c config.Cluster) *printedFinding {
	if !strings.HasPrefix(c.Repo.URL, "s3://") {
		return nil
	}
	found := printedFinding{Finding: agent.Finding{Section: "Storage", Verdict: agent.Good}}
	_, store, err := agent.OpenRepository(s.ctx, c, s.lookOptions())
	if store != nil {
		_ = store.Close() // nothing was written
	}
	switch {
	case err == nil:
		found.Text = c.Repo.URL + " answers; there is an archive already, to which the agent adds"
	case errors.Is(err, repository.ErrNoRepository):
		found.Text = c.Repo.URL + " answers; the agent makes the archive there"
	default:
		f := s.program.explain(err)
		found.Verdict, found.Text, found.Cause, found.Fix = agent.Warning, f.Message, f.Cause, f.Fix
	}
	return &found
}
