// Package archiver brings a server's WAL into the repository: it receives the
// replication stream, cuts it into segments and pieces, uploads several at a
// time, and tells the server that a byte is flushed only when the repository
// holds it durably, with every byte before it.
//
// What to cut and when (assembler.go), where to begin (resume.go), and when a
// coverage beat is proved (proof.go) is decided by pure code; the rest acts.
// The protocol is that of "Streaming Replication Protocol" in PostgreSQL's
// manual, its server side src/backend/replication/walsender.c.
//
// The package must not know keys or stored bytes (repository) nor messages
// on the wire (postgres).
package archiver

// frameSize is the plain length of a full frame of a segment object, bytes
// (docs/FORMAT.md, section 4.1).
const frameSize = 1 << 20
