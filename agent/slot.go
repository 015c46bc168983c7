package agent

import (
	"context"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/status"
)

// slotPatience is how long the server may take to answer about the slot.
const slotPatience = 5 * time.Second

// lookAtSlot asks the server over an ordinary connection how the slot stands.
func lookAtSlot(ctx context.Context, c config.Cluster) (status.Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, slotPatience)
	defer cancel()
	s, err := postgres.AskSlot(ctx, c.Postgres, c.Slot)
	if err != nil {
		return status.Slot{}, err
	}
	return slotOf(c.Slot, s), nil
}

// setSlot lays what an ordinary connection tells of the slot over what a replication connection told. If
// none can be made, it says why.
func setSlot(ctx context.Context, c config.Cluster, said *status.Server) {
	slot, err := lookAtSlot(ctx, c)
	if err != nil {
		said.SlotError = err.Error()
		return
	}
	said.Slot = &slot
}

// slotOf is what status tells of a slot.
func slotOf(name string, s postgres.SlotState) status.Slot {
	if !s.Exists {
		return status.Slot{Name: name}
	}
	return status.Slot{
		Name: name, Exists: true, Restart: s.RestartLSN, Retained: s.Retained, WALStatus: s.WALStatus, Limit: &s.Limit,
		Active: &s.Active, ActiveSince: s.ActiveSince, InactiveSince: s.InactiveSince,
	}
}
