package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/status"
)

// dropPatience is how long a slot that is to be dropped may stay held by the connection that was told to end.
const dropPatience = 30 * time.Second

// governor watches how much WAL the server keeps for the slot. It tells when a limit comes near, and where the configuration lets it, it
// drops the slot at the limit: the server can go on then, and what was not archived is a gap, which the archiver records.
//
// It never has a hand in what the server is told to be durable.
type governor struct {
	look    func(context.Context) (status.Slot, error)
	drop    func(context.Context) error
	archive slotHolder
	logger  *slog.Logger

	watch slotWatch
	seen  func(slotLook) // told of each look; nil tells nobody
	told  string         // the last error that was logged
}

// slotHolder is the archiver as far as it matters here.
type slotHolder interface{ Hold(on bool) }

func newGovernor(srv server, c config.Cluster, archive slotHolder, logger *slog.Logger) *governor {
	return &governor{
		archive: archive, logger: logger.With("slot", c.Slot),
		look: func(ctx context.Context) (status.Slot, error) { return srv.slot(ctx, c) },
		drop: func(ctx context.Context) error { return srv.dropSlot(ctx, c.Slot) },
	}
}

// seenBy has each look told to who must not wait for one. nil is nobody.
func (g *governor) seenBy(v *Vitals) *governor {
	if v != nil {
		g.seen = func(l slotLook) { v.slot.Store(&l) }
	}
	return g
}

// slot asks about the slot over an ordinary connection, and where none can be made over a replication connection.
func (s server) slot(ctx context.Context, c config.Cluster) (status.Slot, error) {
	slot, err := lookAtSlot(ctx, c)
	if err != nil {
		less, replicationErr := s.replicationSlot(ctx, c.Slot)
		switch {
		case replicationErr != nil:
			return status.Slot{}, replicationErr
		case less == nil:
			return status.Slot{}, fmt.Errorf("PostgreSQL 14 tells of a slot only over an ordinary connection: %w", err)
		}
		slot = *less
	}
	keepPolicy(&slot, c)
	return slot, nil
}

func (s server) replicationSlot(ctx context.Context, name string) (*status.Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, slotPatience)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	system, err := conn.System(ctx)
	if err != nil {
		return nil, err
	}
	return replicationSlot(ctx, conn, name, system.Flush)
}

// dropSlot drops a slot once nobody holds it. One that is not there is no error.
func (s server) dropSlot(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := conn.DropSlot(ctx, name)
		switch {
		case errors.Is(err, postgres.ErrNoSlot):
			return nil
		case !errors.Is(err, postgres.ErrSlotActive):
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// run looks until ctx ends, and returns nil then.
func (g *governor) run(ctx context.Context) error {
	for {
		every := governEvery
		if g.step(ctx, time.Now()) {
			every = governOften
		}
		timer := time.NewTimer(every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// step looks once, and reports whether a limit is near.
func (g *governor) step(ctx context.Context, now time.Time) bool {
	slot, err := g.look(ctx)
	if err != nil {
		// The archiver tells of a server that does not answer, but not of a slot that nobody watches.
		if text := err.Error(); ctx.Err() == nil && text != g.told {
			g.told = text
			g.logger.WarnContext(ctx, "how much WAL the slot keeps is not known", "err", err)
		}
		return false
	}
	g.told = ""
	v := g.watch.look(now, slot)
	if slot.Bound = v.Bound; g.seen != nil {
		g.seen(slotLook{now, slot})
	}
	if v.Changed {
		g.tell(ctx, slot, v)
	}
	if v.Drop {
		g.giveUp(ctx, slot)
	}
	return v.State == slotFilling || v.State == slotFull
}

// giveUp drops the slot.
func (g *governor) giveUp(ctx context.Context, slot status.Slot) {
	g.archive.Hold(true)
	defer g.archive.Hold(false)
	if err := g.drop(ctx); err != nil {
		if ctx.Err() == nil {
			g.logger.ErrorContext(ctx, "replication slot was not dropped, though it keeps as much WAL as it may; trying again", "err", err)
		}
		return
	}
	g.logger.ErrorContext(ctx, "replication slot was dropped, so that the server can go on: WAL that is not archived may be lost; "+
		"when the repository takes WAL again a new slot is made, what is lost is recorded, and a base backup follows",
		"retained", slot.Retained, "restart_lsn", slot.Restart.String())
}

// tell logs a new state, once.
func (g *governor) tell(ctx context.Context, slot status.Slot, v slotVerdict) {
	attrs := []any{"retained", slot.Retained}
	if b := v.Bound; b != nil {
		attrs = append(attrs, "limit_by", b.By, "limit", b.Limit, "left", b.Left, "bytes_per_second", int64(v.Rate))
		if b.Seconds != nil {
			attrs = append(attrs, "full_in", time.Duration(*b.Seconds)*time.Second)
		}
	}
	if slot.OnLimit != "" {
		attrs = append(attrs, "on_limit", slot.OnLimit)
	}
	switch v.State {
	case slotFilling:
		g.logger.ErrorContext(ctx, "the WAL that the server keeps for the replication slot comes near its limit", attrs...)
	case slotFull:
		g.logger.ErrorContext(ctx, "the WAL that the server keeps for the replication slot has reached its limit", attrs...)
	case slotWaning:
		g.logger.ErrorContext(ctx, "the replication slot is over max_slot_wal_keep_size: the server may remove its WAL at the next checkpoint", attrs...)
	case slotLost:
		g.logger.ErrorContext(ctx, "the replication slot is lost: the server has removed WAL that was kept for it", attrs...)
	case slotFine, slotUnknown:
		g.logger.InfoContext(ctx, "the WAL that the server keeps for the replication slot is within its limit", attrs...)
	}
}
