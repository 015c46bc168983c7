package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/wal"
)

// PromoteOptions say how a standby takes over. The zero value is valid.
type PromoteOptions struct {
	// Force takes over although the primary is seen alive, another standby has fenced its timeline, or the archive has a hole before its end.
	Force bool
	// Silence is how long nothing may have come from the primary, by the store's clock; 0 is standby.DefaultSilence.
	Silence time.Duration
	// Probe is a connection string to the primary; one that answers as such is alive. "" asks nobody.
	Probe string
	// Archived is how long the new timeline may take to be archived; 0 is a minute.
	Archived time.Duration
	// SystemID is the cluster's, where the repository holds several and the server does not tell; 0 for the server's.
	SystemID wal.SystemID
	// Note says why, for a person.
	Note string
	// Told is told, in words, what is done now. nil tells nobody.
	Told   func(string)
	Stores StoreOptions
}

// Phase is a part of a takeover.
type Phase string

// The phases, in their order.
const (
	PhaseLook    Phase = "look"
	PhaseFence   Phase = "fence"
	PhaseReplay  Phase = "replay"
	PhasePromote Phase = "promote"
	PhaseArchive Phase = "archive"
	PhaseHooks   Phase = "hooks"
)

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Phase Phase
	Took  time.Duration
}

// LastCommit is the last commit that a takeover kept.
type LastCommit struct {
	LSN  wal.LSN // end of its record
	Time time.Time
	XID  wal.XID
}

// Takeover is what became of a promotion.
type Takeover struct {
	SystemID  wal.SystemID
	Host      string
	Directory string // the data directory
	// From is the timeline that was left, To the one that the server is on now; 0 before it was promoted.
	From, To wal.TimelineID
	Fence    FenceReport
	Resumed  bool // an earlier call had fenced the timeline for this standby
	// End is the end of the last whole record that was durable; Switch where the new timeline begins, no less.
	End, Switch wal.LSN
	// Last is the last commit before Switch, as far as the last two segments show; nil: they show none.
	Last *LastCommit
	// Lost is WAL in and behind a hole that was given up by force; empty: nothing was. Unconfirmed is the same where that was on its way when the old
	// agent died: no server was told that it is durable.
	Lost, Unconfirmed wal.Range
	Archived          bool // the new timeline is in the first repository
	Hooks             []HookRun
	Phases            []PhaseTime
}

// Took is how long it took to the end of a phase, from the beginning.
func (t *Takeover) Took(to Phase) time.Duration {
	var sum time.Duration
	for _, p := range t.Phases {
		sum += p.Took
		if p.Phase == to {
			break
		}
	}
	return sum
}

// PromotionError says in which phase a takeover ended, and why.
type PromotionError struct {
	Phase Phase
	// Fenced says that the fence stands, Promoted that the server was told to be a primary.
	Fenced, Promoted bool
	Timeline         wal.TimelineID // fenced
	Err              error
}

// Error says what failed.
func (e *PromotionError) Error() string { return fmt.Sprintf("promote, %s: %v", e.Phase, e.Err) }

// Unwrap returns the cause.
func (e *PromotionError) Unwrap() error { return e.Err }

// AliveError says that the primary is seen alive.
type AliveError struct {
	How string // it is seen
	// Again is when nothing will have come for long enough, if nothing comes; 0 where that does not matter.
	Again time.Duration
}

// Error says how it is seen.
func (e *AliveError) Error() string { return "the primary is alive: " + e.How }

// HoleError says that the archive holds more than the standby can replay.
type HoleError struct {
	Missing wal.Range
	Last    wal.LSN // end of what lies behind
}

// Error names the hole.
func (e *HoleError) Error() string {
	return fmt.Sprintf("the archive has a hole from %s to %s: all behind it, to %s, would be lost", e.Missing.Start, e.Missing.End, e.Last)
}

// ShortError says that a new timeline begins before the end of what was durable. It must not happen.
type ShortError struct {
	From, To wal.TimelineID
	Switch   wal.LSN // 0: the new timeline does not come from the old one
	End      wal.LSN
}

// Error names both places.
func (e *ShortError) Error() string {
	return fmt.Sprintf("timeline %d begins at %s, and %s of timeline %d was durable: this must not happen", uint32(e.To), e.Switch, e.End, uint32(e.From))
}

// Conditions of the standby that a promotion does not go by.
var (
	ErrNoStandby   = errors.New("the server is no standby")
	ErrPaused      = errors.New("replay is paused")
	ErrNoDirectory = errors.New("the role may not read data_directory, by which a takeover is known again")
)

// promotion is one call of Promote.
type promotion struct {
	config  config.Cluster
	options PromoteOptions
	server  server
	result  *Takeover

	fencing *fencing
	sources *Sources
	cluster *repository.Cluster // of what the standby follows
	state   postgres.Promotable
	system  postgres.System
	reach   standby.Reach
	asked   bool // the server was told to be a primary
	done    bool // that was an earlier call
}

// Promote makes the standby that the configuration's connection string names the primary: it fences the timeline of the old one, waits until all that is durable is replayed, promotes, waits until the
// new timeline is archived, and runs the hooks. Called again by the same standby after it failed, or was broken off, it goes on. The result is what was done also with an error, which is a *PromotionError
// then, or a *ConnectionError if the string names several servers. Nothing is changed before the phase fence.
func Promote(ctx context.Context, c config.Cluster, o PromoteOptions) (*Takeover, error) {
	o.Silence = cmp.Or(o.Silence, standby.DefaultSilence)
	o.Archived = cmp.Or(o.Archived, time.Minute)
	if o.Told == nil {
		o.Told = func(string) {}
	}
	srv, err := newServer(c)
	if err != nil {
		return nil, err
	}
	if len(srv.config.Servers()) > 1 { // each question would go to whichever answers
		return nil, &ConnectionError{errors.New("to take over it names one server: the standby on this host")}
	}
	p := &promotion{config: c, options: o, server: srv, result: &Takeover{Host: hostName()}}
	defer p.close()
	for _, step := range []struct {
		phase Phase
		do    func(context.Context) error
	}{
		{PhaseLook, p.look}, {PhaseFence, p.fence}, {PhaseReplay, p.replay}, {PhasePromote, p.promote}, {PhaseArchive, p.archive}, {PhaseHooks, p.hooks},
	} {
		began := time.Now()
		err := step.do(ctx)
		p.result.Phases = append(p.result.Phases, PhaseTime{step.phase, time.Since(began)})
		if err != nil {
			return p.result, &PromotionError{
				Phase: step.phase, Fenced: len(p.result.Fence.In) > 0, Promoted: p.asked, Timeline: p.result.From, Err: err,
			}
		}
	}
	return p.result, nil
}

func (p *promotion) close() {
	if p.fencing != nil {
		_ = p.fencing.close() // what was put is durable
	}
	if p.sources != nil {
		_ = p.sources.Close() // only reads were made
	}
}

// look finds out how the standby stands, and refuses what would lose commits.
func (p *promotion) look(ctx context.Context) error {
	p.options.Told("looking at the standby and at what the archive holds")
	var err error
	if p.state, err = postgres.AskPromotable(ctx, p.config.Postgres); err != nil {
		return err
	}
	if p.system, err = p.server.identify(ctx); err != nil {
		return err
	}
	p.result.SystemID, p.result.Directory = p.state.SystemID, p.state.DataDirectory
	if p.state.DataDirectory == "" {
		return ErrNoDirectory
	}
	if p.fencing, err = openFencing(ctx, p.config, p.state.SystemID, p.options.Stores); err != nil {
		return err
	}
	follows := p.config
	if name := p.config.Standby.From; name != "" {
		if follows, err = p.config.From(name); err != nil {
			return err
		}
	}
	r, sources, err := OpenSources(ctx, follows, p.options.Stores)
	if err != nil {
		return err
	}
	p.sources, p.cluster = sources, r.Cluster(p.state.SystemID)
	switch {
	case !p.state.InRecovery:
		return p.lookPromoted(ctx)
	case p.state.Paused:
		return ErrPaused
	case !p.state.MayPromote:
		return fmt.Errorf("%w: role %s may not execute pg_promote", postgres.ErrPrivilege, p.state.Role)
	}
	if p.reach, err = p.find(ctx); err != nil {
		return err
	}
	p.result.From = p.reach.Timeline
	newest, err := p.fencing.places[0].cluster.NewestFence(ctx, p.reach.Timeline)
	if err != nil {
		return err
	}
	p.result.Resumed = newest.Stands() && newest.SameServer(p.ours())
	if p.options.Force {
		return nil
	}
	if err := p.alive(ctx); err != nil {
		return err
	}
	return p.hole(ctx)
}

// ours is the record that this standby puts.
func (p *promotion) ours() repository.Fence {
	return repository.Fence{
		Timeline: p.reach.Timeline, Change: repository.FenceUp, Time: time.Now(), Host: p.result.Host, Directory: p.state.DataDirectory,
		Machine: machine(), LSN: p.state.Replayed, Note: p.options.Note,
	}
}

// lookPromoted recognizes a server that an earlier call promoted. The error is ErrNoStandby otherwise.
func (p *promotion) lookPromoted(ctx context.Context) error {
	h, err := p.server.history(ctx, p.system.Timeline)
	if err != nil {
		return err
	}
	if len(h.Parents) == 0 {
		return ErrNoStandby
	}
	left := h.Parents[len(h.Parents)-1]
	newest, err := p.fencing.places[0].cluster.NewestFence(ctx, left.Timeline)
	if err != nil {
		return err
	}
	p.reach.Timeline = left.Timeline
	if !newest.Stands() || !newest.SameName(p.ours()) { // its machine may have been started again since
		return ErrNoStandby
	}
	p.done, p.asked, p.result.Resumed = true, true, true
	p.result.From, p.result.To, p.result.Switch, p.result.End = left.Timeline, p.system.Timeline, left.At, left.At
	p.result.Fence = FenceReport{Fence: newest, In: []string{p.fencing.places[0].name}}
	return nil
}

// history asks the server for the history of one of its timelines.
func (s server) history(ctx context.Context, tli wal.TimelineID) (wal.History, error) {
	if tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return wal.History{}, err
	}
	defer hangUp(ctx, conn)
	h, _, err := conn.TimelineHistory(ctx, tli)
	return h, err
}

// fence leaves the timeline of the old primary behind. From then on nothing more of it is confirmed.
func (p *promotion) fence(ctx context.Context) error {
	if p.done {
		return nil
	}
	p.options.Told(fmt.Sprintf("fencing timeline %d", uint32(p.reach.Timeline)))
	var err error
	p.result.Fence, err = p.fencing.put(ctx, p.ours(), p.options.Force)
	return err
}

// replayEvery is how often the standby is asked how far it is.
const replayEvery = 200 * time.Millisecond

// replay waits until all that is durable is replayed. It is listed only now, behind the fence.
func (p *promotion) replay(ctx context.Context) error {
	if p.done {
		return nil
	}
	end, err := p.lastRecord(ctx)
	if err != nil {
		return err
	}
	p.result.End = end
	ticker := time.NewTicker(replayEvery)
	defer ticker.Stop()
	for told := wal.LSN(0); ; {
		if p.state, err = postgres.AskPromotable(ctx, p.config.Postgres); err != nil {
			return err
		}
		switch {
		case !p.state.InRecovery:
			return fmt.Errorf("%w any more: somebody else promoted it", ErrNoStandby)
		case p.state.Replayed >= end:
			return nil
		case p.state.Paused:
			return ErrPaused
		case p.state.Replayed != told:
			told = p.state.Replayed
			p.options.Told(fmt.Sprintf("replaying: %s of %s, %d bytes left", told, end, end-told))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("replayed %s of %s: %w", p.state.Replayed, end, context.Cause(ctx))
		}
	}
}

// promoteTime is how long the end of recovery may take before it is looked at from outside.
const promoteTime = time.Minute

// promote ends the recovery.
func (p *promotion) promote(ctx context.Context) error {
	if p.done {
		return nil
	}
	if err := p.fencing.check(ctx, p.ours(), p.result.Fence.In); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // the last moment at which nothing has changed on the server
	}
	p.options.Told("promoting")
	p.asked = true
	if _, err := postgres.Promote(context.WithoutCancel(ctx), p.config.Postgres, promoteTime); err != nil {
		if errors.Is(err, postgres.ErrPrivilege) {
			p.asked = false
		}
		return err
	}
	ticker := time.NewTicker(replayEvery)
	defer ticker.Stop()
	for p.state.InRecovery {
		var err error
		if p.state, err = postgres.AskPromotable(ctx, p.config.Postgres); err != nil {
			return err
		}
		if !p.state.InRecovery {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of recovery: %w", context.Cause(ctx))
		}
	}
	return p.prove(ctx)
}

// prove compares where the new timeline begins with what was durable.
func (p *promotion) prove(ctx context.Context) error {
	var err error
	if p.system, err = p.server.identify(ctx); err != nil {
		return err
	}
	h, err := p.server.history(ctx, p.system.Timeline)
	if err != nil {
		return err
	}
	at, left := h.SwitchOf(p.result.From)
	p.result.To, p.result.Switch = p.system.Timeline, at
	if !left || at < p.result.End {
		return &ShortError{From: p.result.From, To: p.system.Timeline, Switch: at, End: p.result.End}
	}
	return nil
}

// archiveEvery is how often it is looked whether the new timeline is archived.
const archiveEvery = 500 * time.Millisecond

// archive waits until the new timeline is archived. That it is not by then is no error: Takeover.Archived tells.
func (p *promotion) archive(ctx context.Context) error {
	p.options.Told(fmt.Sprintf("waiting until timeline %d is archived", uint32(p.result.To)))
	late := time.NewTimer(p.options.Archived)
	defer late.Stop()
	ticker := time.NewTicker(archiveEvery)
	defer ticker.Stop()
	first := p.fencing.places[0].cluster
	for {
		_, _, err := first.History(ctx, p.result.To)
		if err == nil {
			for _, err = range first.ListWAL(ctx, p.result.To, 0) {
				p.result.Archived = err == nil
				break
			}
		}
		if p.result.Archived {
			return nil
		}
		select {
		case <-ticker.C:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait until timeline %d is archived: %w", uint32(p.result.To), context.Cause(ctx))
		}
	}
}
