//go:build peers

package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// recovery lets a server replay WAL of two kinds: rows that come in large batches, which replays fastest and compresses least, and many small transactions
// at random places.
func (b *bench) recovery() {
	b.recover("recover", *rounds, b.makeWAL)
	b.run(debianBin+"pgbench", "-i", "-q", "-s", "50")
	b.sql("checkpoint") // every page of the tables goes to WAL whole when it is first changed
	b.recover("recover_oltp", *rounds+1, b.makeTransactions)
}

// makeTransactions writes 64 segments of the WAL of pgbench.
func (b *bench) makeTransactions() (first, end string) {
	b.sql("select pg_switch_wal()")
	first, start := b.sql("select pg_walfile_name(pg_current_wal_lsn())"), b.sql("select pg_current_wal_lsn()")
	b.sql("alter role postgres set synchronous_commit = off") // it is the server's to be slow, not the disk's
	for b.sql(fmt.Sprintf("select pg_current_wal_lsn() - '%s'::pg_lsn >= %d::bigint * 16777216", start, walSegments)) != "t" {
		b.run(debianBin+"pgbench", "-n", "-c", "4", "-j", "2", "-T", "2", "-M", "prepared")
	}
	b.sql("alter role postgres reset synchronous_commit")
	b.sql("select pg_switch_wal()")
	return first, b.sql("select pg_current_wal_lsn()")
}

// recover lets a server replay the same 64 segments, each time from the same base backup: fed by pgark's supervised recovery, by `pgark wal fetch`
// alone, by cp from a local folder, by pgBackRest's asynchronous archive-get, and by nothing, with all WAL in pg_wal before the start. What counts is
// the time between two lines of the server's own log. Then the supply alone is measured: how fast WAL is made ready for a server that takes no time.
func (b *bench) recover(name string, spare int, makeWAL func() (first, end string)) {
	url := "s3://bench/" + name
	oldest := b.sql("select pg_walfile_name(pg_current_wal_lsn())")
	stop := b.agent(url, "--slot", name)
	root := filepath.Join(b.dir, "s3root", "bench", name)
	b.waitFor("the first base backup", func() bool {
		found, _ := filepath.Glob(filepath.Join(root, "*", "backups", "*", "record.json"))
		return len(found) > 0
	})
	_, to := makeWAL()
	b.waitFor("pgark to flush", func() bool {
		return b.ask("select coalesce(max(flush_lsn) >= '" + to + "', false) from pg_stat_replication where application_name like 'pgark%'")
	})
	stop()
	b.sql("select pg_drop_replication_slot('" + name + "')")
	local := b.folder("local-" + name)
	segments, err := filepath.Glob(filepath.Join(b.dir, "pgdata", "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	b.must(err)
	last := b.sql("select pg_walfile_name('" + to + "'::pg_lsn - 1)")
	segments = slices.DeleteFunc(segments, func(path string) bool { return filepath.Base(path) < oldest || filepath.Base(path) > last })
	for _, path := range segments {
		b.copyTree(path, local+"/")
	}
	b.walPgBackRest(spare, oldest, to) // only to have them there
	repo := fmt.Sprintf("pgbackrest-wal%d", spare)
	contenders := []struct{ name, command string }{
		{"pgark", ""},
		{"cp from a local folder", "cp " + local + `/%f "%p"`},
		{"pgBackRest archive-get", "pgbackrest"},
		{"pgark wal fetch alone", "as it is"},
		{"(replay alone, WAL in pg_wal)", "exit 1"},
	}
	for i := range *rounds {
		for k := range contenders { // each round begins with another
			contender := contenders[(i+k)%len(contenders)]
			dir := filepath.Join(b.folder("recovered"), fmt.Sprintf("%s-%d-%s", name, i, strings.ReplaceAll(contender.name, " ", "-")))
			if contender.command == "pgbackrest" { // with a spool of its own each time
				spool := b.folder(fmt.Sprintf("get-spool-%s%d", name, i))
				contender.command = "/usr/bin/pgbackrest " + strings.Join(b.pgbackrest(repo, "--spool-path="+spool, "--pg1-path="+dir, "archive-get"), " ") + ` %f "%p"`
			}
			args := []string{"restore", "--into", dir, "--to-lsn", to, "--before", "--yes"}
			if contender.command == "" { // it syncs the cluster itself
				b.run("/bin/sync")
				out, err := b.command(b.pgark, append(args, "--start", "--port", fmt.Sprint(freePort(b.t)), "-o", "json", url)...).Output()
				b.must(err)
				var document struct {
					Result struct {
						Late int `json:"late_segments"`
					} `json:"result"`
				}
				b.must(json.Unmarshal(out, &document))
				b.t.Logf("the server waited for %d segments", document.Result.Late)
			} else {
				b.run(b.pgark, append(args, url)...)
				if contender.command != "as it is" {
					setRestoreCommand(b.t, filepath.Join(dir, "postgresql.auto.conf"), contender.command)
				}
				if contender.command == "exit 1" {
					for _, path := range segments {
						b.copyTree(path, filepath.Join(dir, "pg_wal")+"/")
					}
				}
				b.run("/bin/sync") // what was written before is not to be written meanwhile
				b.replays(dir)
			}
			b.run(debianBin+"pg_ctl", "-D", dir, "-m", "immediate", "stop")
			b.keep(name, contender.name, figure{wall: b.recoveryTook(dir)})
			b.must(os.RemoveAll(dir))
		}
		took := b.supply(url, to)
		b.t.Logf("supply: %d segments in %s, %.0f MB/s", len(segments), took, float64(len(segments))*float64(wal.DefaultSegmentSize)/1e6/took.Seconds())
		b.keep(name, "(supply alone)", figure{wall: took})
	}
}

// replays starts a server as pgark does and waits until it has opened.
func (b *bench) replays(dir string) {
	log, err := os.OpenFile(filepath.Join(dir, "pgark-recovery.log"), os.O_CREATE|os.O_WRONLY, 0o644)
	b.must(err)
	defer func() { _ = log.Close() }()
	cmd := b.command(debianBin+"postgres", "-D", dir, "-c", "listen_addresses=", "-c", "port="+fmt.Sprint(freePort(b.t)), "-c", "unix_socket_directories="+b.folder("socket"),
		"-c", "archive_mode=off", "-c", "hot_standby=off", "-c", "logging_collector=off", "-c", "log_line_prefix=%m [%p] ", "-c", "lc_messages=C",
		"-c", "log_startup_progress_interval=1s")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setsid = true
	b.must(cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	b.waitFor("the server to open", func() bool {
		select {
		case <-done:
			b.t.Fatalf("the server ended:\n%s", b.read(log.Name()))
		default:
		}
		return strings.Contains(string(b.read(log.Name())), "ready to accept connections")
	})
}

var recoveryLine = regexp.MustCompile(`(?m)^(\S+ \S+) UTC \[\d+\] LOG:  (starting PostgreSQL|database system is ready to accept)`)

// recoveryTook is the time from the start of a server until it was open, by its own log.
func (b *bench) recoveryTook(dir string) time.Duration {
	found := recoveryLine.FindAllStringSubmatch(string(b.read(filepath.Join(dir, "pgark-recovery.log"))), -1)
	if len(found) != 2 {
		b.t.Fatalf("log of %s: %v", dir, found)
	}
	var at [2]time.Time
	for i := range at {
		var err error
		at[i], err = time.Parse("2006-01-02 15:04:05.000", found[i][1])
		b.must(err)
	}
	return at[1].Sub(at[0])
}

// supply is how long it takes to make all segments ready for a server that takes each at once.
func (b *bench) supply(url, to string) time.Duration {
	b.t.Helper()
	ctx := b.t.Context()
	for _, pair := range b.command("x").Env {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			b.t.Setenv(name, value)
		}
	}
	r, sources, err := agent.OpenSources(ctx, config.Cluster{Repo: config.Repo{URL: url}}, agent.StoreOptions{Patience: agent.Brief})
	b.must(err)
	defer func() { _ = sources.Close() }()
	cluster, err := agent.SelectCluster(ctx, r, 0)
	b.must(err)
	inventory, err := restore.Survey(ctx, cluster)
	b.must(err)
	lsn, err := wal.ParseLSN(to)
	b.must(err)
	plan, err := restore.Resolve(ctx, cluster, inventory, restore.Target{Kind: restore.TargetLSN, LSN: lsn, Exclusive: true})
	b.must(err)
	dir := b.folder("supply")
	b.folder("supply/pg_wal")
	defer func() { _ = os.RemoveAll(dir) }()
	began := time.Now()
	open := func(context.Context) (*repository.Cluster, error) { return cluster, nil }
	var g errgroup.Group
	prefetch, err := restore.NewPrefetch(plan, dir, restore.RecoverOptions{})
	b.must(err)
	g.Go(func() error { return prefetch.Run(ctx, cluster) })
	last := plan.Until - 1
	for at := inventory.SegmentSize.Floor(plan.Backup.StartLSN); at <= last; at += wal.LSN(inventory.SegmentSize) {
		name := inventory.SegmentSize.FileName(inventory.SegmentSize.Segment(plan.Timeline, at))
		take := exec.CommandContext(ctx, "/bin/sh", "-c", strings.NewReplacer("%f", name, "%p", "pg_wal/"+name).Replace(restore.TakeCommand(plan, "exit 1")))
		take.Dir = dir
		if take.Run() == nil {
			continue
		}
		result, err := restore.Fetch(ctx, open, name, filepath.Join(dir, "pg_wal", name), plan.FetchOptions())
		if err != nil || result != restore.FetchFound {
			b.t.Fatalf("%s: %v, %v", name, result, err)
		}
	}
	took := time.Since(began)
	b.must(g.Wait())
	return took
}
