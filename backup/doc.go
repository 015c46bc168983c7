// Package backup takes base backups into a repository.
//
// A Source yields the files of one cluster: Stream is the one that reads a server's BASE_BACKUP
// replication command. Run cuts them into the packs of docs/FORMAT.md, section 5.1, compresses the
// frames on several cores, checks every file against the server's backup_manifest, and writes the
// backup record last: after the WAL that makes the backup consistent is in the same repository. A
// backup that is killed anywhere before that leaves nothing that a reader sees.
//
// Due and Schedule say when the next backup is to be taken; who calls Run is the caller's affair.
//
// The package knows neither keys nor connections: those are the rooms repository and postgres. What
// the server sends is described in src/backend/backup/basebackup.c and src/port/tar.c of PostgreSQL 15
// to 18, and src/backend/replication/basebackup.c of PostgreSQL 14.
package backup
