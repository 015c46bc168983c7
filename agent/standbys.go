package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

const (
	// standbysEvery is how often the slots on standbys are moved. A standby keeps that much more WAL than needed.
	standbysEvery = 10 * time.Second
	// standbyTimeout bounds one look at one server.
	standbyTimeout = 10 * time.Second
)

// standbys keeps the slot on the standbys among a cluster's servers, and moves it as WAL becomes durable: when one of them is promoted,
// it still has what the archive lacks. A physical slot is not copied to standbys by PostgreSQL itself.
type standbys struct {
	servers []server
	slot    string
	limit   config.Keep // of each slot
	// state says whose WAL is durable up to where; its system identifier is 0 until a server was reached.
	state  func() archiver.Status
	logger *slog.Logger
}

// newStandbys returns nil where there is only one server.
func newStandbys(srv server, c config.Cluster, state func() archiver.Status, logger *slog.Logger) *standbys {
	s := &standbys{slot: c.Slot, limit: c.Keep, state: state, logger: logger}
	for _, one := range srv.config.Servers() {
		s.servers = append(s.servers, server{one})
	}
	if len(s.servers) < 2 {
		return nil
	}
	return s
}

// run looks after the slots until ctx ends. A server that does not answer holds up no other.
func (s *standbys) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, one := range s.servers {
		all.Go(func() { s.keep(ctx, one) })
	}
	all.Wait()
}

// keep looks after one server, and tells what changes.
func (s *standbys) keep(ctx context.Context, one server) {
	ticker := time.NewTicker(standbysEvery)
	defer ticker.Stop()
	told := ""
	for {
		if at := s.state(); at.SystemID != 0 && at.Durable.LSN != 0 {
			done, err := s.visit(ctx, one, at)
			if err != nil {
				done = err.Error()
			}
			switch {
			case ctx.Err() != nil:
				return
			case done == told:
			case err != nil:
				s.logger.WarnContext(ctx, "the slot on another server could not be kept: WAL may be missing after a failover to it",
					"server", one.config.String(), "slot", s.slot, "err", err)
			default:
				s.logger.InfoContext(ctx, "other server visited", "found", done, "server", one.config.String(), "slot", s.slot)
			}
			told = done
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// visit makes the slot on a standby, or moves it, and says in words what the server is.
func (s *standbys) visit(ctx context.Context, one server, at archiver.Status) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, standbyTimeout)
	defer cancel()
	conn, err := one.connect(ctx)
	if err != nil {
		return "", err
	}
	defer hangUp(ctx, conn)
	found, err := s.look(ctx, conn)
	if err != nil {
		return "", err
	}
	todo, err := chooseStandbyStep(found, at.SystemID, at.Durable, s.limit)
	if err != nil || todo.leave != "" {
		return todo.leave, err
	}
	err = s.do(ctx, conn, todo, found.system.Timeline)
	if errors.Is(err, postgres.ErrSlotInvalidated) {
		// PostgreSQL 18 invalidates a slot that was idle for too long and shows its position all the same: only its use tells
		// (idle_replication_slot_timeout).
		err = s.do(ctx, conn, standbyStep{drop: true, create: true}, found.system.Timeline)
	}
	switch {
	case err != nil:
		return "", err
	case todo.full:
		return "", errStandbyFull
	}
	return "slot is kept on a standby", nil
}

// errStandbyFull tells why there is no slot on a standby.
var errStandbyFull = errors.New("it would keep more WAL than slot.keep_max, so slot.on_limit drops it there too; " +
	"it is made anew when the repository has caught up")

// do takes one step.
func (s *standbys) do(ctx context.Context, conn *postgres.Conn, todo standbyStep, tli wal.TimelineID) error {
	if todo.drop {
		if err := conn.DropSlot(ctx, s.slot); err != nil && !errors.Is(err, postgres.ErrNoSlot) {
			return err
		}
	}
	if todo.create {
		if err := conn.CreateSlot(ctx, s.slot); err != nil && !errors.Is(err, postgres.ErrSlotExists) {
			return err
		}
	}
	if todo.advance == 0 {
		return nil
	}
	return conn.AdvanceSlot(ctx, s.slot, tli, todo.advance)
}

// standbyFacts is what a server says.
type standbyFacts struct {
	system    postgres.System
	recovery  bool
	slot      postgres.Slot
	slotKnown bool // false on PostgreSQL 14, which cannot say
}

func (s *standbys) look(ctx context.Context, conn *postgres.Conn) (standbyFacts, error) {
	var f standbyFacts
	var err error
	if f.system, err = conn.System(ctx); err != nil {
		return f, err
	}
	recovery, err := conn.Setting(ctx, "in_hot_standby")
	if err != nil {
		return f, err
	}
	f.recovery = recovery == "on"
	f.slot, f.slotKnown, err = conn.Slot(ctx, s.slot)
	return f, err
}

// standbyStep is what is to be done on a server.
type standbyStep struct {
	leave   string  // why nothing is: it is no standby
	full    bool    // no slot, because it would keep more than it may
	drop    bool    // the slot first, which keeps nothing any more, or too much
	create  bool    // the slot
	advance wal.LSN // the slot to here; 0 leaves it
}

// chooseStandbyStep decides. The slot never goes past what is durable, nor past what the standby has. Where the limit says so, it keeps no
// more than that: a store that is away must not fill the disks of the standbys after that of the primary was spared. The error says that the
// server does not belong here.
func chooseStandbyStep(f standbyFacts, id wal.SystemID, durable archiver.Position, limit config.Keep) (standbyStep, error) {
	switch {
	case f.system.ID != id:
		return standbyStep{}, fmt.Errorf("it has system identifier %s, the archived cluster %s", f.system.ID, id)
	case !f.recovery:
		return standbyStep{leave: "server is no standby: its slot is the archiver's affair"}, nil
	}
	to := min(durable.LSN, f.system.Flush)
	if limit.OnLimit == config.Drop && limit.Max > 0 {
		most := limit.Max
		if f.slotKnown && !f.slot.Exists {
			most /= 2 // made anew only with some distance
		}
		if int64(f.system.Flush-to) >= most {
			return standbyStep{full: true, drop: f.slot.Exists || !f.slotKnown}, nil
		}
	}
	lost := f.slot.Exists && f.slot.RestartLSN == 0
	step := standbyStep{drop: lost, create: lost || !f.slot.Exists}
	if f.system.Timeline != durable.Timeline {
		return step, nil // a switch is on its way; the slot keeps what it keeps
	}
	if !f.slotKnown || f.slot.RestartLSN != 0 && to > f.slot.RestartLSN {
		step.advance = to
	}
	return step, nil
}

// standbys looks for the slot on the other servers of the connection string.
func (k *check) standbys(ctx context.Context) {
	s := newStandbys(k.server, k.cluster, nil, nil)
	if s == nil || !k.cluster.StandbySlots {
		return
	}
	for _, one := range s.servers {
		found, err := s.ask(ctx, one)
		name := one.config.String()
		switch {
		case err != nil:
			k.report(Finding{Section: SectionPostgres, Verdict: Warning, Text: fmt.Sprintf("%s: %v", name, err), Fix: "see that it runs and that the role may replicate there"})
		case found.system.ID != k.system.ID:
			k.report(Finding{
				Section: SectionPostgres, Verdict: Bad, Fix: "take it out of the connection string",
				Text: fmt.Sprintf("%s has system identifier %s: it is no standby of this cluster", name, found.system.ID),
			})
		case !found.recovery || !found.slotKnown: // the primary, or PostgreSQL 14, which cannot say
		case found.slot.RestartLSN == 0:
			k.report(Finding{Section: SectionPostgres, Verdict: Pending, Text: fmt.Sprintf("standby %s has no slot %s yet: pgark run makes it", name, k.cluster.Slot)})
		default:
			k.good(SectionPostgres, "standby %s keeps WAL from %s for a failover", name, found.slot.RestartLSN)
		}
	}
}

// ask connects to a server for a moment and looks at it.
func (s *standbys) ask(ctx context.Context, one server) (standbyFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, standbyTimeout)
	defer cancel()
	conn, err := one.connect(ctx)
	if err != nil {
		return standbyFacts{}, err
	}
	defer hangUp(ctx, conn)
	return s.look(ctx, conn)
}
