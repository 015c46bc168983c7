// Package postgres talks to a PostgreSQL server over its replication protocol
// and reads and writes the files that make a base backup recoverable:
// backup_manifest, backup_label, tablespace_map, pg_control and
// postgresql.auto.conf.
//
// It knows PostgreSQL 14 to 18 and hides what differs between them. It must
// not know repositories, keys or what is done with the bytes it hands over.
// It is the only room that imports pgx and pglogrepl.
//
// It follows the PostgreSQL documentation, chapter "Streaming Replication
// Protocol", and src/backend/replication/walsender.c,
// src/backend/backup/basebackup.c (src/backend/replication in 14).
package postgres
