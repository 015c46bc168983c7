package restore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// The tests below draw an archive in segments of 1 MiB: lsn(3) is the start
// of segment 3, at(7) is seven minutes past noon.
const mib = wal.SegmentSize(1 << 20)

func lsn(segment float64) wal.LSN { return wal.LSN(segment * float64(mib)) }

func at(minute float64) wal.Time {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return wal.FromGo(noon.Add(time.Duration(minute * float64(time.Minute))))
}

func span(from, to float64) wal.Range { return wal.Range{Start: lsn(from), End: lsn(to)} }

// event is one record of a drawn timeline.
type event struct {
	at   float64 // segment, where it starts; it is 64 bytes long
	what any     // *wal.TransactionEnd, *wal.RestorePoint or nil
}

const recordLen = 64

func (e event) span() wal.Range { return wal.Range{Start: lsn(e.at), End: lsn(e.at) + recordLen} }

func commit(where float64, xid wal.XID, minute float64) event {
	return event{where, &wal.TransactionEnd{Kind: wal.Commit, XID: xid, Time: at(minute), Start: lsn(where), End: lsn(where) + recordLen}}
}

func abort(where float64, xid wal.XID, minute float64) event {
	return event{where, &wal.TransactionEnd{Kind: wal.Abort, XID: xid, Time: at(minute), Start: lsn(where), End: lsn(where) + recordLen}}
}

func deploy(where float64) event {
	return event{where, &wal.RestorePoint{Name: "deploy", Start: lsn(where), End: lsn(where) + recordLen}}
}

// archive is an inventory and the records its WAL would hold, by timeline.
type archive struct {
	restore.Inventory
	events map[wal.TimelineID][]event
}

// answer is the oracle for a Question: a plain walk over the drawn records.
func (a *archive) answer(t *testing.T, q restore.Question) restore.Fact {
	t.Helper()
	h := a.Histories[q.Branch]
	h.Timeline = q.Branch
	var f restore.Fact
	for tli := wal.TimelineID(1); tli <= q.Branch; tli++ {
		own, ok := h.RangeOf(tli)
		if !ok {
			continue
		}
		for _, e := range a.events[tli] {
			s := e.span()
			if !own.Contains(s.Start) || s.End > q.Range.End {
				continue
			}
			if !q.Range.Contains(s.Start) {
				if f.Record.Empty() {
					f.Last = s
				}
				continue
			}
			a.look(q, e, &f)
		}
	}
	if !f.Record.Empty() || q.Ask == restore.AskXID || q.Ask == restore.AskName {
		f.Last = wal.Range{}
	}
	return f
}

func (a *archive) look(q restore.Question, e event, f *restore.Fact) {
	s := e.span()
	end, isEnd := e.what.(*wal.TransactionEnd)
	p, isPoint := e.what.(*wal.RestorePoint)
	var is bool
	switch q.Ask {
	case restore.AskPast:
		is = isEnd && (end.Time > q.Time || q.Exclusive && end.Time == q.Time)
	case restore.AskXID:
		is = isEnd && end.XID == q.XID
	case restore.AskName:
		is = isPoint && p.Name == q.Name
	case restore.AskRecord:
		is = true
	}
	switch {
	case !f.Record.Empty():
		if is {
			f.More++
		}
	case is:
		f.Record, f.Event = s, e.what
	default:
		f.Last = s
		if isEnd {
			if f.Ends == 0 || end.Time > f.Newest {
				f.Newest = end.Time
			}
			f.Ends++
		}
	}
}

// plan asks for a plan until all facts it wants are there.
func (a *archive) plan(t *testing.T, target restore.Target) (*restore.Plan, error) {
	t.Helper()
	a.Facts = map[restore.Question]restore.Fact{}
	for range 100 {
		p, err := restore.PlanRestore(&a.Inventory, target)
		var q *restore.UnresolvedError
		if !errors.As(err, &q) {
			return p, err
		}
		if _, asked := a.Facts[q.Question]; asked {
			t.Fatalf("the plan asks again: %v", q)
		}
		if !strings.Contains(q.Error(), q.Question.Range.String()) {
			t.Errorf("error %q does not name its range", q)
		}
		a.Facts[q.Question] = a.answer(t, q.Question)
	}
	t.Fatal("the plan asks without end")
	return nil, nil
}

func backupRecord(id string, tli wal.TimelineID, start, stop, stopped float64) repository.Backup {
	return repository.Backup{
		ID: id, Timeline: tli, StartLSN: lsn(start), StopLSN: lsn(stop),
		Started: at(stopped - 1).Go(), Stopped: at(stopped).Go(), Plain: 1000,
	}
}

func history(tli wal.TimelineID, parents ...wal.Switch) wal.History {
	return wal.History{Timeline: tli, Parents: parents}
}

// quiet is one timeline, two backups, and a database that fell silent.
func quiet() *archive {
	return &archive{
		Inventory: restore.Inventory{
			SystemID: 7, SegmentSize: mib, Free: 10 << 30,
			Backups:  []repository.Backup{backupRecord("b2", 1, 6, 6.5, 30), backupRecord("b1", 1, 2.25, 3, 10)},
			Coverage: map[wal.TimelineID][]wal.Range{1: {span(1, 9.5)}},
			Beat:     &repository.Beat{Time: at(60).Go(), Timeline: 1, LSN: lsn(9.5)},
		},
		events: map[wal.TimelineID][]event{1: {
			commit(1.5, 90, 1), commit(2.5, 100, 9), commit(3.5, 101, 12), commit(4, 103, 14), commit(4.25, 102, 13.9), abort(4.5, 104, 14),
			deploy(4.75), commit(5, 105, 20), deploy(5.25), commit(6.25, 106, 29), commit(7, 107, 40),
			{7.5, nil},
			deploy(7.75), commit(8, 108, 41),
			{9, nil},
		}},
	}
}

func TestPlanTime(t *testing.T) {
	tests := []struct {
		name      string
		time      float64
		exclusive bool
		backup    string
		rule      restore.StopRule
		stop      float64
		until     wal.LSN
	}{
		{"between two commits", 13, false, "b1", restore.StopBefore, 4, lsn(4) + recordLen},
		{"on a commit is kept", 12, false, "b1", restore.StopBefore, 4, lsn(4) + recordLen},
		{"on a commit, exclusive, is not", 12, true, "b1", restore.StopBefore, 3.5, lsn(3.5) + recordLen},
		{"an inversion: the prefix ends before 103 although 102 is older", 13.95, false, "b1", restore.StopBefore, 4, lsn(4) + recordLen},
		{"ties are all kept", 14, false, "b1", restore.StopBefore, 5, lsn(5) + recordLen},
		{"ties are all cut, exclusive: at the first", 14, true, "b1", restore.StopBefore, 4, lsn(4) + recordLen},
		{"the newest backup that had ended", 35, false, "b2", restore.StopBefore, 7, lsn(7) + recordLen},
		{"within the second backup: the first serves", 29.5, false, "b1", restore.StopBefore, 7, lsn(7) + recordLen},
		{"at the end of the first backup", 10, false, "b1", restore.StopBefore, 3.5, lsn(3.5) + recordLen},
		{"the last commit", 41, false, "b2", restore.StopAfter, 9, lsn(9) + recordLen},
		{"after the last commit, a beat covers it", 60, false, "b2", restore.StopAfter, 9, lsn(9) + recordLen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := quiet()
			p, err := a.plan(t, restore.Target{Kind: restore.TargetTime, Time: at(tt.time), Exclusive: tt.exclusive})
			if err != nil {
				t.Fatal(err)
			}
			if p.Backup.ID != tt.backup || p.Stop.Rule != tt.rule || p.Stop.LSN != lsn(tt.stop) || p.Until != tt.until {
				t.Errorf("got backup %s, stop %s, until %s; want %s, %d at %s, %s",
					p.Backup.ID, p.Stop, p.Until, tt.backup, tt.rule, lsn(tt.stop), tt.until)
			}
			if p.Timeline != 1 || p.SystemID != 7 {
				t.Errorf("got timeline %d of system %d", p.Timeline, p.SystemID)
			}
		})
	}
}

// refused is what a TargetError must say; 0 means not there.
type refused struct {
	reason        restore.Reason
	before, after restore.Instant
}

func (want refused) check(t *testing.T, err error) {
	t.Helper()
	var e *restore.TargetError
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a TargetError", err)
	}
	var got refused
	got.reason = e.Reason
	if e.NearestBefore != nil {
		got.before = *e.NearestBefore
	}
	if e.NearestAfter != nil {
		got.after = *e.NearestAfter
	}
	if got != want {
		t.Errorf("got %+v, want %+v (%v)", got, want, err)
	}
	if !strings.Contains(e.Error(), e.Reason.String()) {
		t.Errorf("error %q does not say %q", e, e.Reason)
	}
}

func TestPlanTimeRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*archive)
		time   float64
		want   refused
	}{
		{"before the first backup", nil, 5, refused{reason: restore.ReasonTooEarly, after: restore.Instant{Time: at(10), LSN: lsn(3)}}},
		{"within the first backup", nil, 9.5, refused{reason: restore.ReasonTooEarly, after: restore.Instant{Time: at(10), LSN: lsn(3)}}},
		{"past the beat", nil, 61, refused{reason: restore.ReasonTooLate, before: restore.Instant{Time: at(60), LSN: lsn(9.5)}}},
		{"no beat", func(a *archive) { a.Beat = nil }, 42, refused{reason: restore.ReasonTooLate, before: restore.Instant{Time: at(41), LSN: lsn(9.5)}}},
		{
			"the beat speaks of WAL we do not have", func(a *archive) { a.Beat.LSN = lsn(9.75) }, 42,
			refused{reason: restore.ReasonTooLate, before: restore.Instant{Time: at(41), LSN: lsn(9.5)}},
		},
		{
			"the beat is of another timeline", func(a *archive) { a.Beat.Timeline = 2 }, 42,
			refused{reason: restore.ReasonTooLate, before: restore.Instant{Time: at(41), LSN: lsn(9.5)}},
		},
		{
			"in a gap", func(a *archive) { a.Coverage[1] = []wal.Range{span(1, 4.125), span(5.5, 9.5)} }, 25,
			refused{reason: restore.ReasonGap, before: restore.Instant{Time: at(14), LSN: lsn(4.125)}, after: restore.Instant{Time: at(30), LSN: lsn(6.5)}},
		},
		{
			"in a gap no backup ended", func(a *archive) { a.Coverage[1] = []wal.Range{span(1, 7.25), span(8.5, 9.5)} }, 50,
			refused{reason: restore.ReasonGap, before: restore.Instant{Time: at(40), LSN: lsn(7.25)}},
		},
		{
			"commits of the backup are past it", func(a *archive) { a.events[1][1] = commit(2.5, 100, 11) }, 10.5,
			refused{reason: restore.ReasonTooEarly, after: restore.Instant{Time: at(10), LSN: lsn(3)}},
		},
		{
			"no backup has its WAL", func(a *archive) { a.Coverage[1] = []wal.Range{span(2.125, 2.5), span(6, 6.25)} }, 35,
			refused{reason: restore.ReasonGap},
		},
		{"no backup", func(a *archive) { a.Backups = nil }, 35, refused{reason: restore.ReasonNoBackup}},
		{"backup of a timeline that is gone", func(a *archive) {
			for i := range a.Backups {
				a.Backups[i].Timeline = 2
			}
			a.Histories = map[wal.TimelineID]wal.History{2: history(2, wal.Switch{Timeline: 1, At: lsn(20)})}
		}, 35, refused{reason: restore.ReasonNoBackup}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := quiet()
			if tt.change != nil {
				tt.change(a)
			}
			p, err := a.plan(t, restore.Target{Kind: restore.TargetTime, Time: at(tt.time)})
			if err == nil {
				t.Fatalf("got backup %s, stop %s; want it refused", p.Backup.ID, p.Stop)
			}
			tt.want.check(t, err)
		})
	}
}

func TestPlanLSN(t *testing.T) {
	tests := []struct {
		name      string
		lsn       float64
		exclusive bool
		backup    string
		rule      restore.StopRule
		stop      float64
		want      refused
	}{
		{"start of a record, inclusive", 4, false, "b1", restore.StopAfter, 4, refused{}},
		{"start of a record, exclusive", 4, true, "b1", restore.StopBefore, 4, refused{}},
		{"inside a record: the next one", 4.00001, true, "b1", restore.StopBefore, 4.25, refused{}},
		{"end of the backup", 3, false, "b1", restore.StopAfter, 3.5, refused{}},
		{"end of the newer backup", 6.5, true, "b2", restore.StopBefore, 7, refused{}},
		{"the archive's end", 9.5, false, "b2", restore.StopAfter, 9, refused{}},
		{"past the last record", 9.25, true, "b2", restore.StopAfter, 9, refused{}},
		{"past the archive's end", 9.75, false, "", 0, 0, refused{reason: restore.ReasonTooLate, before: restore.Instant{LSN: lsn(9.5)}}},
		{"before the backup's end", 2.75, false, "", 0, 0, refused{reason: restore.ReasonTooEarly, after: restore.Instant{Time: at(10), LSN: lsn(3)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := quiet().plan(t, restore.Target{Kind: restore.TargetLSN, LSN: lsn(tt.lsn), Exclusive: tt.exclusive})
			if tt.want.reason != 0 {
				tt.want.check(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Backup.ID != tt.backup || p.Stop.Rule != tt.rule || p.Stop.LSN != lsn(tt.stop) || p.Until != lsn(tt.stop)+recordLen {
				t.Errorf("got backup %s, stop %s, until %s; want %s, %d at %s", p.Backup.ID, p.Stop, p.Until, tt.backup, tt.rule, lsn(tt.stop))
			}
		})
	}
}

func TestPlanRecord(t *testing.T) {
	xid := func(x wal.XID) restore.Target { return restore.Target{Kind: restore.TargetXID, XID: x} }
	before := func(x wal.XID) restore.Target {
		return restore.Target{Kind: restore.TargetXID, XID: x, Exclusive: true}
	}
	name := func(s string) restore.Target { return restore.Target{Kind: restore.TargetName, Name: s} }
	tests := []struct {
		name   string
		target restore.Target
		backup string
		rule   restore.StopRule
		stop   float64
		notes  string
		want   refused
	}{
		{"after a commit", xid(102), "b1", restore.StopAfter, 4.25, "", refused{}},
		{"before a commit", before(102), "b1", restore.StopBefore, 4.25, "", refused{}},
		{"one that was rolled back", xid(104), "b1", restore.StopAfter, 4.5, "rolled back", refused{}},
		{"within the newer backup", xid(106), "b1", restore.StopAfter, 6.25, "", refused{}},
		{"after the newer backup", xid(107), "b2", restore.StopAfter, 7, "", refused{}},
		{"within the first backup", xid(100), "", 0, 0, "", refused{reason: restore.ReasonTooEarly, after: restore.Instant{Time: at(10), LSN: lsn(3)}}},
		{"nowhere", xid(999), "", 0, 0, "", refused{reason: restore.ReasonNotFound}},
		{"a name, behind the newest backup that has it", name("deploy"), "b2", restore.StopAfter, 7.75, "", refused{}},
		{"no such name", name("Deploy"), "", 0, 0, "", refused{reason: restore.ReasonNotFound}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := quiet().plan(t, tt.target)
			if tt.want.reason != 0 {
				tt.want.check(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Backup.ID != tt.backup || p.Stop.Rule != tt.rule || p.Stop.LSN != lsn(tt.stop) || p.Stop.Event == nil {
				t.Errorf("got backup %s, stop %s, event %v; want %s, %d at %s", p.Backup.ID, p.Stop, p.Stop.Event, tt.backup, tt.rule, lsn(tt.stop))
			}
			if notes := strings.Join(p.Notes, "; "); !strings.Contains(notes, tt.notes) || (tt.notes == "") != (notes == "") {
				t.Errorf("got notes %q, want %q", notes, tt.notes)
			}
		})
	}
}

// A name that came twice after the chosen backup stops at the first, as
// PostgreSQL would.
func TestPlanNameTwice(t *testing.T) {
	a := quiet()
	a.Coverage[1] = []wal.Range{span(1, 7.5)} // the third one is not archived
	a.Beat = nil
	p, err := a.plan(t, restore.Target{Kind: restore.TargetName, Name: "deploy"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Backup.ID != "b1" || p.Stop.LSN != lsn(4.75) || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "2 times") {
		t.Errorf("got backup %s, stop %s, notes %q", p.Backup.ID, p.Stop, p.Notes)
	}
}

func TestPlanSubtransaction(t *testing.T) {
	a := quiet()
	a.Backups = a.Backups[1:]
	target := restore.Target{Kind: restore.TargetXID, XID: 555}
	_, err := restore.PlanRestore(&a.Inventory, target)
	var q *restore.UnresolvedError
	if !errors.As(err, &q) {
		t.Fatal(err)
	}
	a.Facts = map[restore.Question]restore.Fact{q.Question: {Parent: 105}}
	_, err = restore.PlanRestore(&a.Inventory, target)
	if !errors.As(err, &q) {
		t.Fatal(err)
	}
	a.Facts[q.Question] = restore.Fact{}
	_, err = restore.PlanRestore(&a.Inventory, target)
	refused{reason: restore.ReasonNotFound}.check(t, err)
	if !strings.Contains(err.Error(), "subtransaction of 105") {
		t.Errorf("got %q", err)
	}
}

func TestPlanImmediateAndLatest(t *testing.T) {
	immediate := func(id string) restore.Target { return restore.Target{Kind: restore.TargetImmediate, Backup: id} }
	gap := func(a *archive) { a.Coverage[1] = []wal.Range{span(1, 6.25), span(7, 9.5)} }
	tests := []struct {
		name   string
		target restore.Target
		change func(*archive)
		backup string
		rule   restore.StopRule
		until  wal.LSN
		want   refused
	}{
		{"newest backup", immediate(""), nil, "b2", restore.StopAfter, lsn(6.25) + recordLen, refused{}},
		{"named backup", immediate("b1"), nil, "b1", restore.StopAfter, lsn(2.5) + recordLen, refused{}},
		{"newest whole backup", immediate(""), gap, "b1", restore.StopAfter, lsn(2.5) + recordLen, refused{}},
		{"named backup that is not whole", immediate("b2"), gap, "", 0, 0, refused{reason: restore.ReasonGap}},
		{"no such backup", immediate("b3"), nil, "", 0, 0, refused{reason: restore.ReasonNotFound}},
		{"no whole backup", immediate(""), func(a *archive) { a.Coverage[1] = nil }, "", 0, 0, refused{reason: restore.ReasonGap}},
		{"latest", restore.Target{}, nil, "b2", restore.StopAfter, lsn(9) + recordLen, refused{}},
		{
			"latest behind a gap",
			restore.Target{},
			gap, "", 0, 0,
			refused{reason: restore.ReasonGap, before: restore.Instant{LSN: lsn(6.25)}},
		},
		{"latest without a whole backup", restore.Target{}, func(a *archive) { a.Coverage[1] = nil }, "", 0, 0, refused{reason: restore.ReasonGap}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := quiet()
			if tt.change != nil {
				tt.change(a)
			}
			p, err := a.plan(t, tt.target)
			if tt.want.reason != 0 {
				tt.want.check(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Backup.ID != tt.backup || p.Stop.Rule != tt.rule || p.Until != tt.until {
				t.Errorf("got backup %s, stop %s, until %s; want %s, %d, %s", p.Backup.ID, p.Stop, p.Until, tt.backup, tt.rule, tt.until)
			}
		})
	}
}

func TestPlanSizes(t *testing.T) {
	p, err := quiet().plan(t, restore.Target{Kind: restore.TargetTime, Time: at(13)})
	if err != nil {
		t.Fatal(err)
	}
	// From the start of segment 2, where the backup began, to the end of the record at 4.
	if p.Segments != 3 || p.WAL != 2<<20+recordLen || p.Needed != 1000+3<<20 || p.Free != 10<<30 {
		t.Errorf("got %d segments, %d bytes of WAL, %d needed, %d free", p.Segments, p.WAL, p.Needed, p.Free)
	}
	if err := p.SpaceNeeded(); err != nil {
		t.Errorf("got %v", err)
	}
	p.Free = p.Needed - 1
	var space *restore.SpaceError
	if err := p.SpaceNeeded(); !errors.As(err, &space) || space.Needed != p.Needed || !strings.Contains(err.Error(), "free") {
		t.Errorf("got %v, want a SpaceError", err)
	}
}

func TestTargetValidate(t *testing.T) {
	bad := map[string]restore.Target{
		"exclusive latest":    {Exclusive: true},
		"exclusive immediate": {Kind: restore.TargetImmediate, Exclusive: true},
		"exclusive name":      {Kind: restore.TargetName, Name: "x", Exclusive: true},
		"no lsn":              {Kind: restore.TargetLSN},
		"xid of bootstrap":    {Kind: restore.TargetXID, XID: 1},
		"no name":             {Kind: restore.TargetName},
		"long name":           {Kind: restore.TargetName, Name: strings.Repeat("x", 64)},
		"name with NUL":       {Kind: restore.TargetName, Name: "a\x00"},
		"unknown kind":        {Kind: 99},
		"timeline 0":          {Timeline: restore.TimelineChoice{Rule: restore.TimelineExact}},
		"two timelines":       {Timeline: restore.TimelineChoice{Rule: restore.TimelineLatest, ID: 3}},
	}
	for name, target := range bad {
		if err := target.Validate(); err == nil {
			t.Errorf("%s: got no error", name)
		}
		a := quiet()
		if _, err := restore.PlanRestore(&a.Inventory, target); err == nil || errors.As(err, new(*restore.UnresolvedError)) {
			t.Errorf("%s: PlanRestore: got %v", name, err)
		}
	}
	if _, err := restore.PlanRestore(&restore.Inventory{}, restore.Target{}); err == nil {
		t.Error("no segment size: got no error")
	}
}

func TestStrings(t *testing.T) {
	tests := map[string]string{
		restore.Target{}.String(): "latest",
		restore.Target{Kind: restore.TargetTime, Time: at(0), Exclusive: true}.String(): "time 2026-11-20T12:00:00.000000Z, exclusive",
		restore.Target{Kind: restore.TargetLSN, LSN: 0x16B374D848}.String():             "lsn 16/B374D848",
		restore.Target{Kind: restore.TargetXID, XID: 7}.String():                        "xid 7",
		restore.Target{Kind: restore.TargetName, Name: "a b"}.String():                  `name "a b"`,
		restore.Target{Kind: restore.TargetImmediate}.String():                          "immediate",
		restore.Target{Kind: restore.TargetImmediate, Backup: "b"}.String():             "immediate of backup b",
		restore.TargetKind(99).String():                                                 "unknown",
		restore.Reason(99).String():                                                     "not recoverable",
		restore.Instant{Time: at(0)}.String():                                           "2026-11-20T12:00:00.000000Z",
		restore.Instant{LSN: 1}.String():                                                "lsn 0/1",
		restore.Instant{Time: at(0), LSN: 1}.String():                                   "2026-11-20T12:00:00.000000Z (lsn 0/1)",
		restore.Stop{}.String():                                                         "nowhere",
		restore.Stop{Rule: restore.StopBefore, LSN: 1}.String():                         "before the record at 0/1",
		restore.Stop{Rule: restore.StopAfter, LSN: 1}.String():                          "after the record at 0/1",
	}
	for got, want := range tests {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
