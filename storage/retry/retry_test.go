package retry_test

import (
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return retry.New(memory.New(), retry.Options{}) })
}
