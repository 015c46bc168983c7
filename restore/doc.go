// Package restore brings a cluster back from a repository: it resolves a
// target to an exact place in the write-ahead log, plans what is needed
// before a byte is written, lays a base backup down with every checksum
// verified, serves WAL to the server's restore_command, and supervises
// recovery until the server itself has proved where it stopped.
//
// plan.go decides and does nothing else; the rest carries out what the plan
// says. The package knows neither keys nor stores (package repository does)
// and speaks to servers only through package postgres.
//
// Recovery is a prefix of WAL and not a filter on time: it stops at the first
// commit or abort record past the target. That rule is PostgreSQL's
// recoveryStopsBefore and recoveryStopsAfter, src/backend/access/transam/
// xlogrecovery.c in PostgreSQL 15 to 18 and xlog.c in 14.
package restore
