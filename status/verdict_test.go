package status_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

var commands = status.Commands{
	Drill: "pgark drill run",
	Run:   "pgark run", Backup: "pgark backup", Check: "pgark check",
	SQL: func(statement string) string { return `psql -c "` + statement + `"` },
}

// archived is one base backup and WAL up to 0/900, the last transaction at minute 9.
func archived() status.Facts {
	return status.Facts{Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x900, 9)}}
}

// lost is the record of a gap.
func lost(tli wal.TimelineID, from, to wal.LSN) repository.Gap {
	return repository.Gap{
		Timeline: tli, Range: wal.Range{Start: from, End: to}, Cause: repository.CauseSlotLost, Detail: "the server invalidated slot pgark", FirstSeen: minute(8),
	}
}

func know[T any](v T) *T { return &v }

// received is a server that has flushed up to lsn, with an agent on its slot.
func received(lsn wal.LSN) *status.Server {
	return &status.Server{Address: "db:5432", Version: "17.6", Timeline: 1, Flush: lsn, Slot: &status.Slot{
		Name: "pgark", Exists: true, Restart: lsn, Active: know(true), WALStatus: "reserved", Limit: know(int64(status.NoLimit)),
	}}
}

// with changes a server.
func with(s *status.Server, change func(*status.Server)) *status.Server {
	change(s)
	return s
}

func inactive(s *status.Server) { s.Slot.Active = know(false) }

func unknown(s *status.Server) {
	s.Slot = &status.Slot{Name: "pgark", Exists: true, Restart: 0x800}
	s.SlotError = "no password for an ordinary connection"
}

// TestVerdict is the table of what makes a cluster safe, and of what is said when it is not.
func TestVerdict(t *testing.T) {
	const none = -1
	holed := archived()
	holed.Spans = []status.Span{span(1, 0, 0x300, 3), span(1, 0x500, 0x900, 9)}
	recorded := holed
	recorded.Lost = []repository.Gap{lost(1, 0x300, 0x500)}
	nothingSince := archived()
	nothingSince.Lost = []repository.Gap{lost(1, 0x900, 0xa00)}
	overSwitch := archived()
	overSwitch.Spans = append(overSwitch.Spans, span(2, 0xa00, 0xb00, 9))
	overSwitch.Histories = map[wal.TimelineID]wal.History{2: history(2, wal.Switch{Timeline: 1, At: 0xa80})}
	overSwitch.Lost = []repository.Gap{lost(1, 0x900, 0xa80)}
	healed := holed
	healed.Backups = []repository.Backup{taken(1, 0x100, 0x200), taken(7, 0x500, 0x600)}
	damaged := archived()
	damaged.Backups = append(damaged.Backups, taken(5, 0x500, 0x600))
	damaged.Backups[1].Checksums = repository.ChecksumsFailed
	unfinished := archived()
	unfinished.Backups = append(unfinished.Backups, taken(8, 0x800, 0xa00))
	branch := archived()
	branch.Spans = append(branch.Spans, span(2, 0xa00, 0xb00, 9))
	unreadable := archived()
	unreadable.Unreadable = []string{"7/backups/20261120T130000Z/record.json is corrupt: no JSON"}
	promoted := func(s *status.Server) { s.Timeline = 2 }
	late, fresh := minute(19), minute(9).Add(12*time.Second)

	for _, test := range []struct {
		name    string
		facts   status.Facts
		server  *status.Server
		error   string
		now     time.Time
		verdict status.Verdict
		// what and fix are of the first cause, "" for none.
		what, fix string
		since     time.Time
		causes    int
		rpo       float64
	}{
		{"busy, all durable", archived(), received(0x900), "", fresh, status.Protected, "", "", time.Time{}, 0, 0},
		{"busy, some bytes behind", archived(), received(0x910), "", fresh, status.Protected, "", "", time.Time{}, 0, 12},
		{"idle for ten minutes", archived(), received(0x900), "", late, status.Protected, "", "", time.Time{}, 0, 0},
		{"all known by replication alone, fresh", archived(), with(received(0x900), unknown), "", fresh, status.Protected, "", "", time.Time{}, 0, 12},
		{"a gap that a backup ended", healed, received(0x900), "", fresh, status.Protected, "", "", time.Time{}, 0, 0},
		{
			"agent dead a moment, nothing written since", archived(), with(received(0x900), inactive), "", fresh,
			status.AtRisk, "no agent is receiving from slot pgark", "pgark run", minute(9), 1, 12,
		},
		{
			"agent dead, idle server", archived(), with(received(0x900), inactive), "", late,
			status.AtRisk, "no agent is receiving from slot pgark", "pgark run", minute(9), 1, 600,
		},
		{
			"agent dead, the server tells since when", archived(),
			with(received(0x900), func(s *status.Server) { inactive(s); s.Slot.InactiveSince = know(minute(15)) }), "", late,
			status.AtRisk, "no agent is receiving", "pgark run", minute(15), 1, 600,
		},
		{
			"agent dead, and the slot was made anew since", archived(), with(received(0x990), inactive), "", late,
			status.Unprotected, "slot pgark keeps WAL only from 0/990: this archive ends at 0/900", "pgark run", minute(9), 1, 600,
		},
		{
			"agent there, nothing comes", archived(), received(0x990), "", late,
			status.AtRisk, "a program holds slot pgark, but nothing newer", "pgark check", minute(9), 1, 600,
		},
		{
			"agent not known, nothing comes", archived(), with(received(0x900), unknown), "", late,
			status.AtRisk, "nothing newer has become durable; whether an agent is receiving is not known", "pgark run", minute(9), 1, 600,
		},
		{
			"slot missing", archived(), with(received(0x900), func(s *status.Server) { s.Slot = &status.Slot{Name: "other"} }), "", late,
			status.Unprotected, "the server has no slot other: no agent is receiving from it", "pgark run", minute(9), 1, 600,
		},
		{
			"a record cannot be read", unreadable, received(0x900), "", fresh,
			status.AtRisk, "20261120T130000Z/record.json is corrupt", "pgark check",
			time.Time{},
			1, 0,
		},
		{
			"slot missing, which is dropped at its limit", archived(), with(received(0x900), func(s *status.Server) { s.Slot = &status.Slot{Name: "pgark", OnLimit: "drop"} }), "", late,
			status.Unprotected, "the server has no slot pgark, and may remove WAL that is not archived: where the agent dropped it", "pgark check", minute(9), 1, 600,
		},
		{
			"slot missing and yet fresh: another name", archived(), with(received(0x900), func(s *status.Server) { s.Slot = &status.Slot{Name: "other"} }), "", fresh,
			status.AtRisk, "it was dropped since then, or the agent's slot has another name", `psql -c "select slot_name`,
			time.Time{},
			1, 12,
		},
		{
			"slot lost", archived(), with(received(0x900), func(s *status.Server) { inactive(s); s.Slot.WALStatus, s.Slot.Restart = "lost", 0 }), "", late,
			status.Unprotected, "slot pgark is lost", "pgark run", minute(9), 1, 600,
		},
		{
			"slot lost, by replication alone", archived(), with(received(0x900), func(s *status.Server) { unknown(s); s.Slot.Restart = 0 }), "", late,
			status.Unprotected, "slot pgark is lost", "pgark run", minute(9), 1, 600,
		},
		{
			"slot about to be lost", archived(), with(received(0x900), func(s *status.Server) { s.Slot.WALStatus = "unreserved" }), "", fresh,
			status.AtRisk, "may remove its WAL at the next checkpoint", "ALTER SYSTEM",
			time.Time{},
			1, 0,
		},
		{
			"server away, archive fresh", archived(), nil, "connection refused", fresh,
			status.AtRisk, "not known whether an agent is receiving and how much WAL waits there: connection refused", "pgark check",
			time.Time{},
			1, 12,
		},
		{
			"server away, archive old", archived(), nil, "connection refused", late,
			status.AtRisk, "not known", "pgark check",
			time.Time{},
			1, 600,
		},
		{
			"no backup, agent there",
			status.Facts{Spans: archived().Spans},
			received(0x900), "", fresh,
			status.Unprotected, "there is no base backup", "pgark backup",
			time.Time{},
			1, none,
		},
		{
			"no backup, no agent",
			status.Facts{Spans: archived().Spans},
			with(received(0x900), inactive), "", fresh,
			status.Unprotected, "there is no base backup", "pgark run",
			time.Time{},
			2, none,
		},
		{
			"no backup, no server",
			status.Facts{Spans: archived().Spans},
			nil, "connection refused", fresh,
			status.Unprotected, "there is no base backup", "pgark backup",
			time.Time{},
			2, none,
		},
		{
			"the only backup without its WAL",
			status.Facts{Backups: archived().Backups, Spans: []status.Span{span(1, 0x150, 0x900, 9)}},
			received(0x900), "", fresh,
			status.Unprotected, "no base backup can be restored", "pgark backup", minute(0), 1, none,
		},
		{
			"an open gap that nothing is recorded of", holed, received(0x900), "", fresh,
			status.Unprotected, "WAL 0/300 to 0/500 on timeline 1 is missing, and nothing is recorded of it", "pgark backup", minute(3), 1, 372,
		},
		{
			"an open gap that is recorded", recorded, received(0x900), "", fresh,
			status.AtRisk, "WAL 0/300 to 0/500 on timeline 1 was lost (slot lost)", "pgark backup", minute(3), 1, 372,
		},
		{
			"and nothing came since", nothingSince, received(0x900), "", fresh,
			status.AtRisk, "WAL 0/900 to 0/A00 on timeline 1 was lost (slot lost)", "pgark backup", minute(9), 1, 12,
		},
		{
			"up to a promotion", overSwitch, with(received(0xb00), promoted), "", fresh,
			status.AtRisk, "WAL 0/900 to 0/A80 on timeline 1 was lost (slot lost)", "pgark backup", minute(9), 1, 12,
		},
		{
			"wrong pages in the newest backup", damaged, received(0x900), "", fresh,
			status.AtRisk, "holds pages with wrong checksums", "pg_amcheck", minute(4), 1, 0,
		},
		{
			"the newest backup without its WAL", unfinished, received(0x900), "", fresh,
			status.AtRisk, "cannot be restored: WAL up to 0/A00 is missing", "pgark backup", minute(7), 1, 0,
		},
		{
			"a timeline without a base backup", branch, with(received(0xb00), promoted), "", fresh,
			status.Unprotected, "no base backup reaches timeline 2", "pgark backup", minute(9), 1, 12,
		},
		{
			"a branch that the server left", branch, received(0x900), "", fresh,
			status.AtRisk, "the server is on timeline 1, and the archive ends on timeline 2", "pgark check", minute(9), 1, 12,
		},
		{
			"promoted, the agent did not follow", archived(), with(received(0x950), promoted), "", fresh,
			status.AtRisk, "the server is on timeline 2, and the archive ends on timeline 1", "pgark check", minute(9), 1, 12,
		},
		{
			"a clock that is behind hides no dead agent", archived(), with(received(0x900), inactive), "", minute(4),
			status.AtRisk, "no agent is receiving", "pgark run", minute(9), 2, none,
		},
		{
			"a clock that is behind", archived(), with(received(0x900), unknown), "", minute(4),
			status.AtRisk, "whether an agent is receiving", "pgark run", minute(9), 2, none,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := status.Make(test.facts, test.now)
			if test.server != nil {
				r.SetServer(*test.server)
			}
			r.ServerError = test.error
			r.Judge(commands)
			if r.Verdict != test.verdict || len(r.Causes) != test.causes {
				t.Fatalf("got %s, %+v; want %s and %d causes", r.Verdict, r.Causes, test.verdict, test.causes)
			}
			switch {
			case test.rpo == none && r.RPO != nil, test.rpo != none && (r.RPO == nil || *r.RPO != test.rpo):
				t.Errorf("rpo: got %v, want %v", r.RPO, test.rpo)
			}
			if test.causes == 0 {
				return
			}
			first := r.Causes[0]
			if !strings.Contains(first.What, test.what) || !strings.HasPrefix(first.Fix, test.fix) {
				t.Errorf("got %+v\nwant %s, fix %s", first, test.what, test.fix)
			}
			if (first.Since == nil) != test.since.IsZero() || first.Since != nil && !first.Since.Equal(test.since) {
				t.Errorf("since: got %v, want %v", first.Since, test.since)
			}
			for _, c := range r.Causes {
				if c.Fix == "" {
					t.Errorf("no fix for: %s", c.What)
				}
			}
		})
	}
}

// TestVerdictInJSON: a report that was not judged claims no verdict; one without causes says so.
func TestVerdictInJSON(t *testing.T) {
	r := status.Make(archived(), minute(9))
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, unknown := range []string{"verdict", "causes", "rpo"} {
		if strings.Contains(string(text), unknown) {
			t.Errorf("not judged, and yet %s: %s", unknown, text)
		}
	}
	r.SetServer(*received(0x900))
	r.Judge(commands)
	if text, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict":"protected"`, `"causes":[]`, `"rpo_seconds":0,`, `"rpo_target_seconds":30`, `"active":true`, `"limit_bytes":-1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("lacks %s: %s", want, text)
		}
	}
}

func TestWorse(t *testing.T) {
	order := []status.Verdict{status.Protected, status.AtRisk, status.Unprotected}
	for i, a := range order {
		for j, b := range order {
			if got := a.Worse(b); got != order[max(i, j)] {
				t.Errorf("%s, %s: got %s", a, b, got)
			}
		}
	}
}

// TestUnprotected: how old the oldest byte is that is not durable, from the bucket alone and beside the server.
func TestUnprotected(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	last, beat := now.Add(-90*time.Second), now.Add(-4*time.Second)
	span := status.Span{Timeline: 1, Start: 0x1000000, End: 0x2000000, Last: &last}
	receiving, away := true, false
	unknown := -1.0
	server := func(active bool, flush wal.LSN) *status.Server {
		return &status.Server{Timeline: 1, Flush: flush, Slot: &status.Slot{Exists: true, Active: &active}}
	}
	for name, c := range map[string]struct {
		beat   *repository.Beat
		server *status.Server
		want   float64
	}{
		"bucket alone, busy":                                            {nil, nil, 90},
		"bucket alone, idle":                                            {&repository.Beat{Time: beat, Timeline: 1, LSN: 0x2000000}, nil, 4},
		"a beat of another timeline":                                    {&repository.Beat{Time: beat, Timeline: 2, LSN: 0x2000000}, nil, 90},
		"a beat past what is there":                                     {&repository.Beat{Time: beat, Timeline: 1, LSN: 0x2000001}, nil, 90},
		"an agent that is level":                                        {nil, server(receiving, 0x2000000), 0},
		"an agent that is behind":                                       {nil, server(receiving, 0x2000008), 90},
		"no agent, nothing outstanding":                                 {nil, server(away, 0x2000000), 90},
		"a clock that is a bit ahead":                                   {&repository.Beat{Time: now.Add(20 * time.Second), Timeline: 1, LSN: 0x2000000}, nil, 0},
		"a clock far ahead tells no age, so that a dead agent is not 0": {&repository.Beat{Time: now.Add(time.Hour), Timeline: 1, LSN: 0x2000000}, nil, unknown},
		"a clock far ahead, beside an agent that is level":              {&repository.Beat{Time: now.Add(time.Hour), Timeline: 1, LSN: 0x2000000}, server(receiving, 0x2000000), 0},
	} {
		r := status.Make(status.Facts{Spans: []status.Span{span}, Beat: c.beat}, now)
		if c.server != nil {
			r.SetServer(*c.server)
		}
		r.Judge(status.Commands{SQL: func(string) string { return "" }})
		got := unknown
		if r.Unprotected != nil {
			got = *r.Unprotected
		}
		if got != c.want {
			t.Errorf("%s: got %v s, want %v s", name, got, c.want)
		}
	}
	bare := status.Make(status.Facts{}, now)
	bare.Judge(status.Commands{})
	if bare.Unprotected != nil {
		t.Errorf("an empty archive: got %v", *bare.Unprotected)
	}
}

// TestTroubles: what the agent says keeps it from its work is the cause that is told, since when it is so.
func TestTroubles(t *testing.T) {
	since := time.Date(2026, 11, 20, 10, 36, 55, 0, time.UTC)
	l := status.Live{Repositories: []status.LiveRepository{{Name: "primary"}, {Name: "dr", Refusing: &status.Outage{Since: since, Tries: 251, Error: "PutObject 403"}}}}
	if (status.Live{Repositories: l.Repositories[:1]}).Troubles() != nil {
		t.Error("an agent without troubles has some")
	}
	got := l.Troubles()
	if got == nil || len(got.Refusing) != 1 || got.Refusing[0].Name != "dr" || got.Refusing[0].Tries != 251 {
		t.Errorf("got %+v", got)
	}
	l.Away = &status.Outage{Since: since}
	away := status.Report{ServerError: "no answer", Troubles: l.Troubles()}
	away.Judge(status.Commands{SQL: func(s string) string { return s }})
	for _, c := range away.Causes {
		if strings.Contains(c.What, "could not be asked") && (c.Since == nil || !c.Since.Equal(since)) {
			t.Errorf("the server is away since %s, and told is %+v", since, c)
		}
	}
}

// TestViewOfAnIdleServer: what an agent that was away shows as a gap is none where the server itself says that it has nothing else.
func TestViewOfAnIdleServer(t *testing.T) {
	from, until, now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	at := status.Position{Timeline: 1, LSN: 0x900}
	active, behind := true, int64(0)
	r := status.Report{
		Now: now, RecoverableFrom: &from, RecoverableUntil: &until, RecoverableEnd: &at, Durable: &at, Behind: &behind,
		Server: &status.Server{Timeline: 1, Slot: &status.Slot{Name: "pgark", Exists: true, Active: &active}},
	}
	if v := r.View(); !v.Until.Equal(until) {
		t.Errorf("nothing else was written, and the view goes on to %s", v.Until)
	}
	active = false
	if v := r.View(); !v.Until.Equal(now) {
		t.Errorf("nobody receives, and the view ends at %s", v.Until)
	}
}
