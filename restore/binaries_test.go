package restore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/pgark/pgark/restore"
)

// TestFindBinariesCancelled: Ctrl-C while programs are looked for is not their absence.
func TestFindBinariesCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var none *restore.BinariesError
	if _, err := restore.FindBinaries(ctx, 17, ""); !errors.Is(err, context.Canceled) || errors.As(err, &none) {
		t.Errorf("got %v, want it cancelled", err)
	}
}
