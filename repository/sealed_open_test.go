package repository_test

import (
	"fmt"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
)

// TestSealedKeepsLittle: what is remembered of the packs of an encrypted backup does not grow with their number, and each can be read again.
func TestSealedKeepsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes many packs")
	}
	const packs = 200
	k := newTestKeys(t)
	store := sealedArchive(t, k)
	c := openCluster(t, store).With(publicHost(t, k))
	start := startBackup(compression.Zstd())
	start.ID = "20261122T024100Z"
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packs {
		if _, err := writePack(t, w, "base", compression.Zstd(), []member{noise(fmt.Sprintf("base/%d", i), 2<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	backup, err := w.Commit(t.Context(), record(), manifest())
	if err != nil {
		t.Fatal(err)
	}
	b, err := openCluster(t, store).With(encryption.Keys{Identities: withKeys(t, k.second)}).OpenBackup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, p := range b.Packs() {
			table, err := b.Table(t.Context(), p)
			if err == nil {
				_, err = b.ReadRuns(t.Context(), table, 0, 1)
			}
			if err != nil {
				t.Fatalf("%s: %v", p.Name, err)
			}
		}
	}
	if got, of := repository.OpenedBytes(b), int(backup.Stored); len(b.Packs()) != packs || got > of*3/4 {
		t.Errorf("%d bytes are kept of %d in %d packs", got, of, len(b.Packs()))
	}
}
