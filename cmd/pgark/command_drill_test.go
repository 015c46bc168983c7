package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// aDrill is the report of one that passed.
func aDrill() repository.Drill {
	at := time.Date(2026, 11, 17, 16, 22, 41, 0, time.UTC)
	loss := repository.Seconds(0)
	return repository.Drill{
		ID: "20261120T104500Z", Result: repository.DrillPassed, Repository: "dr", Target: repository.DrillTarget{Asked: "random", Time: at},
		Backup: "20261116T020000Z", ServerVersion: "17.6", LastCommit: &repository.DrillCommit{XID: 88120077, Time: at.Add(-10 * time.Millisecond)},
		Fetch: repository.DrillFetched{Seconds: 161, Bytes: 411_000_000_000}, Replay: repository.DrillReplayed{Seconds: 54, Bytes: 21_400_000_000},
		Open: repository.DrillOpened{Seconds: 6}, RTO: 221, DataLoss: &loss, RTOTarget: 900,
		Checks: []repository.DrillCheck{
			{Kind: repository.CheckAmcheck, Result: repository.CheckPassed, Count: 1204},
			{Kind: repository.CheckSQL, Name: "orders_recent", Result: repository.CheckPassed, Want: "t", Got: "t"},
			{Kind: repository.CheckPages, Result: repository.CheckOff, Detail: "the cluster has no page checksums"},
		},
	}
}

// TestDrillText is what a person reads of a drill.
func TestDrillText(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*repository.Drill)
		want   string
	}{
		{"passed", func(*repository.Drill) {}, `Drill 20261120T104500Z   target 2026-11-17 16:22:41Z (random)   from dr
  fetch     ✓ base 20261116T020000Z, 411 GB                                     2m 41s
  replay    ✓ 21 GB WAL, last commit 2026-11-17 16:22:40.990Z xid 88120077        54 s
  open      ✓ PostgreSQL 17.6 accepts connections                                6.0 s
  verify    ✓ amcheck of 1,204 relations ok
            ✓ sql orders_recent = "t"
            ○ page checksums: the cluster has no page checksums
PASS   RTO 3m 41s (target 15m, ok)   data loss at target 0.0 s
`},
		{"did not replay", func(d *repository.Drill) {
			d.Result, d.Phase, d.Failure, d.Checks, d.RTO, d.Target.Latest = repository.DrillFailed, repository.DrillReplay, "server ended: no such file", nil, 0, true
			d.DataLoss = nil
		}, `Drill 20261120T104500Z   target latest (random)   from dr
  fetch     ✓ base 20261116T020000Z, 411 GB                                     2m 41s
  replay    ✗ server ended: no such file
FAIL
`},
		{"pages by the server", func(d *repository.Drill) {
			d.Checks = []repository.DrillCheck{{Kind: repository.CheckPages, Result: repository.CheckPassed, By: repository.ByBaseBackup, Bytes: 411_000_000_000}}
		}, `Drill 20261120T104500Z   target 2026-11-17 16:22:41Z (random)   from dr
  fetch     ✓ base 20261116T020000Z, 411 GB                                     2m 41s
  replay    ✓ 21 GB WAL, last commit 2026-11-17 16:22:40.990Z xid 88120077        54 s
  open      ✓ PostgreSQL 17.6 accepts connections                                6.0 s
  verify    ✓ page checksums right in 411 GB, read by the server itself
PASS   RTO 3m 41s (target 15m, ok)   data loss at target 0.0 s
`},
		{"what checks found is not kept beside encrypted contents", func(d *repository.Drill) {
			d.Result, d.Phase, d.RTO, d.DataLoss, d.RTOTarget = repository.DrillFailed, repository.DrillVerify, 0, nil, 0
			d.Checks = []repository.DrillCheck{
				{Kind: repository.CheckAmcheck, Result: repository.CheckFailed, Count: 3},
				{Kind: repository.CheckSQL, Name: "recent", Result: repository.CheckPassed, Want: "t"},
				{Kind: repository.CheckSQL, Name: "sum", Result: repository.CheckFailed, Want: "7"},
				{Kind: repository.CheckSQL, Name: "said", Result: repository.CheckFailed, Want: "7", Got: "8"},
			}
		}, `Drill 20261120T104500Z   target 2026-11-17 16:22:41Z (random)   from dr
  fetch     ✓ base 20261116T020000Z, 411 GB                                     2m 41s
  replay    ✓ 21 GB WAL, last commit 2026-11-17 16:22:40.990Z xid 88120077        54 s
  open      ✓ PostgreSQL 17.6 accepts connections                                6.0 s
  verify    ✗ amcheck failed; what was found is not kept beside encrypted contents
            ✓ sql recent = "t"
            ✗ sql sum: want "7"; got nothing, or it is not kept beside encrypted contents
            ✗ sql said = "8", want "7"
FAIL
`},
		{"from several", func(d *repository.Drill) {
			d.Repository, d.Sources, d.Checks, d.Notes = "primary+dr", []string{"primary", "dr"}, nil, []string{"far was left out: no answer"}
			d.Substituted, d.Substitutes = 1, []repository.DrillSubstitute{{Object: "7/backups/x/index.zst", From: "dr", Reason: "primary: not there"}}
		}, `Drill 20261120T104500Z   target 2026-11-17 16:22:41Z (random)   from primary+dr
  fetch     ✓ base 20261116T020000Z, 411 GB                                     2m 41s
  replay    ✓ 21 GB WAL, last commit 2026-11-17 16:22:40.990Z xid 88120077        54 s
  open      ✓ PostgreSQL 17.6 accepts connections                                6.0 s
  DAMAGED   1 object damaged or missing in one repository, given by another:
            7/backups/x/index.zst from dr; primary: not there
  fix       pgark verify --deep --repair   puts them right from the other copies
  note      far was left out: no answer
PASS   RTO 3m 41s (target 15m, ok)   data loss at target 0.0 s
`},
		{"no plan", func(d *repository.Drill) {
			*d = repository.Drill{ID: d.ID, Result: repository.DrillFailed, Phase: repository.DrillPlan, Failure: "no backup", Target: d.Target, Repository: "primary"}
		}, `Drill 20261120T104500Z   target 2026-11-17 16:22:41Z (random)   from primary
  plan      ✗ no backup
FAIL
`},
	} {
		r, out := planned(t)
		d := aDrill()
		test.change(&d)
		r.printDrillHead(d, "")
		r.printDrill(d)
		if out.String() != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.name, out, test.want)
		}
	}
}

// TestDrillCode: a missed objective is no failed drill.
func TestDrillCode(t *testing.T) {
	for _, test := range []struct {
		result      repository.DrillResult
		missed      []repository.Objective
		substituted int
		want        int
	}{
		{repository.DrillPassed, nil, 0, exitOK},
		{repository.DrillPassed, []repository.Objective{repository.ObjectiveRTO}, 0, exitDegraded},
		{repository.DrillPassed, nil, 1, exitDegraded},
		{repository.DrillFailed, []repository.Objective{repository.ObjectiveRTO}, 1, exitFailed},
		{repository.DrillFailed, nil, 0, exitFailed},
	} {
		err := drillCode(repository.Drill{Result: test.result, Missed: test.missed, Substituted: test.substituted})
		var coded *codeError
		if got := errors.As(err, &coded); got != (test.want != exitOK) || got && coded.code != test.want {
			t.Errorf("%s, missed %v: got %v, want %d", test.result, test.missed, err, test.want)
		}
	}
}

// TestStatusDrill: how long a restore takes stands below what would be lost, and the base it proved has a mark of its own.
func TestStatusDrill(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(*repository.Drill)
		objective float64
		row, base string
	}{
		{"met", func(*repository.Drill) {}, 900, "  RTO       3m 41s    target 15m   ok   measured by drill 2026-11-20 03:00:00Z, 411 GB\n", "◆ drill 20261120T030000Z, RTO 3m 41s\n"},
		{"missed", func(d *repository.Drill) { d.RTO = 1000 }, 900, "  RTO       16m 40s   target 15m   MISSED   measured by drill 2026-11-20 03:00:00Z, 411 GB\n", "◆ drill 20261120T030000Z, RTO 16m 40s\n"},
		{"no objective", func(*repository.Drill) {}, 0, "  RTO       3m 41s    measured by drill 2026-11-20 03:00:00Z, 411 GB\n", "◆ drill 20261120T030000Z, RTO 3m 41s\n"},
		{
			"failed", func(d *repository.Drill) {
				d.Result, d.Phase, d.RTO = repository.DrillFailed, repository.DrillReplay, 0
			}, 900,
			"  RTO       -         drill FAILED   2026-11-20 03:00:00Z, replay\n", "● restorable, page checksums verified\n",
		},
	} {
		d := aDrill()
		d.ID, d.Started, d.Backup = "20261120T030000Z", day(20, "03:00:00"), "20261114T030500Z"
		test.change(&d)
		facts := archivedTwoWeeks()
		facts.Drills = []repository.Drill{d}
		r := status.Make(facts, day(20, "10:41:07"))
		r.RTOTarget = test.objective
		s, out := shown(t)
		s.printRTO(r)
		if out.String() != test.row {
			t.Errorf("%s: got\n%swant\n%s", test.name, out, test.row)
		}
		out.Reset()
		s.printBackups(r)
		if !strings.HasSuffix(out.String(), test.base) {
			t.Errorf("%s: got\n%swant %s at its end", test.name, out, test.base)
		}
	}
}

// TestDrillReportHasNoSecrets guards I40: what a server or a store said is kept in a report without them.
func TestDrillReportHasNoSecrets(t *testing.T) {
	const secret = "hunter22hunter22"
	r, _ := planned(t)
	r.program.environment = []string{"AWS_SECRET_ACCESS_KEY=" + secret}
	d := drilling{restoring: r}
	report := aDrill()
	report.Failure, report.Notes = "put s3://b?secret_access_key="+secret, []string{"password=" + secret}
	report.Checks[1].Got, report.Checks[1].Detail = secret, "connect postgres://u:"+secret+"@h"
	d.redactReport(&report)
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret) || !strings.Contains(string(text), redacted) {
		t.Errorf("got %s", text)
	}
}
