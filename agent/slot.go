package agent

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
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
	slot := slotOf(c.Slot, s)
	free := make(chan *int64, 1)
	go func() { free <- diskFree(s) }()
	select {
	case slot.DiskFree = <-free:
	case <-ctx.Done(): // a disk that hangs
	}
	return slot, nil
}

// replicationSlot asks over a replication connection: what every agent may do, but less is told. flush is the end of the server's WAL. nil
// where the server cannot say, which is PostgreSQL 14.
func replicationSlot(ctx context.Context, conn *postgres.Conn, name string, flush wal.LSN) (*status.Slot, error) {
	slot, known, err := conn.Slot(ctx, name)
	if err != nil || !known {
		return nil, err
	}
	s := status.Slot{Name: name, Exists: slot.Exists, Restart: slot.RestartLSN}
	if slot.RestartLSN > 0 && flush > slot.RestartLSN {
		s.Retained = int64(flush - slot.RestartLSN)
	}
	return &s, nil
}

// keepPolicy lays beside a slot what the configuration says of it.
func keepPolicy(slot *status.Slot, c config.Cluster) {
	if c.Keep.Max > 0 {
		slot.KeepMax, slot.OnLimit = &c.Keep.Max, c.Keep.OnLimit
	}
}

// diskFree returns what is free on the disk of pg_wal. nil unless the server runs on this host, in the files that the agent sees: another
// server's may lie under the same name.
func diskFree(s postgres.SlotState) *int64 {
	if !s.Local || s.DataDirectory == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(s.DataDirectory, "global", "pg_control"))
	if err != nil {
		return nil
	}
	if control, err := postgres.ParseControl(raw); err != nil || control.SystemID != s.SystemID {
		return nil
	}
	free, _, err := restore.Free(filepath.Join(s.DataDirectory, "pg_wal"))
	if err != nil || free > math.MaxInt64 {
		return nil
	}
	bytes := int64(free)
	return &bytes
}

// setSlot lays what an ordinary connection tells of the slot over what a replication connection told. If
// none can be made, it says why.
func setSlot(ctx context.Context, c config.Cluster, said *status.Server) {
	slot, err := lookAtSlot(ctx, c)
	if err != nil {
		said.SlotError = err.Error()
	} else {
		said.Slot = &slot
	}
	if said.Slot != nil {
		keepPolicy(said.Slot, c)
	}
}

// slotOf is what status tells of a slot.
func slotOf(name string, s postgres.SlotState) status.Slot {
	if !s.Exists {
		return status.Slot{Name: name}
	}
	return status.Slot{
		Name: name, Exists: true, Restart: s.RestartLSN, Retained: s.Retained, WALStatus: s.WALStatus, Limit: &s.Limit, Safe: s.Safe,
		Active: &s.Active, ActiveSince: s.ActiveSince, InactiveSince: s.InactiveSince,
	}
}
