package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// elsewhere is the way on for a server whose WAL must not go into this archive.
const elsewhere = "archive it into a repository of its own (another prefix): pgark run takes its first base backup by itself; this one stays restorable"

// explainHistory explains why a server's WAL does not go on where the archive ends. Nothing was written, and the agent says the same each time it
// is started, until a person has decided.
func explainHistory(err error, f *failure) bool {
	var (
		timeline *archiver.TimelineError
		history  *archiver.HistoryError
		ahead    *archiver.AheadError
		conflict *archiver.ConflictError
		stored   *repository.ConflictError
		restored *archiver.RestoredError
		fenced   *repository.FencedError
	)
	f.Code = exitLocked
	switch {
	case errors.As(err, &fenced):
		f.explainFenced(fenced.Fence)
	case errors.As(err, &timeline):
		f.Cause = fmt.Sprintf("another server was promoted to timeline %d, and its WAL is archived here; this is the old primary, or a copy of it, and goes on beside it", uint32(timeline.Archive))
		f.Fix = steps(
			"if it is the old primary: stop it, and let it follow the new one (pg_rewind, or a new copy, with standby.signal)",
			"name all hosts to the agent, with target_session_attrs=read-write, so that it finds the new primary",
			"if this server is the right one after all, "+elsewhere,
		)
	case errors.As(err, &history):
		f.Cause = fmt.Sprintf("two servers were promoted to timeline %d, each by itself", uint32(history.Server.Timeline))
		f.Fix = oneOfTwo()
	case errors.As(err, &ahead):
		f.explainSetBack(ahead.Timeline, ahead.Server)
	case errors.Is(err, postgres.ErrAheadOfServer):
		f.explainSetBack(0, 0)
	case errors.As(err, &conflict), errors.As(err, &stored):
		f.Cause = "two servers write one history: a clone of the archived server (a copy or a snapshot of it was started), or it was itself set back and has written on since"
		f.Fix = oneOfTwo()
	case errors.As(err, &restored):
		f.Code = exitRefused
		f.Cause = "it was recovered to a target and opened, as pgark restore does, and not promoted: a copy must not go on in the archive of the original"
		f.Fix = steps(
			fmt.Sprintf("if it replaces the original for good: pgark run --adopt %s   once; from then on it belongs here", restored.SystemID),
			"if it is a copy, "+elsewhere,
		)
	default:
		f.Code = exitFailed
		return false
	}
	return true
}

// explainFenced explains a server whose timeline is fenced.
func (f *failure) explainFenced(by repository.Fence) {
	f.Cause = "it took over, or is about to: what this server writes now belongs to no history, and nothing of it is archived or confirmed"
	if by.Directory == "" {
		f.Cause = "somebody fenced it by hand, before another server takes over: nothing of this server's WAL is archived or confirmed any more"
	}
	if by.Note != "" {
		f.Cause += " (" + by.Note + ")"
	}
	f.Fix = steps(
		"stop this server, and let it follow the one that took over: pg_rewind -c, or pgark standby create; docs/runbooks/region-lost.md, fail-back",
		"if nobody was promoted, and none is to be: pgark standby fence --lift",
	)
}

// explainSetBack explains a server that has less of a timeline than the archive; 0 if it is not known where it ends.
func (f *failure) explainSetBack(tli wal.TimelineID, end wal.LSN) {
	f.Cause = "the server was set back: a snapshot or an old copy of its data directory was started, or its disk lost what was flushed; what it writes now is another history under the same names"
	lost := "pgark restore --into DIR --start"
	if tli != 0 {
		lost = fmt.Sprintf("pgark restore --timeline %d --into DIR --start   (what the server had after %s is there)", uint32(tli), end)
	}
	f.Fix = steps(
		"stop this server before it writes more",
		"to get back what it lost: "+lost,
		"to go on with the server as it is, "+elsewhere,
	)
}

// oneOfTwo is what to do where two servers write one history.
func oneOfTwo() string {
	return steps(
		"stop the agent of the other server, and find out which of the two is right",
		"if this one is a copy, "+elsewhere,
		"if this one is right, do the same with it: what the other one put here cannot be told from it any more",
	)
}

// steps lists what to do, one in a line.
func steps(lines ...string) string { return strings.Join(lines, "\n") }
