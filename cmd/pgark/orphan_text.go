package main

import (
	"fmt"

	"github.com/pgark/pgark/status"
)

// orphanText says what lies beside the history on a timeline, and how to get at it.
func (s *session) orphanText(o status.Orphan) (what, how string) {
	commits := ""
	switch {
	case o.Commits == nil:
	case o.Exact:
		commits = count(*o.Commits, "commit")
	default:
		commits = "at most " + count(*o.Commits, "commit")
	}
	if o.Last != nil {
		commits += ", the last " + instant(*o.Last)
	}
	if commits != "" {
		commits = "   " + commits
	}
	return fmt.Sprintf("timeline %d   %s%s%s%s", uint32(o.Timeline), o.Start, s.arrow(), o.End, commits),
		fmt.Sprintf("not in timeline %d: pgark restore --timeline %d", uint32(o.Next), uint32(o.Timeline))
}

// printOrphans lists what failovers left beside the history.
func (s *session) printOrphans(r status.Report) {
	for _, o := range r.Orphans {
		what, how := s.orphanText(o)
		s.printf("TAIL %s   %s\n", what, how)
	}
}
