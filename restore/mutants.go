//go:build mutants

package restore

import "os"

// Mutants are faults put in on purpose, one at a time by the environment, in a build that only tests make: integration's TestMutants proves that the
// fault suite finds each of them.
var (
	// absentOnError tells the server that there is no such file when it could not be read.
	absentOnError = os.Getenv("PGARK_TEST_MUTANT") == "exit-1-on-store-error"
	// filterByTime goes on to the last transaction end that is not past the time, in the place of stopping before the first that is.
	filterByTime = os.Getenv("PGARK_TEST_MUTANT") == "time-filter-instead-of-prefix"
)
