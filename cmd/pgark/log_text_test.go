package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/wal"
)

// logOf prints a log as a person sees it, or as JSON.
func logOf(t *testing.T, log commitlog.Log, q commitlog.Query, format string) string {
	t.Helper()
	var out bytes.Buffer
	p := &program{now: func() time.Time { return time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC) }}
	app := &cli.App{Flags: appFlags(), Writer: &out, Action: func(c *cli.Context) error {
		s := &session{program: p, cli: c, stdout: &out, unicode: true, json: format == "json"}
		v := logView{session: s, log: &log, query: q, configured: config.Cluster{Name: "main"}}
		return v.print()
	}}
	if err := app.RunContext(t.Context(), []string{"pgark", "--repo", "file:///srv/archive"}); err != nil {
		out.WriteString(err.Error())
	}
	return out.String()
}

func TestLogText(t *testing.T) {
	at := func(second int) wal.Time { return wal.FromGo(time.Date(2026, 11, 20, 10, 31, second, 0, time.UTC)) }
	entry := func(kind commitlog.Kind, second int, e commitlog.Entry) commitlog.Entry {
		e.Kind, e.Time, e.Timeline = kind, at(second), 2
		if e.Range.Start == 0 {
			e.Range = wal.Range{Start: wal.LSN(second) << 12, End: wal.LSN(second)<<12 + 64}
		}
		return e
	}
	file := func(n uint32, name, kind string) commitlog.Relation {
		return commitlog.Relation{File: wal.RelFile{Tablespace: wal.DefaultTablespace, Database: 5, Number: n}, Name: name, Kind: kind}
	}
	gap := entry(commitlog.KindGap, 0, commitlog.Entry{Range: wal.Range{Start: 1 << 24, End: 1 << 25}, Reason: "slot-lost"})
	gap.Time = 0
	damaged := entry(commitlog.KindDamaged, 0, commitlog.Entry{Range: wal.Range{Start: 1 << 25, End: 1 << 26}, Reason: "flipped"})
	damaged.Time = 0
	log := commitlog.Log{
		SystemID: 7, Timeline: 2, Known: []wal.TimelineID{1, 2}, Around: at(30), From: at(0), Until: at(59), Applied: 4, MoreBefore: true, MoreAfter: true,
		NamesOf: []string{"20261120T030000Z"}, Notes: []string{"something to know"},
		Entries: []commitlog.Entry{
			entry(commitlog.KindCommit, 1, commitlog.Entry{XID: 700, Subxacts: 2}),
			entry(commitlog.KindCommit, 2, commitlog.Entry{XID: 701, Removal: &commitlog.Removal{
				Means: commitlog.MeansDrop, Count: 9, Before: 0x2000,
				Relations: []commitlog.Relation{file(1, "pg_toast.t", "t"), file(2, "", ""), file(3, "public.orders", "r"), file(4, "", ""), file(5, "", ""), file(6, "", "")},
			}}),
			entry(commitlog.KindAbort, 3, commitlog.Entry{XID: 702}),
			entry(commitlog.KindRestorePoint, 4, commitlog.Entry{Name: "before release"}),
			entry(commitlog.KindTimeline, 31, commitlog.Entry{Previous: 1}),
			entry(commitlog.KindCommitPrepared, 32, commitlog.Entry{XID: 703, Part: 704, Removal: &commitlog.Removal{
				Means: commitlog.MeansReplace, Count: 1, Created: 2, Relations: []commitlog.Relation{file(2, "", "")}, Before: 0x20000,
				Changed: []commitlog.Relation{
					{File: wal.RelFile{Database: 5}, OID: 80, Name: "public.items", Kind: "r"},
					{File: wal.RelFile{Database: 5}, OID: 81, Name: "public.items_pkey", Kind: "i"},
					{File: wal.RelFile{Database: 5}, OID: 82},
					{File: wal.RelFile{Database: 5}, OID: 83, Name: "public.all_items", Kind: "p"},
				},
			}}),
			entry(commitlog.KindCommit, 33, commitlog.Entry{XID: 705, Removal: &commitlog.Removal{
				Means: commitlog.MeansReplace, Count: 1, Created: 1, Before: 0x21000, Truncated: []commitlog.Relation{{File: wal.RelFile{Database: 5}, OID: 70}},
			}}),
			entry(commitlog.KindCommit, 34, commitlog.Entry{XID: 706, Removal: &commitlog.Removal{
				Means: commitlog.MeansUnknown, Count: 1, Relations: []commitlog.Relation{file(2, "", "")}, Before: 0x22000,
			}}),
			entry(commitlog.KindCommit, 35, commitlog.Entry{XID: 707, Removal: &commitlog.Removal{
				Means: commitlog.MeansDatabase, Before: 0x22F00, Databases: []commitlog.Database{{OID: 16400, Name: "shop"}, {OID: 16401}},
			}}),
			entry(commitlog.KindDatabaseDrop, 36, commitlog.Entry{XID: 708, Removal: &commitlog.Removal{Means: commitlog.MeansDatabase, Databases: []commitlog.Database{{OID: 1}}}}),
			gap, damaged,
		},
	}
	got := logOf(t, log, commitlog.Query{Around: at(30)}, "text")
	want := strings.TrimPrefix(`
main   system id 7   timeline 2   2026-11-20 10:31:00Z → 2026-11-20 10:31:59Z
  note  something to know

TIME (UTC)                   XID  LSN        WHAT
…                                            more before: --limit N, or another --around
2026-11-20T10:31:01.000000Z  700  0/1000     commit, 2 subtransactions
2026-11-20T10:31:02.000000Z  701  0/2000     commit, dropped public.orders, base/5/2, base/5/4, base/5/5, base/5/6 and 3 more with 1 index or TOAST relation
    before it: pgark restore --repo file:///srv/archive --to-xid 701 --before --timeline 2 --into DIR --start
2026-11-20T10:31:03.000000Z  702  0/3000     rollback
2026-11-20T10:31:04.000000Z       0/4000     restore point "before release"
2026-11-20T10:31:30.000000Z                  ▼ restore --to this time stops here
2026-11-20T10:31:31.000000Z       0/1F000    TIMELINE 1 → 2
2026-11-20T10:31:32.000000Z  703  0/20000    commit prepared, of subtransaction 704 too, replaced base/5/2 by 2 new ones: truncated, rewritten, or dropped beside a create; what has no name belonged to public.items, public.all_items, or is newer than the names
    before it: pgark restore --repo file:///srv/archive --to-xid 703 --before --timeline 2 --into DIR --start
2026-11-20T10:31:33.000000Z  705  0/21000    commit, truncated the table with OID 70 in database 5
    before it: pgark restore --repo file:///srv/archive --to-xid 705 --before --timeline 2 --into DIR --start
2026-11-20T10:31:34.000000Z  706  0/22000    commit, removed base/5/2: dropped or replaced, it began before what was read
    before it: pgark restore --repo file:///srv/archive --to-xid 706 --before --timeline 2 --into DIR --start
2026-11-20T10:31:35.000000Z  707  0/23000    commit, dropped database shop (OID 16400), database with OID 16401
    before it: pgark restore --repo file:///srv/archive --to-lsn 0/22F00 --before --timeline 2 --into DIR --start
2026-11-20T10:31:36.000000Z  708  0/24000    dropped database with OID 1; the end of the transaction is not here
    before it: it began before what was read; --within further, or --xid 708, finds where
                                  0/1000000  GAP to 0/2000000, 17 MB of WAL: slot lost
                                  0/2000000  DAMAGED to 0/4000000, what happened there is not known: flipped
…                                            more behind: --limit N, or another --around

Names are those of drill 20261120T030000Z.
exit code 3`, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	empty := commitlog.Log{SystemID: 7, Timeline: 1, Around: at(30), From: at(0), Until: at(59), Previous: at(0) - 1_000_000, Next: at(59) + 1_000_000}
	for what, q := range map[string]commitlog.Query{
		"no transaction in this time":                            {Around: at(30)},
		"no transaction that removed relations in this time":     {Around: at(30), Drops: true},
		"no end of transaction 5 in this time":                   {Around: at(30), XID: 5},
		"the nearest transaction before: --around '2026-11-20 1": {Around: at(30)},
	} {
		if got := logOf(t, empty, q, "text"); !strings.Contains(got, what) {
			t.Errorf("want %q in\n%s", what, got)
		}
	}
}

// TestLogJSON: docs/JSON.md names every field, and no entry hides what it is.
func TestLogJSON(t *testing.T) {
	file := commitlog.Relation{File: wal.RelFile{Tablespace: 1663, Database: 5, Number: 7}, OID: 7, Name: "public.t", Kind: "r"}
	removal := &commitlog.Removal{
		Means: commitlog.MeansReplace, Count: 1, Created: 1, Before: 9, Relations: []commitlog.Relation{file}, Truncated: []commitlog.Relation{file}, Changed: []commitlog.Relation{file},
		Databases: []commitlog.Database{{OID: 5, Name: "d"}},
	}
	out := logOf(t, commitlog.Log{
		SystemID: 7, Timeline: 1, Known: []wal.TimelineID{1}, Around: 1, From: 1, Until: 1, Previous: 1, Next: 1, Applied: 1,
		Entries: []commitlog.Entry{{
			Kind: commitlog.KindCommit, Time: 1, Timeline: 1, XID: 700, Subxacts: 1, Part: 701, Name: "n", Previous: 1, Reason: "r", Removal: removal,
		}},
	}, commitlog.Query{}, "json")
	doc, err := os.ReadFile("../../docs/JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## `pgark log`\n")
	section, _, _ = strings.Cut(section, "\n## ")
	keys := regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(out, -1)
	if len(keys) < 40 {
		t.Fatalf("too few keys: %s", out)
	}
	for _, key := range keys {
		if !strings.Contains(section, "`"+key[1]+"`") && !strings.Contains(section, "."+key[1]+"`") {
			t.Errorf("docs/JSON.md does not name %s", key[1])
		}
	}
	for _, kind := range []commitlog.Kind{
		commitlog.KindCommit, commitlog.KindAbort, commitlog.KindCommitPrepared, commitlog.KindAbortPrepared, commitlog.KindRestorePoint, commitlog.KindTimeline,
		commitlog.KindDatabaseDrop, commitlog.KindGap, commitlog.KindDamaged,
	} {
		if !strings.Contains(section, "`"+string(kind)+"`") {
			t.Errorf("docs/JSON.md does not name the kind %s", kind)
		}
	}
	if !strings.Contains(out, `"--to-xid",`) || !strings.Contains(out, `"--before"`) || !strings.Contains(out, `"path": "base/5/7"`) {
		t.Errorf("got %s", out)
	}
	// What is not known is null, and lists are never.
	out = logOf(t, commitlog.Log{SystemID: 7, Timeline: 1}, commitlog.Query{}, "json")
	for _, want := range []string{`"around": null`, `"from": null`, `"previous": null`, `"entries": []`, `"notes": []`, `"names_of": []`} {
		if !strings.Contains(out, want) {
			t.Errorf("want %s in\n%s", want, out)
		}
	}
}
