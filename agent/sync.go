package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/syncmode"
)

const (
	// lookEvery is how often the server is asked whether its commits wait for us, and
	// lookOften how often where the agent may do something about it.
	lookEvery = 5 * time.Second
	lookOften = time.Second
	// lookPatience is how long one look, or one step, may take.
	lookPatience = 10 * time.Second
)

// standbyNames is the setting that the agent steps out and in by.
const standbyNames = "synchronous_standby_names"

// commits watches whether commits on the server wait for the archive: it tells the archiver, steps out
// of synchronous mode and in again as the configuration lets it, and keeps a record of each change.
type commits struct {
	look    func(context.Context) (serverLook, error)
	alter   func(ctx context.Context, names string) error
	archive archive
	policy  syncmode.Policy
	logger  *slog.Logger
	journal *journal

	state syncmode.State
	told  string // the last error that was logged
	step  syncmode.Step
	tries int                   // how often step was taken since
	out   *repository.SyncEvent // stepped out, and no look has seen it yet
	seen  repository.SyncChange // at the last look
	kept  repository.SyncChange // given to the journal last

	cluster   atomic.Pointer[repository.Cluster] // nil until the repository was opened
	backedUp  bool                               // there is a base backup
	nextAsked time.Time                          // when that is asked for next

	sighted atomic.Pointer[sighting] // nil until a look succeeded

	blind     time.Time // since when looks fail; zero if they do not
	blindTold bool
}

// archive is the archiver as far as it matters here.
type archive interface {
	Status() archiver.Status
	FlushOnDemand(on bool)
}

// serverLook is what one look at the server found.
type serverLook struct {
	settings syncmode.Settings
	// slot tells what was confirmed to the server, whoever did: a physical slot begins where the last status update said that all is
	// flushed (PhysicalConfirmReceivedLocation, src/backend/replication/walsender.c). Zero on PostgreSQL 14, which cannot say.
	slot   postgres.Slot
	system postgres.System
}

func newCommits(srv server, c config.Cluster, archive archive, logger *slog.Logger) *commits {
	return &commits{
		look:    func(ctx context.Context) (serverLook, error) { return srv.look(ctx, c.Slot) },
		archive: archive, logger: logger, journal: newJournal(logger), policy: policyOf(c),
		alter: func(ctx context.Context, names string) error {
			return postgres.AlterSystem(ctx, c.Postgres, standbyNames, names)
		},
	}
}

func policyOf(c config.Cluster) syncmode.Policy {
	return syncmode.Policy{Names: c.Sync.StandbyNames, DegradeAfter: c.Sync.DegradeAfter}
}

// look asks the server over a replication connection of its own. The end of the WAL is asked for last: what lies behind it was written under
// the settings, or later ones.
func (s server) look(ctx context.Context, slotName string) (serverLook, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return serverLook{}, err
	}
	defer hangUp(ctx, conn)
	settings, err := syncSettings(ctx, conn)
	if err != nil {
		return serverLook{}, err
	}
	slot, _, err := conn.Slot(ctx, slotName)
	if err != nil {
		slot = postgres.Slot{} // the archiver tells of a slot that is none of its own
	}
	system, err := conn.System(ctx)
	return serverLook{settings, slot, system}, err
}

// syncSettings asks for what synchronous mode depends on.
func syncSettings(ctx context.Context, conn *postgres.Conn) (syncmode.Settings, error) {
	var s syncmode.Settings
	var recovery string
	for name, value := range map[string]*string{
		standbyNames: &s.Names, "synchronous_commit": &s.Commit, "application_name": &s.Application, "in_hot_standby": &recovery,
	} {
		var err error
		if *value, err = conn.Setting(ctx, name); err != nil {
			return syncmode.Settings{}, err
		}
	}
	s.Standby = recovery == "on"
	return s, nil
}

// run looks until ctx ends, and returns nil then.
func (c *commits) run(ctx context.Context) error {
	every := lookEvery
	if c.policy.Names != "" {
		every = lookOften
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	watch := syncmode.NewWatch(c.policy)
	for {
		began := time.Now()
		if found, err := c.look(ctx); err == nil {
			c.blind = time.Time{}
			c.sighted.Store(&sighting{at: began, recovery: found.settings.Standby, system: found.system})
			c.act(ctx, watch, found)
		} else if ctx.Err() == nil {
			if last := c.sighted.Load(); last != nil {
				c.sighted.Store(&sighting{at: last.at, failed: true, recovery: last.recovery, system: last.system})
			}
			c.cannotSee(ctx, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// blindFor is how long looks may fail before that is told: a server that restarts is the archiver's to tell of.
const blindFor = time.Minute

// cannotSee tells, once, that what commits wait for has not been known for a while.
func (c *commits) cannotSee(ctx context.Context, err error) {
	now := time.Now()
	switch {
	case c.blind.IsZero():
		c.blind, c.blindTold = now, false
	case !c.blindTold && now.Sub(c.blind) >= blindFor:
		c.blindTold = true
		c.logger.WarnContext(ctx, "what commits on the server wait for cannot be read", "err", err)
	}
}

// act does what follows from one look.
func (c *commits) act(ctx context.Context, watch *syncmode.Watch, found serverLook) {
	now := time.Now()
	status := c.archive.Status()
	streaming := status.State == archiver.Streaming || status.State == archiver.CatchingUp
	durable := syncmode.Position(status.Restorable())
	if !streaming && found.slot.RestartLSN > durable.LSN {
		// Another agent streams from the slot, or one did before this began.
		durable = syncmode.Position{Timeline: found.slot.Timeline, LSN: found.slot.RestartLSN}
	}
	d := watch.Look(syncmode.Look{
		At: now, Settings: found.settings, Durable: durable, Streaming: streaming,
		Flushed: syncmode.Position{Timeline: found.system.Timeline, LSN: found.system.Flush},
	})
	c.archive.FlushOnDemand(d.OnDemand)
	if d.State != c.state {
		c.state = d.State
		c.tell(ctx, found.settings, d)
	}
	c.notice(found, durable, now)
	if d.Err != nil || d.Blocked != "" {
		c.complain(ctx, errors.Join(d.Err, text(d.Blocked)))
		return
	}
	switch d.Step {
	case syncmode.StepOut:
		c.stepOut(ctx, d, status, durable, now)
	case syncmode.StepIn:
		if c.restorable(ctx, now) {
			c.take(ctx, d.Step, c.policy.Names)
		}
	case syncmode.Stay:
		c.step, c.tries, c.told = syncmode.Stay, 0, ""
	}
}

// open gives the place of what is archived, once.
func (c *commits) open(cluster *repository.Cluster) {
	c.cluster.Store(cluster)
	c.journal.open(cluster)
}

// backupEvery is how often it is looked whether there is a base backup, while there is none.
const backupEvery = 10 * time.Second

// restorable reports whether there is a base backup. Before the first one nothing that is durable can be restored, so that a commit must
// not return because it is.
func (c *commits) restorable(ctx context.Context, now time.Time) bool {
	cluster := c.cluster.Load()
	if c.backedUp || cluster == nil || now.Before(c.nextAsked) {
		return c.backedUp
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	backups, err := cluster.Backups(ctx)
	c.nextAsked = time.Now().Add(backupEvery)
	switch {
	case err != nil && !repository.OnlyUnreadable(err):
		return false // the store is the archiver's to tell of
	case !newestGood(backups).IsZero():
		c.backedUp = true
	case c.told != waitsForBackup:
		c.told = waitsForBackup
		c.logger.InfoContext(ctx, waitsForBackup)
	}
	return c.backedUp
}

const waitsForBackup = "synchronous mode begins when there is a base backup: what is durable cannot be restored before"

// text makes an error of a text; nil of an empty one.
func text(s string) error {
	if s == "" {
		return nil
	}
	return errors.New(s)
}

// complain logs what keeps the agent from doing what it should, once until it is something else.
func (c *commits) complain(ctx context.Context, err error) {
	if c.told != err.Error() {
		c.told = err.Error()
		c.logger.ErrorContext(ctx, "synchronous mode is not as it should be", "err", err)
	}
}

// stepOut ends the wait of commits, aloud.
func (c *commits) stepOut(ctx context.Context, d syncmode.Decision, status archiver.Status, durable syncmode.Position, now time.Time) {
	cause := fmt.Sprintf("no confirmation for %s", d.Waiting.Round(time.Second))
	switch {
	case d.State == syncmode.Refused:
		cause = "synchronous_commit = remote_apply, which an archive cannot confirm"
	case status.StoreError != "":
		cause += ": " + status.StoreError
	case status.Error != "":
		cause += ": " + status.Error
	}
	if !c.take(ctx, d.Step, "") || c.out != nil {
		return
	}
	c.logger.ErrorContext(ctx, "stepped out of synchronous mode: commits return before they are durable, until all is durable again",
		"err", cause, "tli", uint32(durable.Timeline), "lsn", durable.LSN.String())
	c.out = &repository.SyncEvent{
		Change: repository.SyncOut, Time: now, Timeline: durable.Timeline, LSN: durable.LSN,
		Actor: repository.ByAgent, Cause: strings.ToValidUTF8(cause, "?"),
	}
}

// patientTries is how often a step may be taken before its lack of effect is told: the server reads its files in its own time.
const patientTries = 3

// take sets synchronous_standby_names, and reports whether that went well.
func (c *commits) take(ctx context.Context, step syncmode.Step, names string) bool {
	if c.step != step {
		c.step, c.tries = step, 0
	}
	if c.tries >= patientTries {
		c.complain(ctx, fmt.Errorf("%s: %s was set to '%s' and is not: it stands on the server's command line, or somebody sets it back",
			step, standbyNames, names))
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	if err := c.alter(ctx, names); err != nil {
		c.complain(ctx, fmt.Errorf("%s: %w", step, err))
		return false
	}
	c.tries++
	return true
}

// tell logs a new state, once.
func (c *commits) tell(ctx context.Context, s syncmode.Settings, d syncmode.Decision) {
	attrs := []any{"standby_names", s.Names, "application_name", s.Application}
	switch d.State {
	case syncmode.In:
		c.logger.InfoContext(ctx, "synchronous mode: no commit returns before it is durable here", attrs...)
	case syncmode.Shared:
		c.logger.InfoContext(ctx, "synchronous mode with others: a commit may return with their confirmation alone", attrs...)
	case syncmode.Out:
		c.logger.WarnContext(ctx, "commits do not wait for the archive, though they are to", attrs...)
	case syncmode.Refused:
		c.logger.ErrorContext(ctx, "synchronous_commit = remote_apply: such commits wait for ever, because nobody can read from an archive; "+
			"ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();", attrs...)
	case syncmode.NotWaiting:
		c.logger.WarnContext(ctx, "commits do not wait for the archive, as synchronous_commit says", append(attrs, "synchronous_commit", s.Commit)...)
	case syncmode.Off:
		c.logger.InfoContext(ctx, "commits do not wait for the archive", attrs...)
	}
}

// notice records a change that two looks in a row agree on: a session takes a new setting over between two commands, so
// that right after the change one may still commit under the old one.
func (c *commits) notice(found serverLook, durable syncmode.Position, now time.Time) {
	change := repository.SyncOut
	if c.state == syncmode.In {
		change = repository.SyncIn
	}
	settled := c.seen == change
	c.seen = change
	if change == repository.SyncOut && c.out != nil {
		c.journal.add(*c.out)
		c.kept, c.out = change, nil
		return
	}
	if !settled || c.kept == change {
		return
	}
	c.kept = change
	e := repository.SyncEvent{Change: change, Time: now, Names: strings.ToValidUTF8(found.settings.Names, "?"), Actor: repository.ByServer}
	if change == repository.SyncIn {
		c.out = nil // it had no effect
		e.Timeline, e.LSN = found.system.Timeline, found.system.Flush
		if found.settings.Names == c.policy.Names {
			e.Actor = repository.ByAgent
		}
	} else {
		e.Timeline, e.LSN = durable.Timeline, durable.LSN
		e.Cause = fmt.Sprintf("found %s = '%s', synchronous_commit = %s", standbyNames, e.Names, found.settings.Commit)
	}
	c.journal.add(e)
}

// journal puts records of synchronous mode into the repository, in their order, as soon as the store answers.
type journal struct {
	logger  *slog.Logger
	events  chan repository.SyncEvent
	cluster chan *repository.Cluster // gets it once
}

func newJournal(logger *slog.Logger) *journal {
	return &journal{logger: logger, events: make(chan repository.SyncEvent, 100), cluster: make(chan *repository.Cluster, 1)}
}

// open gives the journal the place of its records. Only the first counts.
func (j *journal) open(c *repository.Cluster) {
	select {
	case j.cluster <- c:
	default:
	}
}

// add takes a record. While the store is away for so long that there are a hundred, the next ones are dropped: the
// last one that was put, and what is found when the store is back, tell enough.
func (j *journal) add(e repository.SyncEvent) {
	select {
	case j.events <- e:
	default:
	}
}

// run puts records until ctx ends, and returns nil then.
func (j *journal) run(ctx context.Context) error {
	var c *repository.Cluster
	select {
	case c = <-j.cluster:
	case <-ctx.Done():
		return nil
	}
	var newest repository.SyncEvent
	known := false
	for {
		var e repository.SyncEvent
		select {
		case e = <-j.events:
		case <-ctx.Done():
			return nil
		}
		err := retryForever(ctx, func(ctx context.Context) error {
			if !known {
				last, found, err := c.NewestSyncEvent(ctx)
				var corrupt *repository.CorruptError
				if err != nil && !errors.As(err, &corrupt) {
					return err
				}
				if newest, known = last, true; !found {
					newest.Change = repository.SyncOut // nothing was promised before
				}
			}
			err := j.put(ctx, c, &newest, e)
			known = err == nil // another agent may have put one
			return err
		}, func(err error) {
			j.logger.WarnContext(ctx, "record of synchronous mode was not put; trying again", "err", err)
		})
		if err != nil {
			return nil //nolint:nilerr // the end of the agent
		}
	}
}

// put puts a record unless the one before says the same.
func (j *journal) put(ctx context.Context, c *repository.Cluster, newest *repository.SyncEvent, e repository.SyncEvent) error {
	if e.Change == newest.Change {
		return nil
	}
	if e.Time = e.Time.UTC().Truncate(time.Second); !e.Time.After(newest.Time) {
		e.Time = newest.Time.Add(time.Second) // the order of names is that of events
	}
	if err := c.PutSyncEvent(ctx, e); err != nil {
		return err
	}
	*newest = e
	j.logger.InfoContext(ctx, "record of synchronous mode put", "change", string(e.Change), "tli", uint32(e.Timeline), "lsn", e.LSN.String())
	return nil
}

// retryForever calls do until it succeeds, with a minute between, or until ctx ends. The store below tries again by itself
// what may pass.
func retryForever(ctx context.Context, do func(context.Context) error, failed func(error)) error {
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failed(err)
		timer := time.NewTimer(time.Minute)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// PolicyError is a policy of synchronous mode that cannot be carried out: a fault of the configuration.
type PolicyError struct{ Err error }

// Error implements error.
func (e *PolicyError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *PolicyError) Unwrap() error { return e.Err }

// checkPolicy returns a *PolicyError if the agent could not carry out what the configuration says of synchronous mode.
func checkPolicy(srv server, c config.Cluster) error {
	if err := policyOf(c).Check(srv.config.ApplicationName()); err != nil {
		return &PolicyError{err}
	}
	return nil
}
