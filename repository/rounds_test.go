package repository_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestRounds: who reads all records of a kind waits for a few of them at a time, and not for one after the other: a year of daily base backups, their drills and pins, and
// what happened to the archive in between cost some answers of the store, one behind the other, and not hundreds.
func TestRounds(t *testing.T) {
	const (
		records = 96
		answer  = time.Second // of the store, for a record
	)
	for name, test := range map[string]struct {
		put  func(ctx context.Context, c *repository.Cluster, i int) error
		read func(ctx context.Context, c *repository.Cluster) (int, error)
		most int
	}{
		"gaps": {
			func(ctx context.Context, c *repository.Cluster, i int) error {
				start := wal.LSN(i+1) << 24
				return c.PutGap(ctx, repository.Gap{Timeline: 1, Range: wal.Range{Start: start, End: start + 8}, Cause: repository.CauseSlotLost, FirstSeen: time.Now()})
			},
			func(ctx context.Context, c *repository.Cluster) (int, error) {
				all, err := c.Gaps(ctx)
				return len(all), err
			},
			records / 16,
		},
		"pins": {
			func(ctx context.Context, c *repository.Cluster, i int) error {
				return c.PutPin(ctx, repository.Pin{Backup: stampOf(i), Number: 1, Change: repository.Pinned, Time: time.Now()})
			},
			func(ctx context.Context, c *repository.Cluster) (int, error) {
				all, err := c.Pins(ctx)
				return len(all), err
			},
			2 * records / 16, // each asks whether there is a next one
		},
		"drills": {
			func(ctx context.Context, c *repository.Cluster, i int) error {
				d := frozenDrill()
				d.ID, d.Names = stampOf(i), nil
				_, err := c.PutDrill(ctx, d, nil)
				return err
			},
			func(ctx context.Context, c *repository.Cluster) (int, error) {
				all, err := c.Drills(ctx, 0)
				return len(all), err
			},
			records / 16,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New()
				r, err := repository.Create(t.Context(), store)
				if err != nil {
					t.Fatal(err)
				}
				c := r.Cluster(7)
				for i := range records {
					if err := test.put(t.Context(), c, i); err != nil {
						t.Fatal(err)
					}
				}
				store.Delay(memory.Get, "", answer)
				began := time.Now()
				n, err := test.read(t.Context(), c)
				if n != records || err != nil {
					t.Fatalf("read %d of %d: %v", n, records, err)
				}
				if rounds := int(time.Since(began) / answer); rounds > test.most {
					t.Errorf("%d records took %d answers one behind the other, want at most %d", records, rounds, test.most)
				}
			})
		})
	}
}

// stampOf is the id of the ith of some base backups or drills.
func stampOf(i int) string { return fmt.Sprintf("20261120T%02d%02d00Z", i/60, i%60) }
