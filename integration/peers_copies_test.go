//go:build peers

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/wal"
)

// copies receives the same 64 segments with one repository, and with a copy beside it that is required too.
func (b *bench) copies() {
	stop := b.agent("s3://bench/copyseed")
	seed := filepath.Join(b.dir, "s3root", "bench", "copyseed")
	b.waitFor("the first base backup", func() bool {
		found, _ := filepath.Glob(filepath.Join(seed, "*", "backups", "*", "record.json"))
		return len(found) > 0
	})
	stop()
	_, to := b.makeWAL()
	for i := range *rounds {
		for _, n := range []int{1, 2} {
			b.receiveInto(i, n, seed, to)
		}
	}
}

func (b *bench) receiveInto(round, repositories int, seed, to string) {
	name := fmt.Sprintf("copyround%dof%d", round, repositories)
	var env []string
	folders := []string{name}
	if repositories == 2 {
		folders = append(folders, name+"dr")
		env = []string{"PGARK_REQUIRED=all", "PGARK_COPIES=dr=s3://bench/" + name + "dr"}
	}
	for _, folder := range folders {
		b.copyTree(seed, filepath.Join(b.dir, "s3root", "bench", folder))
	}
	b.sql("select pg_copy_physical_replication_slot('pgark', '" + name + "')")
	start := time.Now()
	stop := b.agentWith(env, "s3://bench/"+name, "--slot", name)
	b.waitFor("pgark to flush", func() bool {
		return b.ask("select coalesce(max(flush_lsn) >= '" + to + "', false) from pg_stat_replication where application_name like 'pgark%'")
	})
	wall := time.Since(start)
	f := stop()
	f.wall = wall
	for _, folder := range folders {
		f.stored += b.stored(folder)
		b.must(os.RemoveAll(filepath.Join(b.dir, "s3root", "bench", folder)))
	}
	b.keep("copies", map[int]string{1: "pgark", 2: "pgark, two required"}[repositories], f)
	b.sql("select pg_drop_replication_slot('" + name + "')")
}

// exposureLoads are the loads under which the exposure is measured, transactions a second; 0 is all that the machine does.
var exposureLoads = []struct {
	name string
	rate int
}{{"idle", -1}, {"20 tps", 20}, {"200 tps", 200}, {"full", 0}}

const exposureTime = 30 * time.Second

// exposure measures the age of the oldest byte that the server has flushed and the agent has not confirmed, looked at fifty times a second.
func (b *bench) exposure() {
	b.run(debianBin+"pgbench", "-i", "-q", "-s", "10")
	stop := b.agent("s3://bench/exposure")
	b.waitFor("the first base backup", func() bool {
		found, _ := filepath.Glob(filepath.Join(b.dir, "s3root", "bench", "exposure", "*", "backups", "*", "record.json"))
		return len(found) > 0
	})
	defer stop()
	fmt.Printf("\n### exposure\n\n| load | transactions/s | p50 s | p99 s | max s |\n|---|---:|---:|---:|---:|\n")
	for _, load := range exposureLoads {
		tps := "0"
		sampled := make(chan []time.Duration, 1)
		done := make(chan struct{})
		go func() { sampled <- b.sampleExposure(done) }()
		if load.rate < 0 {
			wait(b.t.Context(), exposureTime)
		} else {
			args := []string{"-n", "-c", "4", "-j", "2", "-T", strconv.Itoa(int(exposureTime.Seconds()))}
			if load.rate > 0 {
				args = append(args, "-R", strconv.Itoa(load.rate))
			}
			tps = b.tps(args)
		}
		close(done)
		ages := <-sampled
		slices.Sort(ages)
		at := func(q float64) float64 { return ages[int(q*float64(len(ages)-1))].Seconds() }
		fmt.Printf("| %s | %s | %.2f | %.2f | %.2f |\n", load.name, tps, at(0.5), at(0.99), at(1))
	}
}

// tps runs pgbench and returns what it says.
func (b *bench) tps(args []string) string {
	out, err := b.command(debianBin+"pgbench", args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("pgbench: %v\n%s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "tps = ")
	whole, _, _ := strings.Cut(after, ".")
	return whole
}

// sampleExposure returns an age for each look, until done is closed.
func (b *bench) sampleExposure(done <-chan struct{}) []time.Duration {
	ctx := b.t.Context()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s/pgdata-socket port=%d user=postgres dbname=postgres", b.dir, b.port))
	b.must(err)
	defer hangUp(ctx, conn)
	type look struct {
		at      time.Time
		flushed wal.LSN
	}
	var seen []look // not confirmed yet, oldest first
	var ages []time.Duration
	for {
		select {
		case <-done:
			return ages
		default:
		}
		var flushed, confirmed string
		at := time.Now()
		b.must(conn.QueryRow(ctx, "select pg_current_wal_flush_lsn()::text, coalesce(max(flush_lsn), '0/0')::text from pg_stat_replication "+
			"where application_name like 'pgark%' and state = 'streaming'").Scan(&flushed, &confirmed))
		end, err := wal.ParseLSN(flushed)
		b.must(err)
		durable, err := wal.ParseLSN(confirmed)
		b.must(err)
		if len(seen) == 0 || end > seen[len(seen)-1].flushed {
			seen = append(seen, look{at, end})
		}
		for len(seen) > 0 && seen[0].flushed <= durable {
			seen = seen[1:]
		}
		age := time.Duration(0)
		if len(seen) > 0 {
			age = at.Sub(seen[0].at)
		}
		ages = append(ages, age)
		wait(ctx, 20*time.Millisecond)
	}
}
