package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// shown is a session that prints into a buffer, as the flags say.
func shown(t *testing.T, flags ...string) (*session, *bytes.Buffer) {
	t.Helper()
	set := flag.NewFlagSet("status", flag.ContinueOnError)
	set.String("cluster", "", "")
	set.String("repo", "", "")
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &program{
		stdout: &out, stderr: &out, interrupted: func() os.Signal { return nil },
		now: func() time.Time { return day(20, "10:41:07") },
	}
	return &session{
		program: p, cli: cli.NewContext(cli.NewApp(), set, nil), ctx: t.Context(), unicode: true,
		stdout: &redactingWriter{&out, newRedactor(nil)},
	}, &out
}

// day is an instant of November 2026.
func day(n int, clock string) time.Time {
	at, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, 11, n, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
}

// archivedTwoWeeks has two base backups and a hole of seven minutes, which the second one ended.
func archivedTwoWeeks() status.Facts {
	beforeHole, last := day(14, "03:10:00"), day(20, "10:41:06")
	return status.Facts{
		Backups: []repository.Backup{
			{
				ID: "20261106T104107Z", Type: "full", PGVersionNum: 170006, Timeline: 4, StartLSN: 0x10CA4000060, StopLSN: 0x10CA5000000,
				Started: day(6, "10:41:07"), Stopped: day(6, "10:50:47"), Plain: 408e9, Stored: 97e9, Checksums: repository.ChecksumsVerified,
			},
			{
				ID: "20261114T030500Z", Type: "full", PGVersionNum: 170006, Timeline: 4, StartLSN: 0x18AD0000028, StopLSN: 0x18AD1000000,
				Started: day(14, "03:12:00"), Stopped: day(14, "03:17:12"), Plain: 411e9, Stored: 97.9e9, Checksums: repository.ChecksumsVerified,
			},
		},
		Spans: []status.Span{
			{Timeline: 4, Start: 0x10CA4000000, End: 0x18AC0000000, Stored: 120e9, Last: &beforeHole},
			{Timeline: 4, Start: 0x18AD0000000, End: 0x1A38F2A1C40, Stored: 93e9, Last: &last},
		},
		Lost: []repository.Gap{{
			Timeline: 4, Range: wal.Range{Start: 0x18AC0000000, End: 0x18AD0000000}, Cause: repository.CauseSlotLost,
			Detail: "the server invalidated slot pgark", FirstSeen: day(14, "03:11:00"),
		}},
	}
}

// served is a server whose agent streams.
func served() status.Server {
	active, limit, since := true, int64(64<<30), day(8, "06:30:00")
	return status.Server{
		Address: "pgark@prod-db-1:5432", Version: "17.6 (Debian 17.6-1)", Timeline: 4, Flush: 0x1A38F2A1C40,
		Slot: &status.Slot{
			Name: "pgark", Exists: true, Restart: 0x1A38F000000, Retained: 3.2e6, Active: &active, ActiveSince: &since, WALStatus: "reserved", Limit: &limit,
		},
	}
}

// reported is the judged report of a cluster that a file with two clusters names.
func reported(s *session, facts status.Facts, server *status.Server, serverError string) status.Report {
	cluster := config.Cluster{Name: "main", Slot: "pgark", Postgres: "postgres://pgark:hunter22@prod-db-1", Repo: config.Repo{URL: "s3://acme-pg/main?region=eu-west-1"}}
	r := status.Make(facts, s.program.now())
	r.Cluster, r.Repository, r.SystemID, r.ServerError = cluster.Name, cluster.Repo.URL, 7423474350493388827, serverError
	if server != nil {
		r.SetServer(*server)
	}
	r.Judge(s.commands(config.Config{File: "/srv/pg ark.yml", Clusters: []config.Cluster{cluster, {Name: "other"}}}, cluster))
	return r
}

// TestCommandsToPaste: a fix names what this call was told, and the repository where no file does.
func TestCommandsToPaste(t *testing.T) {
	cluster := config.Cluster{Name: "main", Repo: config.Repo{URL: "s3://acme-pg/main?region=eu-west-1"}}
	one := []config.Cluster{cluster}
	for _, test := range []struct {
		flags []string
		from  config.Config
		want  string
	}{
		{nil, config.Config{Clusters: one}, "pgark run 's3://acme-pg/main?region=eu-west-1'"},
		{nil, config.Config{Clusters: one, File: config.DefaultFile}, "pgark run"},
		{nil, config.Config{Clusters: one, File: "a.yml"}, "pgark run --config a.yml"},
		{[]string{"--cluster", "main"}, config.Config{Clusters: one, File: config.DefaultFile}, "pgark run --cluster main"},
		{[]string{"--repo", "x"}, config.Config{Clusters: one, File: "a.yml"}, "pgark run --config a.yml 's3://acme-pg/main?region=eu-west-1'"},
	} {
		s, _ := shown(t, test.flags...)
		if got := s.commands(test.from, cluster).Run; got != test.want {
			t.Errorf("%q: got %s, want %s", test.flags, got, test.want)
		}
	}
}

// same compares a screen with the one that is wanted, line by line.
func same(t *testing.T, got, want string) {
	t.Helper()
	if got = strings.TrimSpace(got); got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatusProtected(t *testing.T) {
	s, out := shown(t)
	server := served()
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	same(t, out.String(), `
main   PostgreSQL 17.6 · pgark@prod-db-1:5432 · timeline 4 · streaming 12d 4h    PROTECTED

  RPO now   0.0 s     target 30 s   ok   all that the server has flushed is durable
  RTO       -         no drill yet: pgark drill run
  WAL       durable to 1A3/8F2A1C40 on timeline 4, 0 B behind the server
  slot      pgark · active · holds 3.2 MB on the server (limit 64 GB)
  stored    408 GB   195 GB of base backups, 213 GB of WAL in s3://acme-pg/main?region=eu-west-1

  Recovery window   13d 23h   2026-11-06 10:50:47Z → 2026-11-20 10:41:06Z    1 gap, 7m 12s
  ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━·●━━━━━━━━━━━━━━━━━━━━━━━━━━━
  Nov 06          Nov 09          Nov 13          Nov 16    Nov 20
  gap 2026-11-14 03:10:00Z → 2026-11-14 03:17:12Z (slot lost; a new base backup ended it)

  backups   2, newest 20261114T030500Z, 6d 7h ago, 411 GB
`)
}

// TestStatusAgentDead: the age grows and is never shown as none, and the fix has the file, the cluster and quotes.
func TestStatusAgentDead(t *testing.T) {
	s, out := shown(t)
	s.program.now = func() time.Time { return day(20, "10:45:18") }
	server, gone := served(), day(20, "10:41:08")
	*server.Slot.Active, server.Slot.InactiveSince, server.Slot.ActiveSince, server.Slot.Retained = false, &gone, nil, 6.4e9
	server.Flush += 6.4e9
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	head, _, _ := strings.Cut(out.String(), "  stored")
	same(t, head, `
main   PostgreSQL 17.6 · pgark@prod-db-1:5432 · timeline 4                         AT RISK

  RPO now   4m 12s    target 30 s   MISSED   nothing durable since 2026-11-20 10:41:06Z
  RTO       -         no drill yet: pgark drill run
  cause     no agent is receiving from slot pgark; the server keeps the WAL for it
  since     2026-11-20 10:41:08Z (4m 10s ago)
  fix       pgark run --config '/srv/pg ark.yml' --cluster main

  WAL       durable to 1A3/8F2A1C40 on timeline 4, 6.4 GB behind the server
  slot      pgark · NOT active · holds 6.4 GB on the server (limit 64 GB, reached in about 41 min)
`)
	if !strings.Contains(out.String(), "gap 2026-11-20 10:41:06Z → now (nothing newer is archived)") {
		t.Errorf("the window ends before now, and no gap is named:\n%s", out)
	}
}

// TestStatusAgentDeadOnAnIdleServer: nothing was written since, and still it does not read as none or as ok.
func TestStatusAgentDeadOnAnIdleServer(t *testing.T) {
	s, out := shown(t)
	server := served()
	*server.Slot.Active = false
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	if line := strings.Split(out.String(), "\n")[2]; line != "  RPO now   1.0 s     target 30 s   growing   nothing durable since 2026-11-20 10:41:06Z" {
		t.Errorf("got %s", line)
	}
}

func TestStatusServerAway(t *testing.T) {
	s, out := shown(t)
	s.program.now = func() time.Time { return day(20, "13:41:06") }
	s.printStatus(reported(s, archivedTwoWeeks(), nil, "connect to pgark@prod-db-1:5432: server is unreachable"))
	head, _, _ := strings.Cut(out.String(), "  stored")
	same(t, head, `
main   system id 7423474350493388827                                               AT RISK

  RPO now   3h 00m    target 30 s   MISSED   nothing durable since 2026-11-20 10:41:06Z; whether the server wrote more is not known
  RTO       -         no drill yet: pgark drill run
  cause     the server could not be asked, so it is not known whether an agent is
            receiving and how much WAL waits there: connect to pgark@prod-db-1:5432:
            server is unreachable
  fix       pgark check --config '/srv/pg ark.yml' --cluster main

  WAL       durable to 1A3/8F2A1C40 on timeline 4
`)
}

func TestStatusSlotLost(t *testing.T) {
	s, out := shown(t)
	server := served()
	*server.Slot.Active, server.Slot.WALStatus, server.Slot.Restart = false, "lost", 0
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	head, _, _ := strings.Cut(out.String(), "  stored")
	same(t, head, `
main   PostgreSQL 17.6 · pgark@prod-db-1:5432 · timeline 4                     UNPROTECTED

  RPO now   1.0 s     target 30 s   growing   nothing durable since 2026-11-20 10:41:06Z
  RTO       -         no drill yet: pgark drill run
  cause     slot pgark is lost: the server may have removed WAL that was not archived; the
            agent makes a new slot, records what is lost and takes a base backup
  since     2026-11-20 10:41:06Z (1.0 s ago)
  fix       pgark run --config '/srv/pg ark.yml' --cluster main

  WAL       durable to 1A3/8F2A1C40 on timeline 4, 0 B behind the server
  slot      pgark · LOST · the server keeps no WAL for it
`)
}

// TestStatusFixHidesThePassword: a fix that connects to the server does not show the password of the connection string.
func TestStatusFixHidesThePassword(t *testing.T) {
	s, out := shown(t)
	server := served()
	server.Slot = &status.Slot{Name: "other"}
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	if want := "psql -d 'postgres://pgark:***@prod-db-1/postgres' -c"; !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hunter22") {
		t.Errorf("want %s:\n%s", want, out)
	}
}

// TestStatusOpenGap: WAL was lost and no base backup was taken since: nothing written now is safe, and the strip shows it.
func TestStatusOpenGap(t *testing.T) {
	s, out := shown(t)
	server, facts := served(), archivedTwoWeeks()
	facts.Backups = facts.Backups[:1]
	s.printStatus(reported(s, facts, &server, ""))
	same(t, out.String(), `
main   PostgreSQL 17.6 · pgark@prod-db-1:5432 · timeline 4 · streaming 12d 4h      AT RISK

  RPO now   6d 7h     target 30 s   MISSED   nothing durable since 2026-11-14 03:10:00Z
  RTO       -         no drill yet: pgark drill run
  cause     WAL 18A/C0000000 to 18A/D0000000 on timeline 4 was lost (slot lost): what was
            written since can be restored only once a new base backup is there; the agent
            takes one
  since     2026-11-14 03:10:00Z (6d 7h ago)
  fix       pgark backup --config '/srv/pg ark.yml' --cluster main

  WAL       durable to 1A3/8F2A1C40 on timeline 4, 0 B behind the server
  slot      pgark · active · holds 3.2 MB on the server (limit 64 GB)
  stored    310 GB   97 GB of base backups, 213 GB of WAL in s3://acme-pg/main?region=eu-west-1

  Recovery window   7d 16h   2026-11-06 10:50:47Z → 2026-11-14 03:10:00Z    1 gap, 6d 7h
  ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━·····························
  Nov 06          Nov 09          Nov 13          Nov 16    Nov 20
  gap 2026-11-14 03:10:00Z → now (slot lost; no base backup was taken since)

  backups   1, newest 20261106T104107Z, 14d 0h ago, 408 GB
`)
}

func TestStatusNothingRestorableInASCII(t *testing.T) {
	s, out := shown(t)
	s.unicode = false
	server, facts := served(), archivedTwoWeeks()
	*server.Slot.Limit = status.NoLimit
	facts.Backups = nil
	s.printStatus(reported(s, facts, &server, ""))
	same(t, out.String(), `
main   PostgreSQL 17.6 | pgark@prod-db-1:5432 | timeline 4 | streaming 12d 4h   UNPROTECTED

  RPO now   all data  target 30 s   MISSED   nothing can be restored
  cause     there is no base backup: nothing can be restored
  fix       pgark backup --config '/srv/pg ark.yml' --cluster main

  WAL       durable to 1A3/8F2A1C40 on timeline 4, 0 B behind the server
  slot      pgark | active | holds 3.2 MB on the server (no limit: may fill its disk)
  stored    213 GB   0 B of base backups, 213 GB of WAL in s3://acme-pg/main?region=eu-west-1

  Recovery window   nothing can be restored yet: no base backup with its WAL
`)
}

// TestStatusInASCII: --ascii leaves no other character, whatever there is to say.
func TestStatusInASCII(t *testing.T) {
	for _, change := range []func(*status.Server){
		func(*status.Server) {},
		func(v *status.Server) { *v.Slot.Active = false },
		func(v *status.Server) { v.Slot = &status.Slot{Name: "other"} },
		func(v *status.Server) { v.Slot.WALStatus = "lost" },
		func(v *status.Server) { v.Slot.Active, v.SlotError = nil, "no password" },
	} {
		s, out := shown(t)
		s.unicode = false
		server := served()
		change(&server)
		s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
		for _, c := range out.String() {
			if c > 127 {
				t.Fatalf("%q in\n%s", c, out)
			}
		}
	}
}

func TestStatusClockBehind(t *testing.T) {
	s, out := shown(t)
	s.program.now = func() time.Time { return day(20, "10:31:06") }
	server := served()
	s.printStatus(reported(s, archivedTwoWeeks(), &server, ""))
	for _, want := range []string{
		"AT RISK\n", "RPO now   not known target 30 s   MISSED   newest durable 2026-11-20 10:41:06Z, by a clock ahead of this host's",
		"cause     the newest durable commit lies 10m0s ahead of this host's clock: how old it is",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
}

func TestListText(t *testing.T) {
	s, out := shown(t)
	facts := archivedTwoWeeks()
	s.printBackups(reported(s, facts, nil, ""))
	s.printArchive(reported(s, facts, nil, ""))
	same(t, out.String(), `
BACKUP            TYPE  STARTED (UTC)     TOOK    SIZE    STORED  LSN           TL  STATUS
20261106T104107Z  full  2026-11-06 10:41  9m 40s  408 GB  97 GB   10C/A4000060  4   ● restorable, page checksums verified
20261114T030500Z  full  2026-11-14 03:12  5m 12s  411 GB  98 GB   18A/D0000028  4   ● restorable, page checksums verified
WAL  recoverable 2026-11-06 10:50:47Z → 2026-11-20 10:41:06Z   to 1A3/8F2A1C40 on timeline 4   213 GB stored
GAP  2026-11-14 03:10:00Z → 2026-11-14 03:17:12Z   WAL 18A/C0000000 to 18A/D0000000 on timeline 4 was lost: slot lost, the server invalidated slot pgark
`)
}

func TestListOpenGap(t *testing.T) {
	s, out := shown(t)
	facts := archivedTwoWeeks()
	facts.Backups = facts.Backups[:1]
	s.printArchive(reported(s, facts, nil, ""))
	same(t, out.String(), `
WAL  recoverable 2026-11-06 10:50:47Z → 2026-11-14 03:10:00Z   to 18A/C0000000 on timeline 4   213 GB stored
GAP  2026-11-14 03:10:00Z → now   WAL 18A/C0000000 to 18A/D0000000 on timeline 4 was lost: slot lost, the server invalidated slot pgark; no base backup was taken since
`)
	facts.Lost = nil
	out.Reset()
	s.printArchive(reported(s, facts, nil, ""))
	if want := "on timeline 4 is missing, and nothing is recorded of it; no base backup was taken since"; !strings.Contains(out.String(), want) {
		t.Errorf("lacks %q:\n%s", want, out)
	}
	facts.Backups[0].StartLSN = wal.LSN(1)
	out.Reset()
	s.printArchive(reported(s, facts, nil, ""))
	same(t, out.String(), "WAL  nothing recoverable: no base backup has the WAL that makes it consistent   213 GB stored")
}

// TestFitting: lines that wrap count for the rows they take, colours for none; the first lines stay.
func TestFitting(t *testing.T) {
	lines := []string{"verdict", strings.Repeat("x", 25), "\x1b[1mshort\x1b[0m", "last"}
	for height, want := range map[int]string{
		6: strings.Join(lines, "|"),
		5: "verdict|" + lines[1] + "|  (2 more lines do not fit on the screen)",
		4: "verdict|  (3 more lines do not fit on the screen)",
	} {
		if got := strings.Join(fitting(lines, 10, height), "|"); got != want {
			t.Errorf("height %d: got %q, want %q", height, got, want)
		}
	}
}

// TestOrphans: what a failover left beside the history is told of with its commits, and with how to get at them.
func TestOrphans(t *testing.T) {
	facts := archivedTwoWeeks()
	exact, headers, last := 37, 1200, day(14, "03:09:59")
	facts.Orphans = []status.Orphan{
		{Timeline: 2, Next: 4, Start: 0x5000000, End: 0x5061A80, Commits: &exact, Exact: true, Last: &last},
		{Timeline: 3, Next: 4, Start: 0x6000000, End: 0xF0000000, Commits: &headers},
		{Timeline: 5, Next: 6, Start: 0x6000000, End: 0xF0000000},
	}
	s, out := shown(t)
	s.printOrphans(reported(s, facts, nil, "it did not answer"))
	same(t, out.String(), `
TAIL timeline 2   0/5000000 → 0/5061A80   37 commits, the last 2026-11-14 03:09:59Z   not in timeline 4: pgark restore --timeline 2
TAIL timeline 3   0/6000000 → 0/F0000000   at most 1,200 commits   not in timeline 4: pgark restore --timeline 3
TAIL timeline 5   0/6000000 → 0/F0000000   not in timeline 6: pgark restore --timeline 5`)
	s, out = shown(t)
	s.printStatus(reported(s, facts, nil, "it did not answer"))
	for _, want := range []string{"tail", "37 commits", "pgark restore --timeline 2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
}

// TestEncryptionIsShown: list and status say what is encrypted, to how many keys, and what lies in clear.
func TestEncryptionIsShown(t *testing.T) {
	facts := archivedTwoWeeks()
	sealed := &facts.Backups[len(facts.Backups)-1]
	sealed.Encryption = &repository.BackupEncryption{Scheme: "age"}
	facts.Sealed = status.Sealed{Recipients: map[string]int{sealed.ID: 2}, PlainWAL: 7, PlainBytes: 1e9}
	r := status.Make(facts, day(20, "10:41:07"))
	s, out := shown(t)
	s.printBackups(r)
	s.printStatus(r)
	fields := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"LSN TL KEYS STATUS", " 4 in clear ", " 4 2 ", "encrypted age, to 2 public keys in clear from before: ", ", 7 WAL objects, ",
	} {
		if !strings.Contains(fields, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	r.Encryption.LateTotal = 1
	if got := encryptionText(*r.Encryption); got != "age, to 2 public keys   1 object put in clear after it began: pgark check" {
		t.Errorf("got %q", got)
	}
}

// TestNextText: what is due, in the order in which it is; the soonest first.
func TestNextText(t *testing.T) {
	s := &session{unicode: true}
	got := s.nextText([]status.Next{{Kind: status.JobBackup, At: day(22, "02:00:00")}, {Kind: status.JobDrill, At: day(23, "03:00:00")}, {Kind: status.JobVerify, At: day(24, "04:00:00")}})
	if want := "base backup Nov 22 02:00Z · drill Nov 23 03:00Z · verification Nov 24 04:00Z"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
