package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/wal"
)

// Slot is a physical replication slot.
type Slot struct {
	Exists bool
	// RestartLSN is the start of the WAL the server keeps for the slot; 0 if it
	// keeps none, because nothing was reserved or because the slot was
	// invalidated.
	RestartLSN wal.LSN
	Timeline   wal.TimelineID // that RestartLSN lies on; 0 if RestartLSN is 0
}

// slotVersion is the first server_version_num that knows READ_REPLICATION_SLOT.
const slotVersion = 150000

// checkSlotName refuses what the server would, and everything that needs
// quoting (ReplicationSlotValidateName in src/backend/replication/slot.c).
func checkSlotName(name string) error {
	if name == "" || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return fmt.Errorf("slot name %q: want 1 to 63 lower-case letters, digits and underscores", name)
	}
	return nil
}

// CreateSlot makes a physical slot and reserves WAL for it from now on, before
// any client has used it. ErrSlotExists if there is one of this name.
func (c *Conn) CreateSlot(ctx context.Context, name string) error {
	if err := checkSlotName(name); err != nil {
		return fmt.Errorf("create slot: %w", err)
	}
	// The form without parentheses is understood by every major from 14 to 18.
	_, err := c.command(ctx, "create slot "+name, `CREATE_REPLICATION_SLOT "`+name+`" PHYSICAL RESERVE_WAL`)
	return err
}

// DropSlot removes a slot. ErrNoSlot if there is none, ErrSlotActive if a
// connection holds it.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	if err := checkSlotName(name); err != nil {
		return fmt.Errorf("drop slot: %w", err)
	}
	_, err := c.command(ctx, "drop slot "+name, `DROP_REPLICATION_SLOT "`+name+`"`)
	return err
}

// AdvanceSlot lets the server, which may be a standby, forget the WAL of timeline tli before lsn as far as a physical slot keeps it. It streams for a
// moment, so that the role needs REPLICATION only, and the connection is of no use afterwards but to be closed. The server must have the WAL
// from lsn on; errors are those of StartReplication. A standby saves the new position with its next restart point: after a crash
// it keeps more again.
func (c *Conn) AdvanceSlot(ctx context.Context, name string, tli wal.TimelineID, lsn wal.LSN) error {
	doing := fmt.Sprintf("advance slot %s to %s", name, lsn)
	if err := c.StartReplication(ctx, Start{Slot: name, Timeline: tli, LSN: lsn}); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := c.SendStatus(ctx, Status{Write: lsn, Flush: lsn, RequestReply: true}); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for {
		message, err := c.Receive(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		switch message.(type) {
		case *Keepalive, *EndOfTimeline:
			// The reply is sent while the update is worked on, which moves the slot before anything else is read
			// (ProcessStandbyReplyMessage in src/backend/replication/walsender.c).
			return nil
		case *Data:
		}
	}
}

// Slot reads a slot. known is false on PostgreSQL 14, which cannot say.
// ErrSlotUnusable if the slot is a logical one.
func (c *Conn) Slot(ctx context.Context, name string) (slot Slot, known bool, err error) {
	doing := "read slot " + name
	if err := checkSlotName(name); err != nil {
		return Slot{}, false, fmt.Errorf("read slot: %w", err)
	}
	version, err := c.versionNum(ctx)
	if err != nil {
		return Slot{}, false, err
	}
	if version < slotVersion {
		return Slot{}, false, nil
	}
	row, err := c.row(ctx, doing, `READ_REPLICATION_SLOT "`+name+`"`, 3)
	if err != nil {
		var e *ServerError
		if errors.As(err, &e) && e.Routine == "ReadReplicationSlot" {
			e.kind = ErrSlotUnusable
		}
		return Slot{}, false, err
	}
	if row[0] == nil {
		return Slot{}, true, nil
	}
	slot.Exists = true
	if row[1] == nil {
		return slot, true, nil
	}
	if slot.RestartLSN, err = wal.ParseLSN(string(row[1])); err != nil {
		return Slot{}, false, fmt.Errorf("%s: %w", doing, err)
	}
	if row[2] != nil {
		if slot.Timeline, err = parseTimeline(row[2]); err != nil {
			return Slot{}, false, fmt.Errorf("%s: %w", doing, err)
		}
	}
	return slot, true, nil
}
