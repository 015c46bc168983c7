package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
)

func promoteCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "promote", Usage: "take over with the standby on this host: fence the old primary, replay all that is durable, promote",
		Description: "Refuses while the primary is seen alive, and where commits would be lost. Broken off or failed, it goes on when it is called again; before the server is promoted\n" +
			"pgark standby fence --lift takes the fence back. The agent of this host archives the new timeline. docs/runbooks/region-lost.md",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "also while the primary is seen alive, over another standby's fence, and before a hole in the archive"},
			&cli.StringFlag{Name: "silence", Usage: "nothing may have come from the primary for this `DURATION`", Value: standby.DefaultSilence.String()},
			&cli.StringFlag{Name: "probe", Usage: "ask the server that this `CONNINFO` names whether it is the primary; passwords belong into ~/.pgpass"},
			&cli.StringFlag{Name: "archived-within", Usage: "wait for so long until the new timeline is archived: `DURATION`", Value: "1m"},
			&cli.StringFlag{Name: "note", Usage: "why, for whoever reads the fence: `TEXT`"},
		},
	}, noArguments, promote)
}

func fenceCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "fence", Usage: "have the primary's agent stop, before another server takes over; --lift takes that back",
		Description: "Nothing more of the newest timeline is archived or confirmed from then on. The server itself goes on: commits that wait for the archive wait, others do not.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "lift", Usage: "take the fence back, where nobody was promoted"},
			&cli.StringFlag{Name: "note", Usage: "why, for whoever reads it: `TEXT`"},
			systemFlag(),
		},
	}, noArguments, fence)
}

// promote takes over.
func promote(s *session) error {
	o := agent.PromoteOptions{Force: s.cli.Bool("force"), Probe: s.cli.String("probe"), Note: s.cli.String("note"), Stores: s.storeOptions()}
	for name, value := range map[string]*time.Duration{"silence": &o.Silence, "archived-within": &o.Archived} {
		d, err := config.ParseDuration(s.cli.String(name))
		if err != nil || d <= 0 {
			return usagef("%s %q: want a duration like 30s", name, s.cli.String(name))
		}
		*value = d
	}
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	o.Told = func(what string) { s.note("%s", what) }
	began := s.program.now()
	t, err := agent.Promote(s.ctx, c, o)
	if err != nil {
		return promotionFailed(err)
	}
	took := s.program.now().Sub(began)
	if s.json {
		err = s.printJSON(takeoverJSON(t, took))
	} else {
		s.printTakeover(t, took)
	}
	if err == nil && (!t.Archived || hooksFailed(t)) {
		err = &codeError{code: exitDegraded}
	}
	return err
}

func hooksFailed(t *agent.Takeover) bool {
	for _, h := range t.Hooks {
		if h.Err != nil {
			return true
		}
	}
	return false
}

// promotionFailed says where a takeover stands that failed, and what to do.
func promotionFailed(err error) error {
	var p *agent.PromotionError
	if !errors.As(err, &p) {
		return err
	}
	e := &codeError{code: exitFailed, cause: err}
	var (
		alive   *agent.AliveError
		taken   *agent.TakenError
		hole    *agent.HoleError
		foreign *standby.ForeignError
		short   *agent.ShortError
	)
	switch {
	case errors.As(err, &alive):
		e.code, e.why = exitRefused, "what it commits from now on would be lost"
		e.fix = "stop it first; --force takes over all the same"
		if alive.Again > 0 {
			e.fix = fmt.Sprintf("if it is dead: again in %s, or with --force at once; if it lives, stop it first", elapsed(alive.Again))
		}
	case errors.As(err, &taken):
		e.code, e.why = exitLocked, "of two standbys one takes over; hosts of one name are told apart by /etc/machine-id"
		e.fix = "if that one is lost, or gave up: pgark standby fence --lift there, or here with pgark standby promote --force"
	case errors.As(err, &hole):
		e.code, e.fix = exitRefused, "pgark verify --heal may find what is missing in another repository; pgark standby promote --force gives it up"
	case errors.As(err, &foreign):
		e.code, e.fix = exitRefused, "this standby cannot follow the archive any more: make another with pgark standby create"
	case errors.Is(err, agent.ErrNoStandby):
		e.code, e.fix = exitRefused, "run it on the standby's host, with postgres: in the file, or PGHOST, naming the standby"
	case errors.Is(err, agent.ErrPaused):
		e.code, e.fix = exitRefused, "select pg_wal_replay_resume();   its log says why it was paused, where the server did that itself"
	case errors.Is(err, agent.ErrNoDirectory):
		e.code, e.fix = exitDenied, "GRANT pg_read_all_settings TO the role"
	case errors.Is(err, postgres.ErrPrivilege):
		e.code, e.fix = exitDenied, "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO the role   (in its database)"
	default:
		f := failure{Code: exitFailed}
		explainRoom(err, &f)
		e.code, e.why, e.fix = f.Code, f.Cause, f.Fix
	}
	switch {
	case errors.As(err, &short):
		e.why = "the new primary may lack commits that were returned as durable"
		e.fix = "keep both data directories and the repository as they are, and find out why before anything is written there"
	case p.Promoted:
		e.why = "the server was told to be the primary; what follows that was not all done"
		e.fix = "pgark standby promote   goes on"
	case p.Fenced:
		e.add(fmt.Sprintf("timeline %d stays fenced: nothing more of the old primary is confirmed", uint32(p.Timeline)), fenceFix)
	case p.Phase == agent.PhaseFence && taken == nil: // the answer to a put may have been lost
		e.add(fmt.Sprintf("timeline %d may be fenced, or not: then nothing more of the old primary is confirmed", uint32(p.Timeline)), fenceFix)
	}
	return e
}

// fenceFix is what can be done where a fence stands and nobody was promoted.
const fenceFix = "pgark standby promote   goes on\npgark standby fence --lift   takes the fence back"

// add adds to the cause, and to what is to be done.
func (e *codeError) add(why, fix string) {
	e.why = strings.TrimPrefix(e.why+"; "+why, "; ")
	e.fix = strings.TrimPrefix(e.fix+"\n"+fix, "\n")
}

// fence fences by hand.
func fence(s *session) error {
	by := agent.ByHand{Change: repository.FenceUp, Note: s.cli.String("note")}
	if s.cli.Bool("lift") {
		by.Change = repository.FenceLift
	}
	var err error
	if by.SystemID, err = s.systemID(); err != nil {
		return err
	}
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	r, err := agent.PutFence(s.ctx, c, by, s.storeOptions())
	var left *agent.LeftError
	if errors.As(err, &left) {
		return &codeError{
			code: exitRefused, cause: err, why: "another server was promoted: to go on with the old one would be a second history",
			fix: "let the old primary follow the new one; docs/runbooks/region-lost.md, fail-back",
		}
	}
	if err != nil {
		return err
	}
	if s.json {
		err = s.printJSON(fenceJSON(r))
	} else {
		s.printFence(r)
	}
	if err == nil && len(r.Missing) > 0 {
		err = &codeError{code: exitDegraded}
	}
	return err
}
