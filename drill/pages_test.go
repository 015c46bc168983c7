package drill_test

import (
	"testing"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

// TestPagesWithoutChecksums: of a cluster whose pages have no checksums it is said that nothing can be proved, never that all is right. A role that may not
// replicate gets at its pages by one that may.
func TestPagesWithoutChecksums(t *testing.T) {
	for _, without := range []bool{true, false} {
		c := postgrestest.Start(t, postgrestest.Need(t, 14), postgrestest.Options{NoChecksums: without})
		c.Exec(t, "create role plain login")
		opened := &drill.Opened{Server: &restore.Server{SocketDir: c.SocketDir, Port: c.Port, BinDir: c.Version.BinDir}, User: "plain", Database: "postgres"}
		got, err := opened.Pages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if without && (got.Result != repository.CheckOff || got.Detail == "" || got.By != "") ||
			!without && (got.Result != repository.CheckPassed || got.By != repository.ByBaseBackup || got.Bytes < 10<<20) {
			t.Errorf("without checksums %t: got %+v", without, got)
		}
	}
}
