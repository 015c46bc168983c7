package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/wal"
)

// takeoverDocument is a takeover as docs/JSON.md has it.
type takeoverDocument struct {
	SystemID   wal.SystemID    `json:"system_id"`
	Host       string          `json:"host"`
	Directory  string          `json:"directory"`
	From       wal.TimelineID  `json:"old_timeline"`
	To         wal.TimelineID  `json:"timeline"`
	Switch     wal.LSN         `json:"switch_lsn"`
	End        wal.LSN         `json:"durable_lsn"`
	LastCommit *lastCommitJSON `json:"last_commit"`
	Lost       *lostJSON       `json:"lost"`
	OnItsWay   *lostJSON       `json:"unconfirmed"`
	Fence      fenceDocument   `json:"fence"`
	Resumed    bool            `json:"resumed"`
	Archived   bool            `json:"archived"`
	Hooks      []hookJSON      `json:"hooks"`
	Phases     []phaseJSON     `json:"phases"`
	Writable   float64         `json:"writable_seconds"`
	Seconds    float64         `json:"seconds"`
}

type lastCommitJSON struct {
	LSN  wal.LSN `json:"lsn"`
	Time string  `json:"time"`
	XID  wal.XID `json:"xid"`
}

type lostJSON struct {
	From wal.LSN `json:"from"`
	To   wal.LSN `json:"to"`
}

type hookJSON struct {
	Run     []string `json:"run"`
	Seconds float64  `json:"seconds"`
	Error   string   `json:"error,omitempty"`
	Output  string   `json:"output,omitempty"`
}

type phaseJSON struct {
	Phase   agent.Phase `json:"phase"`
	Seconds float64     `json:"seconds"`
}

// fenceDocument is a fence as docs/JSON.md has it.
type fenceDocument struct {
	Timeline wal.TimelineID `json:"timeline"`
	Number   int            `json:"number"`
	Change   string         `json:"change"`
	In       []string       `json:"repositories"`
	Missing  []missingJSON  `json:"missing"`
}

type missingJSON struct {
	Repository string `json:"repository"`
	Error      string `json:"error"`
}

func takeoverJSON(t *agent.Takeover, took time.Duration) takeoverDocument {
	d := takeoverDocument{
		SystemID: t.SystemID, Host: t.Host, Directory: t.Directory, From: t.From, To: t.To, Switch: t.Switch, End: t.End, Fence: fenceJSON(t.Fence),
		Resumed: t.Resumed, Archived: t.Archived, Hooks: []hookJSON{}, Writable: t.Took(agent.PhasePromote).Seconds(), Seconds: took.Seconds(),
	}
	if t.Last != nil {
		d.LastCommit = &lastCommitJSON{t.Last.LSN, exact(t.Last.Time), t.Last.XID}
	}
	if !t.Lost.Empty() {
		d.Lost = &lostJSON{t.Lost.Start, t.Lost.End}
	}
	if !t.Unconfirmed.Empty() {
		d.OnItsWay = &lostJSON{t.Unconfirmed.Start, t.Unconfirmed.End}
	}
	for _, h := range t.Hooks {
		one := hookJSON{Run: h.Run, Seconds: h.Took.Seconds(), Output: h.Said}
		if h.Err != nil {
			one.Error = h.Err.Error()
		}
		d.Hooks = append(d.Hooks, one)
	}
	for _, p := range t.Phases {
		d.Phases = append(d.Phases, phaseJSON{p.Phase, p.Took.Seconds()})
	}
	return d
}

func fenceJSON(r agent.FenceReport) fenceDocument {
	d := fenceDocument{Timeline: r.Fence.Timeline, Number: r.Fence.Number, Change: string(r.Fence.Change), In: r.In, Missing: []missingJSON{}}
	for _, m := range r.Missing {
		d.Missing = append(d.Missing, missingJSON{m.Repository, m.Err.Error()})
	}
	return d
}

// printTakeover prints what became of a promotion.
func (s *session) printTakeover(t *agent.Takeover, took time.Duration) {
	row := func(name, format string, args ...any) { s.printf("  %-9s %s\n", name, fmt.Sprintf(format, args...)) }
	took1 := func(p agent.Phase) string {
		for _, one := range t.Phases {
			if one.Phase == p {
				return elapsed(one.Took)
			}
		}
		return ""
	}
	s.printf("%s   timeline %d → %d   writable after %s, all done after %s\n\n", s.paint("Took over", "1;32"), uint32(t.From), uint32(t.To),
		elapsed(t.Took(agent.PhasePromote)), elapsed(took))
	row("server", "%s on host %s", t.Directory, t.Host)
	row("fence", "timeline %d, record %d, in %s   %s", uint32(t.From), t.Fence.Fence.Number, strings.Join(t.Fence.In, ", "), took1(agent.PhaseFence))
	row("replay", "to %s, the end of all that was durable   %s", t.End, took1(agent.PhaseReplay))
	row("promote", "timeline %d begins at %s   %s", uint32(t.To), t.Switch, took1(agent.PhasePromote))
	if t.Last != nil {
		row("last", "commit xid %d at %s, lsn %s", uint32(t.Last.XID), exact(t.Last.Time), t.Last.LSN)
	}
	if !t.Lost.Empty() {
		row("LOST", "what lay in and behind the hole from %s, to %s", t.Lost.Start, t.Lost.End)
	}
	if !t.Unconfirmed.Empty() {
		row("left", "what was on its way when the old agent died, from %s to %s: not confirmed by what is here", t.Unconfirmed.Start, t.Unconfirmed.End)
		row("", "where commits did not wait for this repository (copies, required), some of them may have returned")
	}
	if t.Archived {
		row("archive", "timeline %d is archived   %s", uint32(t.To), took1(agent.PhaseArchive))
	} else {
		row("archive", "%s timeline %d is not archived yet: nothing that is written now is safe", s.sign(agent.Bad), uint32(t.To))
		row("", "start the agent of this host:  pgark run")
	}
	for _, h := range t.Hooks {
		if h.Err == nil {
			row("hook", "%s %s   %s", s.sign(agent.Good), strings.Join(h.Run, " "), elapsed(h.Took))
			continue
		}
		row("hook", "%s %s: %v   %s", s.sign(agent.Bad), strings.Join(h.Run, " "), h.Err, elapsed(h.Took))
		if h.Said != "" {
			row("", "%s", strings.ReplaceAll(h.Said, "\n", "\n            "))
		}
	}
	s.printMissing(t.Fence)
}

// printFence prints what became of a fence.
func (s *session) printFence(r agent.FenceReport) {
	what := "is fenced: nothing more of it is archived or confirmed"
	if !r.Fence.Stands() {
		what = "is not fenced: its server is archived again when its agent is started"
	}
	s.printf("timeline %d %s   (record %d, in %s)\n", uint32(r.Fence.Timeline), what, r.Fence.Number, strings.Join(r.In, ", "))
	s.printMissing(r)
}

// printMissing prints the repositories without the record.
func (s *session) printMissing(r agent.FenceReport) {
	what := "an agent that sees no other repository goes on"
	if !r.Fence.Stands() {
		what = "an agent that sees this repository stays fenced, if it was"
	}
	for _, m := range r.Missing {
		s.printf("  %s %s did not take the record: %v\n", s.sign(agent.Warning), m.Repository, m.Err)
		s.printf("    %s; again when it answers\n", what)
	}
}
