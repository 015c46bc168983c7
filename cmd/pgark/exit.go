package main

// Exit codes. They are part of the interface: docs/EXIT-CODES.md has the same table, and a test
// compares the two. A number is never given another meaning.
const (
	exitOK             = 0
	exitFailed         = 1
	exitUsage          = 2
	exitDegraded       = 3
	exitNotRecoverable = 4
	exitRefused        = 5
	exitNoRepository   = 10
	exitLocked         = 11
	exitWrongKey       = 12
	exitDenied         = 13
	exitStorage        = 14
	exitPostgres       = 15
	exitCancelled      = 130

	// exitFetchAbsent and exitFetchUnknown are wal fetch's own. PostgreSQL takes 1 to 125 for "the
	// archive has no such file", ends recovery and opens the cluster; above 125 it stops
	// (RestoreArchivedFile, src/backend/access/transam/xlogarchive.c, 14 to 18).
	exitFetchAbsent  = 1
	exitFetchUnknown = 200
)

// exitCode is one row of the table.
type exitCode struct {
	code    int
	meaning string
}

func exitCodes() []exitCode {
	return []exitCode{
		{exitOK, "done"},
		{exitFailed, "failed"},
		{exitUsage, "wrong usage or configuration"},
		{exitDegraded, "done, but degraded: a warning, or an objective missed"},
		{exitNotRecoverable, "the target is not recoverable, or the cluster is unprotected"},
		{exitRefused, "refused for safety: another history, a running server, a folder that is not empty"},
		{exitNoRepository, "no repository there, or nothing in it yet"},
		{exitLocked, "locked or fenced by another agent"},
		{exitWrongKey, "wrong encryption key"},
		{exitDenied, "access denied, by the repository or by PostgreSQL"},
		{exitStorage, "the repository cannot be reached"},
		{exitPostgres, "PostgreSQL cannot be reached"},
		{exitCancelled, "cancelled by Ctrl-C or SIGTERM"},
	}
}
