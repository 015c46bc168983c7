package restore_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// forked is a cluster that failed over twice: timeline 2 left 1 at 5.5, 3
// left 2 at 7.5. On each old timeline a little more was written.
func forked() *archive {
	to2 := wal.Switch{Timeline: 1, At: lsn(5.5)}
	return &archive{
		Inventory: restore.Inventory{
			SystemID: 7, SegmentSize: mib,
			Backups: []repository.Backup{backupRecord("b1", 1, 2, 2.5, 10), backupRecord("b3", 3, 8, 8.5, 80)},
			Coverage: map[wal.TimelineID][]wal.Range{
				1: {span(2, 6.25)}, 2: {span(5, 8)}, 3: {span(7, 10)},
			},
			Histories: map[wal.TimelineID]wal.History{
				2: history(2, to2), 3: history(3, to2, wal.Switch{Timeline: 2, At: lsn(7.5)}),
			},
		},
		events: map[wal.TimelineID][]event{
			1: {{2.25, nil}, commit(3, 100, 20), commit(5, 101, 30), commit(5.75, 102, 40), commit(6, 103, 50)},
			2: {commit(6.5, 201, 45), commit(7, 202, 60), commit(7.75, 203, 61)},
			3: {commit(7.625, 301, 70), {8.25, nil}, commit(9, 302, 90)},
		},
	}
}

func TestPlanTimelines(t *testing.T) {
	exactly := func(n wal.TimelineID) restore.TimelineChoice {
		return restore.TimelineChoice{Rule: restore.TimelineExact, ID: n}
	}
	latest, current := restore.TimelineChoice{Rule: restore.TimelineLatest}, restore.TimelineChoice{Rule: restore.TimelineCurrent}
	to := func(minute float64, c restore.TimelineChoice) restore.Target {
		return restore.Target{Kind: restore.TargetTime, Time: at(minute), Timeline: c}
	}
	tests := []struct {
		name     string
		target   restore.Target
		timeline wal.TimelineID
		backup   string
		rule     restore.StopRule
		stop     float64
		legs     []restore.Leg
		want     refused
	}{
		{
			"before the fork: the parent alone", to(25, restore.TimelineChoice{}), 1, "b1", restore.StopBefore, 5,
			[]restore.Leg{{1, wal.Range{Start: lsn(2), End: lsn(5) + recordLen}, 4}},
			refused{},
		},
		{"along the newest", to(65, latest), 3, "b1", restore.StopBefore, 7.625, []restore.Leg{
			{1, span(2, 5.5), 3}, {2, span(5.5, 7.5), 2}, {3, wal.Range{Start: lsn(7.5), End: lsn(7.625) + recordLen}, 1},
		}, refused{}},
		{"newest backup", to(85, latest), 3, "b3", restore.StopBefore, 9, []restore.Leg{{3, wal.Range{Start: lsn(8), End: lsn(9) + recordLen}, 2}}, refused{}},
		{"the old primary's own commits", to(45, exactly(1)), 1, "b1", restore.StopBefore, 6, nil, refused{}},
		{"the same time on the second timeline", to(45, exactly(2)), 2, "b1", restore.StopBefore, 7, nil, refused{}},
		{"both have an answer", to(45, restore.TimelineChoice{}), 0, "", 0, 0, nil, refused{reason: restore.ReasonAmbiguous}},
		{"the old primary was dead by then", to(65, restore.TimelineChoice{}), 3, "b1", restore.StopBefore, 7.625, nil, refused{}},
		{"no such timeline", to(45, exactly(9)), 0, "", 0, 0, nil, refused{reason: restore.ReasonTimeline}},
		{"current: that of the newest backup that serves", to(85, current), 3, "b3", restore.StopBefore, 9, nil, refused{}},
		{"current: falls to an older backup", to(45, current), 1, "b1", restore.StopBefore, 6, nil, refused{}},
		{"xid on the abandoned branch, unsaid", restore.Target{Kind: restore.TargetXID, XID: 103}, 0, "", 0, 0, nil, refused{reason: restore.ReasonNotFound}},
		{"xid on the abandoned branch", restore.Target{Kind: restore.TargetXID, XID: 103, Timeline: exactly(1)}, 1, "b1", restore.StopAfter, 6, nil, refused{}},
		{"lsn on two branches", restore.Target{Kind: restore.TargetLSN, LSN: lsn(6)}, 0, "", 0, 0, nil, refused{reason: restore.ReasonAmbiguous}},
		{"lsn on one", restore.Target{Kind: restore.TargetLSN, LSN: lsn(9)}, 3, "b3", restore.StopAfter, 9, nil, refused{}},
		{"latest", restore.Target{}, 3, "b3", restore.StopAfter, 9, nil, refused{}},
		{"latest of timeline 1", restore.Target{Timeline: exactly(1)}, 1, "b1", restore.StopAfter, 6, nil, refused{}},
		{"immediate of a backup on its timeline", restore.Target{Kind: restore.TargetImmediate, Backup: "b1"}, 1, "b1", restore.StopAfter, 2.25, nil, refused{}},
		{"immediate, newest", restore.Target{Kind: restore.TargetImmediate}, 3, "b3", restore.StopAfter, 8.25, nil, refused{}},
		{
			"immediate, none on this timeline",
			restore.Target{Kind: restore.TargetImmediate, Backup: "b3", Timeline: exactly(1)},
			0, "", 0, 0, nil,
			refused{reason: restore.ReasonNotFound},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := forked().plan(t, tt.target)
			if tt.want.reason != 0 {
				tt.want.check(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Timeline != tt.timeline || p.Backup.ID != tt.backup || p.Stop.Rule != tt.rule || p.Stop.LSN != lsn(tt.stop) {
				t.Errorf("got timeline %d, backup %s, stop %s; want %d, %s, %d at %s",
					p.Timeline, p.Backup.ID, p.Stop, tt.timeline, tt.backup, tt.rule, lsn(tt.stop))
			}
			if tt.legs != nil && !reflect.DeepEqual(p.Legs, tt.legs) {
				t.Errorf("got legs %v, want %v", p.Legs, tt.legs)
			}
		})
	}
}

func TestPlanAmbiguous(t *testing.T) {
	a := forked()
	for tli, where := range map[wal.TimelineID]float64{1: 6.125, 3: 7.6} {
		a.events[tli] = append(a.events[tli], deploy(where))
	}
	_, err := a.plan(t, restore.Target{Kind: restore.TargetName, Name: "deploy"})
	refused{reason: restore.ReasonAmbiguous}.check(t, err)
	var e *restore.TargetError
	errors.As(err, &e)
	if want := []wal.TimelineID{1, 3}; !reflect.DeepEqual(e.Timelines, want) {
		t.Errorf("got timelines %v, want %v", e.Timelines, want)
	}
}

// A timeline whose history is not archived cannot be followed: "latest" must
// not fall back to an older one.
func TestPlanHistoryMissing(t *testing.T) {
	a := forked()
	delete(a.Histories, 3)
	_, err := a.plan(t, restore.Target{})
	refused{reason: restore.ReasonTimeline}.check(t, err)
	if !strings.Contains(err.Error(), "history file of timeline 3") {
		t.Errorf("got %q", err)
	}
}

// The first segment of a new timeline begins with a copy of its parent's
// bytes: it closes a hole that the parent's own objects leave.
func TestPlanCopiedHead(t *testing.T) {
	a := forked()
	a.Coverage[1] = []wal.Range{span(2, 5.25)}
	p, err := a.plan(t, restore.Target{Kind: restore.TargetTime, Time: at(65)})
	if err != nil {
		t.Fatal(err)
	}
	if p.Timeline != 3 || p.Segments != 6 {
		t.Errorf("got timeline %d, %d segments", p.Timeline, p.Segments)
	}
	// Without it there is a hole.
	a.Coverage[2] = []wal.Range{span(6, 8)}
	_, err = a.plan(t, restore.Target{Kind: restore.TargetTime, Time: at(65)})
	refused{
		reason: restore.ReasonGap, before: restore.Instant{Time: at(30), LSN: lsn(5.25)},
		after: restore.Instant{Time: at(80), LSN: lsn(8.5)},
	}.check(t, err)
	// A stop in the copied part needs the younger timeline's file.
	a = forked()
	a.Coverage[1] = []wal.Range{span(2, 5)}
	a.events[1][3] = commit(5.25, 102, 40)
	if p, err = a.plan(t, restore.Target{Kind: restore.TargetTime, Time: at(35), Timeline: restore.TimelineChoice{Rule: restore.TimelineLatest}}); err != nil {
		t.Fatal(err)
	}
	if p.Timeline != 3 || p.Stop.LSN != lsn(5.25) {
		t.Errorf("got timeline %d, stop %s", p.Timeline, p.Stop)
	}
}
