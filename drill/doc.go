// Package drill proves that an archive can be restored, by restoring it: a base
// backup and WAL of a random or given instant go into a sandbox, a server of
// the same major recovers there, what came of it is checked page by page and
// query by query, and all of it is measured. What it found is a report,
// docs/FORMAT.md section 11.
//
// A sandbox is a restored cluster that is thrown away. Export dumps a database
// from one.
//
// judge.go and checks.go decide and do nothing else. The package writes nothing
// to a repository: its callers put the report where they may. It never touches
// the server that is archived.
package drill
