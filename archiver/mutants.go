//go:build mutants

package archiver

import "os"

// Mutants are faults put in on purpose, one at a time by the environment, in a build that only tests make: integration's TestMutants proves that the
// fault suite finds each of them.
var (
	// confirmOnReceive tells the server that WAL is durable once it was received.
	confirmOnReceive = os.Getenv("PGARK_TEST_MUTANT") == "confirm-on-receive"
	// compareNothing takes whatever the server sends for what is archived already.
	compareNothing = os.Getenv("PGARK_TEST_MUTANT") == "skip-overlap-check"
)
