//go:build peers

package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const walSegments = 64

func (b *bench) pgbackrest(repo string, args ...string) []string {
	return append([]string{"--config=" + b.dir + "/pgbackrest.conf", "--stanza=main", "--repo1-path=/" + repo}, args...)
}

// agent starts `pgark run` and returns a function that stops it and says what it cost.
func (b *bench) agent(url string, args ...string) (stop func() figure) {
	b.t.Helper()
	return b.agentWith(nil, url, args...)
}

// agentWith is agent with further variables.
func (b *bench) agentWith(env []string, url string, args ...string) (stop func() figure) {
	b.t.Helper()
	cmd := b.command(b.pgark, append([]string{"run"}, append(args, url)...)...)
	cmd.Env = append(cmd.Env, env...)
	log, err := os.Create(filepath.Join(b.dir, "agent.log"))
	b.must(err)
	cmd.Stdout, cmd.Stderr = log, log
	b.must(cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // an agent that is told to stop may say so with its exit code
		close(done)
	}()
	stopped := false
	stop = func() figure {
		if stopped {
			return figure{}
		}
		stopped = true
		b.must(cmd.Process.Signal(syscall.SIGTERM))
		select {
		case <-done:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-done
			b.t.Error("agent did not stop within a minute")
		}
		_ = log.Close()
		return b.usage(cmd)
	}
	b.t.Cleanup(func() { stop() })
	return stop
}

// withServer adds PostgreSQL's own work to what a contender cost.
func (b *bench) withServer(job func() figure) figure {
	before := b.serverCPU()
	f := job()
	f.server = b.serverCPU() - before
	return f
}

func (b *bench) backups() []string {
	found, err := filepath.Glob(filepath.Join(b.dir, "s3root", "bench", "pgark", "*", "backups", "*", "record.json"))
	b.must(err)
	return found
}

func (b *bench) baseBackups() {
	b.run("/usr/bin/pgbackrest", b.pgbackrest("pgbackrest", "stanza-create")...)
	stop := b.agent("s3://bench/pgark")
	b.waitFor("the first base backup", func() bool { return len(b.backups()) > 0 })
	for range *rounds {
		before := b.stored("pgbackrest")
		f := b.withServer(func() figure {
			return b.run("/usr/bin/pgbackrest", b.pgbackrest("pgbackrest", "backup", "--type=full")...)
		})
		f.stored = b.stored("pgbackrest") - before
		b.keep("backup", "pgBackRest zst 1", f)

		before = b.stored("pgark")
		f = b.withServer(func() figure { return b.run(b.pgark, "backup", "s3://bench/pgark") })
		f.stored = b.stored("pgark") - before
		b.keep("backup", "pgark", f)

		target := filepath.Join(b.folder("pipe"), "base.tar.zst")
		f = b.withServer(func() figure {
			return b.run("/bin/sh", "-c", debianBin+"pg_basebackup -D - -Ft -X none -c fast | zstd -1 -T0 -q -f -o "+target)
		})
		if info, err := os.Stat(target); err == nil {
			f.stored = info.Size()
		}
		_ = os.Remove(target)
		b.keep("backup", "pg_basebackup | zstd -1", f)
	}
	stop()
}

// restores keeps what was laid down until the end: a file system is slower for a while where much was just deleted.
func (b *bench) restores() {
	parent := b.folder("restored")
	for i := range *rounds {
		into := b.folder(filepath.Join("restored", fmt.Sprintf("pgbackrest%d", i)))
		f := b.run("/usr/bin/pgbackrest", b.pgbackrest("pgbackrest", "restore", "--pg1-path="+into)...)
		b.keep("restore", "pgBackRest zst 1", f)

		into = filepath.Join(parent, fmt.Sprintf("pgark%d", i))
		f = b.run(b.pgark, "restore", "--into", into, "--yes", "s3://bench/pgark")
		b.keep("restore", "pgark", f)
	}
	b.must(os.RemoveAll(parent))
}

// wal receives the same 64 segments with each contender, each time from a fresh slot and an equal repository.
func (b *bench) wal() {
	stop := b.agent("s3://bench/walseed")
	seed := filepath.Join(b.dir, "s3root", "bench", "walseed")
	b.waitFor("the first base backup", func() bool {
		found, _ := filepath.Glob(filepath.Join(seed, "*", "backups", "*", "record.json"))
		return len(found) > 0
	})
	stop()
	from, to := b.makeWAL()
	for i := range *rounds {
		b.walPgark(i, seed, to)
		b.walReceivewal(i, to)
		b.walPgBackRest(i, from, to)
	}
}

// makeWAL writes 64 segments of WAL as applications make it, and returns the names of the first and the position after the last.
func (b *bench) makeWAL() (first, end string) {
	b.sql("select pg_switch_wal()")
	first = b.sql("select pg_walfile_name(pg_current_wal_lsn())")
	start := b.sql("select pg_current_wal_lsn()")
	b.sql("create table if not exists written (id uuid, at timestamptz, payload jsonb)")
	for b.sql(fmt.Sprintf("select pg_current_wal_lsn() - '%s'::pg_lsn >= %d::bigint * 16777216", start, walSegments)) != "t" {
		b.sql(`insert into written select gen_random_uuid(), clock_timestamp(), jsonb_build_object('user', (random()*1e6)::int,
			'path', '/p/' || md5(random()::text), 'ms', (random()*1000)::int) from generate_series(1, 100000)`)
	}
	b.sql("select pg_switch_wal()")
	end = b.sql("select pg_walfile_name(pg_current_wal_lsn()), pg_current_wal_lsn()")
	return first, end[strings.Index(end, "|")+1:]
}

func (b *bench) walPgark(round int, seed, to string) {
	name := fmt.Sprintf("walround%d", round)
	b.copyTree(seed, filepath.Join(b.dir, "s3root", "bench", name))
	b.sql("select pg_copy_physical_replication_slot('pgark', '" + name + "')")
	before := b.stored(name)
	start := time.Now()
	stop := b.agent("s3://bench/"+name, "--slot", name)
	b.waitFor("pgark to flush", func() bool {
		return b.ask("select coalesce(max(flush_lsn) >= '" + to + "', false) from pg_stat_replication where application_name like 'pgark%'")
	})
	wall := time.Since(start)
	f := stop()
	f.wall, f.stored = wall, b.stored(name)-before
	b.keep("wal", "pgark", f)
	b.must(os.RemoveAll(filepath.Join(b.dir, "s3root", "bench", name)))
	b.sql("select pg_drop_replication_slot('" + name + "')")
}

func (b *bench) copyTree(from, to string) {
	out, err := exec.CommandContext(b.t.Context(), "cp", "-a", from, to).CombinedOutput()
	if err != nil {
		b.t.Fatalf("copy the repository: %v\n%s", err, out)
	}
}

func (b *bench) walReceivewal(round int, to string) {
	name := fmt.Sprintf("receive%d", round)
	b.sql("select pg_copy_physical_replication_slot('pgark', '" + name + "')")
	dir := b.folder(name)
	f := b.run(debianBin+"pg_receivewal", "-D", dir, "--slot="+name, "--endpos="+to, "-n")
	b.keep("wal", "pg_receivewal to disk", f)
	b.must(os.RemoveAll(dir))
	b.sql("select pg_drop_replication_slot('" + name + "')")
}

// walPgBackRest lets PostgreSQL's archiver hand over the same segments again.
func (b *bench) walPgBackRest(round int, from, to string) {
	name := fmt.Sprintf("pgbackrest-wal%d", round)
	b.run("/usr/bin/pgbackrest", b.pgbackrest(name, "stanza-create")...)
	// The archiver rests while the segments are marked as new again.
	b.sql("alter system set archive_command = ''")
	b.sql("select pg_reload_conf()")
	status := filepath.Join(b.dir, "pgdata", "pg_wal", "archive_status")
	done, err := os.ReadDir(status)
	b.must(err)
	last := b.sql("select pg_walfile_name('" + to + "'::pg_lsn - 1)")
	n := 0
	for _, e := range done {
		seg, isDone := strings.CutSuffix(e.Name(), ".done")
		if isDone {
			if seg >= from && seg <= last {
				b.must(os.Rename(filepath.Join(status, e.Name()), filepath.Join(status, seg+".ready")))
			}
		} else {
			seg = strings.TrimSuffix(e.Name(), ".ready")
			if seg < from {
				b.must(os.Rename(filepath.Join(status, e.Name()), filepath.Join(status, seg+".done")))
			}
		}
		if seg >= from && seg <= last {
			n++
		}
	}
	// A spool of its own: pgBackRest believes the marks of an earlier round.
	command := "/usr/bin/pgbackrest " + strings.Join(b.pgbackrest(name, "--spool-path="+b.folder(name+"-spool"), "archive-push"), " ") + " %p"
	before := b.sql("select archived_count from pg_stat_archiver")
	start := time.Now()
	b.sql("alter system set archive_command = '" + command + "'")
	b.sql("select pg_reload_conf()")
	b.waitFor("pgBackRest to archive", func() bool {
		return b.ask(fmt.Sprintf("select archived_count >= %s + %d from pg_stat_archiver", before, n))
	})
	f := figure{wall: time.Since(start), stored: b.stored(name)}
	b.sql("alter system set archive_command = '/bin/true'")
	b.sql("select pg_reload_conf()")
	b.keep("wal", fmt.Sprintf("pgBackRest async (%d)", n), f)
}
