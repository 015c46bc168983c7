// Package setup finds what the first run of an agent needs on a host, and plans what is lacking: the configuration's few lines, the SQL
// that makes a role of the least privilege and limits the slot, and lines of pg_hba.conf where the server lets the role not in yet.
//
// Looking (find.go, look.go) asks the host and the server and changes nothing. What follows from it (plan.go, access.go) is pure.
// It must not know repositories: their URL is a text here.
package setup
