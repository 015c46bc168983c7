package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// TestPromotionFailures: each has its exit code, and says what stands and what to do.
func TestPromotionFailures(t *testing.T) {
	look := func(err error) *agent.PromotionError { return &agent.PromotionError{Phase: agent.PhaseLook, Err: err} }
	at := func(phase agent.Phase, err error) *agent.PromotionError {
		return &agent.PromotionError{Phase: phase, Fenced: true, Timeline: 3, Promoted: phase != agent.PhaseReplay, Err: err}
	}
	taken := &agent.TakenError{Fence: repository.Fence{Timeline: 3, Number: 1, Host: "far", Directory: "/pg"}, Repository: "dr"}
	away := &storage.Error{Op: "list", Place: "s3://dr", Err: storage.ErrUnavailable}
	unreachable := postgres.ErrUnreachable
	const lift, goesOn = "pgark standby fence --lift", "pgark standby promote   goes on"
	for name, test := range map[string]struct {
		err  error
		code int
		says []string
		not  []string
	}{
		"alive":              {look(&agent.AliveError{How: "something came from it", Again: 12 * time.Second}), exitRefused, []string{"again in 12", "--force"}, []string{lift}},
		"answers":            {look(&agent.AliveError{How: "it answers"}), exitRefused, []string{"stop it first"}, []string{lift}},
		"taken":              {look(taken), exitLocked, []string{"/pg on host far", "--force"}, []string{goesOn}},
		"hole":               {look(&agent.HoleError{}), exitRefused, []string{"pgark verify --heal", "--force"}, []string{lift}},
		"foreign":            {look(&standby.ForeignError{Timeline: 2, Newest: 3}), exitRefused, []string{"pgark standby create"}, []string{lift}},
		"no standby":         {look(agent.ErrNoStandby), exitRefused, []string{"on the standby's host"}, nil},
		"paused":             {look(agent.ErrPaused), exitRefused, []string{"pg_wal_replay_resume"}, nil},
		"no directory":       {look(agent.ErrNoDirectory), exitDenied, []string{"pg_read_all_settings"}, nil},
		"no privilege":       {look(postgres.ErrPrivilege), exitDenied, []string{"GRANT EXECUTE ON FUNCTION pg_promote"}, nil},
		"no server":          {look(unreachable), exitPostgres, []string{"no PostgreSQL answered"}, []string{lift}},
		"no store":           {look(away), exitStorage, nil, []string{lift}},
		"no repository":      {look(repository.ErrNoRepository), exitNoRepository, nil, []string{lift}},
		"taken in the fence": {&agent.PromotionError{Phase: agent.PhaseFence, Timeline: 3, Err: taken}, exitLocked, []string{"--force"}, []string{goesOn, "may be fenced"}},
		"store lost in the fence": {
			&agent.PromotionError{Phase: agent.PhaseFence, Timeline: 3, Err: away}, exitStorage, []string{"timeline 3 may be fenced", goesOn, lift}, nil,
		},
		"store lost in replay":  {at(agent.PhaseReplay, away), exitStorage, []string{"timeline 3 stays fenced", goesOn, lift}, nil},
		"paused in replay":      {at(agent.PhaseReplay, agent.ErrPaused), exitRefused, []string{"timeline 3 stays fenced", "pg_wal_replay_resume", goesOn, lift}, nil},
		"lifted":                {&agent.PromotionError{Phase: agent.PhasePromote, Fenced: true, Timeline: 3, Err: agent.ErrLifted}, exitFailed, []string{goesOn}, nil},
		"server lost, promoted": {at(agent.PhasePromote, unreachable), exitPostgres, []string{"was told to be the primary", goesOn}, []string{lift}},
		"short": {
			at(agent.PhasePromote, &agent.ShortError{From: 3, To: 4, Switch: 5, End: 6}), exitFailed, []string{"timeline 4 begins at 0/5", "keep both data directories"}, []string{goesOn, lift},
		},
	} {
		s, _ := shown(t)
		f := s.program.explain(promotionFailed(test.err))
		text := f.Message + "\n" + f.Cause + "\n" + f.Fix
		for _, want := range test.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, text)
			}
		}
		for _, no := range test.not {
			if strings.Contains(text, no) {
				t.Errorf("%s: it says %q:\n%s", name, no, text)
			}
		}
		if f.Code != test.code {
			t.Errorf("%s: code %d, want %d", name, f.Code, test.code)
		}
	}
}

// TestPromotionCancelled: Ctrl-C says what stands by then.
func TestPromotionCancelled(t *testing.T) {
	for name, test := range map[string]struct {
		err  *agent.PromotionError
		says string
	}{
		"before the fence": {&agent.PromotionError{Phase: agent.PhaseLook}, ""},
		"in the fence":     {&agent.PromotionError{Phase: agent.PhaseFence, Timeline: 3}, "timeline 3 may be fenced"},
		"in the replay":    {&agent.PromotionError{Phase: agent.PhaseReplay, Fenced: true, Timeline: 3}, "timeline 3 stays fenced"},
		"afterwards":       {&agent.PromotionError{Phase: agent.PhaseArchive, Fenced: true, Promoted: true, Timeline: 3}, "was told to be the primary"},
	} {
		s, _ := shown(t)
		s.program.interrupted = func() os.Signal { return syscall.SIGINT }
		test.err.Err = context.Canceled
		f := s.program.explain(promotionFailed(test.err))
		if f.Code != exitCancelled || f.Message != "cancelled" || !strings.Contains(f.Cause, test.says) || test.says == "" && f.Cause+f.Fix != "" {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

// TestMissingRecords: what follows where a repository did not take a record depends on what that says.
func TestMissingRecords(t *testing.T) {
	for change, want := range map[repository.FenceChange]string{
		repository.FenceUp: "an agent that sees no other repository goes on", repository.FenceLift: "an agent that sees this repository stays fenced",
	} {
		s, out := shown(t)
		s.printFence(agent.FenceReport{
			Fence: repository.Fence{Timeline: 1, Number: 1, Change: change}, In: []string{"dr"}, Missing: []agent.Unreached{{Repository: "home", Err: errors.New("away")}},
		})
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: it does not say %q:\n%s", change, want, out)
		}
	}
}

// TestTakeoverIsDocumented: docs/JSON.md has a row for every field of a takeover and of a fence, and names those inside them.
func TestTakeoverIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	report := agent.FenceReport{Fence: repository.Fence{Timeline: 1, Number: 1, Change: repository.FenceUp}, In: []string{"dr"}, Missing: []agent.Unreached{{Repository: "home", Err: errors.New("away")}}}
	takeover := &agent.Takeover{
		SystemID: 42, From: 1, To: 2, Fence: report, Last: &agent.LastCommit{LSN: 5, Time: at, XID: 7}, Lost: wal.Range{Start: 1, End: 2}, Unconfirmed: wal.Range{Start: 3, End: 4},
		Hooks: []agent.HookRun{{Run: []string{"/x"}, Err: errors.New("no"), Said: "no"}}, Phases: []agent.PhaseTime{{Phase: agent.PhaseLook}},
	}
	for command, document := range map[string]any{"promote": takeoverJSON(takeover, time.Second), "fence": fenceJSON(report)} {
		b, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		_, section, found := strings.Cut(string(doc), "## `pgark standby "+command+"`\n")
		section, _, _ = strings.Cut(section, "\n##")
		if !found {
			t.Fatalf("docs/JSON.md has no section of %s", command)
		}
		rows := map[string]string{}
		for line := range strings.Lines(section) {
			if cell, ok := strings.CutPrefix(line, "| `"); ok {
				cell, text, _ := strings.Cut(cell, "` |")
				for _, name := range strings.Split(cell, "`, `") {
					rows[name] = text
				}
			}
		}
		for name, value := range fields {
			text, documented := rows[name]
			if !documented {
				t.Errorf("docs/JSON.md has no row for %s of %s", name, command)
			}
			if list, many := value.([]any); many && len(list) > 0 {
				value = list[0]
			}
			inner, nested := value.(map[string]any)
			for _, part := range slices.Sorted(maps.Keys(inner)) {
				if nested && name != "fence" && !strings.Contains(text, "`"+part+"`") {
					t.Errorf("docs/JSON.md does not name %s in %s of %s", part, name, command)
				}
			}
		}
		for name := range rows {
			if _, there := fields[name]; !there {
				t.Errorf("docs/JSON.md promises %s of %s, which is not there", name, command)
			}
		}
	}
}
