package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// planned is a restore with a plan as long as they get, and what it prints.
func planned(t *testing.T, flags ...string) (*restoring, *bytes.Buffer) {
	t.Helper()
	set := flag.NewFlagSet("restore", flag.ContinueOnError)
	set.Bool("start", false, "")
	set.Bool("pause", false, "")
	set.Bool("shutdown", false, "")
	set.String("verify", "none", "")
	set.Int("port", 5433, "")
	set.String("bin-dir", "", "")
	set.String("owner", "postgres", "")
	set.String("from", "", "")
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var out bytes.Buffer
	p := &program{
		stdout: &out, stderr: &out, interrupted: func() os.Signal { return nil },
		now: func() time.Time { return at("2026-11-20T10:41:07Z").In(paris) },
	}
	from, until := at("2026-11-06T10:50:00Z"), at("2026-11-20T10:41:06.912Z")
	r := &restoring{
		session: &session{
			program: p, cli: cli.NewContext(cli.NewApp(), set, nil), ctx: t.Context(), unicode: true,
			stdout: &redactingWriter{&out, newRedactor(nil)}, stderr: &screen{to: &redactingWriter{&out, newRedactor(nil)}},
		},
		configured: config.Cluster{Name: "main", Copies: []config.Copy{{Name: "dr", URL: "s3://acme-pg-dr/main"}, {Name: "near", URL: "file:///srv/near"}}},
		sources:    &agent.Sources{},
		holding:    &agent.Holding{},
		into:       "/var/lib/postgresql/17/restored",
		action:     restore.ActionPromote,
		binaries:   binaries{dir: "/usr/lib/postgresql/17/bin", version: "17.6"},
		plan: &restore.Plan{
			Target:   restore.Target{Kind: restore.TargetTime, Time: wal.FromGo(at("2026-11-20T10:31:00Z"))},
			SystemID: 7423474350493388827, Timeline: 4, Until: 0x1A3_8E90F2B8, Segments: 957, WAL: 16_050_000_000, Needed: 431_000_000_000,
			Legs: []restore.Leg{{Timeline: 3}, {Timeline: 4}},
			Backup: repository.Backup{
				ID: "20261120T020000Z", Plain: 412_000_000_000, Stored: 98_100_000_000, PGVersionNum: 170006, StartLSN: 0x19F_D2000028,
				Stopped: at("2026-11-20T02:06:12Z"), Checksums: repository.ChecksumsVerified,
			},
			LastCommit: &wal.TransactionEnd{XID: 4288213401, Time: wal.FromGo(at("2026-11-20T10:30:59.870412Z"))},
			Notes:      []string{"the server's clock was set back: transactions behind the stop carry times up to 5m0s before the target"},
		},
		estimate: &restore.Estimate{
			Fetch: 175 * time.Second, Replay: 50 * time.Second, Open: 5 * time.Second, Drills: 3,
			Drill: repository.Drill{ID: "20261120T030000Z", Started: at("2026-11-20T03:00:00Z")},
		},
		site: &restore.Site{
			Dir: "/var/lib/postgresql/17/restored",
			Tablespaces: []restore.SiteTablespace{
				{OID: 16400, From: "/srv/fast", To: "/var/lib/postgresql/17/restored-fast"}, {OID: 16401, From: "/srv/slow"},
			},
			FileSystems: []restore.FileSystem{{Mount: "/var/lib", Needed: 431_000_000_000, Free: 1_200_000_000_000}},
		},
		window: &status.Report{
			Now: until, RecoverableFrom: &from, RecoverableUntil: &until,
			Window:  []status.Interval{{From: from, Until: at("2026-11-14T03:10:00Z")}, {From: at("2026-11-14T03:17:12Z"), Until: until}},
			Gaps:    []status.Gap{{}},
			Backups: []status.Backup{{Stopped: from, Restorable: true}, {Stopped: at("2026-11-14T03:17:12Z"), Restorable: true}},
		},
	}
	r.configured.Repo.URL = "s3://acme-pg/main?region=eu-west-1&secret_access_key=wJalrXUtnFEMIK7MDENGbPxRfiCY"
	r.plan.LastCommit.Start = 0x1A3_8E90F2B8
	return r, &out
}

// TestPlanText is what a person reads before saying yes: every fact that decides, within 100 columns.
func TestPlanText(t *testing.T) {
	r, out := planned(t, "--start")
	r.printPlan()
	strip := r.window.Strip(status.Unicode, status.Mark{At: r.plan.Target.Time.Go(), Kind: status.MarkTarget})
	if !strings.HasSuffix(strip, "▼") {
		t.Errorf("got strip %q, want the target in it", strip)
	}
	want := `Plan  main → /var/lib/postgresql/17/restored   nothing written yet

  target    2026-11-20 10:31:00Z   (10m 07s ago; 11:31:00 +01:00)
            last commit at or before it 10:30:59.870412Z   xid 4288213401   lsn 1A3/8E90F2B8
  window    ` + strip + `
            2026-11-06 10:50:00Z → 2026-11-20 10:41:06.912Z   1 gap
  base      20261120T020000Z   412 GB (98 GB stored)   8h 34m old   page checksums right
  WAL       19F/D2000028 → 1A3/8E90F2B8   957 segments, 16 GB   timelines 3, 4, none missing
  from      s3://acme-pg/main?region=eu-west-1&secret_access_key=***
            system id 7423474350493388827
            what is damaged or missing there from dr, near
  needs     431 GB of 1.2 TB free in /var/lib
            tablespace 16400, /srv/fast → /var/lib/postgresql/17/restored-fast
            tablespace 16401, /srv/slow → no place yet: --tablespace 16401=DIR
  server    17.6 in /usr/lib/postgresql/17/bin, same major as the backup's 17.6
  estimate  3m 50s = fetch 2m 55s + replay 50 s + open 5.0 s
            rates of 3 drills, the last 7h 41m ago
  at target opens read-write on a new timeline, archiving off
            socket only /var/lib/postgresql/17/restored/pgark-socket, port 5433
  note      the server's clock was set back: transactions behind the stop carry times up to 5m0s
            before the target

`
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > lineWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestPlanTextOtherwise is what differs from that.
func TestPlanTextOtherwise(t *testing.T) {
	for _, test := range []struct {
		name   string
		flags  []string
		change func(*restoring)
		want   string
	}{
		{"not started", nil, func(*restoring) {}, "at target opens read-write on a new timeline, archiving off   not started: no --start\n"},
		{"pause", []string{"--start"}, func(r *restoring) { r.action = restore.ActionPause }, "at target pauses, read-only, archiving off\n            socket only /var"},
		{"shutdown", []string{"--start"}, func(r *restoring) { r.action = restore.ActionShutdown }, "at target shuts down, archiving off\n"},
		{
			"a base that a drill proved", nil, func(r *restoring) {
				r.window.Backups = []status.Backup{{ID: r.plan.Backup.ID, Drill: &status.BackupDrill{ID: "20261120T030000Z"}}}
			}, "page checksums right\n            proved by drill 20261120T030000Z\n",
		},
		{"no commit", nil, func(r *restoring) { r.plan.LastCommit = nil }, "no commit after the base backup is applied\n"},
		{"before", nil, func(r *restoring) { r.plan.Target.Exclusive = true }, "last commit before it 10:30:59"},
		{
			"a commit of another day", nil,
			func(r *restoring) { r.plan.LastCommit.Time -= wal.Time(24 * time.Hour / time.Microsecond) },
			"last commit at or before it 2026-11-19 10:30:59.870412Z   xid 4288213401\n            lsn 1A3",
		},
		{"xid", nil, func(r *restoring) { r.plan.Target = restore.Target{Kind: restore.TargetXID, XID: 7} }, "target    xid 7\n            last commit applied 2026-11-20 10:30:59.870412Z"},
		{"latest", nil, func(r *restoring) { r.plan.Target = restore.Target{} }, "target    latest, the end of the archive\n            last commit applied 2026"},
		{"backup", nil, func(r *restoring) { r.plan.Target = restore.Target{Kind: restore.TargetImmediate} }, "target    the end of the base backup\n"},
		{
			"wrong pages", nil, func(r *restoring) {
				r.plan.Backup.Checksums, r.plan.Backup.ChecksumFailures = repository.ChecksumsFailed, 3
			}, "PAGE CHECKSUMS WRONG: 3 pages",
		},
		{
			"no programs", nil, func(r *restoring) { r.binaries = binaries{err: &restore.BinariesError{Major: 17}} },
			"server    of 17.6 wanted; no programs of PostgreSQL 17 found on this host\n",
		},
		{
			"programs of another major", []string{"--bin-dir", "/opt/16/bin"}, func(r *restoring) {
				r.binaries = binaries{err: &restore.BinariesError{Major: 17, Tried: []string{"/opt/16/bin has postgres (PostgreSQL) 16.9"}}}
			}, "server    of 17.6 wanted; /opt/16/bin has postgres (PostgreSQL) 16.9\n",
		},
		{"no folder yet", nil, func(r *restoring) { r.into, r.site = "", nil }, "Plan  main → (no --into yet)   nothing written yet\n"},
		{"a path too long for a socket", []string{"--start"}, func(r *restoring) { r.into = "/" + strings.Repeat("x", 90) }, "socket only in a temporary folder, port 5433\n"},
		{
			"the primary is away", nil, func(r *restoring) {
				r.away = []repository.Fault{{Source: "primary", Err: storage.ErrUnavailable}}
				r.plan.Notes = r.awayNotes()
			},
			"from      s3://acme-pg-dr/main   system id 7423474350493388827\n            what is damaged or missing there from near\n",
		},
		{
			"a copy is away", nil, func(r *restoring) {
				r.away = []repository.Fault{{Source: "near", Err: storage.ErrUnavailable}}
				r.plan.Notes = r.awayNotes()
			},
			"note      near IS LEFT OUT: unavailable; what it alone holds, perhaps the newest WAL, is not in\n            this plan\n",
		},
		{"no drill yet", nil, func(r *restoring) { r.estimate = nil }, "estimate  none: no drill has measured a restore yet   pgark drill run does\n"},
		{
			"in place", nil, func(r *restoring) {
				running := postgres.StateInProduction
				r.inPlace, r.site.Held, r.site.State, r.site.FileSystems[0].Held = true, 412_000_000_000, &running, 412_000_000_000
				r.plan.Notes = r.replaceNotes()
			},
			"IN PLACE, nothing written yet\n",
		},
		{
			"in place, the room", nil, func(r *restoring) { r.site.FileSystems[0].Held = 412_000_000_000 },
			"needs     431 GB of 1.2 TB free and 412 GB of what is there in /var/lib\n",
		},
		{
			"in place, the old state", nil, func(r *restoring) {
				running := postgres.StateInProduction
				r.inPlace, r.site.State = true, &running
				r.plan.Notes = r.replaceNotes()
			},
			"note      the server was not shut down: its pg_control says in production\n",
		},
		{"in place, the time", nil, func(r *restoring) { r.site.Held = 1 }, "estimate  at most 3m 50s = fetch"},
		{"ascii", nil, func(r *restoring) { r.unicode = false }, "=========v\n"},
	} {
		r, out := planned(t, test.flags...)
		test.change(r)
		r.printPlan()
		if !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: got\n%swant among it\n%s", test.name, out, test.want)
		}
	}
}

// TestJSONIsDocumented: docs/JSON.md has a row for every field, and the fields that scripts were
// promised are there.
func TestJSONIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := planned(t, "--start")
	r.asOf = time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)
	laid := &restore.Laid{Dir: r.into, Notes: []string{}}
	got := &restore.Recovered{Server: &restore.Server{}, User: "postgres", LastCommit: r.plan.LastCommit}
	for part, document := range map[string]map[string]any{"plan": r.planJSON(), "result": r.resultJSON(laid, got, time.Second)} {
		b, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		_, section, found := strings.Cut(string(doc), "### `"+part+"`")
		section, _, _ = strings.Cut(section, "\n##")
		if !found {
			t.Fatalf("docs/JSON.md has no section of %s", part)
		}
		promised := map[string]bool{}
		for line := range strings.Lines(section) {
			if cell, ok := strings.CutPrefix(line, "| `"); ok {
				cell, _, _ = strings.Cut(cell, "` |")
				for _, name := range strings.Split(cell, "`, `") {
					promised[name] = true
				}
			}
		}
		for name := range fields {
			if !promised[name] {
				t.Errorf("docs/JSON.md has no row for %s of %s", name, part)
			}
		}
		for name := range promised {
			if _, there := fields[name]; !there {
				t.Errorf("docs/JSON.md promises %s of %s, which is not there", name, part)
			}
		}
	}
}

// TestEndReport: what the server proved, and lines to look inside that can be pasted.
func TestEndReport(t *testing.T) {
	server := &restore.Server{SocketDir: "/srv/my data/pgark-socket", Port: 5433, BinDir: "/usr/lib/postgresql/17/bin", DataDir: "/srv/my data"}
	for _, test := range []struct {
		name  string
		owner *restore.Owner
		got   restore.Recovered
		want  string
	}{
		{"promoted", nil, restore.Recovered{Server: server, User: "postgres", Database: "postgres", Timeline: 5, Replayed: 0x1A3_8E90F300, LaterChecked: 2}, `Restored in 3m 44s. Last commit applied: xid 4288213401 at 2026-11-20 10:30:59.870412Z. Later commits applied: 0.
  proved    the server replayed to 1A3/8E90F300 and no further; 2 transactions that committed right
            behind it looked up, none is there
  running   socket /srv/my data/pgark-socket, port 5433   timeline 5   read-write   archiving OFF
  look      psql -h '/srv/my data/pgark-socket' -p 5433 -U postgres -d postgres
  stop      /usr/lib/postgresql/17/bin/pg_ctl -D '/srv/my data' stop
`},
		{"paused, by root", &restore.Owner{UID: 101}, restore.Recovered{Server: server, User: "dba", Database: "template1", Timeline: 4, InRecovery: true, Replayed: 0x1A3_8E90F300}, `Restored in 3m 44s. Last commit applied: xid 4288213401 at 2026-11-20 10:30:59.870412Z. Later commits applied: 0.
  proved    the server replayed to 1A3/8E90F300 and no further
  running   socket /srv/my data/pgark-socket, port 5433   timeline 4
            read-only, paused at the target   archiving OFF
  look      runuser -u postgres -- psql -h '/srv/my data/pgark-socket' -p 5433 -U dba -d template1
  open      runuser -u postgres -- psql -h '/srv/my data/pgark-socket' -p 5433 -U dba -d template1 -c 'select pg_wal_replay_resume()'
  stop      runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_ctl -D '/srv/my data' stop
`},
		{"half dropped", nil, restore.Recovered{
			Server: server, User: "postgres", Database: "postgres", Timeline: 5, Replayed: 0x1A3_8E90F300, Invalid: []string{"shop"},
		}, `Restored in 3m 44s. Last commit applied: xid 4288213401 at 2026-11-20 10:30:59.870412Z. Later commits applied: 0.
  proved    the server replayed to 1A3/8E90F300 and no further
  running   socket /srv/my data/pgark-socket, port 5433   timeline 5   read-write   archiving OFF
  look      psql -h '/srv/my data/pgark-socket' -p 5433 -U postgres -d postgres
  stop      /usr/lib/postgresql/17/bin/pg_ctl -D '/srv/my data' stop
  INVALID   database shop: DROP DATABASE was at work on it at this instant, or had been broken off;
            it admits nobody, files of it may be gone
  fix       pgark log --drops --around 2026-11-20T10:30:59.870412Z
            names the place right before the drop began; restore to that
`},
		{"slow", nil, restore.Recovered{Server: server, User: "postgres", Database: "postgres", Timeline: 5, Replayed: 0x1A3_8E90F300, Late: 96}, `Restored in 3m 44s. Last commit applied: xid 4288213401 at 2026-11-20 10:30:59.870412Z. Later commits applied: 0.
  proved    the server replayed to 1A3/8E90F300 and no further
  running   socket /srv/my data/pgark-socket, port 5433   timeline 5   read-write   archiving OFF
  look      psql -h '/srv/my data/pgark-socket' -p 5433 -U postgres -d postgres
  stop      /usr/lib/postgresql/17/bin/pg_ctl -D '/srv/my data' stop
  slow      the server waited for 96 of 957 segments of WAL: reading them from the repository is
            what took the time
`},
		{"shut down", nil, restore.Recovered{InRecovery: true, Replayed: 0x1A3_8E90F300}, `Restored in 3m 44s. Last commit applied: xid 4288213401 at 2026-11-20 10:30:59.870412Z. Later commits applied: 0.
  proved    the server shut down at the target; its pg_control asks for WAL up to 1A3/8E90F300 and
            no further
  stopped   at the target, archiving OFF   in /srv/my data
  open      /usr/lib/postgresql/17/bin/pg_ctl -D '/srv/my data' -o '-c recovery_target_action=promote' start
`},
	} {
		r, out := planned(t, "--start")
		r.owner = test.owner
		test.got.LastCommit = r.plan.LastCommit
		err := r.printRecovered(&restore.Laid{Dir: "/srv/my data"}, &test.got, 224*time.Second)
		var coded *codeError
		if degraded := errors.As(err, &coded) && coded.code == exitDegraded; degraded != (len(test.got.Invalid) > 0) || err != nil && !degraded {
			t.Errorf("%s: got error %v", test.name, err)
		}
		if out.String() != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.name, out, test.want)
		}
	}
}
