// Package walsender speaks the server's side of PostgreSQL's streaming replication protocol
// (docs: protocol-replication.html), as far as the walreceiver of a physical standby, pg_receivewal or
// another pgark uses it: it says who it is, hands over history files, and streams WAL. Where the WAL comes
// from is a Source's concern.
//
// A server listens on a Unix-domain socket, whose permissions say who may read: it asks for no password
// and speaks no TLS.
package walsender
