package drill_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

func at(seconds int) time.Time {
	return time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// TestDraw: what is drawn can be restored, every part of the window comes, and the newest tail often.
func TestDraw(t *testing.T) {
	window := []drill.Interval{{at(0), at(100)}, {at(1000), at(1300)}}
	random := rand.New(rand.NewPCG(1, 2))
	const draws = 4000
	latest, hits := 0, [4]int{}
	for range draws {
		target := drill.Draw(window, random)
		if target.Kind == restore.TargetLatest {
			latest++
			continue
		}
		offset := target.Time.Go().Sub(at(0)).Seconds()
		switch {
		case offset >= 0 && offset <= 100:
			hits[0]++
		case offset >= 1000 && offset <= 1300:
			hits[1+int(min(offset-1000, 299))/100]++
		default:
			t.Fatalf("drew %s, which lies in a gap", target)
		}
	}
	if latest < draws/5 || latest > draws*3/10 {
		t.Errorf("the end of the archive came %d times of %d, want one in four", latest, draws)
	}
	for i, n := range hits {
		if n < draws*3/4/4*8/10 || n > draws*3/4/4*12/10 {
			t.Errorf("part %d of 4 came %d times of %d", i, n, draws-latest)
		}
	}
	for _, none := range [][]drill.Interval{nil, {{at(5), at(5)}}} {
		if target := drill.Draw(none, random); target.Kind != restore.TargetLatest {
			t.Errorf("a window without length: drew %s", target)
		}
	}
}

func TestCoveredUntil(t *testing.T) {
	commit := func(seconds int) *wal.TransactionEnd { return &wal.TransactionEnd{Time: wal.FromGo(at(seconds))} }
	plan := func(kind restore.TargetKind, last, end *wal.TransactionEnd) *restore.Plan {
		return &restore.Plan{
			Target: restore.Target{Kind: kind, Time: wal.FromGo(at(500))}, Timeline: 2, Until: 0x5000,
			Backup: repository.Backup{Stopped: at(100)}, LastCommit: last, LastEnd: end,
		}
	}
	beat := func(tli wal.TimelineID, lsn wal.LSN, seconds int) *repository.Beat {
		return &repository.Beat{Time: at(seconds), Timeline: tli, LSN: lsn}
	}
	for _, test := range []struct {
		name string
		plan *restore.Plan
		beat *repository.Beat
		want int
	}{
		{"a time is covered, or refused", plan(restore.TargetTime, commit(200), nil), nil, 500},
		{"only the backup", plan(restore.TargetLatest, nil, nil), nil, 100},
		{"the last commit", plan(restore.TargetLatest, commit(200), commit(190)), nil, 200},
		{"a rollback after it", plan(restore.TargetLatest, commit(200), commit(210)), nil, 210},
		{"idle since", plan(restore.TargetLatest, commit(200), nil), beat(2, 0x5000, 300), 300},
		{"idle since, behind a page header", plan(restore.TargetLatest, commit(200), nil), beat(2, 0x5000+40, 300), 300},
		{"the beat speaks of WAL that is not restored", plan(restore.TargetLatest, commit(200), nil), beat(2, 0x5100, 300), 200},
		{"the beat is of another timeline", plan(restore.TargetLatest, commit(200), nil), beat(1, 0x4000, 300), 200},
		{"the beat is older", plan(restore.TargetLatest, commit(200), nil), beat(2, 0x4000, 150), 200},
	} {
		if got := drill.CoveredUntil(test.plan, test.beat); !got.Equal(at(test.want)) {
			t.Errorf("%s: got %s, want %s", test.name, got, at(test.want))
		}
	}
}

func TestJudge(t *testing.T) {
	loss := func(s float64) *repository.Seconds { v := repository.Seconds(s); return &v }
	check := func(r repository.CheckResult) repository.DrillCheck {
		return repository.DrillCheck{Kind: repository.CheckSQL, Name: "orders", Result: r, Want: "t", Got: "f"}
	}
	both := drill.Objectives{RPO: 5 * time.Second, RTO: time.Minute}
	rpo, rto := repository.ObjectiveRPO, repository.ObjectiveRTO
	for _, test := range []struct {
		name   string
		drill  repository.Drill
		o      drill.Objectives
		result repository.DrillResult
		missed []repository.Objective
	}{
		{"no objective", repository.Drill{RTO: 9999, DataLoss: loss(9999)}, drill.Objectives{}, repository.DrillPassed, nil},
		{"met exactly", repository.Drill{RTO: 60, DataLoss: loss(5)}, both, repository.DrillPassed, nil},
		{"too slow", repository.Drill{RTO: 60.001, DataLoss: loss(0)}, both, repository.DrillPassed, []repository.Objective{rto}},
		{"too much lost", repository.Drill{RTO: 1, DataLoss: loss(5.001)}, both, repository.DrillPassed, []repository.Objective{rpo}},
		{"the end of an idle server", repository.Drill{RTO: 1, DataLoss: loss(19.5), Target: repository.DrillTarget{Latest: true}}, both, repository.DrillPassed, nil},
		{"the end, no beat for too long", repository.Drill{RTO: 1, DataLoss: loss(20.5), Target: repository.DrillTarget{Latest: true}}, both, repository.DrillPassed, []repository.Objective{rpo}},
		{"both", repository.Drill{RTO: 61, DataLoss: loss(6)}, both, repository.DrillPassed, []repository.Objective{rpo, rto}},
		{"never opened", repository.Drill{}, both, repository.DrillPassed, []repository.Objective{rpo, rto}},
		{"a check failed, in time", repository.Drill{RTO: 1, DataLoss: loss(0), Checks: []repository.DrillCheck{check(repository.CheckPassed), check(repository.CheckFailed)}}, both, repository.DrillFailed, nil},
		{"nothing to check", repository.Drill{RTO: 1, DataLoss: loss(0), Checks: []repository.DrillCheck{check(repository.CheckOff), check(repository.CheckSkipped)}}, both, repository.DrillPassed, nil},
	} {
		d := test.drill
		drill.Judge(&d, test.o)
		if d.Result != test.result || !reflect.DeepEqual(d.Missed, test.missed) {
			t.Errorf("%s: got %s, missed %v, want %s, %v", test.name, d.Result, d.Missed, test.result, test.missed)
		}
		if failed := test.result == repository.DrillFailed; failed != (d.Failure == `check orders: got "f", want "t"`) || failed != (d.Phase == repository.DrillVerify) {
			t.Errorf("%s: got failure %q in %s", test.name, d.Failure, d.Phase)
		}
	}
}

func TestEnough(t *testing.T) {
	const gib = 1 << 30
	for _, test := range []struct {
		needed, free uint64
		ok           bool
	}{{10 * gib, 12 * gib, true}, {10 * gib, 11 * gib, false}, {10 * gib, 10 * gib, false}, {0, 0, true}, {1, gib / 4, false}} {
		err := drill.Enough([]restore.FileSystem{{Mount: "/x", Needed: test.needed, Free: test.free}})
		var space *restore.SpaceError
		if (err == nil) != test.ok || err != nil && (!errors.As(err, &space) || space.Dir != "/x") {
			t.Errorf("%d of %d: got %v", test.needed, test.free, err)
		}
	}
}

// TestTurn: every repository is proved alone in its turn, whatever else was drilled in between.
func TestTurn(t *testing.T) {
	at := func(hour int, from string, result repository.DrillResult) repository.Drill {
		return repository.Drill{Started: time.Date(2026, 11, 21, hour, 0, 0, 0, time.UTC), Repository: from, Result: result}
	}
	names := []string{"primary", "dr", "far"}
	for _, test := range []struct {
		name string
		held []repository.Drill
		want string
	}{
		{"none yet", nil, "primary dr far"},
		{"the first", []repository.Drill{at(1, "primary", repository.DrillPassed)}, "dr far primary"},
		{"a failed one was its turn", []repository.Drill{at(1, "primary", repository.DrillPassed), at(2, "dr", repository.DrillFailed)}, "far primary dr"},
		{"all", []repository.Drill{at(1, "primary", repository.DrillPassed), at(2, "dr", repository.DrillFailed), at(3, "far", repository.DrillPassed)}, "primary dr far"},
		{"by hand out of turn", []repository.Drill{at(1, "primary", repository.DrillPassed), at(2, "dr", repository.DrillPassed), at(3, "far", repository.DrillPassed), at(4, "primary", repository.DrillPassed)}, "dr far primary"},
		{"in any order", []repository.Drill{at(5, "dr", repository.DrillPassed), at(2, "dr", repository.DrillPassed), at(3, "primary", repository.DrillPassed)}, "far primary dr"},
		{"several as one prove none alone", []repository.Drill{at(1, "primary+dr+far", repository.DrillPassed), at(2, "url", repository.DrillPassed)}, "primary dr far"},
		{"one that is configured no more", []repository.Drill{at(1, "old", repository.DrillPassed), at(2, "primary", repository.DrillPassed)}, "dr far primary"},
	} {
		if got := strings.Join(drill.Turn(names, test.held), " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestNotTheArchive: a host without room, or without a private key, says nothing of the archive, also where its disk fills up while the server replays.
func TestNotTheArchive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		asked drill.Asked
		want  bool
	}{
		{&restore.SpaceError{}, drill.Latest, true},
		{&restore.ServerError{Words: "could not extend file", Err: syscall.ENOSPC}, drill.Latest, true},
		{&restore.ServerError{Words: "could not restore file"}, drill.Latest, false},
		{&restore.TargetError{}, drill.AtTime, true},
		{&restore.TargetError{}, drill.Random, false},
		{&repository.KeyError{Key: "k", Err: encryption.ErrNoKey}, drill.Latest, true},
		{&repository.KeyError{Key: "k", Err: encryption.ErrWrongKey}, drill.Latest, false}, // to find this out is what it is for
	} {
		if got := drill.NotTheArchive(fmt.Errorf("recover: %w", test.err), test.asked); got != test.want {
			t.Errorf("%v, asked for %s: got %t", test.err, test.asked, got)
		}
	}
}
