package agent

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

// TestSlotThatCannotBeAsked: what a replication connection told stays, and the reason is in the report.
func TestSlotThatCannotBeAsked(t *testing.T) {
	said := status.Server{Slot: &status.Slot{Name: "pgark", Exists: true, Restart: 5}}
	setSlot(t.Context(), config.Cluster{Slot: "pgark", Postgres: "host=/nonexistent user=ark password=hunter22"}, &said)
	if said.Slot.Restart != 5 || said.Slot.Active != nil || !strings.Contains(said.SlotError, "unreachable") || strings.Contains(said.SlotError, "hunter22") {
		t.Errorf("got %+v, %s", said.Slot, said.SlotError)
	}
}
