//go:build peers

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// sealing is one of the two contenders of what encryption costs: pgark in clear, and pgark that encrypts to two public keys, which holds these and a
// proof key alone while it archives.
type sealing struct {
	name, repo      string
	archives, opens []string // variables
}

// encryption takes base backups, restores, and receives the same 64 segments, in clear and encrypted by turns; who begins changes from round to round.
// The ratio of the report is what encryption costs: above 1 it is slower. The first round of the first two warms up and does not count.
func (b *bench) encryption() {
	k := writeKeyFiles(b.t, b.folder("keys"))
	archives := []string{"PGARK_ENCRYPTION_RECIPIENTS_FILE=" + k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE=" + k.proof}
	both := []sealing{
		{name: "pgark", repo: "inclear"},
		{name: "pgark, encrypted", repo: "sealed", archives: archives, opens: append([]string{"PGARK_ENCRYPTION_IDENTITY_FILE=" + k.recovery}, archives...)},
	}
	turns := func(rounds int, job func(round int, c sealing)) {
		for round := range rounds {
			for i := range both {
				job(round, both[(round+i)%len(both)])
			}
		}
	}
	var stops []func() figure
	for _, c := range both {
		stops = append(stops, b.agentWith(c.archives, "s3://bench/"+c.repo, "--slot", c.repo))
		b.waitFor("the first base backup", func() bool {
			found, _ := filepath.Glob(filepath.Join(b.dir, "s3root", "bench", c.repo, "*", "backups", "*", "record.json"))
			return len(found) > 0
		})
	}
	turns(*rounds+1, func(round int, c sealing) {
		before := b.stored(c.repo)
		f := b.withServer(func() figure { return b.runWith(c.archives, b.pgark, "backup", "s3://bench/"+c.repo) })
		f.stored = b.stored(c.repo) - before
		if round > 0 {
			b.keep("encrypted backup", c.name, f)
		}
	})
	parent := b.folder("unsealed")
	turns(*rounds+1, func(round int, c sealing) {
		into := filepath.Join(parent, fmt.Sprint(c.repo, round))
		f := b.runWith(c.opens, b.pgark, "restore", "--into", into, "--yes", "s3://bench/"+c.repo)
		if round > 0 {
			b.keep("encrypted restore", c.name, f)
		}
	})
	b.must(os.RemoveAll(parent))
	for _, stop := range stops {
		stop()
	}
	_, to := b.makeWAL()
	turns(*rounds, func(round int, c sealing) { b.receiveSealed(round, c, to) })
}

// receiveSealed lets a contender go on from where its agent ended.
func (b *bench) receiveSealed(round int, c sealing, to string) {
	name := fmt.Sprintf("%s%d", c.repo, round)
	b.copyTree(filepath.Join(b.dir, "s3root", "bench", c.repo), filepath.Join(b.dir, "s3root", "bench", name))
	b.sql("select pg_copy_physical_replication_slot('" + c.repo + "', '" + name + "')")
	before := b.stored(name)
	start := time.Now()
	stop := b.agentWith(c.archives, "s3://bench/"+name, "--slot", name)
	b.waitFor("pgark to flush", func() bool {
		return b.ask("select coalesce(max(flush_lsn) >= '" + to + "', false) from pg_stat_replication where application_name like 'pgark%'")
	})
	wall := time.Since(start)
	f := stop()
	f.wall, f.stored = wall, b.stored(name)-before
	b.keep("encrypted wal", c.name, f)
	b.must(os.RemoveAll(filepath.Join(b.dir, "s3root", "bench", name)))
	b.sql("select pg_drop_replication_slot('" + name + "')")
}
