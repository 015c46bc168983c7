// Package postgrestest gives tests a PostgreSQL server: a throw-away real
// cluster of a chosen major, or a scripted one that says what the test wants.
//
// The real servers are those of integration/parts.sh. A test that needs one
// that is missing is skipped by name, and fails when REQUIRE_ALL=1 is set; with
// -short every test that needs one is skipped.
//
// PostgreSQL refuses to run as root, so under root the servers run as the user
// postgres, in folders of its own.
package postgrestest
