package postgrestest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

func TestClusterLife(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c := postgrestest.Start(t, v, postgrestest.Options{
				SegmentSize: 1 << 20, Settings: map[string]string{"work_mem": "5MB", "cluster_name": `it's\`},
			})
			t.Logf("up after %s", time.Since(began).Round(time.Millisecond))
			if got, want := c.Text(t, "show server_version_num")[:2], fmt.Sprint(v.Major); got != want {
				t.Errorf("server is of major %s, want %s", got, want)
			}
			if got, want := c.Text(t, "show cluster_name"), `it's\`; got != want {
				t.Errorf("cluster_name is %q, want %q", got, want)
			}
			if got, want := c.Text(t, "show wal_segment_size"), "1MB"; got != want {
				t.Errorf("wal_segment_size is %s, want %s", got, want)
			}
			if got, want := c.Text(t, "show data_checksums"), "on"; got != want {
				t.Errorf("data_checksums is %s, want %s", got, want)
			}
			c.Exec(t, "create table t (n int); insert into t values (7)")
			c.Restart(t)
			c.Stop(t, postgrestest.Immediate)
			c.Start(t)
			if got := c.Value(t, "select n from t where n = $1", 7); got != int32(7) {
				t.Errorf("after a crash n is %v, want 7", got)
			}
			c.Stop(t, postgrestest.Fast)
			if c.Running() {
				t.Error("server runs after Stop")
			}
			again := postgrestest.StartFrom(t, v, c.DataDir)
			again.WaitReady(t)
			if got := again.Text(t, "select n from t"); got != "7" {
				t.Errorf("n is %s, want 7", got)
			}
			again.Remove(t)
			if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
				t.Errorf("data directory after Remove: %v, want it gone", err)
			}
		})
	}
}

func TestClusterWithoutChecksums(t *testing.T) {
	for _, major := range []int{14, 18} {
		c := postgrestest.Start(t, postgrestest.Need(t, major), postgrestest.Options{NoChecksums: true})
		if got, want := c.Text(t, "show data_checksums"), "off"; got != want {
			t.Errorf("%d: data_checksums is %s, want %s", major, got, want)
		}
		if got, want := c.Text(t, "show wal_segment_size"), "16MB"; got != want {
			t.Errorf("%d: wal_segment_size is %s, want %s", major, got, want)
		}
	}
	if wal.DefaultSegmentSize != 16<<20 {
		t.Error("the default segment size is not PostgreSQL's")
	}
}

func TestClientRuns(t *testing.T) {
	if got := postgrestest.Client(t, "pgbench"); !strings.HasSuffix(got, "/pgbench") {
		t.Errorf("client is %s, want pgbench", got)
	}
}

// TestClustersDiffer: clusters of one kind come from one template and are yet
// different ones.
func TestClustersDiffer(t *testing.T) {
	for _, v := range postgrestest.Versions(t) {
		seen := map[string]bool{}
		for range 2 {
			c := postgrestest.Start(t, v, postgrestest.Options{})
			seen[c.Text(t, "select system_identifier from pg_control_system()")] = true
			c.Exec(t, "create table t (n int); select pg_switch_wal(); checkpoint")
			c.Stop(t, postgrestest.Immediate)
			c.Start(t)
			if got := c.Text(t, "select count(*) from t"); got != "0" {
				t.Errorf("%s: got %s rows, want 0", v, got)
			}
		}
		if len(seen) != 2 {
			t.Errorf("%s: two clusters have the identifiers %v", v, seen)
		}
	}
}
